//! `sealstone audit export`: bring a node's log into a folder, up to its newest checkpoint.

use std::path::{Path, PathBuf};

use sealstone_attestation::audit::{Checkpoint, EntryBundle, TILE_WIDTH, Tile};
use serde_json::json;

use super::folder::LogFolder;
use super::{not_believed, unsigned};
use crate::agent::{Agent, Bounds};
use crate::cmd::Context;
use crate::failure::Failure;
use crate::files;
use crate::output::{Answer, shown};

/// Steps in which progress is told, in per cent.
const PROGRESS_STEP: u64 = 10;

/// `quiet`: a program reads the answer, and nobody the progress.
pub(super) fn run(dir: &Path, context: &Context, quiet: bool) -> Result<Answer, Failure> {
    let agent = context.agent()?;
    let note = agent.get_bytes("/v1/audit/log/checkpoint".to_owned(), Bounds::LogFile)?;
    let head = unsigned(&note).map_err(|error| not_believed("of the node", &error))?;
    let folder = LogFolder::open(dir);
    let before = continued(&folder, dir, &head)?;

    let size = head.size;
    let bundles = size.div_ceil(TILE_WIDTH);
    let tiles: Vec<Tile> = Tile::all(size).collect();
    let total = bundles + tiles.len() as u64;
    let mut progress = Progress { done: 0, total, quiet };
    let (mut fetched, mut kept) = (0_u64, 0_u64);
    for bundle in (0..bundles).filter_map(|number| EntryBundle::of_log(size, number)) {
        let whole = bundle.width() == TILE_WIDTH;
        // What is there was downloaded whole or not at all; `audit verify` looks at what it says.
        if whole && folder.bundle(&bundle)?.is_some_and(|bytes| bundle.parse(&bytes).is_ok()) {
            kept += 1;
        } else {
            let bytes = fetch(&agent, &bundle.path())?;
            bundle.parse(&bytes)?;
            write(dir, &bundle.path(), &bytes)?;
            fetched += 1;
        }
        progress.step();
    }
    for tile in tiles {
        if tile.is_whole() && folder.tile(&tile)?.is_some() {
            kept += 1;
        } else {
            let bytes = fetch(&agent, &tile.path())?;
            tile.parse(&bytes)?;
            write(dir, &tile.path(), &bytes)?;
            fetched += 1;
        }
        progress.step();
    }
    // The last: a folder whose download broke off has the head that it had.
    write(dir, "checkpoint", &note)?;
    let text = format!(
        "{}\n{size} records, {} more than before; {fetched} files fetched, {kept} kept\nverify them: sealstone audit \
         verify {} --report EVIDENCE --nonce HEX --authority DIGEST\n",
        shown(&head.origin.to_string()),
        size - before,
        dir.display()
    );
    let json = json!({
        "origin": head.origin.to_string(), "size": size, "before": before, "fetched": fetched, "kept": kept,
    });
    Ok(Answer::done(json, text))
}

/// How many records the folder has; that its log is the beginning of the node's is for `audit verify` to say.
fn continued(folder: &LogFolder, dir: &Path, head: &Checkpoint) -> Result<u64, Failure> {
    if !dir.join("checkpoint").exists() {
        return Ok(0);
    }
    let before = unsigned(&folder.checkpoint()?).map_err(|error| not_believed("of the folder", &error))?;
    if before.origin != head.origin {
        return Err(Failure::refused(
            "OTHER_LOG",
            format!(
                "expected a folder of {}, found one of {}",
                shown(&head.origin.to_string()),
                shown(&before.origin.to_string())
            ),
            "give each node's log a folder of its own",
        ));
    }
    if before.size > head.size {
        return Err(Failure::refused(
            "LOG_SHRUNK",
            format!("expected a log of {} records or more, found one of {}", before.size, head.size),
            "keep the folder: the node lost records that it had signed for; see docs/audit.md",
        ));
    }
    Ok(before.size)
}

fn fetch(agent: &Agent, path: &str) -> Result<Vec<u8>, Failure> {
    agent.get_bytes(format!("/v1/audit/log/{path}"), Bounds::LogFile)
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let path: PathBuf = dir.join(name);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| {
            Failure::unusable(
                "FILE_UNWRITABLE",
                format!("expected to make the folder {}, found: {error}", folder.display()),
                "check the folder, its permissions and free space",
            )
        })?;
    }
    files::replace(&path, "a file of the log", bytes)
}

/// How far it is, told on standard error.
struct Progress {
    done: u64,
    total: u64,
    quiet: bool,
}

impl Progress {
    fn step(&mut self) {
        let percent = |done: u64| done * 100 / self.total.max(1) / PROGRESS_STEP;
        let told = percent(self.done);
        self.done += 1;
        if !self.quiet && percent(self.done) > told {
            eprintln!("{} % of {} files", percent(self.done) * PROGRESS_STEP, self.total);
        }
    }
}
