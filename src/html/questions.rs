//! What an auditor asks next: for every check that did not pass, what it means and whom to ask what.

use sealstone_attestation::{Outcome, Verdict};

use super::check::Mark;
use super::text::Shown;

/// A question that a check leaves open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) check: &'static str,
    pub(crate) result: Mark,
    pub(crate) ask: &'static str,
    /// What the check said.
    pub(crate) found: Shown,
}

/// Begins the detail of a check that was not made because another failed: its question would only distract.
const NOT_REACHED: &str = "not reached";

/// The questions of a verdict: those of checks that failed, then those of checks that were not asked.
pub(crate) fn open(verdict: &Verdict) -> Vec<Question> {
    let of = |outcome: Outcome| {
        let checks = verdict.checks().iter().filter(move |check| check.result == outcome);
        checks.filter(|check| !check.detail.starts_with(NOT_REACHED)).map(move |check| Question {
            check: check.name,
            result: outcome.into(),
            ask: question(check.name, outcome),
            found: Shown::of(&check.detail),
        })
    };
    of(Outcome::Failed).chain(of(Outcome::NotApplicable)).collect()
}

/// For a check that this table does not know; a test keeps it from being needed.
const UNKNOWN: &str = "What does this check find? Read the documentation of the release that made this page.";

/// What a check's results leave to be asked.
struct Questions {
    check: &'static str,
    failed: &'static str,
    /// Where it may be that nothing was asked.
    not_asked: &'static str,
}

/// Of a check that must pass: not to be asked is to fail.
const fn must(check: &'static str, failed: &'static str) -> Questions {
    Questions { check, failed, not_asked: failed }
}

const fn may(check: &'static str, failed: &'static str, not_asked: &'static str) -> Questions {
    Questions { check, failed, not_asked }
}

fn question(check: &str, outcome: Outcome) -> &'static str {
    let known = QUESTIONS.iter().find(|known| known.check == check);
    known.map_or(UNKNOWN, |known| match outcome {
        Outcome::NotApplicable => known.not_asked,
        Outcome::Failed | Outcome::Passed => known.failed,
    })
}

