//! Enrolled machines: the TPM keys that a manifest pins.

use serde::{Deserialize, Serialize};

use crate::{
    PublicArea, TpmName,
    manifest::{draft::check_name, error::ManifestError},
};

/// Firmware versions of one node: current, next and a few that are being phased out.
const FIRMWARE_MAX: usize = 64;

/// A node as a manifest spells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeDraft {
    /// 1 to 64 bytes, unique in the manifest.
    pub name: String,
    /// The endorsement key.
    pub ek: PublicArea,
    /// The attestation key, made under the endorsement key.
    pub ak: PublicArea,
    /// The TPM firmware versions that may attest; `None` for any.
    pub firmware: Option<Vec<u64>>,
}

/// A checked node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    name: String,
    ek: PublicArea,
    ak: PublicArea,
    firmware: Option<Vec<u64>>,
}

impl Node {
    pub(crate) fn from_draft(draft: &NodeDraft) -> Result<Self, ManifestError> {
        let NodeDraft { name, ek, ak, firmware } = draft.clone();
        check_name("node", &name)?;
        ek.check_endorsement_key()
            .map_err(|flaw| ManifestError::EndorsementKey { node: name.clone(), flaw })?;
        ak.check_attestation_key()
            .map_err(|flaw| ManifestError::AttestationKey { node: name.clone(), flaw })?;
        if let Some(versions) = &firmware
            && !(1..=FIRMWARE_MAX).contains(&versions.len())
        {
            return Err(ManifestError::Firmware {
                node: name,
                expected: FIRMWARE_MAX,
                found: versions.len(),
            });
        }
        Ok(Self { name, ek, ak, firmware })
    }

    /// Unique in its manifest.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The endorsement key.
    #[must_use]
    pub fn ek(&self) -> &PublicArea {
        &self.ek
    }

    /// The attestation key.
    #[must_use]
    pub fn ak(&self) -> &PublicArea {
        &self.ak
    }

    /// The TPM firmware versions that may attest; `None` for any.
    #[must_use]
    pub fn firmware(&self) -> Option<&[u64]> {
        self.firmware.as_deref()
    }

    /// What quotes of this node name as their signer: the AK under the EK under the endorsement hierarchy
    /// (TPM 2.0 Part 1, section 16). An AK elsewhere has another, and its counts would be obfuscated.
    #[must_use]
    pub fn qualified_signer(&self) -> TpmName {
        self.ak.qualified_name(self.ek.endorsement_primary_name().as_bytes())
    }
}
