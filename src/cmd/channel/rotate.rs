//! `sealstone channel rotate`: the next key, beside the one in use.

use std::path::{Path, PathBuf};

use sealstone_wire::channel::ChannelKey;
use serde_json::json;
use toml::Value;

use super::Side;
use super::folder::{Change, Config, change, check_owner, give_to_owner, list};
use crate::failure::{Failure, chain};
use crate::output::{Answer, fields};

/// Numbers of key files that are tried; more rotations than a node has in its life.
const NUMBERS_MAX: u32 = 10_000;

pub(super) fn run(side: Side, dir: &Path) -> Result<Answer, Failure> {
    let own = Config::open(dir, side)?;
    let other = Config::find(dir, side.other())?;
    let key = own.key()?;
    check_owner(&key, side)?;
    if let Some(next) = own.next()? {
        return Err(Failure::refused(
            "ROTATION_UNDER_WAY",
            format!("expected no next key of the {}, found {} in {}", side.name(), next.public, next.name),
            format!(
                "finish that rotation: sealstone channel retire --side {} --dir {}",
                side.name(),
                dir.display()
            ),
        ));
    }
    if let Some(other) = &other {
        let peers = other.peers()?;
        if peers != [key.public] {
            return Err(Failure::refused(
                "CHANNEL_MISMATCH",
                format!(
                    "expected {} to name {} only, the {}'s key in use, found {} keys",
                    other.path.display(),
                    key.public,
                    side.name(),
                    peers.len()
                ),
                "compare both sides with `sealstone channel show`, and correct the configuration",
            ));
        }
    }

    let (name, path, next) = create_beside(side, &key.path, &key.name)?;
    let both = list(&[next.public(), key.public]);
    let known = [(side.other().peers(), Some(both.clone()))];
    let had = [(side.next(), Some(Value::String(name.clone())))];
    // First who must know the key, then who has it: a command that is cut off between leaves both sides able to talk.
    let changes: Vec<Change<'_>> =
        other.iter().map(|other| (other, &known[..])).chain([(&own, &had[..])]).collect();
    let changed = give_to_owner(&path, &key.path)
        .map_err(|error| {
            Failure::unusable(
                "CHANNEL_KEY",
                format!("cannot give {} to its owner: {error}", path.display()),
                "run it as root",
            )
        })
        .and_then(|()| change(&changes));
    if let Err(failure) = changed {
        // No configuration names it.
        drop(std::fs::remove_file(&path));
        return Err(failure);
    }

    let peer_line = side.other().peers().line(&both);
    let mut rows = vec![
        ("key in use", key.public.to_string()),
        ("next key", format!("{} in {name}", next.public())),
        ("edited", format!("{}: {}", side.file(), side.next().line(&Value::String(name.clone())))),
    ];
    let verb = if other.is_some() { "edited" } else { "to be edited there" };
    rows.push((verb, format!("{}: {peer_line}", side.other().file())));
    let text = fields(&rows)
        + "next, in any order:\n  \
           kill -HUP AGENT       the agent goes on signing\n  \
           restart the enclave   when it suits: nothing signs until the agent has unlocked and attested it again\n"
        + &format!("then:\n  sealstone channel retire --side {} --dir {}\n", side.name(), dir.display());
    let json = json!({
        "side": side.name(), "key": key.public, "next_key": next.public(), "next_key_file": name,
        "other_side": {"file": side.other().file(), "line": peer_line, "edited": other.is_some()},
    });
    Ok(Answer::done(json, text))
}

/// A new key beside the one in use: `agent.key`, `agent-2.key`, `agent-3.key`. Its file's name, as the configuration
/// will have it, and where it is.
fn create_beside(
    side: Side,
    current: &Path,
    written: &str,
) -> Result<(String, PathBuf, ChannelKey), Failure> {
    for number in 2..NUMBERS_MAX {
        let file = format!("{}-{number}.key", side.name());
        let path = current.with_file_name(&file);
        // A name that was ever used is not used again while its file is there.
        if path.exists() {
            continue;
        }
        let key = ChannelKey::create(&path).map_err(|error| {
            Failure::unusable(
                "CHANNEL_KEY",
                chain(&error),
                "check the folder of the key in use and its permissions",
            )
        })?;
        let name = Path::new(written).with_file_name(&file);
        return Ok((name.display().to_string(), path, key));
    }
    Err(Failure::unusable(
        "CHANNEL_KEY",
        format!("expected fewer than {NUMBERS_MAX} keys beside {}, found as many", current.display()),
        "delete the keys that are no longer in use",
    ))
}
