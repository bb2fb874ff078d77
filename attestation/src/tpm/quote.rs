//! Quotes (TPM 2.0 Part 2, TPMS_ATTEST of type TPM_ST_ATTEST_QUOTE), parsed from the bytes that were signed.

use thiserror::Error;
use tpm2_protocol::{
    TpmUnmarshal,
    data::{TpmsAttest, TpmsQuoteInfo, TpmuAttest},
};

use crate::{
    ClockInfo,
    tpm::{
        name::TpmName,
        selection::{PcrSelection, SelectionError},
    },
};

/// `TPM_GENERATED_VALUE`: what a restricted key signs begins with it only if the TPM itself made it.
const MAGIC: [u8; 4] = *b"\xffTCG";

/// `TPM_ST_ATTEST_QUOTE`.
const TYPE_QUOTE: [u8; 2] = [0x80, 0x18];

/// A quote as a TPM made it; believed only once its signature verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    qualified_signer: TpmName,
    extra_data: Vec<u8>,
    clock: ClockInfo,
    firmware_version: u64,
    selection: PcrSelection,
    pcr_digest: Vec<u8>,
}

impl Quote {
    /// Reads a whole TPMS_ATTEST: first the magic, then the type, then the rest, with nothing left over.
    ///
    /// # Errors
    /// [`QuoteError`] says which of those failed.
    pub fn parse(bytes: &[u8]) -> Result<Self, QuoteError> {
        let magic = bytes.get(..4).unwrap_or(bytes);
        if magic != MAGIC {
            return Err(QuoteError::Magic { found: hex::encode(magic) });
        }
        let kind = bytes.get(4..6).unwrap_or(&bytes[4..]);
        if kind != TYPE_QUOTE {
            return Err(QuoteError::Type { found: hex::encode(kind) });
        }
        let (attest, rest) =
            TpmsAttest::unmarshal(bytes).map_err(|error| QuoteError::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(QuoteError::TrailingBytes { found: rest.len() });
        }
        let TpmsAttest {
            attest_type: _,
            qualified_signer,
            extra_data,
            clock_info,
            firmware_version,
            attested,
        } = attest;
        let TpmuAttest::Quote(TpmsQuoteInfo { pcr_select, pcr_digest }) = attested else {
            return Err(QuoteError::Type { found: hex::encode(kind) });
        };
        Ok(Self {
            qualified_signer: TpmName::from_bytes(qualified_signer.to_vec()),
            extra_data: extra_data.to_vec(),
            clock: ClockInfo {
                clock: clock_info.clock.value(),
                reset_count: clock_info.reset_count.value(),
                restart_count: clock_info.restart_count.value(),
                safe: clock_info.safe.into(),
            },
            firmware_version: firmware_version.value(),
            selection: PcrSelection::from_tpm(&pcr_select)?,
            pcr_digest: pcr_digest.to_vec(),
        })
    }

    /// The qualified name of the key that signed.
    #[must_use]
    pub fn qualified_signer(&self) -> &TpmName {
        &self.qualified_signer
    }

    /// The qualifying data that the asker gave.
    #[must_use]
    pub fn extra_data(&self) -> &[u8] {
        &self.extra_data
    }

    /// Clock and counts.
    #[must_use]
    pub fn clock(&self) -> &ClockInfo {
        &self.clock
    }

    /// The TPM's firmware version, in the vendor's own scheme.
    #[must_use]
    pub fn firmware_version(&self) -> u64 {
        self.firmware_version
    }

    /// What was quoted.
    #[must_use]
    pub fn selection(&self) -> &PcrSelection {
        &self.selection
    }

    /// The digest over the quoted values.
    #[must_use]
    pub fn pcr_digest(&self) -> &[u8] {
        &self.pcr_digest
    }
}

/// Why bytes are no quote.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuoteError {
    /// Not made by a TPM: anyone may have had it signed by a key that is not restricted.
    #[error("expected the magic ff544347, found {found:?}")]
    Magic {
        /// Hex.
        found: String,
    },
    /// Something else that a TPM attests to.
    #[error("expected the type 8018 (quote), found {found:?}")]
    Type {
        /// Hex.
        found: String,
    },
    /// Not the structure.
    #[error("expected a TPMS_ATTEST, found bytes that do not parse: {0}")]
    Malformed(String),
    /// The structure, and more.
    #[error("expected a TPMS_ATTEST and nothing after it, found {found} bytes more")]
    TrailingBytes {
        /// Bytes left over.
        found: usize,
    },
    /// A selection of PCRs that do not exist.
    #[error(transparent)]
    Selection(#[from] SelectionError),
}
