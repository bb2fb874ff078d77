//! What the page says of node, enclave, enrolment and audit log. All of it is the node's word unless the verdict carries it.

use sealstone_attestation::{
    Evidence, Manifest, Outcome, Protection, Verdict, VerifiedEnrolment, VerifiedReport, known_flaw,
};

use super::text::Shown;

/// Protections and remarks that are listed: enclaves have a dozen.
const LISTED: usize = 40;

/// A name and what is known under it.
pub(crate) type Row = (&'static str, Shown);

/// The enclave's report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Enclave {
    /// Why nothing is known, or why it is only a claim.
    pub(crate) doubt: Option<Shown>,
    pub(crate) rows: Vec<Row>,
    pub(crate) protections: Vec<ProtectionShown>,
    pub(crate) omitted: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProtectionShown {
    pub(crate) name: Shown,
    pub(crate) active: bool,
    pub(crate) detail: Shown,
}

/// Rows, and why they are not to be believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) doubt: Option<Shown>,
    pub(crate) rows: Vec<Row>,
}

impl Enclave {
    pub(crate) fn of(evidence: &Evidence, verdict: &Verdict) -> Self {
        let verified = match VerifiedReport::from_envelope(&evidence.report) {
            Ok(verified) => verified,
            Err(error) => {
                let doubt = Some(Shown::of(format!("the report cannot be believed: {error}")));
                return Self { doubt, ..Self::default() };
            }
        };
        let report = verified.report();
        let bound = ["ak.enrolled", "signature.valid", "statement.bound", "report.signature"];
        let vouched = bound.iter().all(|check| verdict.passed(check));
        let build = &report.build;
        let binary = build.binary_sha256.map_or_else(|| "unknown".to_owned(), |digest| digest.to_string());
        let rows = vec![
            ("node", Shown::of(&report.node)),
            ("release", Shown::of(&build.version)),
            ("source commit", Shown::of(&build.commit)),
            ("SHA-256 of the executable", Shown::of(binary)),
            ("report key", Shown::of(verified.key_id())),
            ("report made at", Shown::of(report.time)),
            ("era", Shown::of(report.era)),
            ("receipts in this era", Shown::of(report.sequence)),
            (
                "recovery",
                Shown::of(if report.unfunded { "no verified set of shares" } else { "verified shares" }),
            ),
        ];
        let shown = |one: &Protection| ProtectionShown {
            name: Shown::of(&one.name),
            active: one.active,
            detail: Shown::of(&one.detail),
        };
        Self {
            doubt: (!vouched).then(|| Shown::of("no quote vouches for this report: it is a claim")),
            rows,
            protections: report.protections.iter().take(LISTED).map(shown).collect(),
            omitted: report.protections.len().saturating_sub(LISTED),
        }
    }
}

/// Who enrolled this TPM.
pub(crate) fn enrolment(evidence: &Evidence, manifest: Option<&Manifest>, verdict: &Verdict) -> Section {
    let mut rows = vec![
        ("attestation key", Shown::of(evidence.ak.name())),
        ("endorsement key", Shown::of(evidence.ek.name())),
    ];
    if let Some(check) = verdict.check("ek.chain") {
        rows.push(("vendor's certificate", Shown::of(&check.detail)));
    }
    let unknown = |rows, why: &str| Section { doubt: Some(Shown::of(why)), rows };
    let (Some(envelope), Some(manifest)) = (&evidence.enrolment, manifest) else {
        return unknown(
            rows,
            "no enrolment record was shown: that a genuine TPM holds these keys is not shown",
        );
    };
    let verified = match VerifiedEnrolment::from_envelope(envelope, manifest.authority()) {
        Ok(verified) if verdict.passed("tpm.enrolled") => verified,
        _ => return unknown(rows, "the enrolment record cannot be believed, see the check tpm.enrolled"),
    };
    let record = verified.record();
    let manufacturer = record.manufacturer.as_deref();
    rows.push(("enrolled at", Shown::of(record.activated_at)));
    rows.push(("manufacturer", Shown::of(manufacturer.unwrap_or("unknown: enrolled without a certificate"))));
    rows.push((
        "TPM firmware then, as the node said",
        Shown::of(format!("{:016x}", record.firmware_version)),
    ));
    let root = record.root.map_or_else(|| "none".to_owned(), |root| root.to_string());
    rows.push(("chained to the root", Shown::of(root)));
    let flaw = manufacturer.and_then(|name| known_flaw(name, record.firmware_version));
    if let Some(flaw) = flaw {
        rows.push(("known flaw", Shown::of(format!("{}: it {}", flaw.cve, flaw.effect))));
    }
    rows.extend(record.remarks.iter().take(LISTED).map(|remark| ("remark", Shown::of(remark))));
    Section { doubt: None, rows }
}

/// The head of the audit log that the quote holds.
pub(crate) fn audit_log(verdict: &Verdict) -> Section {
    let Some(anchor) = verdict.log() else {
        let why = match verdict.check("log.anchored").map(|check| check.result) {
            Some(Outcome::Passed) => "the evidence was refused, so its anchor holds nobody to anything",
            Some(Outcome::Failed) => "the evidence's checkpoint failed its check",
            _ => "the evidence anchors no audit log",
        };
        return Section { doubt: Some(Shown::of(why)), rows: Vec::new() };
    };
    let rows = vec![
        ("records", Shown::of(anchor.size)),
        ("root of the tree over them", Shown::of(anchor.root)),
        (
            "receipts among them",
            Shown::of(format!("up to {} of era {}", anchor.receipts.sequence, anchor.receipts.era)),
        ),
        ("receipts that may be missing", Shown::of(anchor.lag)),
    ];
    Section { doubt: None, rows }
}
