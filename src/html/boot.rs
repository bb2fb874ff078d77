//! The boot as a timeline of facts. Only what hashes is a fact: the digest covers the text, and the PCR replays to a value
//! that the TPM signed. Everything else is shown as what it is, or as unknown.

use std::collections::{BTreeMap, BTreeSet};

use sealstone_attestation::event_log::{ComparedPcr, Comparison, Event, EventLog, EventType, Tie};
use sealstone_attestation::{Evidence, Outcome, PcrBank, PcrIndex, Quote, Verdict};

use super::pcrs;
use super::text::Shown;
use crate::boot::{BootFact, facts};

/// Facts of one step: boots have a dozen.
const FACTS_SHOWN: usize = 40;

/// Events in the list of all: real logs have some hundred.
const EVENTS_SHOWN: usize = 400;

/// Findings and warnings about the log.
const REMARKS_SHOWN: usize = 20;

/// The PCRs of settings and added cards.
const SETTINGS: [u8; 3] = [1, 2, 3];

/// What is known of the boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boot {
    /// Why nothing or not all is known.
    pub(crate) unknown: Option<Shown>,
    pub(crate) steps: Vec<Step>,
    /// Why the log is not believed.
    pub(crate) findings: Vec<Shown>,
    pub(crate) warnings: Vec<Shown>,
    pub(crate) remarks_omitted: usize,
    pub(crate) events: Vec<EventShown>,
    pub(crate) events_omitted: usize,
}

/// A step of the boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) title: &'static str,
    /// Where it is measured.
    pub(crate) measured: &'static str,
    pub(crate) facts: Vec<FactShown>,
    pub(crate) omitted: usize,
}

/// One thing that is said of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FactShown {
    pub(crate) what: &'static str,
    /// What hashes.
    pub(crate) said: Shown,
    /// What the log says of it, which no digest covers.
    pub(crate) described: Option<Shown>,
    pub(crate) event: Option<usize>,
    pub(crate) standing: Standing,
}

/// What a statement of the log is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A digest covers it, in a PCR whose quoted value the log leads to.
    Fact,
    /// The log says so, and no quoted value holds it.
    NotProven,
    /// It is not known.
    Unknown,
}

impl Standing {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Fact => "fact",
            Self::NotProven => "not proven",
            Self::Unknown => "unknown",
        }
    }

    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::Fact => "✓",
            Self::NotProven => "~",
            Self::Unknown => "?",
        }
    }

    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Fact => "mark good",
            Self::NotProven => "mark gap",
            Self::Unknown => "mark none",
        }
    }
}

/// One event of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventShown {
    pub(crate) event: usize,
    pub(crate) pcr: Option<u8>,
    pub(crate) kind: Shown,
    /// Whether its digest covers what is said.
    pub(crate) covered: &'static str,
    pub(crate) description: Shown,
    /// What was extended, in the bank that was asked for.
    pub(crate) digest: Option<(PcrBank, String)>,
}

impl EventShown {
    /// With its digest in a bank that the quote covers, or without one: digests of other banks are what somebody wrote.
    pub(crate) fn of(log: &EventLog<'_>, number: usize, bank: Option<PcrBank>) -> Option<Self> {
        let event = log.events().get(number)?;
        let covered = match event.tie {
            Tie::Broken => "no: the text was changed",
            Tie::NotExtended => "not measured",
            Tie::Described => "no, only described",
            _ => "yes",
        };
        Some(Self {
            event: number,
            pcr: event.pcr.map(PcrIndex::get),
            kind: Shown::of(event.kind),
            covered,
            description: Shown::of(event.describe()),
            digest: bank.and_then(|bank| Some((bank, digest(event, bank)?))),
        })
    }
}

/// The log of the evidence, if it can be read, and if not, why.
pub(crate) fn read(evidence: &Evidence) -> Result<EventLog<'_>, Shown> {
    match &evidence.event_log {
        None => Err(Shown::of("the evidence holds no measured-boot log")),
        Some(bytes) if bytes.0.is_empty() => {
            Err(Shown::of("the measured-boot log is empty: this machine's firmware hands over none"))
        }
        Some(bytes) => EventLog::parse(&bytes.0)
            .map_err(|error| Shown::of(format!("the measured-boot log cannot be read: {error}"))),
    }
}

