//! An accepted appraisal as an Entity Attestation Token (RFC 9711): what an auditor found, as a signed CBOR Web Token (RFC 8392)
//! for those who do not read this project's own records. `docs/eat.md` has the profile.

mod claims;
mod encoding;

pub use claims::{AttestationResult, EatError, PROFILE};
