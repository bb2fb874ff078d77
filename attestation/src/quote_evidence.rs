//! What a TPM returned for one quote, with the PCR values that it is said to cover. Nothing in it is believed
//! yet.

use serde::{Deserialize, Serialize};

use crate::{PcrValues, encoding::hex_vec};

/// One quote, unverified. Byte fields are hex in text formats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuoteEvidence {
    /// `TPMS_ATTEST`, as the TPM returned it.
    #[serde(with = "hex_vec")]
    pub attest: Vec<u8>,
    /// `TPMT_SIGNATURE`, as the TPM returned it.
    #[serde(with = "hex_vec")]
    pub signature: Vec<u8>,
    /// The values of exactly the PCRs that were quoted.
    pub pcrs: PcrValues,
}
