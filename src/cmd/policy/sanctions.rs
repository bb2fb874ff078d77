//! `sealstone policy sanctions`: make the list from published files, and look addresses up in it.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use sealstone_policy::sanctions::Importer;
use serde_json::json;

use super::read_sanctions;
use crate::cmd::now;
use crate::failure::{Failure, chain};
use crate::files;
use crate::output::{Answer, fields, shown};

/// Bytes of a published file. All of them together have some dozens of megabytes.
const PUBLISHED_MAX: usize = 512 * 1024 * 1024;

/// Steps in which progress is told, in per cent.
const PROGRESS_STEP: u64 = 10;

/// Make a sanctions list, and look addresses up in it
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  \
        sealstone policy sanctions import sdn.csv sdn_comments.csv -o sanctions.list\n  \
        sealstone policy sanctions check sanctions.list 0x8589427373D6D84E98730D7795D8f6f8731FDA16")]
pub(in crate::cmd) enum Verb {
    /// Make a list from published files
    ///
    /// Takes the Treasury's sdn.csv, sdn_comments.csv, add.csv and alt.csv (sdn_comments.csv after sdn.csv), and files
    /// with an address on each line or in a column `address`. Nothing is skipped: a row that is neither ends the import.
    #[command(after_help = "Examples:\n  \
            sealstone policy sanctions import sdn.csv sdn_comments.csv -o sanctions.list\n  \
            sealstone policy sanctions import sdn.csv sdn_comments.csv own.csv -o sanctions.list --json")]
    Import {
        /// The files, in this order
        #[arg(required = true, value_name = "CSV")]
        files: Vec<PathBuf>,
        /// Where the list goes; an older one is replaced
        #[arg(short, long, value_name = "LIST")]
        out: PathBuf,
    },
    /// Look addresses up: exit code 1 if one of them is on the list
    #[command(after_help = "Example:\n  \
            sealstone policy sanctions check sanctions.list 0x8589427373D6D84E98730D7795D8f6f8731FDA16")]
    Check {
        /// The list
        file: PathBuf,
        /// The addresses
        #[arg(required = true)]
        addresses: Vec<String>,
    },
}

pub(in crate::cmd) fn run(verb: Verb, quiet: bool) -> Result<Answer, Failure> {
    match verb {
        Verb::Import { files, out } => import(&files, &out, quiet),
        Verb::Check { file, addresses } => check(&file, &addresses),
    }
}

fn import(paths: &[PathBuf], out: &Path, quiet: bool) -> Result<Answer, Failure> {
    let mut importer = Importer::new();
    for path in paths {
        let bytes = files::read(path, "a published sanctions list", PUBLISHED_MAX)?;
        let total = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let mut told = 0;
        let progress = |progress: sealstone_policy::sanctions::Progress| {
            let percent = (progress.bytes * 100).checked_div(total).unwrap_or(100).min(100);
            if !quiet && percent >= told + PROGRESS_STEP {
                told = percent;
                eprintln!("{}: {percent} %", path.display());
            }
        };
        importer.read(&bytes, progress).map_err(|error| not_importable(Some(path), &chain(&error)))?;
    }
    let list = importer.finish(now()?).map_err(|error| not_importable(None, &chain(&error)))?;
    files::replace(out, "the sanctions list", &list.to_bytes())?;
    let json = json!({
        "out": out.display().to_string(),
        "addresses": list.count(),
        "source": list.source(),
        "imported_at": list.imported_at(),
    });
    let text = fields(&[
        ("list", out.display().to_string()),
        ("addresses", list.count().to_string()),
        ("source", list.source().to_string()),
        ("imported at", list.imported_at().to_string()),
    ]);
    Ok(Answer::done(json, text))
}

fn not_importable(path: Option<&PathBuf>, found: &str) -> Failure {
    let place = path.map_or_else(|| "the files".to_owned(), |path| path.display().to_string());
    Failure::unusable(
        "SANCTIONS_SOURCE",
        format!("expected published sanctions lists in {place}, found: {}", shown(found)),
        "give the files as they were published, whole, in the order of `sealstone policy sanctions import --help`",
    )
}

fn check(path: &Path, addresses: &[String]) -> Result<Answer, Failure> {
    let list = read_sanctions(path)?;
    let (listed, clear): (Vec<&String>, Vec<&String>) =
        addresses.iter().partition(|address| list.contains_text(address.trim()));
    let json = json!({
        "listed": listed,
        "clear": clear,
        "addresses": list.count(),
        "source": list.source(),
        "imported_at": list.imported_at(),
    });
    let mut text = String::new();
    for (mark, addresses) in [("listed", &listed), ("clear ", &clear)] {
        for address in addresses {
            text.push_str(&format!("{mark}  {}\n", shown(address)));
        }
    }
    text.push_str(&format!("{} addresses, imported {}\n", list.count(), list.imported_at()));
    Ok(Answer::verdict(listed.is_empty(), json, text))
}
