//! `sealstone manifest propose`: an unsigned manifest, from a skeleton or from the manifest in force.

mod change;
mod diff;
mod from_log;
mod measured;

use std::path::{Path, PathBuf};

use sealstone_attestation::{Envelope, Grace, Manifest, ManifestDraft, PcrValues, StateDraft};
use sealstone_wire::api::Enrolment;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::diff::StateDiff;
use self::from_log::{Predicted, Unlogged};
use self::measured::PcrChoice;
use super::super::{Context, authority, now};
use super::{Unverified, show};
use crate::agent::Bounds;
use crate::boot::{Changes, LogFile};
use crate::failure::{Failure, chain};
use crate::files::{self, PUBLIC_MODE};
use crate::output::{Answer, shown};

/// Propose a manifest: write an unsigned envelope for the approvers
///
/// The first is made from the skeleton of `sealstone init` (--draft), each next one from the one before
/// (--from). States and keys are taken from the running agent, or from a file with --enrolment. A state can also be drafted
/// before this machine boots into it, from a measured-boot log of another that did (--from-eventlog).
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        sealstone manifest propose --draft manifest.json --node node-1 --state boot-1 -o v1.envelope\n  \
        sealstone manifest propose --from v1.envelope --state boot-2 --replaces boot-1 --grace forever -o v2.envelope\n  \
        sealstone manifest propose --from v1.envelope --state boot-2 --replaces boot-1 --from-eventlog staging.bin --current-eventlog now.bin -o v2.envelope\n  \
        sealstone manifest propose --from v2.envelope --retire boot-1 --set-session-ttl 600 -o v3.envelope")]
#[command(group = clap::ArgGroup::new("base").required(true).args(["draft", "from"]))]
pub(in crate::cmd) struct Args {
    /// The skeleton: the first manifest of a deployment
    #[arg(long, value_name = "JSON", requires_all = ["node", "state"])]
    draft: Option<PathBuf>,
    /// The manifest in force: the next one
    #[arg(long, value_name = "ENVELOPE")]
    from: Option<PathBuf>,
    /// The machine's name, with --draft or --add-node
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Approve the machine's current PCRs as an active state of this name
    #[arg(long, value_name = "NAME")]
    state: Option<String>,
    /// Which PCRs make the state, as BANK:INDEX,… [default: sha256:0,1,2,3,4,5,6,7, or those of an
    /// active state]
    #[arg(long, value_name = "BANK:PCRS", requires = "state")]
    pcrs: Option<PcrChoice>,
    /// Take keys and PCRs from this answer of GET /v1/enrolment instead of the running agent
    #[arg(long, value_name = "JSON")]
    enrolment: Option<PathBuf>,
    /// Take the state's PCRs from this measured-boot log, or from the log inside this evidence
    #[arg(long, value_name = "LOG", requires = "state")]
    from_eventlog: Option<PathBuf>,
    /// PCRs that the log does not reach: as they are read now [default: refused]
    #[arg(long, value_enum, value_name = "WHERE", requires = "from_eventlog")]
    unlogged_from: Option<Unlogged>,
    /// Propose the state although evidence with this log would be refused
    #[arg(long, requires = "from_eventlog")]
    allow_findings: bool,
    /// The log of a boot into an active state, or evidence with it: shows which events account for the changes
    #[arg(long, value_name = "LOG", requires_all = ["from_eventlog", "from"])]
    current_eventlog: Option<PathBuf>,
    /// Allow the enrolled TPM's current firmware version only
    #[arg(long)]
    pin_firmware: bool,
    /// The new state replaces this one, whose keys it may use; repeat for more
    #[arg(long, value_name = "STATE", requires_all = ["state", "from"])]
    replaces: Vec<String>,
    /// How long keys of the replaced states may be used: forever, none or an RFC 3339 time
    #[arg(long, default_value = "forever", requires = "replaces")]
    grace: Grace,
    /// The replaced states stay active as well, until the machine has booted into the new one
    #[arg(long, requires = "replaces")]
    keep_active: bool,
    /// No longer attest in this state, whose keys may still be used as its successions say; repeat for more
    #[arg(long, value_name = "STATE", requires = "from")]
    predecessor: Vec<String>,
    /// End a state's approval and the use of its keys; repeat for more
    #[arg(long, value_name = "STATE", requires = "from")]
    retire: Vec<String>,
    /// Enrol the machine's TPM under the name of --node
    #[arg(long, requires_all = ["node", "from"])]
    add_node: bool,
    /// Add a permission for assets, as it stands in a manifest; repeat for more
    #[arg(long, value_name = "JSON")]
    permission: Vec<String>,
    /// Add a permission for keys for one use, as it stands in a manifest; repeat for more
    #[arg(long, value_name = "JSON")]
    session_permission: Vec<String>,
    /// How long an attested session lasts, in seconds
    #[arg(long, value_name = "S")]
    set_session_ttl: Option<u32>,
    /// Hand over to this set: a member's public key (PEM); repeat for each
    #[arg(long, value_name = "PUB.pem", requires = "from")]
    authority: Vec<PathBuf>,
    /// How many of the new set must sign
    #[arg(long, value_name = "K", requires = "authority")]
    threshold: Option<u8>,
    /// Where the envelope goes; never replaces a file
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

pub(in crate::cmd) fn run(args: Args, context: &Context) -> Result<Answer, Failure> {
    // Before the TPM is asked, which takes long the first time.
    files::refuse_existing(&args.out, "the proposal")?;
    let Proposal { manifest, change, mut warnings } = proposal(&args, context)?;
    let envelope = Envelope {
        payload_type: Manifest::PAYLOAD_TYPE.to_owned(),
        payload: manifest.to_payload(),
        signatures: vec![],
    };
    files::write_new(&args.out, "the proposal", &envelope.to_json(), PUBLIC_MODE)?;
    let out = args.out.display();
    warnings.extend(change::warnings(&manifest));
    let mut json = json!({
        "out": out.to_string(),
        "digest": manifest.digest(),
        "version": manifest.version(),
        "authority": manifest.authority().digest(),
        "threshold": manifest.authority().threshold(),
        "warnings": warnings,
    });
    let mut text = show::described(&manifest);
    if let Some(change) = change {
        json["diff"] = change.json();
        text.push_str(&change.text());
    }
    for warning in &warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text.push_str(&format!(
        "proposed in {out}; next: {} of {} approvers run `sealstone manifest sign {out} --key THEIR.key --digest {}`\n",
        manifest.authority().threshold(),
        manifest.authority().keys().len(),
        manifest.digest()
    ));
    Ok(Answer::done(json, text))
}

/// What is proposed, and what its readers should see.
struct Proposal {
    manifest: Manifest,
    change: Option<StateChange>,
    warnings: Vec<String>,
}

/// A new state beside those that are active.
struct StateChange {
    state: StateDraft,
    against: Vec<StateDiff>,
    by_logs: Option<(String, Changes)>,
}

impl StateChange {
    fn json(&self) -> Value {
        let logs = self.by_logs.as_ref().map(|(since, changes)| json!({"since": since, "changes": changes}));
        json!({"state": self.state.name, "bank": self.state.bank, "against": self.against, "by_logs": logs})
    }

