//! Is it a real TPM: vendors' certificates of endorsement keys.
//!
//! What a certificate says of an endorsement key, credential activation ([`Credential`](crate::Credential)) extends to an
//! attestation key beside it. That convinces only whoever ran it, so its result travels as an
//! [`EnrolmentRecord`](crate::EnrolmentRecord) that the authority signed.

mod certificate;
mod chain;
mod pem;
mod readable;
mod signatures;

pub use certificate::{EkCertificate, EkCertificateError, Tolerance, TpmIdentity};
pub use chain::{PinnedCertificates, PinnedError, appraise_ek, appraise_ek_of, ek_checks, root_of};
