//! What the running node says of itself.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use sealstone_attestation::{Envelope, Manifest, UnixTime};
use sealstone_wire::api::{LogStatus, NodeStatus, Reason, RulesStatus};
use sealstone_wire::reply::{Phase, Status};

use super::super::{Context, status};
use super::Line;
use crate::agent::{Agent, Bounds};
use crate::endpoint::Endpoint;

/// A clock before this was never set: the year of this release.
const EARLIEST: UnixTime = UnixTime::from_secs(1_767_225_600);

/// How far a signed time may be ahead of this machine's clock before the clock is thought wrong.
const AHEAD_MAX: Duration = Duration::from_secs(300);

/// How long a record waits for a checkpoint at most, of which the agent asks for one twice a second.
const UNCOVERED_MAX: Duration = Duration::from_secs(60);

/// Examines the socket, the agent, the TPM, the enclave and the clock.
pub(super) fn examine(context: &Context, now: UnixTime) -> Vec<Line> {
    let agent = match context.agent() {
        Ok(agent) => agent,
        Err(failure) => {
            return vec![
                Line::fail("agent.socket", failure.to_string(), "start sealstone-agent, or give --socket"),
                clock(now, None),
            ];
        }
    };
    let mut lines = match agent.endpoint() {
        Endpoint::Socket(path) => vec![socket(path)],
        Endpoint::Tls(_) => Vec::new(),
    };
    match agent.get::<NodeStatus>("/v1/status".to_owned(), Bounds::Ordinary) {
        Err(failure) => lines.push(Line::fail(
            "agent.answers",
            failure.to_string(),
            "start sealstone-agent and look at its log; its configuration lists the clients that may connect",
        )),
        Ok(status) => lines.extend(answered(&status, now)),
    }
    lines.push(clock(now, newest_signed_time(&agent)));
    lines
}

fn socket(path: &Path) -> Line {
    let name = "agent.socket";
    match fs::metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => Line::ok(name, path.display().to_string()),
        Ok(_) => Line::fail(
            name,
            format!("expected a socket at {}, found something else", path.display()),
            "give the agent's socket with --socket",
        ),
        Err(error) => Line::fail(
            name,
            format!("expected a socket at {}, found: {error}", path.display()),
            "start sealstone-agent, or give its socket with --socket",
        ),
    }
}

fn answered(status: &NodeStatus, now: UnixTime) -> Vec<Line> {
    let NodeStatus { ready, reasons, agent_version, enclave, tpm, store, reservations: _, rules, log } =
        status;
    let mut lines = vec![Line::ok("agent.answers", format!("release {agent_version}"))];
    lines.push(if tpm.reachable {
        Line::ok("tpm", format!("answers at {}", tpm.tcti))
    } else {
        Line::fail(
            "tpm",
            format!(
                "expected a TPM at {}, found: {}",
                tpm.tcti,
                tpm.fault.as_deref().unwrap_or("no answer yet")
            ),
            "check [tpm] tcti in agent.toml, and that the agent's user may use the device",
        )
    });
    match enclave {
        None => lines.push(Line::fail(
            "enclave",
            "expected an answer from the enclave, found none",
            "start sealstone-enclave; check [enclave] in agent.toml and agent_public_keys in enclave.toml",
        )),
        Some(enclave) => lines.extend(enclave_lines(enclave)),
    }
    lines.push(Line::ok("store", status::store_line(store)));
    lines.push(prices(rules, now));
    lines.extend(log.as_ref().map(|log| audit_log(log, now)));
    if *ready {
        lines.push(Line::ok("ready", "a signature would be made now"));
    }
    for Reason { code, detail, action } in reasons {
        lines.push(Line::fail("ready", format!("{code}: {detail}"), action.clone()));
    }
    lines
}

