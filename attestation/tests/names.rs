//! Names that programs rely on: of checks and of errors. `names.txt` lists them; a listed name that is gone fails here, a new
//! one is added there.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders below `src`.
const DEPTH_MAX: usize = 4;

fn sources(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    assert!(depth <= DEPTH_MAX);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, depth + 1, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The names of checks in a source: those of every list of an appraisal.
fn checks(text: &str, names: &mut BTreeSet<String>) {
    for maker in ["mandatory(", "if_asked("] {
        for call in text.split(maker).skip(1) {
            // Definitions and imports have no name; between the parentheses there is one.
            let arguments = call.split(')').next().unwrap();
            if let Some(name) = arguments.split('"').nth(1) {
                names.insert(format!("check {name}"));
            }
        }
    }
}

/// The names of public errors in a source, and of their variants.
fn errors(text: &str, names: &mut BTreeSet<String>) {
    let mut derived = false;
    let mut open = None;
    for line in text.lines() {
        if line.starts_with("#[derive(") {
            derived = line.contains("Error");
        }
        if let Some(name) = line.strip_prefix("pub struct ").filter(|_| derived) {
            names.insert(format!("error {}", name.trim_end_matches(['{', ';', ' '])));
            derived = false;
        }
        if let Some(name) = line.strip_prefix("pub enum ").filter(|_| derived) {
            open = name.split([' ', '<']).next();
            derived = false;
        } else if line == "}" {
            open = None;
        } else if let Some(of) = open
            && let Some(variant) = line.strip_prefix("    ")
            && variant.starts_with(|first: char| first.is_ascii_uppercase())
        {
            let variant = variant.split([' ', '(', ',', '{']).next().unwrap();
            names.insert(format!("error {of}::{variant}"));
        }
    }
}

#[test]
fn no_name_of_a_check_or_an_error_is_gone() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&here.join("src"), 0, &mut files);
    let mut found = BTreeSet::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        checks(text, &mut found);
        errors(text, &mut found);
    }
    if std::env::var_os("SEALSTONE_PRINT_NAMES").is_some() {
        found.iter().for_each(|name| println!("{name}"));
    }
    let list = fs::read_to_string(here.join("names.txt")).unwrap();
    let listed: BTreeSet<String> =
        list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect();
    let count = |kind: &str| listed.iter().filter(|name| name.starts_with(kind)).count();
    assert!(count("check ") > 30 && count("error ") > 80, "the list is whole");
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(gone.is_empty(), "programs rely on names that are gone from the sources: {gone:?}");
}
