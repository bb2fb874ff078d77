//! Files with values of PCRs.

use std::path::Path;

use sealstone_attestation::{PcrFile, PcrValues};

use crate::failure::{Failure, chain};
use crate::files;

/// Bytes of a file: all PCRs of all banks as JSON take 15 KiB.
const BYTES_MAX: usize = 64 * 1024;

/// Reads `{"sha256": {"0": "HEX"}}`, or a file of tpm2-tools.
pub(super) fn read(path: &Path) -> Result<PcrFile, Failure> {
    let bytes = files::read(path, "PCR values", BYTES_MAX)?;
    PcrFile::parse(&bytes).map_err(|error| unreadable(path, &chain(&error)))
}

/// The same where no quote says which PCRs values without names are of.
pub(super) fn read_named(path: &Path) -> Result<PcrValues, Failure> {
    match read(path)? {
        PcrFile::Named(values) => Ok(values),
        PcrFile::Unnamed(_) => Err(unreadable(path, "values without the names of their PCRs")),
    }
}

fn unreadable(path: &Path, found: &str) -> Failure {
    Failure::unusable(
        "PCR_VALUES",
        format!("expected PCR values in {}, found: {found}", path.display()),
        "give JSON such as {\"sha256\": {\"10\": \"HEX\"}}, or what `tpm2_quote -o` wrote",
    )
}