fn enclave_lines(enclave: &Status) -> Vec<Line> {
    let phase = status::phase_name(enclave.phase);
    let mut lines = vec![match enclave.phase {
        Phase::Unprovisioned => Line::fail(
            "enclave",
            "expected a provisioned enclave, found it unprovisioned",
            "`sealstone manifest propose`, `sign`, then `apply --provision NODE`",
        ),
        Phase::Locked => Line::fail(
            "enclave",
            "expected an unlocked enclave, found it locked",
            "see `sealstone status`: the agent unlocks it when the TPM and the machine's state allow it",
        ),
        Phase::Unlocked | Phase::Attested => {
            Line::ok("enclave", format!("{phase}, release {}", enclave.version))
        }
    }];
    lines.push(match &enclave.session {
        Some(session) => {
            Line::ok("session", format!("in state {} until {}", session.state, session.expires_at))
        }
        None => Line::fail(
            "session",
            "expected an attested session, found none",
            "see `sealstone status` for the check that failed",
        ),
    });
    if enclave.phase != Phase::Unprovisioned && enclave.unfunded {
        lines.push(Line::warn(
            "recovery",
            "expected a verified set of recovery shares, found none",
            "until there is one, the loss of this TPM is the loss of every key",
        ));
    }
    for protection in enclave.protections.iter().filter(|protection| !protection.active) {
        lines.push(Line::warn(
            "enclave.protection",
            format!("expected {}, found it inactive: {}", protection.name, protection.detail),
            "see the enclave's log for what this kernel lacks",
        ));
    }
    lines
}

fn prices(rules: &RulesStatus, now: UnixTime) -> Line {
    let RulesStatus { policy, sanctions: _, prices } = rules;
    match prices {
        Some(prices) if prices.expires_at <= now => Line::warn(
            "rules",
            format!("expected prices that hold still, found that they ended at {}", prices.expires_at),
            "sign newer ones with `sealstone policy prices` and reload the rules",
        ),
        _ => Line::ok("rules", format!("policy {policy}")),
    }
}

/// The head of the log is signed within a second of a record; what waits longer waits for something.
fn audit_log(log: &LogStatus, now: UnixTime) -> Line {
    let name = "audit.log";
    let action =
        "look at the agent's log for why the head is not signed; docs/audit.md, `When the log is behind`";
    let LogStatus {
        size,
        uncovered_records,
        uncovered_since,
        uncovered_receipts,
        uncovered_receipts_max,
        ..
    } = log;
    if uncovered_receipts.is_some_and(|receipts| receipts >= uncovered_receipts_max / 2) {
        let receipts = uncovered_receipts.unwrap_or_default();
        return Line::warn(
            name,
            format!(
                "expected fewer than {} receipts that no checkpoint covers, found {receipts}; with \
                 {uncovered_receipts_max} signing stops",
                uncovered_receipts_max / 2
            ),
            action,
        );
    }
    match uncovered_since {
        Some(since) if since.saturating_add(UNCOVERED_MAX) < now => Line::warn(
            name,
            format!(
                "expected a checkpoint over every record older than {} s, found {uncovered_records} of {size} \
                 without one since {since}",
                UNCOVERED_MAX.as_secs()
            ),
            action,
        ),
        _ => Line::ok(name, format!("{size} records, {uncovered_records} not in a checkpoint yet")),
    }
}

/// When the manifest in force was issued, if the agent has one.
fn newest_signed_time(agent: &Agent) -> Option<UnixTime> {
    let bytes = agent.get_bytes("/v1/manifest".to_owned(), Bounds::Ordinary).ok()?;
    let envelope = Envelope::parse(&bytes).ok()?;
    Some(Manifest::from_payload(&envelope.payload).ok()?.issued_at())
}