    fn text(&self) -> String {
        let one = |diff: &StateDiff| diff.text(&self.state.name, self.state.bank);
        let mut text: String = self.against.iter().map(one).collect();
        if let Some((since, changes)) = &self.by_logs {
            text.push_str(&format!(
                "by the logs, since {} (=: a digest covers it; ~: only described)\n{}",
                shown(since),
                changes.text()
            ));
        }
        text
    }
}

fn proposal(args: &Args, context: &Context) -> Result<Proposal, Failure> {
    let mut draft = base(args)?;
    let (mut change, mut warnings) = (None, Vec::new());
    let read = match asked_of_node(args) {
        true => Some(enrolment(args.enrolment.as_deref(), context)?),
        false => None,
    };
    if let Some(name) = &args.state {
        let current = draft.clone();
        let log = args.from_eventlog.as_deref().map(LogFile::read).transpose()?;
        warnings = add_state(&mut draft, args, name, log.as_ref(), read.as_ref())?;
        if args.from.is_some() {
            change = Some(state_change(&current, &draft, args, log.as_ref())?);
        }
    }
    if let (Some(node), Some(read), true) = (&args.node, &read, args.draft.is_some() || args.add_node) {
        change::add_node(&mut draft, node, read, args.pin_firmware);
    }
    for name in &args.predecessor {
        change::demote(&mut draft, name)?;
    }
    for name in &args.retire {
        change::retire(&mut draft, name)?;
    }
    for text in &args.permission {
        draft.permissions.push(permission(text, "--permission")?);
    }
    for text in &args.session_permission {
        draft.session_permissions.push(permission(text, "--session-permission")?);
    }
    if let Some(seconds) = args.set_session_ttl {
        draft.session_ttl_s = seconds.into();
    }
    if !args.authority.is_empty() {
        let incoming = authority::set_from(&args.authority, args.threshold)?;
        let outgoing = std::mem::replace(&mut draft.authority, incoming);
        // A draft of the first manifest has nobody who could hand over.
        draft.outgoing_authority =
            (draft.version > 1 && outgoing.digest() != draft.authority.digest()).then_some(outgoing);
    }
    let manifest = Manifest::try_from(draft).map_err(|error| change::proposal(chain(&error)))?;
    Ok(Proposal { manifest, change, warnings })
}

/// Whether the machine's keys or PCRs are needed.
fn asked_of_node(args: &Args) -> bool {
    let reads_pcrs = args.from_eventlog.is_none() || args.unlogged_from == Some(Unlogged::Node);
    args.draft.is_some() || args.add_node || (args.state.is_some() && reads_pcrs)
}

/// What the proposal starts from, as the next version and issued now.
fn base(args: &Args) -> Result<ManifestDraft, Failure> {
    let now = now()?;
    let mut draft = match (&args.draft, &args.from) {
        (Some(path), _) => skeleton(path)?,
        (None, Some(path)) => {
            let current = Unverified::read(path)?.manifest;
            if now < current.issued_at() {
                return Err(Failure::unusable(
                    "CLOCK",
                    format!(
                        "expected a time after {}, when the manifest was issued, found {now}",
                        current.issued_at()
                    ),
                    "set this machine's clock",
                ));
            }
            let mut draft = current.to_draft();
            draft.version = draft.version.checked_add(1).ok_or_else(|| {
                change::proposal("expected a version that can rise, found the last".to_owned())
            })?;
            draft.previous = Some(current.digest());
            draft.outgoing_authority = None;
            draft
        }
        // The command line demands one of them.
        (None, None) => return Err(change::proposal("expected --draft or --from, found neither".to_owned())),
    };
    draft.issued_at = now;
    Ok(draft)
}

fn skeleton(path: &Path) -> Result<ManifestDraft, Failure> {
    let text = files::read_text(path, "a manifest's skeleton")?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::unusable(
            "DRAFT",
            format!("expected a manifest's skeleton in {}, found: {error}", path.display()),
            "give the manifest.json that `sealstone init` made, or correct your edits",
        )
    })
}

