//! Keeps the tree as `ARCHITECTURE.md` describes it: file sizes, module documentation, inherited lints, the
//! direction of dependencies, and what the enclave is allowed to link.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Lines of a file without its tests. Longer files have more than one job.
const LINES_MAX: usize = 600;

/// The crates of the workspace and what each may depend on, among them. Agent and enclave never meet.
const CRATES: &[(&str, &str, &[&str])] = &[
    ("attestation", "sealstone-attestation", &[]),
    ("wire", "sealstone-wire", &["sealstone-attestation"]),
    ("policy", "sealstone-policy", &["sealstone-attestation", "sealstone-wire"]),
    ("enclave", "sealstone-enclave", &["sealstone-attestation", "sealstone-wire"]),
    ("agent", "sealstone-agent", &["sealstone-attestation", "sealstone-wire", "sealstone-policy"]),
    (".", "sealstone", &["sealstone-attestation", "sealstone-wire", "sealstone-policy"]),
    (
        "swtpm-tests",
        "sealstone-swtpm-tests",
        // The enclave: the hunt for secrets unseals the root itself, to know what it looks for.
        &[
            "sealstone-attestation",
            "sealstone-wire",
            "sealstone-policy",
            "sealstone-agent",
            "sealstone-enclave",
        ],
    ),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(root())
        .output()
        .expect("git lists the sources: apt-get install git");
    assert!(listed.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).expect("paths are UTF-8");
    let files: Vec<PathBuf> =
        names.lines().map(|name| root().join(name)).filter(|path| path.exists()).collect();
    assert!(files.len() > 50, "expected the whole tree, found {} files", files.len());
    files
}

