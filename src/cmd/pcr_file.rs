//! Files with values of PCRs.

use std::path::Path;

use sealstone_attestation::PcrValues;

use crate::failure::Failure;
use crate::files;

/// Reads `{"sha256": {"0": "HEX"}}`.
pub(super) fn read_json(path: &Path) -> Result<PcrValues, Failure> {
    let bytes = files::read(path, "PCR values", files::TEXT_MAX)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Failure::unusable(
            "PCR_VALUES",
            format!("expected PCR values in {}, found: {error}", path.display()),
            "give JSON such as {\"sha256\": {\"10\": \"HEX\"}}",
        )
    })
}
