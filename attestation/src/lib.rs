//! Parse and appraise TPM evidence: what an auditor builds alone.
//!
//! Pure functions over bytes: no I/O, no clock, no unsafe code, no C. Untrusted bytes become checked types by
//! one constructor each, and every parser consumes its input whole.
#![forbid(unsafe_code)]
// A test that unwraps fails where it should.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod algorithm;
mod appraisal;
pub mod audit;
mod authority;
mod challenge;
mod clock;
mod digest;
mod dsse;
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
