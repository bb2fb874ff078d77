//! What runs: named in the report.

use std::fs::File;
use std::io::Read;

use sealstone_attestation::{BuildInfo, Sha256Digest};
use sha2::{Digest, Sha256};

/// Bytes of an executable that are hashed at most; ours has a few million.
const EXECUTABLE_MAX: u64 = 256 * 1024 * 1024;

/// Release, commit (when the build named one) and the digest of the executable as the kernel runs it.
#[must_use]
pub fn build_info() -> BuildInfo {
    BuildInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("SEALSTONE_COMMIT").unwrap_or("unknown").to_owned(),
        binary_sha256: executable_digest(),
    }
}

/// `/proc/self/exe` is the file that was executed, even if its name now names another.
fn executable_digest() -> Option<Sha256Digest> {
    let mut file = File::open("/proc/self/exe").ok()?.take(EXECUTABLE_MAX);
    let mut hash = Sha256::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        match file.read(&mut piece).ok()? {
            0 => return Some(Sha256Digest::from_bytes(hash.finalize().into())),
            length => hash.update(piece.get(..length)?),
        }
    }
}