impl Boot {
    pub(crate) fn of(evidence: &Evidence, verdict: &Verdict, log: Result<&EventLog<'_>, &Shown>) -> Self {
        let quote = Quote::parse(&evidence.quote.attest).ok();
        let mut steps = vec![power_on(quote.as_ref(), verdict)];
        let log = match log {
            Ok(log) => log,
            Err(reason) => {
                steps.push(after_the_boot(verdict));
                return Self {
                    unknown: Some(reason.clone()),
                    steps,
                    findings: Vec::new(),
                    warnings: Vec::new(),
                    remarks_omitted: 0,
                    events: Vec::new(),
                    events_omitted: 0,
                };
            }
        };
        let worth = Worth::of(evidence, verdict, log);
        steps.extend(logged_steps(log, &worth));
        steps.push(after_the_boot(verdict));
        let said = |remarks: &[sealstone_attestation::event_log::Remark]| {
            let first = remarks.iter().take(REMARKS_SHOWN);
            first.map(|remark| Shown::of(format!("{}: {}", remark.code, remark.detail))).collect()
        };
        let beyond = |count: usize, shown: usize| count.saturating_sub(shown);
        let count = log.events().len();
        Self {
            unknown: worth.doubt,
            steps,
            findings: said(log.findings()),
            warnings: said(log.warnings()),
            remarks_omitted: beyond(log.findings().len(), REMARKS_SHOWN)
                + beyond(log.warnings().len(), REMARKS_SHOWN),
            events: (0..count.min(EVENTS_SHOWN))
                .filter_map(|event| EventShown::of(log, event, None))
                .collect(),
            events_omitted: beyond(count, EVENTS_SHOWN),
        }
    }
}

fn digest(event: &Event<'_>, bank: PcrBank) -> Option<String> {
    event.digest(bank.into()).map(hex::encode)
}

/// Which PCRs of the log lead to values that the TPM signed, and in which bank: the digests of no other are proven.
struct Worth {
    proven: BTreeMap<PcrIndex, PcrBank>,
    doubt: Option<Shown>,
}

impl Worth {
    fn of(evidence: &Evidence, verdict: &Verdict, log: &EventLog<'_>) -> Self {
        let nothing = |reason: &str| Self { proven: BTreeMap::new(), doubt: Some(Shown::of(reason)) };
        if !pcrs::vouched(verdict) {
            return nothing("nothing shows that the TPM signed the PCR values, so the log proves nothing");
        }
        if !log.findings().is_empty() {
            return nothing(
                "the log breaks rules that a log which nobody changed keeps, so it proves nothing",
            );
        }
        let compared = log.compare(&evidence.quote.pcrs);
        let proven = proven(&compared);
        if proven.is_empty() {
            return nothing("the log leads to no quoted value, so it proves nothing");
        }
        let contradicted = compared.iter().any(|one| matches!(one.comparison, Comparison::Differs { .. }));
        let doubt = contradicted.then(|| {
            Shown::of("the log leads to other values than some of those quoted; those PCRs are not proven")
        });
        Self { proven, doubt }
    }

    /// The bank in which a digest of this event is proven.
    fn bank_of(&self, event: &Event<'_>) -> Option<PcrBank> {
        let bank = *self.proven.get(&event.pcr?)?;
        event.digest(bank.into()).map(|_| bank)
    }
}

/// The PCRs that a log explains, each with a bank in which it does. One that it contradicts in another bank is not explained:
/// whoever changed that bank's digests changed the events.
fn proven(compared: &[ComparedPcr]) -> BTreeMap<PcrIndex, PcrBank> {
    let acceptable = || compared.iter().filter(|one| one.bank.is_acceptable());
    let explains = |one: &&ComparedPcr| one.comparison == Comparison::Matches;
    let contradicted: BTreeSet<PcrIndex> = acceptable()
        .filter(|one| !explains(one) && one.comparison != Comparison::NoBank)
        .map(|one| one.pcr)
        .collect();
    let mut proven = BTreeMap::new();
    for one in acceptable().filter(explains).filter(|one| !contradicted.contains(&one.pcr)) {
        proven.entry(one.pcr).or_insert(one.bank);
    }
    proven
}