#[test]
fn every_file_says_what_it_is_for_and_has_one_job() {
    let mut faults = Vec::new();
    for path in sources() {
        let text = fs::read_to_string(&path).expect("sources are UTF-8");
        let name = path.strip_prefix(root()).expect("listed below the root").display().to_string();
        let documented = text
            .lines()
            .find(|line| !line.trim().is_empty() && !line.starts_with("#!"))
            .is_some_and(|line| line.starts_with("//!"));
        if !documented {
            faults.push(format!("{name}: expected a `//!` comment that says what the file is for"));
        }
        let lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
        if lines > LINES_MAX {
            faults
                .push(format!("{name}: expected at most {LINES_MAX} lines before its tests, found {lines}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_crate_inherits_the_lints_and_depends_in_one_direction() {
    for (folder, name, allowed) in CRATES {
        let manifest =
            fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("each crate has a manifest");
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{name} does not inherit the workspace's lints"
        );
        // The root's manifest also has what the workspace shares.
        let mut shared = false;
        let own: Vec<&str> = manifest
            .lines()
            .filter(|line| {
                if line.starts_with('[') {
                    shared = line.starts_with("[workspace");
                }
                !shared
            })
            .collect();
        for (_, other, _) in CRATES {
            let names_it = own
                .iter()
                .any(|line| line.starts_with(&format!("{other}.")) || line.starts_with(&format!("{other} ")));
            assert!(!names_it || allowed.contains(other), "{name} must not depend on {other}");
        }
    }
}

#[test]
fn unsafe_code_is_forbidden_outside_the_enclave() {
    for (folder, name, _) in CRATES {
        let crate_root = ["src/lib.rs", "src/main.rs"]
            .iter()
            .map(|file| root().join(folder).join(file))
            .find(|path| path.exists());
        let text = fs::read_to_string(crate_root.expect("each crate has a root")).expect("readable");
        let expected =
            if *name == "sealstone-enclave" { "#![deny(unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
        assert!(text.contains(expected), "{name}: expected {expected}");
    }
}

/// The names of a reviewed list: one a line, `#` comments.
fn reviewed(list: &str) -> BTreeSet<String> {
    fs::read_to_string(root().join(list))
        .unwrap_or_else(|error| panic!("expected the reviewed names in {list}: {error}"))
        .lines()
        .filter_map(|line| {
            line.split('#').next().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned)
        })
        .collect()
}

/// What a crate links, by itself.
fn linked(package: &str, more: &[&str]) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "-p", package, "-e", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"])
        .arg("--locked")
        .args(more)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&tree.stderr));
    String::from_utf8(tree.stdout)
        .expect("crate names are UTF-8")
        .lines()
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

/// Compares a tree with its list.
fn assert_reviewed(linked: &BTreeSet<String>, package: &str, list: &str) {
    let allowed = reviewed(list);
    let unreviewed: Vec<_> = linked.difference(&allowed).collect();
    let unused: Vec<_> = allowed.difference(linked).collect();
    assert!(
        unreviewed.is_empty(),
        "{package} links crates that nobody reviewed: {unreviewed:?}; review them, then list them in {list}"
    );
    assert!(unused.is_empty(), "{list} lists crates that are not linked any more: {unused:?}");
}

#[test]
fn the_enclave_links_only_what_was_reviewed() {
    let linked = linked("sealstone-enclave", &[]);
    assert_reviewed(&linked, "the enclave", "enclave/dependencies.txt");
    for forbidden in ["tokio", "hyper", "axum", "sqlx", "clap", "openssl-sys", "tss-esapi"] {
        assert!(!linked.contains(forbidden), "the enclave must never link {forbidden}");
    }
}

/// Where there is no operating system, what an auditor builds alone links neither one nor C.
const BARE_TARGET: [&str; 2] = ["--target", "wasm32-unknown-unknown"];

#[test]
fn the_attestation_library_links_no_operating_system_and_no_certificates() {
    let bare = linked("sealstone-attestation", &BARE_TARGET);
    assert_reviewed(&bare, "the attestation library", "attestation/dependencies.txt");
    let all = [&BARE_TARGET[..], &["--all-features"]].concat();
    let all = linked("sealstone-attestation", &all);
    for forbidden in
        ["getrandom", "libc", "rustix", "cc", "ring", "tokio", "rayon", "crossbeam-channel", "js-sys"]
    {
        assert!(!all.contains(forbidden), "the attestation library must never link {forbidden}");
    }
    for certificates in ["x509-cert", "certval", "cms"] {
        assert!(!bare.contains(certificates), "without its features it links no {certificates}");
        assert!(all.contains(certificates), "the feature `endorsement` reads certificates by {certificates}");
    }
    let manifest = fs::read_to_string(root().join("attestation/Cargo.toml")).expect("it has a manifest");
    assert!(!manifest.contains("\ndefault = "), "the attestation library has no default features");
}

#[test]
fn the_attestation_library_has_no_clock_file_thread_or_randomness() {
    let forbidden = [
        "std::time::SystemTime",
        "std::time::Instant",
        "SystemTime::",
        "Instant::",
        "std::fs",
        "std::thread",
        "std::net",
        "std::process",
        "std::env",
        "std::io",
        "getrandom",
        "rand::",
        "SysRng",
        "Zoned::now",
        "Timestamp::now",
    ];
    let sources: Vec<PathBuf> =
        sources().into_iter().filter(|path| path.starts_with(root().join("attestation/src"))).collect();
    assert!(sources.len() > 50, "expected the whole library, found {} files", sources.len());
    for path in sources {
        let text = fs::read_to_string(&path).expect("sources are UTF-8");
        // Tests may do what they like; comments do nothing.
        let lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
        for line in lines.filter(|line| !line.trim_start().starts_with("//")) {
            for word in forbidden {
                assert!(!line.contains(word), "{}: expected none of {word}, found: {line}", path.display());
            }
        }
    }
}

/// The codes of failures, from `docs/codes.txt`; names of checks and errors are held to in the library's own test.
#[test]
fn no_code_that_programs_rely_on_is_gone() {
    let mut found = BTreeSet::new();
    for path in sources().into_iter().filter(|path| path.starts_with(root().join("src"))) {
        let text = fs::read_to_string(&path).expect("sources are UTF-8");
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for maker in ["refused(", "unusable("] {
            for call in code.split(maker).skip(1) {
                let first = call.trim_start().strip_prefix('"').and_then(|literal| literal.split('"').next());
                found.extend(first.map(str::to_owned));
            }
        }
    }
    let listed = reviewed("docs/codes.txt");
    assert!(listed.len() > 80, "the list is whole");
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(gone.is_empty(), "programs rely on codes that are gone from the sources: {gone:?}");
}

#[test]
fn every_dependency_has_its_reason() {
    let mut without = BTreeMap::new();
    for (folder, name, _) in CRATES {
        let manifest =
            fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("each crate has a manifest");
        let root_text = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a manifest");
        let mut in_dependencies = false;
        for line in manifest.lines() {
            if line.starts_with('[') {
                in_dependencies = line.ends_with("dependencies]");
            }
            let word = line.split(['.', ' ']).next().unwrap_or_default();
            if !in_dependencies || word.is_empty() || word.starts_with(['[', '#']) {
                continue;
            }
            let dependency = word;
            let listed = root_text.lines().any(|line| line.starts_with(&format!("{dependency} =")));
            if !listed {
                without.insert(dependency.to_owned(), *name);
            }
        }
    }
    assert!(
        without.is_empty(),
        "not in [workspace.dependencies], where versions and reasons are: {without:?}"
    );
}

/// The build for the hunt's control keeps secrets where root reads them; the one for several nodes reads its root from a
/// file.
#[test]
fn no_manifest_turns_on_a_dangerous_feature_and_a_release_does_not_compile_with_one() {
    for feature in ["danger-readable-secrets", "danger-given-root"] {
        let guard = fs::read_to_string(root().join("enclave/src/lib.rs")).expect("the enclave has a root");
        let guarded = format!("#[cfg(all(feature = \"{feature}\", not(debug_assertions)))]\ncompile_error!(");
        assert!(guard.contains(&guarded), "enclave/src/lib.rs: expected {guarded}");
        for (folder, name, _) in CRATES.iter().chain([&("fuzz/targets", "the fuzz targets", &[][..])]) {
            let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml"))
                .expect("each crate has a manifest");
            let uses: Vec<&str> = manifest
                .lines()
                .filter(|line| line.contains(feature) && !line.trim_start().starts_with('#'))
                .collect();
            let (made, needed, named) = (
                format!("{feature} = []"),
                format!("required-features = [\"{feature}\"]"),
                format!("name = \"sealstone-enclave-{feature}\""),
            );
            for line in uses {
                let allowed =
                    *folder == "enclave" && [&made, &needed, &named].iter().any(|allowed| *allowed == line);
                assert!(allowed, "{name} must not turn on {feature}: {line}");
            }
            assert!(
                !manifest.contains("debug-assertions"),
                "{name}: a profile that sets debug-assertions could let {feature} into a release"
            );
        }
    }
}