fn clock(now: UnixTime, signed: Option<UnixTime>) -> Line {
    let action = "set the clock (chrony or systemd-timesyncd): grace and session keys follow it";
    let floor = signed.map_or(EARLIEST, |signed| signed.max(EARLIEST));
    if now.saturating_add(AHEAD_MAX) < floor {
        return Line::fail("clock", format!("expected a time after {floor}, found {now}"), action);
    }
    Line::ok("clock", now.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;
    use crate::endpoint::Options;
    use sealstone_attestation::Sha256Digest;
    use sealstone_wire::api::{PricesStatus, StoreStatus, TpmStatus};
    use std::collections::BTreeMap;

    fn status() -> NodeStatus {
        NodeStatus {
            ready: false,
            reasons: vec![Reason {
                code: "X".into(),
                detail: "expected a, found b".into(),
                action: "do c".into(),
            }],
            agent_version: "0.1.0".to_owned(),
            enclave: None,
            tpm: TpmStatus { tcti: "device:/dev/tpmrm0".to_owned(), reachable: false, fault: None },
            store: StoreStatus { kind: "sqlite".to_owned(), version: None },
            reservations: BTreeMap::new(),
            rules: rules(None),
            log: None,
        }
    }

    fn rules(prices_end: Option<UnixTime>) -> RulesStatus {
        let digest = Sha256Digest::from_bytes([1; 32]);
        let prices = prices_end.map(|expires_at| PricesStatus {
            digest,
            currencies: 1,
            issued_at: EARLIEST,
            expires_at,
        });
        RulesStatus { policy: digest, sanctions: None, prices }
    }

    #[test]
    fn prices_that_ended_warn() {
        let after = EARLIEST.saturating_add(Duration::from_secs(1));
        for (end, expected) in [(None, Health::Ok), (Some(after), Health::Ok), (Some(EARLIEST), Health::Warn)]
        {
            assert_eq!(prices(&rules(end), EARLIEST).result, expected, "{end:?}");
        }
    }

    #[test]
    fn a_log_whose_head_is_not_signed_warns_long_before_signing_stops() {
        let log = |since: Option<u64>, receipts: Option<u64>| LogStatus {
            size: 9,
            checkpoint: None,
            uncovered_records: 3,
            uncovered_since: since.map(|ago| UnixTime::from_secs(EARLIEST.as_secs() - ago)),
            uncovered_receipts: receipts,
            uncovered_receipts_max: 16_384,
        };
        for (since, receipts, expected) in [
            (None, None, Health::Ok),
            (Some(60), Some(8_191), Health::Ok),
            (Some(61), Some(0), Health::Warn),
            (None, Some(8_192), Health::Warn),
            (Some(61), Some(16_384), Health::Warn),
        ] {
            let line = audit_log(&log(since, receipts), EARLIEST);
            assert_eq!(line.result, expected, "{since:?} {receipts:?}");
            assert_eq!(line.action.is_empty(), expected == Health::Ok);
        }
    }

    fn failing(lines: &[Line]) -> Vec<&str> {
        lines.iter().filter(|line| line.result == Health::Fail).map(|line| line.name).collect()
    }

    #[test]
    fn no_tpm_no_enclave_and_every_reason_fail() {
        assert_eq!(failing(&answered(&status(), EARLIEST)), ["tpm", "enclave", "ready"]);
    }

    #[test]
    fn a_locked_enclave_without_session_fails_and_without_shares_warns() {
        let enclave = Status {
            phase: Phase::Locked,
            version: "0.1.0".to_owned(),
            deployment: None,
            node: None,
            manifest: None,
            era: 0,
            last_used_era: 0,
            sequence: 0,
            session: None,
            unfunded: true,
            protections: Vec::new(),
        };
        let lines = enclave_lines(&enclave);
        assert_eq!(failing(&lines), ["enclave", "session"]);
        assert!(lines.iter().any(|line| line.name == "recovery" && line.result == Health::Warn));
    }

    #[test]
    fn a_clock_before_this_release_or_before_the_manifest_fails() {
        assert_eq!(clock(UnixTime::from_secs(0), None).result, Health::Fail);
        assert_eq!(clock(EARLIEST, None).result, Health::Ok);
        let signed = EARLIEST.saturating_add(Duration::from_secs(3600));
        assert_eq!(clock(EARLIEST, Some(signed)).result, Health::Fail);
        assert_eq!(clock(signed, Some(signed)).result, Health::Ok);
        assert_eq!(clock(EARLIEST, Some(EARLIEST.saturating_add(AHEAD_MAX))).result, Health::Ok);
    }

    #[test]
    fn nothing_or_a_file_in_place_of_the_socket_fails() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.sock");
        let context = Context { agent: Options { socket: Some(path.clone()), ..Options::default() } };
        assert_eq!(failing(&examine(&context, EARLIEST)), ["agent.socket", "agent.answers"]);
        fs::write(&path, "").unwrap();
        assert_eq!(failing(&examine(&context, EARLIEST)), ["agent.socket", "agent.answers"]);
    }
}