const UNKNOWN_FACT: &str = "unknown: the log says nothing of it";

fn logged_steps(log: &EventLog<'_>, worth: &Worth) -> Vec<Step> {
    let all = facts(log, None);
    let of = |names: &[&str]| -> Vec<FactShown> {
        let named = all.iter().filter(|fact| names.contains(&fact.what));
        named.map(|fact| shown(log, fact, worth)).collect()
    };
    let mut firmware = of(&["firmware version"]);
    firmware.extend(measurements(log, worth, &[0]));
    vec![
        step("Firmware starts", "PCR 0", firmware),
        step("Settings and added cards", "PCR 1, 2, 3", measurements(log, worth, &SETTINGS)),
        step("Secure Boot policy", "PCR 7", of(&["secure boot", "PK", "KEK", "db", "dbx"])),
        step("Boot loader", "PCR 4, 7, 14", of(&["boot loader", "image", "authority", "shim"])),
        step(
            "Kernel",
            "PCR 8, 9, 11, 12, 13",
            of(&["kernel", "command line", "kernel section", "also measured"]),
        ),
    ]
}

fn step(title: &'static str, measured: &'static str, mut facts: Vec<FactShown>) -> Step {
    if facts.is_empty() {
        facts.push(FactShown {
            what: "this step",
            said: Shown::of(UNKNOWN_FACT),
            described: None,
            event: None,
            standing: Standing::Unknown,
        });
    }
    let omitted = facts.len().saturating_sub(FACTS_SHOWN);
    facts.truncate(FACTS_SHOWN);
    Step { title, measured, facts, omitted }
}

/// What the log says, as far as it hashes: of a description the digest beside it is the fact.
fn shown(log: &EventLog<'_>, fact: &BootFact, worth: &Worth) -> FactShown {
    let BootFact { what, said, event, vouched } = fact;
    let Some(number) = event else {
        return FactShown {
            what,
            said: Shown::of(said),
            described: None,
            event: None,
            standing: Standing::Unknown,
        };
    };
    let measured = log.events().get(*number);
    let proven = measured.and_then(|event| worth.bank_of(event));
    let standing = if proven.is_some() { Standing::Fact } else { Standing::NotProven };
    // Where nothing is proven, any digest is as good: it is what the log says.
    let banks = proven.map_or_else(|| PcrBank::acceptable().collect(), |bank| vec![bank]);
    let digest = measured.and_then(|event| {
        banks.into_iter().find_map(|bank| Some(format!("{bank} digest {}", digest(event, bank)?)))
    });
    let (said, described) = if *vouched {
        (Shown::of(said), None)
    } else {
        let digest = digest.map_or_else(
            || "content of a digest in another bank".to_owned(),
            |digest| format!("content with the {digest}"),
        );
        (Shown::of(digest), Some(Shown::of(said)))
    };
    FactShown { what, said, described, event: Some(*number), standing }
}

/// Settings of these PCRs whose text hashes, such as the boot order, and how many other measurements there are: their digests
/// are facts, whatever they are of.
fn measurements(log: &EventLog<'_>, worth: &Worth, pcrs: &[u8]) -> Vec<FactShown> {
    let (mut all, mut others, mut others_proven) = (Vec::new(), 0, true);
    for (number, event) in log.events().iter().enumerate() {
        if !event.extends() || !event.pcr.is_some_and(|pcr| pcrs.contains(&pcr.get())) {
            continue;
        }
        let proven = worth.bank_of(event).is_some();
        if matches!(event.kind, EventType::SEPARATOR | EventType::S_CRTM_VERSION) {
            continue;
        }
        if event.tie.vouches() && event.kind.is_variable() {
            all.push(FactShown {
                what: "setting",
                said: Shown::of(event.describe()),
                described: None,
                event: Some(number),
                standing: if proven { Standing::Fact } else { Standing::NotProven },
            });
        } else {
            others += 1;
            others_proven &= proven;
        }
    }
    if others > 0 {
        all.push(FactShown {
            what: "other measurements",
            said: Shown::of(format!("{others}, known by their digests")),
            described: None,
            event: None,
            standing: if others_proven { Standing::Fact } else { Standing::NotProven },
        });
    }
    all
}

