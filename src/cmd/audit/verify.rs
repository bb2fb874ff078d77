//! `sealstone audit verify`: is a log whole, and is it the one that the machine's TPM vouches for?

use std::path::Path;

use sealstone_attestation::audit::{
    Checkpoint, EntryBundle, LogExamination, LogFile, LogFindings, LogFlaw, NamedCheckpoint, Note, Origin,
    TILE_WIDTH, Tile,
};
use sealstone_attestation::countersign::ManifestTrust;
use sealstone_attestation::{
    AuthorityDigest, Expectations, LogAnchor, Nonce, Purpose, Report, VerifiedReport,
};
use serde_json::{Value, json};

use super::folder::LogFolder;
use super::{ReportKey, VerifyArgs, not_believed, unsigned};
use crate::cmd::{
    judge::{Basis, EvidenceFile},
    now,
};
use crate::failure::{Failure, chain};
use crate::files;
use crate::output::{Answer, json_of, shown};

/// Evidence that was accepted.
struct Anchor {
    name: String,
    report: Report,
    /// `None` where the evidence holds no checkpoint.
    log: Option<LogAnchor>,
    checkpoint: Vec<u8>,
}

pub(super) fn run(args: VerifyArgs) -> Result<Answer, Failure> {
    let VerifyArgs { dir, report, nonce, authority, key, checkpoint, lost_log } = args;
    let anchor = match (report, nonce, authority) {
        (Some(file), Some(nonce), Some(authority)) => Some(appraised(&file, nonce, authority)?),
        _ => None,
    };
    let key = key_of(key, anchor.as_ref())?;
    let folder = LogFolder::open(&dir);
    let read = |note: &[u8], name: &str| {
        let found = key.as_ref().map_or_else(|| unsigned(note), |key| key.believe(note));
        found.map_err(|error| not_believed(name, &error))
    };
    let head = read(&folder.checkpoint()?, "of the log")?;
    let mut heads =
        vec![NamedCheckpoint { name: "the log's checkpoint".to_owned(), checkpoint: head.clone() }];
    for path in &checkpoint {
        let name = path.display().to_string();
        let note = files::read(path, "a checkpoint", Note::BYTES_MAX)?;
        heads.push(NamedCheckpoint { checkpoint: read(&note, &name)?, name });
    }
    if let Some(Anchor { name, log: Some(_), checkpoint, .. }) = &anchor {
        let name = format!("the checkpoint in {name}");
        heads.push(NamedCheckpoint { checkpoint: read(checkpoint, &name)?, name });
    }
    one_origin(&head.origin, &heads, anchor.as_ref())?;

    let mut examination = LogExamination::begin(head.size, heads);
    lost_log.into_iter().for_each(|root| examination.know_lost(root));
    if let Some(Report { era, sequence: sequence @ 1.., receipt_head, .. }) =
        anchor.as_ref().map(|anchor| &anchor.report)
    {
        examination.expect_receipt(*era, *sequence, *receipt_head);
    }
    let findings = examined(&folder, head.size, examination)?;
    Ok(answer(&head, &findings, key.as_ref(), anchor.as_ref()))
}

/// Evidence, judged as `sealstone verify` judges it.
fn appraised(file: &Path, nonce: Nonce, authority: AuthorityDigest) -> Result<Anchor, Failure> {
    let refused = |reason: String| {
        Failure::refused(
            "EVIDENCE_REFUSED",
            format!("expected evidence that is accepted in {}, found: {reason}", file.display()),
            "see every check with `sealstone verify`",
        )
    };
    let expectations = Expectations {
        purpose: Purpose::Evidence,
        nonce: Some(nonce),
        challenger: None,
        node: None,
        previous_clock: None,
        max_age: None,
    };
    let trusted = ManifestTrust::Authority(authority);
    let basis = Basis::new(EvidenceFile::read(file)?, None, trusted, expectations, now()?)?;
    let verdict = basis.judge().verdict;
    if let Some(failure) = verdict.first_failure() {
        return Err(refused(format!("{}: {}", failure.name, shown(&failure.detail))));
    }
    let evidence = basis.file.evidence;
    let report = VerifiedReport::from_envelope(&evidence.report).map_err(|error| refused(chain(&error)))?;
    Ok(Anchor {
        name: file.display().to_string(),
        report: report.report().clone(),
        log: verdict.log().copied(),
        checkpoint: evidence.checkpoint,
    })
}

/// The key that was given, or the evidence's; both must be the same.
fn key_of(key: Option<ReportKey>, anchor: Option<&Anchor>) -> Result<Option<ReportKey>, Failure> {
    match (key, anchor.map(|anchor| anchor.report.report_key)) {
        (Some(key), Some(reported)) if key.bytes != reported => Err(Failure::refused(
            "OTHER_KEY",
            "expected the report key that was given in the evidence, found another",
            "see which of them is the node's",
        )),
        (Some(key), _) => Ok(Some(key)),
        (None, reported) => Ok(reported.map(ReportKey::from)),
    }
}

