//! The appraisal of one quote by an enrolled node: what the enclave does for a session, and an auditor for
//! evidence.

use crate::{
    ClockInfo, KeyScheme, Manifest, Node, Quote, QuoteEvidence, SignatureError, State, Statement, TooLong,
    TpmSignature, Verdict,
    appraisal::{
        any_quote::{check_form, check_not_empty, check_signature, check_values, vouched_for},
        clock,
        level::Level::{Authentic, Fresh, StateApproved},
        verdict::{CheckSpec, Checklist, if_asked, mandatory},
    },
};

/// Checks of who made a quote, in order.
pub(crate) static SIGNER_CHECKS: [CheckSpec; 8] = [
    mandatory(Authentic, "quote.magic"),
    mandatory(Authentic, "quote.type"),
    mandatory(Authentic, "quote.well_formed"),
    mandatory(Authentic, "ak.enrolled"),
    mandatory(Authentic, "ak.attributes"),
    mandatory(Authentic, "ak.name"),
    mandatory(Authentic, "signature.scheme"),
    mandatory(Authentic, "signature.valid"),
];

/// Whether a quote is over the statement that whoever asked knows, with their own nonce in it.
static ASKED_STATEMENT: [CheckSpec; 1] = [mandatory(Fresh, "statement.nonce")];

/// Checks of what a quote says, in order.
pub(crate) static CONTENT_CHECKS: [CheckSpec; 8] = [
    mandatory(Authentic, "selection.not_empty"),
    mandatory(StateApproved, "selection.covers"),
    mandatory(Authentic, "pcr.values"),
    mandatory(Authentic, "pcr.digest"),
    mandatory(StateApproved, "state.approved"),
    if_asked(Fresh, "clock.forward"),
    if_asked(Fresh, "clock.counts"),
    if_asked(StateApproved, "firmware.allowed"),
];

/// What the appraisal of a quote says, and, only if it accepts, what was attested.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuoteAppraisal {
    /// Every check by name.
    pub verdict: Verdict,
    /// `Some` only if the verdict accepts.
    pub attested: Option<Attested>,
}

/// What an accepted quote shows. Only an appraisal makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attested {
    /// The one active state that the machine is in.
    pub state: State,
    /// The TPM's clock and counts, for the next quote to be compared with.
    pub clock: ClockInfo,
    /// The TPM's firmware version.
    pub firmware: u64,
}

/// Appraises a quote that this node is said to have made over this statement. `previous` is the clock of an
/// earlier accepted quote, if one is known.
#[must_use]
pub fn appraise_quote(
    evidence: &QuoteEvidence,
    node: &Node,
    manifest: &Manifest,
    expected: Statement,
    previous: Option<&ClockInfo>,
) -> QuoteAppraisal {
    let mut list = Checklist::new(&[&SIGNER_CHECKS, &ASKED_STATEMENT, &CONTENT_CHECKS]);
    let statement = ExpectedStatement { check: "statement.nonce", statement: Ok(expected) };
    let attested = check_quote(&mut list, evidence, node, manifest, statement, previous);
    let verdict = list.verdict();
    let attested = if verdict.accepted() { attested } else { None };
    QuoteAppraisal { verdict, attested }
}

/// What a quote must have been made over, and the check that says whether it was.
pub(crate) struct ExpectedStatement {
    pub(crate) check: &'static str,
    pub(crate) statement: Result<Statement, TooLong>,
}

/// Makes every check of [`SIGNER_CHECKS`], [`CONTENT_CHECKS`] and the statement that can be made. What is returned counts
/// only if the whole list passes.
pub(crate) fn check_quote(
    list: &mut Checklist,
    evidence: &QuoteEvidence,
    node: &Node,
    manifest: &Manifest,
    expected: ExpectedStatement,
    previous: Option<&ClockInfo>,
) -> Option<Attested> {
    check_key(list, node, manifest);
    check_node_signature(list, evidence, node);
    let quote = check_form(list, &evidence.attest)?;
    check_signer(list, &quote, node);
    check_statement(list, &quote, expected);
    check_not_empty(list, &quote);
    check_selection(list, &quote, manifest);
    let hash = match node.ak().scheme() {
        KeyScheme::Signature(scheme) => Ok(scheme.hash),
        KeyScheme::Null | KeyScheme::Other => Err(SignatureError::NoScheme),
    };
    check_values(list, &quote, &evidence.pcrs, hash);
    check_clock(list, &quote, previous);
    check_firmware(list, &quote, node);
    let state = check_state(list, evidence, manifest)?;
    Some(Attested { state, clock: *quote.clock(), firmware: quote.firmware_version() })
}

