//! A real browser that looks at pages: headless Chromium, with axe-core to judge accessibility.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::clients;

/// What the browser found of each page, in every look; screenshots go to the folder. `swtpm-tests/clients/browser.py` says
/// what an answer holds.
///
/// # Panics
/// When browser or clients are not installed.
#[must_use]
pub fn look(folder: &Path, pages: &[PathBuf]) -> Vec<Value> {
    for (program, package) in
        [("/usr/bin/chromium", "chromium"), ("/usr/bin/chromedriver", "chromium-driver")]
    {
        assert!(Path::new(program).is_file(), "{program} is missing: apt-get install {package}");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(clients::program("python"))
        .arg(root.join("clients/browser.py"))
        .arg(folder)
        .args(pages)
        .stderr(Stdio::inherit())
        .output()
        .expect("python runs");
    assert!(output.status.success(), "browser.py failed, see above");
    let seen: Vec<Value> = serde_json::from_slice(&output.stdout).expect("it answers with JSON");
    assert_eq!(seen.len(), pages.len());
    seen
}
