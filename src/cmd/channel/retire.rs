//! `sealstone channel retire`: the next key becomes the only one.

use std::path::Path;

use serde_json::json;
use toml::Value;

use super::Side;
use super::folder::{Change, Config, change, check_owner, list};
use crate::failure::Failure;
use crate::output::{Answer, fields};

pub(super) fn run(side: Side, dir: &Path) -> Result<Answer, Failure> {
    let own = Config::open(dir, side)?;
    let other = Config::find(dir, side.other())?;
    let key = own.key()?;
    check_owner(&key, side)?;
    let Some(next) = own.next()? else {
        return Err(Failure::refused(
            "NO_ROTATION",
            format!("expected a next key of the {}, found none", side.name()),
            format!("begin with: sealstone channel rotate --side {} --dir {}", side.name(), dir.display()),
        ));
    };
    if let Some(other) = &other
        && !other.peers()?.contains(&next.public)
    {
        return Err(Failure::refused(
            "CHANNEL_MISMATCH",
            format!(
                "expected {} to name the next key {}, found that it does not",
                other.path.display(),
                next.public
            ),
            format!("add it to {} there, and have that side run with it first", side.other().peers().name()),
        ));
    }

    // First who has the key, then who must know it: the key that is left is known to both at every step.
    let only = list(&[next.public]);
    let had = [(side.key(), Some(Value::String(next.name.clone()))), (side.next(), None)];
    let known = [(side.other().peers(), Some(only.clone()))];
    let changes: Vec<Change<'_>> =
        [(&own, &had[..])].into_iter().chain(other.iter().map(|other| (other, &known[..]))).collect();
    change(&changes)?;

    let peer_line = side.other().peers().line(&only);
    let mut rows = vec![
        ("key in use", format!("{} in {}", next.public, next.name)),
        ("retired", format!("{} in {}", key.public, key.name)),
        ("edited", format!("{}: {}", side.file(), side.key().line(&Value::String(next.name.clone())))),
    ];
    let verb = if other.is_some() { "edited" } else { "to be edited there" };
    rows.push((verb, format!("{}: {peer_line}", side.other().file())));
    let text = fields(&rows)
        + "next, in any order; each side goes on under the next key until then, and the retired one is accepted until \
           the enclave was restarted:\n  \
           kill -HUP AGENT       the agent goes on signing\n  \
           restart the enclave   when it suits: nothing signs until the agent has unlocked and attested it again\n"
        + &format!("then:\n  shred -u {}\n", key.path.display());
    let json = json!({
        "side": side.name(), "key": next.public, "key_file": next.name, "retired": key.public,
        "retired_file": key.name,
        "other_side": {"file": side.other().file(), "line": peer_line, "edited": other.is_some()},
    });
    Ok(Answer::done(json, text))
}