/// Every check and its questions.
const QUESTIONS: &[Questions] = &[
    must(
        "quote.magic",
        "Who handed over this file? A TPM does not sign such a structure: ask the operator for evidence straight from the node.",
    ),
    must(
        "quote.type",
        "Why was something other than a quote signed? Ask the operator which tool made the evidence.",
    ),
    must(
        "quote.well_formed",
        "Was the quote changed or cut on its way? Ask for the evidence again, over another channel.",
    ),
    must(
        "ak.enrolled",
        "Which machine is this? Ask the operator whether it was replaced or provisioned anew, and compare the keys' names with the manifest.",
    ),
    must(
        "ak.attributes",
        "Why can the attestation key do more than quote? Ask who made it, and enrol the machine again with a restricted key.",
    ),
    must(
        "ak.name",
        "Whose key signed? Ask the operator for the key's public area, read on the machine itself.",
    ),
    must(
        "signature.scheme",
        "Why does the key sign by another scheme than the one enrolled? Ask whether the TPM or its key was replaced.",
    ),
    must(
        "signature.valid",
        "Who changed the quote or its signature? Treat the evidence as forged until the node shows it again under a new nonce.",
    ),
    must(
        "statement.bound",
        "Which of report, manifest, checkpoint and nonce was exchanged after the quote? Ask for fresh evidence; if it happens again, suspect the agent.",
    ),
    must(
        "selection.not_empty",
        "Why were no PCRs quoted? Such a quote says nothing about the machine: ask for another.",
    ),
    must(
        "selection.covers",
        "Why does the quote leave out PCRs that the manifest names? Ask the operator which manifest the agent has.",
    ),
    must(
        "pcr.values",
        "Where do the missing or additional PCR values come from? Only quoted values count: ask for fresh evidence.",
    ),
    must(
        "pcr.digest",
        "Who changed the PCR values beside the quote? What they say of the machine is not what the TPM signed.",
    ),
    must(
        "state.approved",
        "What changed on the machine since its state was approved: firmware, Secure Boot keys, boot loader, kernel or command line? See the table of PCRs; ask for the change record, or treat the machine as compromised.",
    ),
    may(
        "clock.forward",
        "Why did the TPM's clock go back? Ask whether this is a copy of old evidence, and whether the TPM was cleared.",
        "Is this newer than the evidence before? Keep the clock of this quote, and compare it with the next one's.",
    ),
    may(
        "clock.counts",
        "Why do the machine's starts not count on? Ask the operator for the reason of each, and whether the TPM was cleared.",
        "How often was the machine started since the evidence before? Keep the counts of this quote, and compare them with the next one's.",
    ),
    may(
        "firmware.allowed",
        "Why does the TPM have a firmware version that nobody accepted? Ask for the vendor's advisories on both versions.",
        "Which firmware versions of this TPM do the approvers accept? Ask whether the manifest should list them.",
    ),
    must(
        "manifest.approved",
        "Who approves manifests for this deployment? Get the authority's digest from them, not from the file, and ask why this manifest lacks their signatures.",
    ),
    must(
        "manifest.same",
        "Which manifest is in force on the node? Ask the approvers for the newest, and the operator why the node shows another.",
    ),
    must(
        "report.signature",
        "Who wrote the enclave's report? It is not signed by the key that it names: ask for fresh evidence.",
    ),
    must(
        "report.manifest",
        "Why does the enclave serve another manifest or deployment than the one that you trust? Ask whether an update is under way.",
    ),
    must(
        "report.node",
        "Which node is this? Its report names another than was asked for or than its keys: ask for the evidence of the node that you mean.",
    ),
    must(
        "evidence.purpose",
        "Why was a quote made for another purpose handed over as evidence? Ask for one taken with sealstone attest.",
    ),
    must(
        "evidence.nonce",
        "Whose nonce is this? Evidence for another nonce may be a recording: give a nonce of your own and ask again.",
    ),
    may(
        "challenge",
        "Who chose this nonce, and when? The record in the evidence does not show it: ask the challenger for what they signed, and compare the clocks.",
        "Who can witness that the nonce was new? Whoever did not choose it asks for a challenge that its chooser signed, and names their key with --challenger.",
    ),
    may(
        "evidence.age",
        "Why is the evidence older than it may be? Ask for it again, and whether the clocks of node and reader are right.",
        "How old may evidence be for your purpose? Judge again with --max-age.",
    ),
    may(
        "log.anchored",
        "Why does the checkpoint not belong to this enclave's log? Ask for the log itself, and hold it to earlier evidence.",
        "Where is the audit log? Ask for its newest checkpoint and records, and judge them with sealstone audit verify.",
    ),
    may(
        "tpm.enrolled",
        "Who signed this enrolment record, and for which keys? Ask the authority that enrolled the machine.",
        "Who has seen that these keys live in a genuine TPM? Ask for the enrolment record, or check the vendor's certificate with --roots.",
    ),
    may(
        "code.measured",
        "Why is it not shown that the approved programs ran, though the manifest demands it? Ask for dm-verity's root hash on the measured command line, or for enforced IMA.",
        "What shows which programs ran after the boot? Ask for dm-verity or enforced IMA, and for a manifest that demands it.",
    ),
    may(
        "event_log",
        "Who could have changed the measured-boot log, or extended PCRs behind it? Ask for the log of this very boot, read on the machine.",
        "What are the PCR values made of? Ask for the measured-boot log of this very boot.",
    ),
    may(
        "ima",
        "Who could have changed the list of measured files? Ask for the kernel's list of this very boot, read on the machine.",
        "Which files ran after the boot? Ask for the kernel's measurement list, and whether IMA is switched on.",
    ),
    must(
        "ek.chain",
        "Does a vendor vouch for this TPM? Ask for its certificate and the vendor's roots: without them it may be an emulation.",
    ),
    must(
        "ek.usage",
        "Why is the certificate not one of an endorsement key? Ask the vendor what it was issued for.",
    ),
    must(
        "ek.strength",
        "Is the endorsement key strong enough? Ask the vendor about this model; replace a TPM with a known flaw.",
    ),
    may(
        "ek.key",
        "Why does the certificate name another key than this TPM's? Ask for the certificate that the TPM itself holds.",
        "Is the certificate that of this TPM's key? Ask for the public area of the key that it is of.",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sealstone_attestation::{endorsement, evidence_checks};

    use super::*;

    #[test]
    fn every_check_has_its_questions_and_nothing_else_has() {
        let mut asked: Vec<&str> = QUESTIONS.iter().map(|known| known.check).collect();
        asked.sort_unstable();
        let made: BTreeSet<&str> = evidence_checks().chain(endorsement::ek_checks()).collect();
        assert!(made.len() > 25, "{made:?}");
        assert_eq!(asked, made.into_iter().collect::<Vec<_>>());
        assert!(QUESTIONS.iter().all(|known| known.failed.contains('?') && known.not_asked.contains('?')));
    }
}
