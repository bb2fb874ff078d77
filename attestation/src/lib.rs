//! Parse and appraise TPM evidence: what an auditor builds alone.
//!
//! Pure functions over bytes: no I/O, no clock, no unsafe code, no C. Untrusted bytes become checked types by one
//! constructor each, and every parser consumes its input whole.
#![forbid(unsafe_code)]

mod algorithm;
mod clock;
mod digest;
mod encoding;
mod nonce;
mod pcr;
mod public_key;
mod quote_evidence;
mod receipt;
mod statement;
mod time;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use clock::ClockInfo;
pub use digest::{
    AuthorityDigest, Binding, DeploymentId, ManifestDigest, ReceiptHash, ReportDigest, RequestDigest,
    SessionId, Sha256Digest, Signature64, Statement,
};
pub use encoding::{HexBytes, HexError, TooLong, lp};
pub use nonce::{Nonce, NonceError};
pub use pcr::{PcrBank, PcrError, PcrIndex, PcrValues};
pub use public_key::{BadSignature, KeyId, KeyIdError, PublicKey, PublicKeyError};
pub use quote_evidence::QuoteEvidence;
pub use receipt::{Receipt, ReceiptError, SignedReceipt, verify_chain};
pub use statement::{Purpose, UnknownPurpose, statement};
pub use time::{TimeError, UnixTime};
