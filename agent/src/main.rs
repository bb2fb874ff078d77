//! `sealstone-agent`: reads its configuration, runs, ends on a signal.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use sealstone_agent::access::Access;
use sealstone_agent::api::openapi;
use sealstone_agent::config::Config;
use sealstone_agent::reload::Reload;
use sealstone_agent::shutdown::Shutdown;
use sealstone_agent::store::Store;
use sealstone_agent::store::backup::{self, Recipient};
use sealstone_agent::{logging, run};
use tokio::runtime::Runtime;

/// Unusable input, configuration or environment.
const EXIT_UNUSABLE: u8 = 2;

/// Threads for blocking work: reading a log for evidence, now and then.
const BLOCKING_THREADS_MAX: usize = 4;

const EXAMPLES: &str = "\
Examples:
  sealstone-agent --config /etc/sealstone/agent.toml --check
  sealstone-agent --config /etc/sealstone/agent.toml
  sealstone-agent --config agent.toml --backup store-monday.age --recipient age1…
  sealstone-agent --config agent.toml --restore store-monday.age --identity backup.key";

/// The host daemon of a Sealstone node.
///
/// Serves the HTTP API, keeps the enclave attested and the nonces durable. Holds no signing key. SIGHUP has it read
/// the keys of the channel to the enclave, its clients, what belongs to TLS and the rules anew, without a pause.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "agent.toml")]
    config: PathBuf,
    /// Check the configuration file and the certificates that it names, and end.
    #[arg(long)]
    check: bool,
    /// Print the OpenAPI document of the HTTP API and end.
    #[arg(long)]
    openapi: bool,
    /// Make the store's tables, or bring them to this version, and end: with the url of the role that owns them, so that
    /// the agent itself needs no right to change them.
    #[arg(long, conflicts_with = "check")]
    migrate: bool,
    /// Write an encrypted copy of the store to a new file, and end. The agent may run meanwhile. PostgreSQL needs pg_dump.
    #[arg(long, value_name = "FILE", requires = "recipient", conflicts_with_all = ["check", "migrate", "openapi"])]
    backup: Option<PathBuf>,
    /// Who can open the copy: an age public key. Give it once for each.
    #[arg(long, value_name = "AGE1…", requires = "backup")]
    recipient: Vec<Recipient>,
    /// Put a copy back where no store is, and end. What the enclave signed since is missing in it: the agent, when it
    /// is started, finds out and signs nothing. PostgreSQL needs pg_restore.
    #[arg(long, value_name = "FILE", requires = "identity", conflicts_with_all = ["backup", "check", "migrate", "openapi"])]
    restore: Option<PathBuf>,
    /// The age key file of one of the copy's recipients.
    #[arg(long, value_name = "FILE", requires = "restore")]
    identity: Option<PathBuf>,
    /// Go on with a store that lacks signatures which the enclave made. Nonces may be free in it that are spent:
    /// first make sure elsewhere (on the chain) that they are not used again.
    #[arg(long)]
    danger_accept_lost_receipts: bool,
    /// Begin a new audit log if the one that the enclave goes on from is lost for good. The new log says so, for every
    /// auditor. The enclave agrees only until a log was shown to it after its start: restart it first.
    #[arg(long)]
    danger_begin_new_log: bool,
}

fn main() -> ExitCode {
    match start(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sealstone-agent: {error:#}");
            ExitCode::from(EXIT_UNUSABLE)
        }
    }
}

fn start(arguments: &Arguments) -> Result<()> {
    if arguments.openapi {
        print!("{}", openapi::text());
        return Ok(());
    }
    let config = Config::load(&arguments.config)?;
    if arguments.check {
        Access::load(&config).context("cannot use [api.tls]")?;
        println!("{}: good", arguments.config.display());
        return Ok(());
    }
    if let Some(out) = &arguments.backup {
        return copy(&config, out, &arguments.recipient);
    }
    if let (Some(from), Some(identity)) = (&arguments.restore, &arguments.identity) {
        return put_back(&config, from, identity);
    }
    logging::init(&config.log).map_err(|error| anyhow::anyhow!("cannot begin to log: {error}"))?;
    let runtime = runtime()?;
    if arguments.migrate {
        runtime.block_on(Store::migrate(&config.store, &config.node))?;
        println!("{}: of this version", config.store);
        return Ok(());
    }
    runtime.block_on(async {
        let shutdown = Shutdown::on_signal().context("cannot catch signals")?;
        let reload = Reload::on_signal(&arguments.config).context("cannot catch signals")?;
        let accepted = run::Accepted {
            lost_receipts: arguments.danger_accept_lost_receipts,
            lost_log: arguments.danger_begin_new_log,
        };
        run::run(config, accepted, reload, shutdown).await
    })
}

fn copy(config: &Config, out: &Path, recipients: &[Recipient]) -> Result<()> {
    let length = runtime()?.block_on(backup::backup(&config.store, out, recipients))?;
    println!("{}: a copy of {}, {length} bytes", out.display(), config.store);
    Ok(())
}

fn put_back(config: &Config, from: &Path, identity: &Path) -> Result<()> {
    runtime()?.block_on(backup::restore(&config.store, from, identity))?;
    println!("{}: restored from {}", config.store, from.display());
    println!(
        "it is as old as the copy: when the agent starts, it compares it with the enclave before it signs"
    );
    Ok(())
}

fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .context("cannot start the runtime")
}
