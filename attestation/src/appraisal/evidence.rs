//! The appraisal of a node's evidence by whoever chose the nonce.

use std::{cmp::Ordering, time::Duration};

use crate::{
    ClockInfo, EnrolmentRecord, Evidence, Manifest, ManifestDigest, Node, Nonce, PublicKey, Purpose, Quote,
    Report, ReportDigest, Statement, TooLong, UnixTime, Verdict, VerifiedEnrolment, VerifiedManifest,
    VerifiedReport,
    appraisal::{
        any_quote::vouched_for,
        code::{ShownCode, check_code},
        event_log::check_event_log,
        fresh::{Answered, check_fresh},
        ima::{Coverage, TiedList, check_ima},
        level::Level::{Authentic, CodeMeasured, Fresh, StateApproved},
        quote::{CONTENT_CHECKS, ExpectedStatement, SIGNER_CHECKS, check_quote},
        verdict::{CheckSpec, Checklist, LogAnchor, if_asked, mandatory},
    },
    audit::{Checkpoint, CoveredReceipts, Origin, VerifiedCheckpoint},
    known_flaw, statement,
};

/// Whether the quote is over what the evidence says of itself: report, manifest, checkpoint, purpose and nonce are then as they
/// were when it was made. Whether these are the ones that its reader wants is asked by other checks.
static BOUND_STATEMENT: [CheckSpec; 1] = [mandatory(Authentic, "statement.bound")];

/// Every check of evidence besides those of its quote, in order.
static EVIDENCE_CHECKS: [CheckSpec; 13] = [
    mandatory(StateApproved, "manifest.same"),
    mandatory(Authentic, "report.signature"),
    mandatory(StateApproved, "report.manifest"),
    mandatory(Authentic, "report.node"),
    mandatory(Fresh, "evidence.purpose"),
    mandatory(Fresh, "evidence.nonce"),
    if_asked(Fresh, "challenge"),
    if_asked(Fresh, "evidence.age"),
    if_asked(Authentic, "log.anchored"),
    if_asked(Authentic, "tpm.enrolled"),
    if_asked(CodeMeasured, "code.measured"),
    if_asked(Authentic, "event_log"),
    if_asked(Authentic, "ima"),
];

/// What alone is checked when the manifest is not trusted.
static MANIFEST_CHECKS: [CheckSpec; 1] = [mandatory(StateApproved, "manifest.approved")];

/// How far the clocks of an enclave and of who appraises may differ.
pub(super) const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// What whoever appraises knows without the evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectations {
    /// What the quote must have been made for.
    pub purpose: Purpose,
    /// The nonce that was given to the node. `None` only where a challenger is named, who says it: without either nothing is
    /// fresh.
    pub nonce: Option<Nonce>,
    /// The key of whoever must have chosen the nonce, and signed a record of that which the evidence holds.
    pub challenger: Option<PublicKey>,
    /// Which node it must be; `None` for any that is enrolled.
    pub node: Option<String>,
    /// Clock and counts of an earlier accepted quote of that node.
    pub previous_clock: Option<ClockInfo>,
    /// How old the enclave's report may be.
    pub max_age: Option<Duration>,
}

/// Appraises evidence under a manifest that its reader trusts. The quote must be over what the evidence says of itself, and
/// that must be what is expected: purpose, nonce and manifest are not believed, but compared.
#[must_use]
pub fn appraise(
    evidence: &Evidence,
    manifest: &VerifiedManifest,
    expectations: &Expectations,
    now: UnixTime,
) -> Verdict {
    let mut list = Checklist::new(&[&SIGNER_CHECKS, &BOUND_STATEMENT, &CONTENT_CHECKS, &EVIDENCE_CHECKS]);
    let checked = manifest.manifest();
    let mut attested = None;
    let found = match enrolled_node(evidence, checked, expectations) {
        Ok(node) => {
            let expected = ExpectedStatement { check: "statement.bound", statement: said(evidence) };
            let previous = expectations.previous_clock.as_ref();
            attested = check_quote(&mut list, &evidence.quote, node, checked, expected, previous);
            Some(node)
        }
        Err(reason) => {
            list.record("ak.enrolled", Err(reason));
            None
        }
    };
    let verified = check_report(&mut list, evidence, manifest, found, expectations, now);
    check_manifest(&mut list, evidence, manifest);
    let report = verified.as_ref().map(VerifiedReport::report);
    check_fresh(&mut list, evidence, expectations, &Answered { node: found, manifest: checked, report, now });
    check_enrolment(&mut list, evidence, checked);
    let log = evidence.event_log.as_ref().map(|log| log.0.as_slice());
    let event_log = check_event_log(&mut list, log, &evidence.quote.pcrs, &checked.quote_selection());
    let ima_log = check_measurements(&mut list, evidence);
    let shown = ShownCode {
        state: attested.as_ref().map(|attested| &attested.state),
        event_log,
        ima_log,
        binary: report.and_then(|report| report.build.binary_sha256),
    };
    check_code(&mut list, checked.code(), &shown);
    list.verdict()
}

