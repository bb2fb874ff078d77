//! `sealstone status`: would this node sign now, and if not, why not.

use sealstone_wire::api::{
    CheckpointStatus, LogStatus, NodeStatus, PricesStatus, Reason, RulesStatus, SanctionsStatus, StoreStatus,
    TpmStatus,
};
use sealstone_wire::reply::{self, Phase, Session};

use super::{Context, asset};
use crate::agent::Bounds;
use crate::failure::Failure;
use crate::output::{Answer, fields, json_of, shown};

/// Say whether this node would sign now, and if not, why not
///
/// Exit code 0 if it would sign, 1 if not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  sealstone status\n  until sealstone status; do sleep 1; done")]
pub(super) struct Args {}

pub(super) fn run(args: Args, context: &Context) -> Result<Answer, Failure> {
    let Args {} = args;
    let status: NodeStatus = context.agent()?.get("/v1/status".to_owned(), Bounds::Ordinary)?;
    Ok(Answer::verdict(status.ready, json_of(&status), described(&status)))
}

/// A phase as it is written everywhere.
pub(super) fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Unprovisioned => "unprovisioned",
        Phase::Locked => "locked",
        Phase::Unlocked => "unlocked",
        Phase::Attested => "attested",
    }
}

fn described(status: &NodeStatus) -> String {
    let NodeStatus { ready, reasons, agent_version, enclave, tpm, store, reservations, rules, log } = status;
    let mut rows = vec![
        ("ready", if *ready { "yes" } else { "no" }.to_owned()),
        ("agent", shown(agent_version)),
        ("tpm", tpm_line(tpm)),
    ];
    match enclave {
        None => rows.push(("enclave", "does not answer".to_owned())),
        Some(enclave) => rows.extend(enclave_rows(enclave)),
    }
    rows.push(("store", store_line(store)));
    for (state, count) in reservations {
        rows.push(("reservations", format!("{count} {}", shown(state))));
    }
    rows.extend(rules_rows(rules));
    rows.extend(log.iter().flat_map(log_rows));
    let mut text = fields(&rows);
    for Reason { code, detail, action } in reasons {
        text.push_str(&format!("not ready: {}: {}\n", shown(code), shown(detail)));
        if !action.is_empty() {
            text.push_str(&format!("  what to do: {}\n", shown(action)));
        }
    }
    if enclave.as_ref().is_some_and(|enclave| enclave.unfunded && enclave.phase != Phase::Unprovisioned) {
        text.push_str(asset::UNFUNDED);
    }
    text
}

fn tpm_line(tpm: &TpmStatus) -> String {
    let TpmStatus { tcti, reachable, fault } = tpm;
    match (reachable, fault) {
        (true, _) => format!("answers ({})", shown(tcti)),
        (false, Some(fault)) => format!("does not answer ({}): {}", shown(tcti), shown(fault)),
        (false, None) => format!("does not answer ({})", shown(tcti)),
    }
}

/// A store in one line.
pub(super) fn store_line(store: &StoreStatus) -> String {
    let StoreStatus { kind, version } = store;
    match version {
        Some(version) => format!("{}, schema version {version}", shown(kind)),
        None => format!("{}, does not answer", shown(kind)),
    }
}

fn rules_rows(rules: &RulesStatus) -> Vec<(&'static str, String)> {
    let RulesStatus { policy, sanctions, prices } = rules;
    let mut rows = vec![("policy", policy.to_string())];
    rows.extend(sanctions.as_ref().map(|SanctionsStatus { digest, count, imported_at }| {
        ("sanctions", format!("{digest}, {count} entries, imported {imported_at}"))
    }));
    rows.extend(prices.as_ref().map(|PricesStatus { digest, currencies: _, issued_at, expires_at }| {
        ("prices", format!("{digest}, issued {issued_at}, until {expires_at}"))
    }));
    rows
}

fn log_rows(log: &LogStatus) -> Vec<(&'static str, String)> {
    let LogStatus {
        size,
        checkpoint,
        uncovered_records,
        uncovered_since,
        uncovered_receipts,
        uncovered_receipts_max,
    } = log;
    let checkpoint = match checkpoint {
        None => "none".to_owned(),
        Some(CheckpointStatus { size, newest_record: None }) => format!("of {size} records"),
        Some(CheckpointStatus { size, newest_record: Some(time) }) => {
            format!("of {size} records, the newest of {time}")
        }
    };
    let mut rows = vec![("audit log", format!("{size} records")), ("checkpoint", checkpoint)];
    if let Some(since) = uncovered_since {
        rows.push(("uncovered", format!("{uncovered_records} records, the oldest of {since}")));
    }
    if let Some(receipts) = uncovered_receipts {
        rows.push(("uncovered", format!("{receipts} receipts; with {uncovered_receipts_max} signing stops")));
    }
    rows
}

fn enclave_rows(status: &reply::Status) -> Vec<(&'static str, String)> {
    let reply::Status {
        phase,
        version,
        deployment,
        node,
        manifest,
        era,
        last_used_era: _,
        sequence,
        session,
        unfunded: _,
        protections,
    } = status;
    let mut rows = vec![("enclave", format!("{} (release {})", phase_name(*phase), shown(version)))];
    rows.extend(deployment.as_ref().map(|deployment| ("deployment", deployment.to_string())));
    rows.extend(node.as_ref().map(|node| ("node", shown(node))));
    rows.extend(
        manifest.as_ref().map(|manifest| {
            ("manifest", format!("version {}, digest {}", manifest.version, manifest.digest))
        }),
    );
    if *era > 0 {
        rows.push(("receipts", format!("{sequence} in era {era}")));
    }
    if let Some(Session { id: _, state, binding, expires_at, warnings }) = session {
        rows.push(("state", format!("{}, binding {binding}", shown(state))));
        rows.push(("session", format!("until {expires_at}")));
        rows.extend(warnings.iter().map(|warning| ("warning", shown(warning))));
    }
    let active: Vec<String> =
        protections.iter().filter(|one| one.active).map(|one| shown(&one.name).to_string()).collect();
    if !active.is_empty() {
        rows.push(("protected", active.join(", ")));
    }
    for protection in protections.iter().filter(|protection| !protection.active) {
        rows.push(("unprotected", format!("{}: {}", shown(&protection.name), shown(&protection.detail))));
    }
    rows
}