fn enrolment(file: Option<&Path>, context: &Context) -> Result<Enrolment, Failure> {
    let Some(path) = file else {
        return context.agent()?.get("/v1/enrolment".to_owned(), Bounds::Tpm);
    };
    let text = files::read_text(path, "an enrolment")?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::unusable(
            "ENROLMENT",
            format!("expected an enrolment in {}, found: {error}", path.display()),
            "take it from the agent: `curl --unix-socket agent.sock http://localhost/v1/enrolment`",
        )
    })
}

/// Adds the state, from a log or as it was read, and says what its approvers should know.
fn add_state(
    draft: &mut ManifestDraft,
    args: &Args,
    name: &str,
    log: Option<&LogFile>,
    read: Option<&Enrolment>,
) -> Result<Vec<String>, Failure> {
    let choice = args.pcrs.clone().or_else(|| change::usual_choice(draft)).unwrap_or_default();
    let read = read.map(|read| &read.pcrs);
    let Predicted { values, warnings } = match log {
        Some(log) => {
            let others = others(args.unlogged_from, log, read)?;
            from_log::predicted(&choice, log, others, args.allow_findings)?
        }
        None => {
            // Without a log, the machine was asked.
            let none = PcrValues::new();
            let values = measured::measured(&choice, read.unwrap_or(&none))?;
            Predicted { values, warnings: Vec::new() }
        }
    };
    change::add_state(draft, name, &choice, values);
    for old in &args.replaces {
        change::inherit(draft, old, name, args.grace)?;
        if !args.keep_active {
            change::demote(draft, old)?;
        }
    }
    Ok(warnings)
}

/// The values that stand in for what the log does not reach.
fn others<'a>(
    from: Option<Unlogged>,
    file: &'a LogFile,
    read: Option<&'a PcrValues>,
) -> Result<Option<&'a PcrValues>, Failure> {
    match from {
        None => Ok(None),
        Some(Unlogged::Node) => Ok(read),
        Some(Unlogged::Evidence) => file.shown().map(Some).ok_or_else(|| {
            Failure::unusable(
                "UNLOGGED",
                format!("expected evidence with the log, found the log alone in {}", file.name()),
                "give the evidence to --from-eventlog, or take the values from the node",
            )
        }),
    }
}

/// What the state that was added last changes.
fn state_change(
    current: &ManifestDraft,
    draft: &ManifestDraft,
    args: &Args,
    log: Option<&LogFile>,
) -> Result<StateChange, Failure> {
    let state = draft
        .states
        .last()
        .cloned()
        .ok_or_else(|| change::proposal("expected a state, found none".to_owned()))?;
    let by_logs = match (&args.current_eventlog, log) {
        (Some(older), Some(newer)) => Some(diff::by_logs(current, &state, &LogFile::read(older)?, newer)?),
        _ => None,
    };
    Ok(StateChange { against: diff::against_active(current, &state), state, by_logs })
}

fn permission<T: DeserializeOwned>(text: &str, option: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::unusable(
            "PERMISSION",
            format!("expected a permission as JSON after {option}, found: {error}"),
            "for example {\"tenant\":\"acme\",\"asset\":\"*\",\"algorithms\":[\"ES256K\"],\"sign\":[\"message\"]} \
             (sender instead of asset for --session-permission)",
        )
    })
}
