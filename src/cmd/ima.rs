//! `sealstone ima`: read, check and replay a measurement list of the kernel.

use std::path::PathBuf;

use sealstone_attestation::ima::{Entry, ImaList, TemplateHash};
use sealstone_attestation::{PcrBank, PcrIndex, Verdict, appraise_ima};
use serde_json::{Map, Value, json};

use super::pcr_file;
use super::verify::described;
use crate::failure::{Failure, chain};
use crate::files;
use crate::output::{Answer, fields, json_of, shown};

/// Entries that are named when their data do not hash to their digest; `template_digest_mismatches` counts all.
const MISMATCHES_SHOWN: usize = 16;

/// The banks of which PCR values are always shown.
const BANKS_SHOWN: [PcrBank; 2] = [PcrBank::Sha1, PcrBank::Sha256];

/// Read, check and replay the kernel's measurement list (IMA)
///
/// Takes binary and ASCII lists, those of single banks included. Every template digest is recomputed and every PCR
/// replayed. What a list says counts only as far as a quoted PCR 10 vouches for it: give --pcrs, or verify the quote
/// with `sealstone quote verify --ima`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        sealstone ima /sys/kernel/security/ima/binary_runtime_measurements\n  \
        sealstone ima ascii_runtime_measurements --pcrs pcrs.json --json\n\n\
    PCR values are JSON: {\"sha256\": {\"0\": \"HEX\", ..., \"10\": \"HEX\"}}.\n\
    Exit codes: 0 if nothing speaks against the list; 1 if data do not hash to their digests, or --pcrs differ; 2 if the\n\
    file is no list, with the offset or line and the reason.")]
pub(super) struct Args {
    /// The list: binary_runtime_measurements or ascii_runtime_measurements, or one of a bank
    file: PathBuf,
    /// Values of PCRs that the list must lead to: PCR 10, and 0 to 9 for the boot aggregate
    #[arg(long, value_name = "FILE")]
    pcrs: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<Answer, Failure> {
    let Args { file, pcrs } = args;
    let values = pcrs.as_deref().map(pcr_file::read_named).transpose()?;
    let bytes = files::read_log(&file, "a measurement list", ImaList::BYTES_MAX)?;
    let list = ImaList::parse(&bytes).map_err(|error| {
        Failure::unusable(
            "IMA_LIST",
            format!("expected a measurement list in {}, found: {}", file.display(), chain(&error)),
            "give the file that the kernel shows below /sys/kernel/security/ima, whole",
        )
    })?;
    let verdict = values.map(|values| appraise_ima(&list, &values));
    let intact = list.mismatches().next().is_none();
    let accepted = verdict.as_ref().map_or(intact, Verdict::accepted);
    Ok(Answer::verdict(accepted, json_answer(&list, verdict.as_ref()), text(&list, verdict.as_ref())))
}

fn json_answer(list: &ImaList<'_>, verdict: Option<&Verdict>) -> Value {
    let index = PcrIndex::IMA;
    let others = list.pcrs().into_iter().filter(|other| *other != index);
    let others: Map<String, Value> =
        others.map(|other| (other.to_string(), replayed(list, other, TemplateHash::PerBank))).collect();
    let mismatches: Vec<Value> = list
        .mismatches()
        .take(MISMATCHES_SHOWN)
        .map(|entry| json!({"at": entry.place().to_string(), "name": name_of(entry)}))
        .collect();
    json!({
        "format": list.encoding().name(),
        "bank": list.bank(),
        "entries": list.entries().len(),
        "violations": list.violations(),
        "templates": list.templates(),
        "unknown_templates": list.unknown_templates(),
        "template_digest_mismatches": list.mismatches().count(),
        "mismatches": mismatches,
        "pcr10": replayed(list, index, TemplateHash::PerBank),
        "pcr10_padded_sha1": replayed(list, index, TemplateHash::PaddedSha1),
        "other_pcrs": others,
        "boot_aggregate": boot_aggregate(list),
        "verdict": verdict.map(json_of),
    })
}

/// A PCR of the banks that are shown; null where an entry's digest in that bank is not known.
fn replayed(list: &ImaList<'_>, index: PcrIndex, hash: TemplateHash) -> Value {
    let banks = BANKS_SHOWN.into_iter();
    let values = banks.map(|bank| (bank.to_string(), list.replay(index, bank, hash).map(hex::encode).into()));
    Value::Object(values.collect())
}

/// As the list has it: `sha256:HEX`.
fn boot_aggregate(list: &ImaList<'_>) -> Option<String> {
    let aggregate = list.boot_aggregate()?;
    let algorithm = if aggregate.algorithm.is_empty() { "sha1" } else { aggregate.algorithm };
    Some(format!("{algorithm}:{}", hex::encode(aggregate.digest)))
}

fn name_of(entry: &Entry<'_>) -> Option<String> {
    entry.name().map(|name| String::from_utf8_lossy(name).into_owned())
}

fn text(list: &ImaList<'_>, verdict: Option<&Verdict>) -> String {
    let templates: Vec<String> =
        list.templates().into_iter().map(|(name, count)| format!("{} {count}", shown(name))).collect();
    let mismatches: Vec<String> =
        list.mismatches().take(MISMATCHES_SHOWN).map(|entry| entry.place().to_string()).collect();
    let mut rows = vec![
        ("list", format!("{}, template digests by {}", list.encoding().name(), list.bank())),
        ("entries", list.entries().len().to_string()),
        ("templates", templates.join(", ")),
        ("violations", list.violations().to_string()),
    ];
    let count = list.mismatches().count();
    let changed = if count == 0 { "none".to_owned() } else { format!("{count} ({})", mismatches.join(", ")) };
    rows.push(("data that do not hash to their digest", changed));
    let aggregate = boot_aggregate(list).unwrap_or_else(|| "none".to_owned());
    rows.push(("boot aggregate", shown(&aggregate)));
    let mut text = fields(&rows);
    for index in list.pcrs() {
        for bank in BANKS_SHOWN {
            let value = list.replay(index, bank, TemplateHash::PerBank).map(hex::encode);
            text.push_str(&format!("PCR {index} {bank}: {}\n", value.as_deref().unwrap_or("not known")));
        }
    }
    match verdict {
        Some(verdict) => text.push_str(&described(verdict)),
        None => text.push_str("nothing vouches for this list: give --pcrs with values that a quote covers\n"),
    }
    text
}
