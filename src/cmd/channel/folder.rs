//! What a node's folder says of the channel: each side's keys, and which keys it expects of the other.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use sealstone_wire::channel::{ChannelKey, ChannelPublic, public_keys};
use toml::{Table, Value};

use super::Side;
use super::edit::{Place, set};
use crate::cmd::init::{AGENT_CONFIG, ENCLAVE_CONFIG};
use crate::failure::{Failure, chain};
use crate::files;

/// One side's configuration.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) side: Side,
    pub(super) path: PathBuf,
    text: String,
    table: Table,
}

/// A key file that a configuration names.
#[derive(Debug)]
pub(super) struct NamedKey {
    /// As it is written there.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) public: ChannelPublic,
}

impl Side {
    pub(super) const fn file(self) -> &'static str {
        match self {
            Self::Agent => AGENT_CONFIG,
            Self::Enclave => ENCLAVE_CONFIG,
        }
    }

    /// Where it names its key.
    pub(super) const fn key(self) -> Place {
        match self {
            Self::Agent => Place { table: Some("enclave"), key: "key_file" },
            Self::Enclave => Place { table: None, key: "channel_key_file" },
        }
    }

    /// Where it names its next key.
    pub(super) const fn next(self) -> Place {
        match self {
            Self::Agent => Place { table: Some("enclave"), key: "next_key_file" },
            Self::Enclave => Place { table: None, key: "next_channel_key_file" },
        }
    }

    /// Where it names the other side's public keys.
    pub(super) const fn peers(self) -> Place {
        match self {
            Self::Agent => Place { table: Some("enclave"), key: "public_keys" },
            Self::Enclave => Place { table: None, key: "agent_public_keys" },
        }
    }
}

impl Config {
    /// A side's configuration, if it is in this folder.
    pub(super) fn find(dir: &Path, side: Side) -> Result<Option<Self>, Failure> {
        let path = dir.join(side.file());
        if !path.exists() {
            return Ok(None);
        }
        let text = files::read_text(&path, "a configuration")?;
        let table = text.parse().map_err(|error| bad(&path, format!("expected TOML, found: {error}")))?;
        Ok(Some(Self { side, path, text, table }))
    }

    /// The same, where there must be one.
    pub(super) fn open(dir: &Path, side: Side) -> Result<Self, Failure> {
        Self::find(dir, side)?.ok_or_else(|| {
            Failure::unusable(
                "CHANNEL_CONFIG",
                format!("expected {} in {}, found none", side.file(), dir.display()),
                format!(
                    "run it where the {} is, with --dir for the folder of its configuration",
                    side.name()
                ),
            )
        })
    }

    /// The key in use.
    pub(super) fn key(&self) -> Result<NamedKey, Failure> {
        self.named(self.side.key())?
            .ok_or_else(|| bad(&self.path, format!("expected {}, found none", self.side.key().name())))
    }

    /// The next key, while it is being replaced.
    pub(super) fn next(&self) -> Result<Option<NamedKey>, Failure> {
        self.named(self.side.next())
    }

    fn named(&self, at: Place) -> Result<Option<NamedKey>, Failure> {
        let Some(value) = at.of(&self.table) else { return Ok(None) };
        let name = value.as_str().ok_or_else(|| {
            bad(&self.path, format!("expected a file name at {}, found {value}", at.name()))
        })?;
        let path = self.path.with_file_name(name);
        let public = ChannelKey::from_file(&path)
            .map_err(|error| {
                Failure::unusable(
                    "CHANNEL_KEY",
                    chain(&error),
                    format!("run it as the user who owns the {}'s key, or as root", self.side.name()),
                )
            })?
            .public();
        Ok(Some(NamedKey { name: name.to_owned(), path, public }))
    }

    /// The other side's public keys, as this one expects them.
    pub(super) fn peers(&self) -> Result<Vec<ChannelPublic>, Failure> {
        let at = self.side.peers();
        let texts: Option<Vec<&str>> = at
            .of(&self.table)
            .and_then(Value::as_array)
            .and_then(|values| values.iter().map(Value::as_str).collect());
        let texts = texts.ok_or_else(|| bad(&self.path, format!("expected a list at {}", at.name())))?;
        public_keys(&texts).map_err(|error| bad(&self.path, format!("{}: {error}", at.name())))
    }

    /// Its text with other values; new ones come behind the key.
    fn edited(&self, changes: &[(Place, Option<Value>)]) -> Result<String, Failure> {
        changes.iter().try_fold(self.text.clone(), |text, (at, value)| {
            set(&text, *at, self.side.key(), value.as_ref()).ok_or_else(|| {
                bad(&self.path, format!("expected {} in one line of its own, found it otherwise", at.name()))
            })
        })
    }

    fn write(&self, text: &str) -> Result<(), Failure> {
        let before = fs::metadata(&self.path);
        files::replace(&self.path, "a configuration", text.as_bytes())?;
        // It stays whose it was, and as open as it was, as far as this user may say so.
        if let Ok(before) = before {
            drop(fs::set_permissions(&self.path, before.permissions()));
            drop(chown(&self.path, Some(before.uid()), Some(before.gid())));
        }
        Ok(())
    }
}

/// One configuration and what becomes of it.
pub(super) type Change<'a> = (&'a Config, &'a [(Place, Option<Value>)]);

/// Changes configurations one after the other. Nothing is written if one of them cannot be edited; what was written is
/// taken back if the next one cannot be.
pub(super) fn change(changes: &[Change<'_>]) -> Result<(), Failure> {
    let edited: Vec<String> =
        changes.iter().map(|(config, values)| config.edited(values)).collect::<Result<_, _>>()?;
    for (number, ((config, _), text)) in changes.iter().zip(&edited).enumerate() {
        if let Err(failure) = config.write(text) {
            for (earlier, _) in &changes[..number] {
                // Both sides know the key in use in either text.
                drop(earlier.write(&earlier.text));
            }
            return Err(failure);
        }
    }
    Ok(())
}

/// Refuses whoever could make no key that the side can read.
pub(super) fn check_owner(key: &NamedKey, side: Side) -> Result<(), Failure> {
    let own = rustix::process::geteuid();
    if own.is_root() || fs::metadata(&key.path).is_ok_and(|metadata| metadata.uid() == own.as_raw()) {
        return Ok(());
    }
    Err(Failure::unusable(
        "CHANNEL_KEY",
        format!("expected {} to belong to user {}, who runs this", key.path.display(), own.as_raw()),
        format!("run it as the user of the {}, or as root", side.name()),
    ))
}

/// Gives a new key file to the owner of the one in use.
pub(super) fn give_to_owner(new: &Path, current: &Path) -> std::io::Result<()> {
    let current = fs::metadata(current)?;
    chown(new, Some(current.uid()), Some(current.gid()))
}

/// A list of public keys as a configuration has it.
pub(super) fn list(keys: &[ChannelPublic]) -> Value {
    Value::Array(keys.iter().map(|key| Value::String(key.to_string())).collect())
}

fn bad(path: &Path, found: String) -> Failure {
    Failure::unusable(
        "CHANNEL_CONFIG",
        format!("{}: {found}", path.display()),
        "edit the file by hand; docs/operations.md says what each step writes",
    )
}