/// The verdict on evidence whose manifest its reader does not trust: there is nothing to judge by.
#[must_use]
pub fn manifest_refused(reason: String) -> Verdict {
    let mut list = Checklist::new(&[&MANIFEST_CHECKS]);
    list.record("manifest.approved", Err(reason));
    list.verdict()
}

/// The names of all checks that a verdict on evidence can hold, besides those of an endorsement key's certificate.
pub fn evidence_checks() -> impl Iterator<Item = &'static str> {
    let lists: [&'static [CheckSpec]; 5] =
        [&SIGNER_CHECKS, &BOUND_STATEMENT, &CONTENT_CHECKS, &EVIDENCE_CHECKS, &MANIFEST_CHECKS];
    lists.into_iter().flatten().map(CheckSpec::name)
}

/// The statement that evidence claims its quote to be over. All that it is made of is compared with what is expected:
/// purpose and nonce by `evidence.purpose` and `evidence.nonce`, the manifest by `manifest.same`.
fn said(evidence: &Evidence) -> Result<Statement, TooLong> {
    statement(
        evidence.purpose,
        evidence.nonce.as_bytes(),
        ReportDigest::of(&evidence.report.payload),
        ManifestDigest::of(&evidence.manifest.payload),
        &evidence.checkpoint,
    )
}

/// The enrolled node whose keys these are, both of them from one record.
fn enrolled_node<'m>(
    evidence: &Evidence,
    manifest: &'m Manifest,
    expectations: &Expectations,
) -> Result<&'m Node, String> {
    let found = evidence.ak.name();
    let node = manifest
        .node_by_ak(found)
        .ok_or_else(|| format!("expected an attestation key that the manifest enrols, found {found}"))?;
    if *node.ek() != evidence.ek {
        let (expected, found) = (node.ek().name(), evidence.ek.name());
        return Err(format!(
            "expected the endorsement key {expected} of node {:?}, found {found}",
            node.name()
        ));
    }
    match &expectations.node {
        Some(expected) if expected != node.name() => {
            Err(format!("expected the node {expected:?}, found {:?}", node.name()))
        }
        _ => Ok(node),
    }
}

/// That a real TPM holds these keys is the enrolling authority's word; the manifest alone says that they may attest.
fn check_enrolment(list: &mut Checklist, evidence: &Evidence, manifest: &Manifest) {
    let Some(envelope) = &evidence.enrolment else {
        return list.not_applicable("tpm.enrolled", "the evidence holds no enrolment record");
    };
    let verified = match VerifiedEnrolment::from_envelope(envelope, manifest.authority()) {
        Ok(verified) => verified,
        Err(error) => return list.record("tpm.enrolled", Err(error.to_string())),
    };
    let EnrolmentRecord { ek, ak, root, remarks, activated_at, manufacturer, firmware_version, .. } =
        verified.record();
    if (ek, ak) != (&evidence.ek, &evidence.ak) {
        let detail = format!(
            "expected a record of the attestation key {}, found one of {}",
            evidence.ak.name(),
            ak.name()
        );
        return list.record("tpm.enrolled", Err(detail));
    }
    // The record has the version that the node told; the quote has it from the TPM.
    if !vouched_for(list) {
        return;
    }
    let Ok(quote) = Quote::parse(&evidence.quote.attest) else { return };
    let found = quote.firmware_version();
    if found != *firmware_version {
        list.warn(format!(
            "the TPM's firmware is version {found:#018x}; it was enrolled as {firmware_version:#018x}"
        ));
    }
    if let Some(flaw) = known_flaw(manufacturer.as_deref().unwrap_or_default(), found)
        && !remarks.iter().any(|remark| remark.contains(flaw.cve))
    {
        let detail = format!(
            "expected firmware without known flaws, found version {found:#018x}, which {} ({})",
            flaw.effect, flaw.cve
        );
        return list.record("tpm.enrolled", Err(detail));
    }
    for remark in remarks {
        list.warn(format!("of the TPM's enrolment: {remark}"));
    }
    let vendor = root.map_or_else(
        || "no vendor vouches for the TPM".to_owned(),
        |root| format!("the TPM's certificate chained to the root with the key {root}"),
    );
    list.record("tpm.enrolled", Ok(format!("by credential activation at {activated_at}; {vendor}")));
}

fn check_manifest(list: &mut Checklist, evidence: &Evidence, manifest: &VerifiedManifest) {
    let expected = manifest.digest();
    let found = ManifestDigest::of(&evidence.manifest.payload);
    let same = found == expected && evidence.manifest.payload_type == Manifest::PAYLOAD_TYPE;
    let result = if same {
        Ok(format!("version {}, {expected}", manifest.manifest().version()))
    } else {
        Err(format!("expected the manifest {expected}, found {found}"))
    };
    list.record("manifest.same", result);
}

