//! The agent put together: parts in the order in which they need each other, ended in the opposite one.

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::sync::watch;

use crate::access::Access;
use crate::api::{Node, Server, router};
use crate::assets::Assets;
use crate::attest::{AttestSettings, AttestState, Attestor, PCR_POLL};
use crate::audit::{Anchor, Checkpointer, Log};
use crate::config::Config;
use crate::enclave::{Enclave, Endpoint};
use crate::failure::open_session;
use crate::metrics;
use crate::reconcile::Reconciler;
use crate::reload::Reload;
use crate::rule_changes::RuleChanges;
use crate::rulebook::Rules;
use crate::shutdown::Shutdown;
use crate::signing::Signing;
use crate::store::Store;
use crate::tpm::Tpm;

/// What an operator accepts after a loss, for one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// A store that lacks receipts goes on: `--danger-accept-lost-receipts`.
    pub lost_receipts: bool,
    /// A new audit log begins where the enclave's is lost: `--danger-begin-new-log`.
    pub lost_log: bool,
}

/// Runs until `shutdown`; `reload` brings new keys of the channel. What is accepted is so loudly, and recorded.
///
/// # Errors
/// What keeps the agent from starting: key file, store, socket, TPM library.
pub async fn run(config: Config, accepted: Accepted, reload: Reload, shutdown: Shutdown) -> Result<()> {
    let metrics = metrics::install().context("cannot begin to count")?;
    let endpoint = Endpoint::load(&config.enclave).context("cannot use a channel key")?;
    let store = Store::open(&config.store, &config.node).await?;
    let rules = Arc::new(Rules::load(config.policy.clone()).context("cannot use [policy]")?);
    let access = Access::load(&config).context("cannot use [api.tls]")?;
    let server = Server::bind(&config.api, access.clone()).await?;
    let tpm = Tpm::spawn(&config.tpm)?;

    let rule_changes = Arc::new(RuleChanges::new(Arc::clone(&rules), store.clone()));
    rule_changes.record_start().await.context("cannot record the start")?;

    let (ender, ended) = Shutdown::new();
    let enclave = Enclave::spawn(endpoint, ended.clone().ended());
    tokio::spawn(reload.run(config.clone(), enclave.clone(), access.clone(), Arc::clone(&rule_changes)));
    let settings = AttestSettings {
        state_dir: config.state_dir.clone(),
        event_log: config.tpm.event_log.clone(),
        enrolment: config.tpm.enrolment.clone(),
        ima_log: config.tpm.ima_log.clone(),
        pcr_poll: PCR_POLL,
    };
    let anchor = Anchor::default();
    let attestor = Attestor::spawn(
        enclave.clone(),
        tpm.clone(),
        store.clone(),
        anchor.clone(),
        settings,
        ended.clone().ended(),
    );
    let assets = Arc::new(Assets::new(store.clone(), enclave.clone()));
    let reconciler = Arc::new(Reconciler::new(store.clone(), enclave.clone(), accepted.lost_receipts));
    let checkpointer =
        Checkpointer::new(store.clone(), enclave.clone(), Arc::clone(&reconciler), anchor, accepted.lost_log);
    tokio::spawn(checkpointer.run(ended.clone().ended()));
    tokio::spawn(reconcile_early(Arc::clone(&reconciler), attestor.state()));
    let renew = {
        let attestor = attestor.clone();
        move || attestor.kick()
    };
    let signing = Arc::new(Signing::new(
        store.clone(),
        enclave.clone(),
        Arc::clone(&assets),
        Arc::clone(&reconciler),
        Arc::clone(&rules),
        attestor.state(),
        renew,
    ));
    let node = Node {
        log: Log::new(store.clone()),
        store: store.clone(),
        enclave,
        tpm,
        attestor,
        assets,
        reconciler,
        rules: rule_changes,
        signing,
        metrics,
        access,
    };

    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        node = config.node,
        socket = %config.api.socket.display(),
        tls = server.tls_address().ok().flatten().map(|address| address.to_string()),
        "serving"
    );
    server.run(router(node), shutdown.ended()).await;
    ender.end();
    store.close().await;
    tracing::info!("ended");
    Ok(())
}

/// Reconciles as soon as there is a session, so that a status shows a rolled-back store before anybody signs.
async fn reconcile_early(reconciler: Arc<Reconciler>, mut attestation: watch::Receiver<AttestState>) {
    loop {
        let state = attestation.borrow_and_update().clone();
        if let Ok((session, era, generation)) = open_session(&state)
            && let Err(failure) = reconciler.settled(generation, era, session).await
        {
            tracing::warn!(code = %failure.code, detail = failure.detail, "store and enclave are not reconciled");
        }
        if attestation.changed().await.is_err() {
            return;
        }
    }
}