/// All of one log.
fn one_origin(origin: &Origin, heads: &[NamedCheckpoint], anchor: Option<&Anchor>) -> Result<(), Failure> {
    let other = |name: &str, found: &str| {
        Failure::refused(
            "OTHER_LOG",
            format!(
                "expected checkpoints of {}, found that {name} is of {}",
                shown(&origin.to_string()),
                shown(found)
            ),
            "give checkpoints and evidence of one node",
        )
    };
    if let Some(head) = heads.iter().find(|head| head.checkpoint.origin != *origin) {
        return Err(other(&head.name, &head.checkpoint.origin.to_string()));
    }
    match anchor.map(|anchor| (&anchor.name, Origin::of_report(&anchor.report))) {
        Some((name, Ok(found))) if found != *origin => Err(other(name, &found.to_string())),
        Some((name, Err(error))) => Err(other(name, &error.to_string())),
        _ => Ok(()),
    }
}

/// Reads the whole log, a bundle and its tile at a time.
fn examined(folder: &LogFolder, size: u64, mut examination: LogExamination) -> Result<LogFindings, Failure> {
    let compare = |examination: &mut LogExamination, expected: Vec<LogFile>| {
        for file in expected {
            if !folder.holds(&file)? {
                examination.tile_differs(&file.path);
            }
        }
        Ok::<(), Failure>(())
    };
    for number in 0..size.div_ceil(TILE_WIDTH) {
        let (Some(bundle), Some(tile)) = (EntryBundle::of_log(size, number), Tile::of_tree(size, 0, number))
        else {
            break;
        };
        let (entries, hashes) = (folder.bundle(&bundle)?, folder.tile(&tile)?);
        if hashes.is_none() {
            examination.tile_differs(&tile.path());
        }
        let upper = examination.bundle(&bundle, entries.as_deref(), hashes.as_deref());
        compare(&mut examination, upper)?;
    }
    let edge = examination.partial_tiles();
    compare(&mut examination, edge)?;
    Ok(examination.finish())
}

fn answer(
    head: &Checkpoint,
    findings: &LogFindings,
    key: Option<&ReportKey>,
    anchor: Option<&Anchor>,
) -> Answer {
    let LogFindings { size, root, flaws, eras, begun } = findings;
    let complete = flaws.is_empty();
    let anchored = anchor.filter(|_| complete).and_then(|anchor| Some((anchor, anchor.log?)));
    let mut warnings = Vec::new();
    if key.is_none() {
        warnings.push("nobody's signature was checked: give --key or --report".to_owned());
    }
    if anchor.is_some_and(|anchor| anchor.log.is_none()) {
        warnings.push("the evidence holds no checkpoint, so it anchors nothing".to_owned());
    }
    for (index, detail) in begun {
        warnings.push(format!(
            "record {index}: this log was begun {}: what that one held is not here",
            shown(detail)
        ));
    }
    for era in eras {
        if era.gap {
            let next = era.up_to + 1;
            warnings.push(format!("era {}: later receipts are logged, but not receipt {next}", era.era));
        }
        if era.unproven > 0 {
            warnings.push(format!(
                "era {}: {} records do not say enough to compute their receipt's hash again",
                era.era, era.unproven
            ));
        }
    }
    let mut text = format!("{}\n", shown(&head.origin.to_string()));
    for flaw in flaws {
        text.push_str(&format!("FAIL {}\n", shown(&chain(flaw))));
    }
    for warning in &warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    if flaws.iter().any(|flaw| matches!(flaw, LogFlaw::Begun { .. })) {
        text.push_str(
            "find what the lost log held; if its loss is accounted for, say so with --lost-log ROOT\n",
        );
    }
    if complete {
        text.push_str(&format!("complete to size {size}, root {root}\n"));
    } else {
        text.push_str("refused\n");
    }
    if let Some((anchor, log)) = &anchored {
        let LogAnchor { size, lag, .. } = log;
        text.push_str(&format!(
            "anchored to size {size} by {}; {lag} receipts of the report may not be in it\n",
            anchor.name
        ));
    }
    let flaws: Vec<Value> =
        flaws.iter().map(|flaw| json!({"index": flaw.index(), "detail": chain(flaw)})).collect();
    let eras: Vec<Value> = eras
        .iter()
        .map(|era| json!({"era": era.era, "up_to": era.up_to, "gap": era.gap, "unproven": era.unproven}))
        .collect();
    let json = json!({
        "complete": complete,
        "origin": head.origin.to_string(),
        "size": size,
        "root": root,
        "signed": key.is_some(),
        "verifier_key": key.and_then(|key| key.for_tools(&head.origin)),
        "anchored": anchored.as_ref().map(|(_, log)| json_of(log)),
        "receipts": eras,
        "begun": begun.iter().map(|(index, detail)| json!({"index": index, "detail": detail})).collect::<Vec<_>>(),
        "flaws": flaws,
        "warnings": warnings,
    });
    // Who asked for an anchor and has none was refused what they asked for.
    Answer::verdict(complete && (anchor.is_none() || anchored.is_some()), json, text)
}
