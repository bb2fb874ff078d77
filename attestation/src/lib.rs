//! Parse and appraise TPM evidence: what an auditor builds alone.
//!
//! Pure functions over bytes: no files, no clock, no threads, no randomness, no unsafe code, no C, so that it also runs where
//! there is no operating system (`wasm32-unknown-unknown`). Untrusted bytes become checked types by one constructor each, every
//! parser consumes its input whole, and none allocates more than a small multiple of it.
//!
//! # Use
//!
//! [`appraise`] judges [`Evidence`] by a manifest that its reader trusts, for the nonce that its reader chose. Time is a
//! parameter. `examples/verify.rs` is a whole program.
//!
//! ```
//! use sealstone_attestation::{Evidence, Expectations, Purpose, VerifiedManifest, appraise};
//!
//! # let (evidence, manifest) = (
//! #     include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/node/evidence.json")),
//! #     include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/node/manifest.json")),
//! # );
//! let evidence = Evidence::parse(evidence)?;
//! // Signed by an authority whose digest is known: `VerifiedManifest::first(manifest, authority)`.
//! let manifest = VerifiedManifest::danger_trust_as_given(manifest)?;
//! let expectations = Expectations {
//!     purpose: Purpose::Evidence,
//!     nonce: Some("00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff".parse()?),
//!     challenger: None,
//!     node: None,
//!     previous_clock: None,
//!     max_age: None,
//! };
//! let verdict = appraise(&evidence, &manifest, &expectations, "2026-11-21T00:00:00Z".parse()?);
//! assert!(verdict.accepted(), "{:?}", verdict.first_failure());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Quotes of other tools are for [`appraise_bare_quote`], logs alone for [`event_log`] and [`ima`], exported audit logs for
//! [`audit`].
//!
//! # Names
//!
//! A [`Verdict`] names every check, made or not: `signature.valid`, `state.approved` and so on. Programs may rely on these names
//! and on the names of errors' variants: `names.txt` beside this crate's manifest lists them, and none is renamed or removed.
//! Texts of details, warnings and errors are for people and may change.
//!
//! # Features
//!
//! None is on by default.
//!
//! - `eat`: verdicts as Entity Attestation Tokens (RFC 9711), module `eat`.
//! - `endorsement`: vendors' certificates of endorsement keys (X.509, RFC 5280), module `endorsement`.
#![forbid(unsafe_code)]
// A test that unwraps fails where it should.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod algorithm;
mod appraisal;
pub mod audit;
mod authority;
mod challenge;
mod clock;
pub mod countersign;
mod digest;
mod dsse;
#[cfg(feature = "eat")]
pub mod eat;
mod encoding;
#[cfg(feature = "endorsement")]
pub mod endorsement;
mod enrolment;
pub mod event_log;
mod evidence;
mod firmware;
pub mod ima;
mod manifest;
mod nonce;
mod pcr;
mod pcr_file;
mod public_key;
mod quote_evidence;
mod receipt;
mod report;
mod statement;
mod time;
mod tpm;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use appraisal::{
    bare_quote::{BareAppraisal, BareQuote, appraise_bare_quote},
    evidence::{Expectations, appraise, evidence_checks, manifest_refused},
    ima::appraise_ima,
    level::{Level, LevelFinding, LevelResult, Levels},
    quote::{Attested, QuoteAppraisal, appraise_quote},
    verdict::{Check, LogAnchor, Outcome, Verdict},
};
pub use authority::{AuthorityError, AuthorityKey, AuthoritySet, SignaturesError};
pub use challenge::{ChallengeError, ChallengeRecord, VerifiedChallenge};
pub use clock::ClockInfo;
pub use digest::{
    AuthorityDigest, Binding, DeploymentId, ManifestDigest, PolicyDigest, ReceiptHash, ReportDigest,
    RequestDigest, SessionId, Sha256Digest, Signature64, Statement,
};
pub use dsse::{Envelope, EnvelopeError, EnvelopeSignature};
pub use encoding::{HexBytes, HexError, TooLong, lp};
pub use enrolment::{EnrolmentError, EnrolmentRecord, VerifiedEnrolment};
pub use evidence::{Base64Bytes, Evidence, EvidenceError};
pub use firmware::{FirmwareFlaw, known_flaw};
pub use manifest::{
    checked::Manifest,
    draft::{CodeMeasurement, EnclaveParameters, ManifestDraft},
    error::ManifestError,
    node::{Node, NodeDraft},
    permission::{AssetPermission, PayloadKind, Scope, SessionPermission},
    state::{State, StateDraft, StateStatus, binding},
    succession::{BindingRefusal, Grace, Succession},
    verified::VerifiedManifest,
};
pub use nonce::{Nonce, NonceError};
pub use pcr::{HashAlgorithm, PcrBank, PcrError, PcrIndex, PcrValues};
pub use pcr_file::{PcrFile, PcrFileError};
pub use public_key::{BadSignature, KeyId, KeyIdError, PublicKey, PublicKeyError};
pub use quote_evidence::QuoteEvidence;
pub use receipt::{Receipt, ReceiptError, SignedReceipt, verify_chain};
pub use report::{BuildInfo, Protection, Report, ReportError, VerifiedReport};
pub use statement::{Purpose, UnknownPurpose, statement};
pub use time::{TimeError, UnixTime};
pub use tpm::{
    credential::{Credential, CredentialError},
    key_check::KeyFlaw,
    name::TpmName,
    public_area::{KeyScheme, PublicArea, PublicAreaError, TpmKey},
    quote::{Quote, QuoteError},
    quoting_key::QuotingKey,
    selection::{PcrSelection, SelectedBank, SelectionError},
    sharing::{SharedSecret, SharingError, SharingKey, SharingPurpose},
    signature::{SignatureError, SignatureKind, SignatureScheme, TpmSignature, TpmSignatureError},
    spki::SpkiError,
};
