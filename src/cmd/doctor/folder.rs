//! What a node's folder should look like: secrets that only their owner reads, and room for the store.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use serde::Deserialize;

use super::Line;
use crate::files;

/// The files that hold secrets, beside authorities' `*.key`.
const SECRETS: [&str; 3] = ["agent.key", "enclave.key", "enclave.credential"];

/// Entries of the folder that are looked at.
const ENTRIES_MAX: usize = 4096;

/// Free bytes below which the store may soon be unable to reserve a nonce: signing stops then.
const FREE_FAIL: u64 = 64 * 1024 * 1024;

/// Free bytes below which somebody should look: some million signatures' room.
const FREE_WARN: u64 = 1024 * 1024 * 1024;

/// The part of `agent.toml` that says where the store is; the agent itself checks the rest.
#[derive(Deserialize)]
struct AgentConfig {
    store: Option<StoreConfig>,
}

#[derive(Deserialize)]
struct StoreConfig {
    path: Option<PathBuf>,
}

/// Examines a node's folder.
pub(super) fn examine(dir: &Path) -> Vec<Line> {
    let metadata = match fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => return vec![absent(dir, "something that is no folder")],
        Err(error) => return vec![absent(dir, &error.to_string())],
    };
    let mut lines = vec![folder_mode(dir, metadata.mode())];
    lines.extend(secrets(dir));
    lines.push(space(&store_folder(dir)));
    lines
}

fn absent(dir: &Path, found: &str) -> Line {
    Line::fail(
        "dir",
        format!("expected a node's folder at {}, found: {found}", dir.display()),
        "make it with `sealstone init --dir`, or give the right one",
    )
}

fn folder_mode(dir: &Path, mode: u32) -> Line {
    if mode & 0o022 == 0 {
        return Line::ok("dir", format!("{}: nobody but its owner may change it", dir.display()));
    }
    Line::fail(
        "dir",
        format!(
            "expected that only its owner may change {}, found mode {:04o}",
            dir.display(),
            mode & 0o7777
        ),
        format!("chmod go-w {}", dir.display()),
    )
}

fn secrets(dir: &Path) -> Vec<Line> {
    let mut names: Vec<PathBuf> = SECRETS.iter().map(|name| dir.join(name)).collect();
    if let Ok(entries) = fs::read_dir(dir) {
        let keys = entries.take(ENTRIES_MAX).filter_map(|entry| Some(entry.ok()?.path()));
        names.extend(keys.filter(|path| path.extension().is_some_and(|extension| extension == "key")));
    }
    names.sort();
    names.dedup();
    names.iter().map(|path| secret(path)).collect()
}

fn secret(path: &Path) -> Line {
    let name = "dir.secret";
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => Line::fail(
            name,
            format!("expected a regular file at {}, found something else", path.display()),
            "put the file itself there, or start over with `sealstone init`",
        ),
        Ok(metadata) if metadata.mode() & 0o077 != 0 => Line::fail(
            name,
            format!("expected mode 0600 for {}, found {:04o}", path.display(), metadata.mode() & 0o7777),
            format!("chmod 600 {}, and replace it if others may have read it", path.display()),
        ),
        Ok(_) => Line::ok(name, format!("{}: only its owner reads it", path.display())),
        // The agent's and the enclave's parts may well be kept apart, by different users.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Line::ok(name, format!("{} is not here", path.display()))
        }
        Err(error) => Line::warn(
            name,
            format!("expected to see the mode of {}, found: {error}", path.display()),
            "run doctor as root or as the owner of the folder",
        ),
    }
}

fn store_folder(dir: &Path) -> PathBuf {
    let config = files::read_text(&dir.join("agent.toml"), "the agent's configuration").ok();
    let config: Option<AgentConfig> = config.and_then(|text| toml::from_str(&text).ok());
    let store = config.and_then(|config| config.store?.path).unwrap_or_else(|| "agent.db".into());
    // A relative path is relative to the file that names it.
    dir.join(store).parent().map_or_else(|| dir.to_owned(), Path::to_owned)
}

fn space(store: &Path) -> Line {
    let name = "dir.space";
    let action = "make room: without it no nonce is reserved, and nothing signs";
    match statvfs(store) {
        Err(error) => Line::fail(
            name,
            format!("expected the store's folder at {}, found: {error}", store.display()),
            "make the folder, or correct [store] path in agent.toml",
        ),
        Ok(found) => free_line(store, found.f_bavail.saturating_mul(found.f_frsize), name, action),
    }
}

fn free_line(store: &Path, free: u64, name: &'static str, action: &str) -> Line {
    let mib = free / (1024 * 1024);
    let detail = format!("{mib} MiB free for the store in {}", store.display());
    match free {
        0..FREE_FAIL => {
            Line::fail(name, format!("expected at least {} MiB, found {detail}", FREE_FAIL >> 20), action)
        }
        FREE_FAIL..FREE_WARN => {
            Line::warn(name, format!("expected at least {} MiB, found {detail}", FREE_WARN >> 20), action)
        }
        _ => Line::ok(name, detail),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn failures(dir: &Path) -> Vec<String> {
        examine(dir).into_iter().filter(|line| line.result == Health::Fail).map(|line| line.detail).collect()
    }

    #[test]
    fn a_folder_as_init_makes_it_has_nothing_to_mend() {
        let dir = tempfile::tempdir().unwrap();
        for name in SECRETS {
            files::write_new(&dir.path().join(name), "a test", b"x", files::SECRET_MODE).unwrap();
        }
        assert!(failures(dir.path()).is_empty(), "{:?}", failures(dir.path()));
    }

    #[test]
    fn a_secret_or_a_folder_that_is_open_to_others_fails() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("alice.key");
        fs::write(&key, "x").unwrap();
        set_mode(&key, 0o640);
        set_mode(dir.path(), 0o770);
        let found = failures(dir.path());
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[1].contains("alice.key"), "{found:?}");
    }

    #[test]
    fn a_folder_in_place_of_a_key_and_a_file_in_place_of_the_folder_fail() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("agent.key")).unwrap();
        assert!(failures(dir.path())[0].contains("regular file"));
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(failures(&file)[0].contains("no folder"));
        assert_eq!(failures(&dir.path().join("absent")).len(), 1);
    }

    #[test]
    fn the_store_is_looked_for_where_the_configuration_says() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(store_folder(dir.path()), dir.path());
        let config = dir.path().join("agent.toml");
        fs::write(&config, "node = \"n\"\n[store]\npath = \"/nowhere/at/all/agent.db\"\n").unwrap();
        assert_eq!(store_folder(dir.path()), Path::new("/nowhere/at/all"));
        assert!(failures(dir.path())[0].contains("/nowhere/at/all"));
        fs::write(&config, "not toml").unwrap();
        assert_eq!(store_folder(dir.path()), dir.path());
    }

    #[test]
    fn little_room_warns_and_none_fails() {
        let health = |free| free_line(Path::new("/"), free, "dir.space", "make room").result;
        assert_eq!(health(0), Health::Fail);
        assert_eq!(health(FREE_FAIL), Health::Warn);
        assert_eq!(health(FREE_WARN), Health::Ok);
        assert_eq!(health(u64::MAX), Health::Ok);
    }
}
