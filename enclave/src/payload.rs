//! What the TPM seals: `root ‖ SHA-256(authority set) ‖ least manifest version ‖ report key seed`.

use sealstone_attestation::{AuthorityDigest, Manifest};

use crate::derive::{ROOT_LEN, Root};
use crate::report_key::{REPORT_SEED_LEN, ReportKey};
use crate::secret::{self, SecretBytes};

/// Bytes of the payload; a TPM seals at most 128.
const PAYLOAD_LEN: usize = ROOT_LEN + 32 + 8 + REPORT_SEED_LEN;

/// The sealed secrets, and what an unlocked enclave must hold its state file to.
#[allow(missing_debug_implementations, reason = "holds the root")]
pub struct SealPayload {
    /// The root.
    pub root: Root,
    /// The authority set that the manifest in force must carry.
    pub authority: AuthorityDigest,
    /// The version below which no manifest is taken.
    pub least_version: u64,
    /// Signs reports, receipts and audit checkpoints.
    pub report_key: ReportKey,
}

impl SealPayload {
    /// The bytes to seal under this manifest.
    #[must_use]
    pub fn encode(root: &Root, manifest: &Manifest, report_key: &ReportKey) -> SecretBytes {
        let authority = manifest.authority().digest();
        secret::run(|inside| {
            let mut out = Vec::with_capacity(PAYLOAD_LEN);
            out.extend_from_slice(root.danger_bytes(inside));
            out.extend_from_slice(authority.as_bytes());
            out.extend_from_slice(&manifest.version().to_be_bytes());
            out.extend_from_slice(report_key.danger_seed(inside));
            SecretBytes::new(inside, out)
        })
    }

    /// Parses unsealed bytes; `None` if they are not a payload.
    #[must_use]
    pub fn decode(unsealed: &SecretBytes) -> Option<Self> {
        secret::run(|inside| {
            let bytes = unsealed.expose(inside);
            if bytes.len() != PAYLOAD_LEN {
                return None;
            }
            let (root, rest) = bytes.split_first_chunk::<ROOT_LEN>()?;
            let (authority, rest) = rest.split_first_chunk::<32>()?;
            let (version, rest) = rest.split_first_chunk::<8>()?;
            let seed = rest.first_chunk::<REPORT_SEED_LEN>()?;
            Some(Self {
                root: Root::from_bytes(inside, root),
                authority: AuthorityDigest::from_bytes(*authority),
                least_version: u64::from_be_bytes(*version),
                report_key: ReportKey::from_seed(inside, seed),
            })
        })
    }
}
