//! Names (TPM 2.0 Part 1, 16): what the enclave knows an entity by, computed here from its public area.
//!
//! Every authenticated command covers the names of its handles, so a relay that puts another object, index or key
//! behind a handle makes the TPM refuse the command.

use tpm2_protocol::data::TpmAlgId;

use super::kdf::sha256;

/// A name, or the bytes that stand for one: hierarchies and sessions are named by their handles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(Vec<u8>);

impl Name {
    /// `nameAlg ‖ H(public area)` of an object or NV index whose name algorithm is SHA-256.
    pub(super) fn of_public(marshalled: &[u8]) -> Self {
        let mut name = TpmAlgId::Sha256.value().to_be_bytes().to_vec();
        name.extend_from_slice(&sha256(&[marshalled]));
        Self(name)
    }

    /// The name of what has no public area: a hierarchy or a session.
    pub(super) fn of_handle(handle: u32) -> Self {
        Self(handle.to_be_bytes().to_vec())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