/// What the TPM itself says of its starts.
fn power_on(quote: Option<&Quote>, verdict: &Verdict) -> Step {
    let standing = if pcrs::vouched(verdict) { Standing::Fact } else { Standing::NotProven };
    let facts = quote.map_or_else(Vec::new, |quote| {
        let clock = quote.clock();
        let fact = |what, said: String| FactShown {
            what,
            said: Shown::of(said),
            described: None,
            event: None,
            standing,
        };
        let minutes = clock.clock / 60_000;
        vec![
            fact("starts of the machine", format!("{} since the TPM was cleared", clock.reset_count)),
            fact("resumes since the last start", clock.restart_count.to_string()),
            fact("the TPM's clock", format!("{} h {} min of running time", minutes / 60, minutes % 60)),
            fact("TPM firmware", format!("version {:016x}", quote.firmware_version())),
        ]
    });
    step("The machine starts", "the quote itself", facts)
}

/// What the verdict says of what ran later.
fn after_the_boot(verdict: &Verdict) -> Step {
    let checks = [("code that ran", "code.measured"), ("files that were measured", "ima")];
    let facts = checks.into_iter().filter_map(|(what, name)| {
        let check = verdict.check(name)?;
        let standing = match check.result {
            Outcome::Passed => Standing::Fact,
            Outcome::Failed => Standing::NotProven,
            Outcome::NotApplicable => Standing::Unknown,
        };
        Some(FactShown { what, said: Shown::of(&check.detail), described: None, event: None, standing })
    });
    step("After the boot", "PCR 10, command line", facts.collect())
}

#[cfg(test)]
mod tests {
    use sealstone_attestation::event_log::LogAlgorithm;

    use super::super::builder::{COMMAND_LINE, LOADER_PATH, LogBuilder, honest};
    use super::*;

    const BANK: [LogAlgorithm; 1] = [LogAlgorithm::Sha256];

    /// The steps of this log if these PCRs are proven.
    fn steps(log: &LogBuilder, proven: &[u8]) -> Vec<Step> {
        let bytes = log.bytes();
        let log = EventLog::parse(&bytes).unwrap();
        let proven = proven.iter().map(|pcr| (PcrIndex::new(*pcr).unwrap(), PcrBank::Sha256)).collect();
        logged_steps(&log, &Worth { proven, doubt: None })
    }