/// Answers with the report if its own key signed it.
fn check_report(
    list: &mut Checklist,
    evidence: &Evidence,
    manifest: &VerifiedManifest,
    node: Option<&Node>,
    expectations: &Expectations,
    now: UnixTime,
) -> Option<VerifiedReport> {
    let verified = match VerifiedReport::from_envelope(&evidence.report) {
        Ok(verified) => verified,
        Err(error) => {
            list.record("report.signature", Err(error.to_string()));
            return None;
        }
    };
    let report = verified.report();
    list.record("report.signature", Ok(format!("by the report key {}", verified.key_id())));
    list.record("report.manifest", report_manifest(report, manifest));
    if let Some(node) = node {
        let result = if report.node == node.name() {
            Ok(format!("{:?}", report.node))
        } else {
            Err(format!("expected a report of node {:?}, found one of {:?}", node.name(), report.node))
        };
        list.record("report.node", result);
    }
    match expectations.max_age {
        None => list.not_applicable("evidence.age", "no greatest age was asked"),
        Some(max_age) => list.record("evidence.age", report_age(report.time, now, max_age)),
    }
    check_log(list, &evidence.checkpoint, report);
    for protection in report.protections.iter().filter(|protection| !protection.active) {
        list.warn(format!(
            "the enclave's protection {:?} is not active: {}",
            protection.name, protection.detail
        ));
    }
    if report.unfunded {
        list.warn("no verified set of recovery shares exists: losing this TPM loses every key".to_owned());
    }
    Some(verified)
}

/// The audit log's head, which the statement binds: signed by the key of the report, which the quote vouches for.
fn check_log(list: &mut Checklist, checkpoint: &[u8], report: &Report) {
    if checkpoint.is_empty() {
        return list.not_applicable("log.anchored", "without an anchor: the evidence holds no checkpoint");
    }
    match log_anchor(checkpoint, report) {
        Err(reason) => list.record("log.anchored", Err(reason)),
        Ok(anchor) => {
            let LogAnchor { size, root, receipts: CoveredReceipts { era, sequence }, lag } = anchor;
            let detail = format!(
                "{size} records with root {root}; receipts up to {sequence} of era {era} are among them, {lag} of \
                 era {} may not be",
                report.era
            );
            list.record("log.anchored", Ok(detail));
            list.anchor(anchor);
        }
    }
}

fn log_anchor(checkpoint: &[u8], report: &Report) -> Result<LogAnchor, String> {
    let origin = Origin::of_report(report).map_err(|error| error.to_string())?;
    let verified = VerifiedCheckpoint::of_log(checkpoint, &report.report_key, &origin)
        .map_err(|error| error.to_string())?;
    let &Checkpoint { origin: _, size, root, receipts } = verified.checkpoint();
    let covered = match receipts.era.cmp(&report.era) {
        Ordering::Less => 0,
        // It may be newer than the report, and then says more than that.
        Ordering::Equal => receipts.sequence,
        Ordering::Greater => {
            let (expected, found) = (report.era, receipts.era);
            return Err(format!(
                "expected a checkpoint of era {expected} or before, found one of era {found}"
            ));
        }
    };
    Ok(LogAnchor { size, root, receipts, lag: report.sequence.saturating_sub(covered) })
}

fn report_manifest(report: &Report, manifest: &VerifiedManifest) -> Result<String, String> {
    let checked = manifest.manifest();
    let expected = (manifest.digest(), checked.version(), checked.authority().digest(), checked.deployment());
    let found = (report.manifest, report.manifest_version, report.authority, report.deployment);
    let show = |(digest, version, authority, deployment): (_, u64, _, _)| {
        format!("manifest {digest} version {version} authority {authority} deployment {deployment}")
    };
    if found == expected {
        Ok(show(found))
    } else {
        Err(format!("expected {}, found {}", show(expected), show(found)))
    }
}

fn report_age(time: UnixTime, now: UnixTime, max_age: Duration) -> Result<String, String> {
    if time > now.saturating_add(CLOCK_SKEW) {
        return Err(format!("expected a report made by {now}, found one of {time}"));
    }
    let age = now.since(time).unwrap_or_default();
    if age <= max_age {
        Ok(format!("{} s", age.as_secs()))
    } else {
        Err(format!("expected a report of at most {} s, found one of {} s", max_age.as_secs(), age.as_secs()))
    }
}

/// The kernel's list, by the values that the quote vouches for; without such values it is not reached.
fn check_measurements<'a>(list: &mut Checklist, evidence: &'a Evidence) -> Option<TiedList<'a>> {
    let Some(log) = &evidence.ima_log else {
        list.not_applicable("ima", "no measurement list in the evidence");
        return None;
    };
    vouched_for(list).then(|| check_ima(list, &log.0, &evidence.quote.pcrs, Coverage::AsQuoted))?
}
