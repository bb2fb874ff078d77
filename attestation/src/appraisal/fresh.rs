//! For whom evidence is fresh: whose nonce it answers, and between which times it was made.

use super::{
    evidence::{CLOCK_SKEW, Expectations},
    verdict::Checklist,
};
use crate::{ChallengeRecord, Evidence, Manifest, Node, Nonce, Report, UnixTime, VerifiedChallenge};

/// The checks' names.
const NONCE: &str = "evidence.nonce";
const CHALLENGE: &str = "challenge";

/// What a challenge is compared with.
pub(super) struct Answered<'a> {
    /// The node whose keys the evidence holds; `None` if they are nobody's.
    pub(super) node: Option<&'a Node>,
    pub(super) manifest: &'a Manifest,
    /// Signed by its own key; `None` if it is not.
    pub(super) report: Option<&'a Report>,
    pub(super) now: UnixTime,
}

/// Holds the nonce of evidence to what its reader asked, and to what a challenger whom the reader trusts says to have asked.
pub(super) fn check_fresh(
    list: &mut Checklist,
    evidence: &Evidence,
    expectations: &Expectations,
    answered: &Answered<'_>,
) {
    let Expectations { nonce, challenger, purpose, .. } = expectations;
    let result = if evidence.purpose == *purpose {
        Ok(evidence.purpose.to_string())
    } else {
        Err(format!("expected the purpose {purpose}, found {}", evidence.purpose))
    };
    list.record("evidence.purpose", result);
    let Some(challenger) = challenger else {
        unasked(list, evidence);
        let expected =
            nonce.as_ref().ok_or_else(|| "expected somebody who chose the nonce, found nobody".to_owned());
        list.record(NONCE, expected.and_then(|nonce| same(evidence, nonce, "whoever verifies", answered)));
        return;
    };
    let verified = evidence
        .challenge
        .as_ref()
        .ok_or_else(|| "expected a record of the challenge, found none in the evidence".to_owned())
        .and_then(|envelope| {
            VerifiedChallenge::from_envelope(envelope, challenger).map_err(|error| error.to_string())
        });
    match &verified {
        Ok(verified) => {
            let record = verified.record();
            let asked = nonce
                .as_ref()
                .map_or(Ok(()), |nonce| same(evidence, nonce, "whoever verifies", answered).map(drop));
            list.record(
                NONCE,
                asked.and_then(|()| same(evidence, &record.nonce, &format!("{:?}", record.who), answered)),
            );
            // Without a report nothing says when: not reached.
            if let Some(report) = answered.report {
                list.record(CHALLENGE, bracket(verified, report, answered));
            }
        }
        // Whose nonce it is is then not known, unless the reader has it from elsewhere.
        Err(reason) => {
            list.record(CHALLENGE, Err(reason.clone()));
            if let Some(nonce) = nonce {
                list.record(NONCE, same(evidence, nonce, "whoever verifies", answered));
            }
        }
    }
}

/// A record that nobody asked for is somebody's claim.
fn unasked(list: &mut Checklist, evidence: &Evidence) {
    let Some(envelope) = &evidence.challenge else {
        return list.not_applicable(CHALLENGE, "the evidence holds no record of the challenge");
    };
    let said = match ChallengeRecord::danger_read_unverified(envelope) {
        Ok(record) => format!("said, not checked: {:?} chose the nonce at {}", record.who, record.chosen_at),
        Err(error) => format!("not checked: {error}"),
    };
    list.warn(format!("of the challenge: {said}; name the challenger's key to have it checked"));
    list.not_applicable(CHALLENGE, &said);
}

fn same(evidence: &Evidence, expected: &Nonce, by: &str, answered: &Answered<'_>) -> Result<String, String> {
    if evidence.nonce != *expected {
        return Err(format!("expected the nonce {expected}, found {}", evidence.nonce));
    }
    let time =
        answered.report.map_or("no time that can be believed".to_owned(), |report| report.time.to_string());
    Ok(format!(
        "{expected}, chosen by {by}: made after that, at {time} by the enclave's clock, and judged as of {}",
        answered.now
    ))
}

/// Whether the evidence answers this challenge: for that node, and in that time by the enclave's clock.
fn bracket(verified: &VerifiedChallenge, report: &Report, answered: &Answered<'_>) -> Result<String, String> {
    let ChallengeRecord { format: _, nonce: _, who, chosen_at, not_after, deployment, node } =
        verified.record();
    let Answered { manifest, now, .. } = answered;
    if let Some(asked) = deployment.filter(|asked| *asked != manifest.deployment()) {
        return Err(format!(
            "expected a challenge to deployment {}, found one to {asked}",
            manifest.deployment()
        ));
    }
    if let Some(asked) = node {
        let found = answered.node.map(Node::name);
        if found != Some(asked.as_str()) {
            return Err(format!("expected an answer by the node that was asked, {asked:?}, found {found:?}"));
        }
    }
    if *chosen_at > now.saturating_add(CLOCK_SKEW) {
        return Err(format!("expected a challenge chosen by {now}, found one of {chosen_at}"));
    }
    if report.time.saturating_add(CLOCK_SKEW) < *chosen_at {
        return Err(format!("expected a report made after {chosen_at}, found one of {}", report.time));
    }
    if let Some(end) = not_after.filter(|end| report.time > *end) {
        return Err(format!("expected a report made by {end}, found one of {}", report.time));
    }
    Ok(format!(
        "{who:?} chose the nonce at {chosen_at} and signed that with the key {}; the report was made at {} by the enclave's \
         clock, and was judged as of {now}",
        verified.key_id(),
        report.time
    ))
}
