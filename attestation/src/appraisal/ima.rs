//! The appraisal of a measurement list by values of PCRs, which somebody else vouches for: a quote, or who asks.

use crate::{
    PcrBank, PcrIndex, PcrValues, Verdict,
    appraisal::{
        level::Level::Authentic,
        verdict::{CheckSpec, Checklist, if_asked, mandatory},
    },
    ima::{Aggregated, ImaList, MatchingPrefix, Recomputed, TAIL_MAX, TemplateHash},
};

/// Every check of a list that is appraised by itself, in order.
static IMA_CHECKS: [CheckSpec; 3] = [
    mandatory(Authentic, "ima.template_digests"),
    mandatory(Authentic, "ima.pcr10"),
    if_asked(Authentic, "ima.boot_aggregate"),
];

/// Mismatches that a verdict names; the first one already refuses the list.
const MISMATCHES_NAMED: usize = 4;

/// Appraises a list by values of PCRs. Without a value of PCR 10 it is refused: nothing else vouches for a list.
#[must_use]
pub fn appraise_ima(log: &ImaList<'_>, values: &PcrValues) -> Verdict {
    let mut list = Checklist::new(&[&IMA_CHECKS]);
    list.record("ima.template_digests", template_digests(log));
    let leads = leads(log, values);
    let pcr10 = pcr10(&leads).unwrap_or_else(|| Err("expected a value of PCR 10, found none".to_owned()));
    list.record("ima.pcr10", pcr10);
    match boot_aggregate(log, values) {
        Ok(result) => list.record("ima.boot_aggregate", result),
        Err(reason) => list.not_applicable("ima.boot_aggregate", &reason),
    }
    warn(&mut list, log, values, &leads);
    list.verdict()
}

/// What a quote must cover for its list to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coverage {
    /// PCR 10: somebody asks for this list to be checked.
    Pcr10,
    /// Whatever it covers; the verdict says what is tied to it and what is not.
    AsQuoted,
}

/// A list that passed its check: values of PCR 10 that a quote vouches for lead to it.
pub(crate) struct TiedList<'a> {
    pub(crate) log: ImaList<'a>,
    pub(crate) leads: Vec<Lead<'a>>,
}

/// A value of PCR 10, and the part of the list that leads to it, if one does.
#[derive(Clone, Copy)]
pub(crate) struct Lead<'a> {
    pub(crate) bank: PcrBank,
    value: &'a [u8],
    prefix: Option<MatchingPrefix>,
}

impl Lead<'_> {
    /// The part that the value vouches for, if no more stands behind it than a quote's age explains.
    pub(crate) fn vouched(&self) -> Option<MatchingPrefix> {
        self.prefix.filter(|prefix| prefix.beyond <= TAIL_MAX)
    }
}

/// Makes the one check `ima` of a quote's list, and answers with it if it passed. `values` are those that the quote vouches for.
pub(crate) fn check_ima<'a>(
    list: &mut Checklist,
    log: &'a [u8],
    values: &'a PcrValues,
    coverage: Coverage,
) -> Option<TiedList<'a>> {
    let log = match ImaList::parse(log) {
        Ok(log) => log,
        Err(error) => {
            list.record("ima", Err(error.to_string()));
            return None;
        }
    };
    let leads = leads(&log, values);
    let mut details = Vec::new();
    let mut untied = Vec::new();
    let mut keep = |result: Result<String, String>| result.map(|detail| details.push(detail));
    let result = keep(template_digests(&log))
        .and_then(|()| match (pcr10(&leads), coverage) {
            (Some(result), _) => keep(result),
            (None, Coverage::Pcr10) => {
                Err("expected a quote over PCR 10 and its value, found none".to_owned())
            }
            (None, Coverage::AsQuoted) => {
                untied.push("the quote does not cover PCR 10, so nothing vouches for this list".to_owned());
                Ok(())
            }
        })
        .and_then(|()| match boot_aggregate(&log, values) {
            Ok(result) => keep(result),
            Err(reason) => {
                untied.push(reason);
                Ok(())
            }
        });
    let result = result.map(|()| {
        details.extend(untied.iter().map(|reason| format!("not tied: {reason}")));
        details.join("; ")
    });
    let passed = result.is_ok() && !leads.is_empty();
    match result {
        // A list that nothing vouches for is no evidence, however well it hangs together.
        Ok(details) if leads.is_empty() => {
            list.warn(
                "the measurement list is not tied to the quote, which does not cover PCR 10".to_owned(),
            );
            list.not_applicable("ima", &details);
        }
        result => list.record("ima", result),
    }
    warn(list, &log, values, &leads);
    passed.then_some(TiedList { log, leads })
}