    fn facts_of<'s>(steps: &'s [Step], what: &str) -> Vec<&'s FactShown> {
        steps.iter().flat_map(|step| &step.facts).filter(|fact| fact.what == what).collect()
    }

    #[test]
    fn nothing_is_a_fact_unless_its_pcr_is_proven() {
        let log = honest(&BANK);
        let none = steps(&log, &[]);
        assert!(none.iter().flat_map(|step| &step.facts).all(|fact| fact.standing != Standing::Fact));
        let some = steps(&log, &[7]);
        assert_eq!(facts_of(&some, "secure boot")[0].standing, Standing::Fact);
        assert_eq!(facts_of(&some, "command line")[0].standing, Standing::NotProven);
        let all = steps(&log, &[0, 1, 4, 7, 8]);
        assert_eq!(facts_of(&all, "command line")[0].said.as_str(), format!("{COMMAND_LINE} (by GRUB)"));
        assert_eq!(facts_of(&all, "command line")[0].standing, Standing::Fact);
    }

    #[test]
    fn of_an_image_the_digest_is_the_fact_and_the_path_a_description() {
        let steps = steps(&honest(&BANK), &[4]);
        let loader = facts_of(&steps, "boot loader")[0];
        let digest = hex::encode(LogAlgorithm::Sha256.digest(&[b"shim"]));
        assert_eq!(loader.said.as_str(), format!("content with the sha256 digest {digest}"));
        assert_eq!(loader.described.as_ref().unwrap().as_str(), LOADER_PATH);
    }

    /// Which PCRs this log explains, of what another machine quotes in these banks.
    fn proven_by(log: &LogBuilder, quoted: &LogBuilder, banks: &[PcrBank]) -> BTreeMap<u8, PcrBank> {
        let bytes = log.bytes();
        let mut values = sealstone_attestation::PcrValues::new();
        for (bank, pcr, value) in
            quoted.quoted(&[4, 7, 8, 9]).iter().filter(|(bank, ..)| banks.contains(bank))
        {
            values.insert(bank, pcr, value.to_vec()).unwrap();
        }
        let compared = EventLog::parse(&bytes).unwrap().compare(&values);
        proven(&compared).into_iter().map(|(pcr, bank)| (pcr.get(), bank)).collect()
    }

    #[test]
    fn a_pcr_is_proven_in_a_bank_that_was_quoted_and_in_none_if_one_contradicts() {
        use PcrBank::{Sha1, Sha256, Sha384};
        let both = [LogAlgorithm::Sha256, LogAlgorithm::Sha384];
        let (log, mut forged) = (honest(&both), honest(&both));
        // One more image, of which the SHA-256 digest is made up.
        let (id, digest) = (LogAlgorithm::Sha384.id(), LogAlgorithm::Sha384.digest(&[b"evil"]));
        let good = LogAlgorithm::Sha256.digest(&[b"good"]);
        let image = EventType::EFI_BOOT_SERVICES_APPLICATION.code();
        forged.raw(4, image, &[(LogAlgorithm::Sha256.id(), good), (id, digest.clone())], b"");
        let mut real = honest(&both);
        real.extend(LogAlgorithm::Sha384, 4, &digest);
        real.extend(LogAlgorithm::Sha256, 4, &LogAlgorithm::Sha256.digest(&[b"evil"]));
        let of = |banks: &[PcrBank]| proven_by(&forged, &real, banks);
        assert_eq!(of(&[Sha384]), BTreeMap::from([(4, Sha384), (7, Sha384), (8, Sha384), (9, Sha384)]));
        assert_eq!(of(&[Sha256, Sha384]), BTreeMap::from([(7, Sha256), (8, Sha256), (9, Sha256)]));
        assert_eq!(of(&[Sha256]), BTreeMap::from([(7, Sha256), (8, Sha256), (9, Sha256)]));
        assert_eq!(proven_by(&log, &log, &[Sha256, Sha384]).len(), 4);
        // A bank of which the log says nothing contradicts nothing, and SHA-1 proves nothing.
        let other = honest(&[LogAlgorithm::Sha1, LogAlgorithm::Sha384]);
        assert_eq!(
            proven_by(&other, &honest(&[LogAlgorithm::Sha256, LogAlgorithm::Sha384]), &[Sha256, Sha384])[&4],
            Sha384
        );
        assert!(proven_by(&other, &other, &[Sha1]).is_empty());
    }

    #[test]
    fn a_step_of_which_the_log_says_nothing_is_unknown_and_a_long_one_has_an_end() {
        let mut log = LogBuilder::agile(&BANK);
        for number in 0..1000 {
            log.grub("kernel_cmdline: ", &format!("kernel {number}"));
        }
        let steps = steps(&log, &[8]);
        assert_eq!(steps.iter().filter(|step| step.facts[0].said.as_str() == UNKNOWN_FACT).count(), 3);
        assert!(facts_of(&steps, "secure boot")[0].said.as_str().starts_with("unknown"));
        let kernel = steps.last().unwrap();
        assert_eq!((kernel.facts.len(), kernel.omitted), (FACTS_SHOWN, 2000 - FACTS_SHOWN));
    }
}