fn check_key(list: &mut Checklist, node: &Node, manifest: &Manifest) {
    // Compared whole, so that no key of another manifest slips in.
    let enrolled = if manifest.node_by_name(node.name()) == Some(node) {
        Ok(format!("node {:?}, key {}", node.name(), node.ak().name()))
    } else {
        Err(format!("expected a node of manifest version {}, found {:?}", manifest.version(), node.name()))
    };
    list.record("ak.enrolled", enrolled);
    let attributes = node
        .ak()
        .check_attestation_key()
        .map(|()| "restricted to signing, born in the TPM and kept there".to_owned())
        .map_err(|flaw| flaw.to_string());
    list.record("ak.attributes", attributes);
}

fn check_node_signature(list: &mut Checklist, evidence: &QuoteEvidence, node: &Node) {
    match TpmSignature::parse(&evidence.signature) {
        Ok(signature) => {
            let verified = node.ak().verify(&evidence.attest, &signature);
            check_signature(list, &signature, verified, "the enrolled key");
        }
        Err(error) => list.record("signature.scheme", Err(error.to_string())),
    }
}

fn check_signer(list: &mut Checklist, quote: &Quote, node: &Node) {
    let expected = node.qualified_signer();
    let result = if *quote.qualified_signer() == expected {
        Ok(format!("{expected}, under the enrolled endorsement key"))
    } else {
        Err(format!("expected the qualified signer {expected}, found {}", quote.qualified_signer()))
    };
    list.record("ak.name", result);
}

fn check_statement(list: &mut Checklist, quote: &Quote, expected: ExpectedStatement) {
    let ExpectedStatement { check, statement } = expected;
    let found = quote.extra_data();
    let result = match statement {
        Ok(expected) if found == expected.as_bytes() => Ok(format!("{expected}")),
        Ok(expected) => Err(format!("expected the statement {expected}, found {}", hex::encode(found))),
        Err(error) => Err(error.to_string()),
    };
    list.record(check, result);
}

fn check_selection(list: &mut Checklist, quote: &Quote, manifest: &Manifest) {
    let selection = quote.selection();
    let missing: Vec<String> = manifest
        .quote_selection()
        .iter()
        .flat_map(|(bank, indices)| indices.iter().map(move |index| (*bank, *index)))
        .filter(|(bank, index)| !selection.contains(*bank, *index))
        .map(|(bank, index)| format!("{bank}:{index}"))
        .collect();
    let covers = if missing.is_empty() {
        Ok("every PCR of the manifest's active states".to_owned())
    } else {
        Err(format!("expected the quote to cover {}, found {selection}", missing.join(", ")))
    };
    list.record("selection.covers", covers);
}

fn check_state(list: &mut Checklist, evidence: &QuoteEvidence, manifest: &Manifest) -> Option<State> {
    // Values that no genuine quote vouches for say nothing about a state.
    if !vouched_for(list) {
        return None;
    }
    let matching: Vec<&State> =
        manifest.active_states().filter(|state| state.matches(&evidence.pcrs)).collect();
    match matching.as_slice() {
        [state] => {
            list.record("state.approved", Ok(format!("{:?}, binding {}", state.name(), state.binding())));
            Some((*state).clone())
        }
        [] => {
            list.record("state.approved", Err(describe_difference(evidence, manifest)));
            None
        }
        several => {
            let names: Vec<&str> = several.iter().map(|state| state.name()).collect();
            list.record("state.approved", Err(format!("expected exactly one active state, found {names:?}")));
            None
        }
    }
}

/// Says for each active state which PCRs are not as approved.
fn describe_difference(evidence: &QuoteEvidence, manifest: &Manifest) -> String {
    let differences: Vec<String> = manifest
        .active_states()
        .map(|state| {
            let other: Vec<String> = state
                .pcrs()
                .iter()
                .filter(|(index, value)| evidence.pcrs.get(state.bank(), **index) != Some(value.as_slice()))
                .map(|(index, _)| index.to_string())
                .collect();
            format!("{:?}: PCR {} of bank {}", state.name(), other.join(", "), state.bank())
        })
        .collect();
    format!("expected the values of one active state, found others ({})", differences.join("; "))
}

fn check_clock(list: &mut Checklist, quote: &Quote, previous: Option<&ClockInfo>) {
    let now = quote.clock();
    if !now.safe {
        list.warn(
            "the TPM was shut down without order: its clock may repeat times, its counts do not".to_owned(),
        );
    }
    match previous {
        Some(previous) => {
            list.record("clock.forward", clock::check_forward(previous, now));
            list.record("clock.counts", clock::check_counts(previous, now));
        }
        None => {
            list.not_applicable("clock.forward", "no earlier quote is known");
            list.not_applicable("clock.counts", "no earlier quote is known");
        }
    }
}

fn check_firmware(list: &mut Checklist, quote: &Quote, node: &Node) {
    let found = quote.firmware_version();
    match node.firmware() {
        None => list.not_applicable("firmware.allowed", "the manifest allows any"),
        Some(allowed) if allowed.contains(&found) => list.record("firmware.allowed", Ok(found.to_string())),
        Some(allowed) => {
            list.record("firmware.allowed", Err(format!("expected one of {allowed:?}, found {found}")));
        }
    }
}