/// One for each value of PCR 10 that is given.
fn leads<'a>(log: &ImaList<'_>, values: &'a PcrValues) -> Vec<Lead<'a>> {
    let given = PcrBank::ALL.into_iter().filter_map(|bank| Some((bank, values.get(bank, PcrIndex::IMA)?)));
    given
        .map(|(bank, value)| Lead { bank, value, prefix: log.matching_prefix(PcrIndex::IMA, bank, value) })
        .collect()
}

fn template_digests(log: &ImaList<'_>) -> Result<String, String> {
    let named: Vec<String> =
        log.mismatches().take(MISMATCHES_NAMED).map(|entry| entry.place().to_string()).collect();
    if named.is_empty() {
        let (entries, violations) = (log.entries().len(), log.violations());
        return Ok(format!("{entries} entries, {violations} of them violations, as their digests say"));
    }
    let found = log.mismatches().count();
    Err(format!(
        "expected each entry's data to hash to its digest, found {found} that do not ({})",
        named.join(", ")
    ))
}

/// `None` if there is no value of PCR 10. Each bank that has one must agree.
fn pcr10(leads: &[Lead<'_>]) -> Option<Result<String, String>> {
    if leads.is_empty() {
        return None;
    }
    let agreed: Result<Vec<String>, String> = leads.iter().map(pcr10_of).collect();
    Some(agreed.map(|details| details.join("; ")))
}

fn pcr10_of(lead: &Lead<'_>) -> Result<String, String> {
    let Lead { bank, value, prefix } = lead;
    match (lead.vouched(), prefix) {
        (Some(found), _) => {
            let (entries, beyond, hash) = (found.entries, found.beyond, found.hash.name());
            Ok(format!("PCR 10 of bank {bank} after {entries} entries ({hash}), {beyond} more behind it"))
        }
        (None, Some(found)) => Err(format!(
            "expected at most {TAIL_MAX} entries behind PCR 10 of bank {bank}, found {}",
            found.beyond
        )),
        (None, None) => Err(format!(
            "expected a list that leads to PCR 10 of bank {bank}, {}, found that no part of it does",
            hex::encode(value)
        )),
    }
}

/// What was compared, or why nothing could be.
fn boot_aggregate(log: &ImaList<'_>, values: &PcrValues) -> Result<Result<String, String>, String> {
    if log.entries().is_empty() {
        return Err("the list is empty".to_owned());
    }
    let Some(aggregate) = log.boot_aggregate() else {
        return Ok(Err("expected a list that begins with a boot aggregate, found another entry".to_owned()));
    };
    match aggregate.compare(values) {
        Recomputed::Agrees { over, bank } => {
            let over = match over {
                Aggregated::Firmware => "0 to 7",
                Aggregated::Boot => "0 to 9",
            };
            Ok(Ok(format!("boot aggregate over PCRs {over} of bank {bank}")))
        }
        Recomputed::Differs { bank } => Ok(Err(format!(
            "expected the boot aggregate of PCRs 0 to 9 or 0 to 7 of bank {bank}, found {}",
            hex::encode(aggregate.digest)
        ))),
        Recomputed::Unknown { bank: Some(bank) } => {
            Err(format!("the boot aggregate is over PCRs of bank {bank} whose values are not all given"))
        }
        Recomputed::Unknown { bank: None } => {
            Err(format!("the boot aggregate is by {:?}, which is no bank's hash", aggregate.algorithm))
        }
    }
}

fn warn(list: &mut Checklist, log: &ImaList<'_>, values: &PcrValues, leads: &[Lead<'_>]) {
    if log.violations() > 0 {
        list.warn(format!(
            "{} entries of the measurement list are violations: what they say was measured may be something else",
            log.violations()
        ));
    }
    for Lead { bank, prefix, .. } in leads {
        if prefix.is_some_and(|prefix| prefix.hash == TemplateHash::PaddedSha1 && prefix.entries > 0) {
            list.warn(format!(
                "PCR 10 of bank {bank} rests on SHA-1 with zeros behind it: whoever can make collisions can change entries"
            ));
        }
    }
    let unknown = log.unknown_templates();
    if !unknown.is_empty() {
        list.warn(format!(
            "the measurement list has templates that are not known here: {}",
            unknown.join(", ")
        ));
    }
    let unchecked =
        log.entries().iter().filter(|entry| entry.is_intact().is_none() && !entry.is_violation()).count();
    if unchecked > 0 {
        list.warn(format!(
            "{unchecked} entries of the measurement list could not be hashed: their templates are not known as text"
        ));
    }
    for index in log.pcrs().into_iter().filter(|index| *index != PcrIndex::IMA) {
        let tied = PcrBank::ALL.into_iter().any(|bank| {
            values.get(bank, index).is_some_and(|value| {
                log.matching_prefix(index, bank, value).is_some_and(|found| found.beyond <= TAIL_MAX)
            })
        });
        if !tied {
            list.warn(format!("the measurement list's entries of PCR {index} are not tied to a value of it"));
        }
    }
}
