//! The claims, each made only of what the appraisal passed.

use coset::{
    CoseSign1Builder, HeaderBuilder, TaggedCborSerializable,
    cbor::Value,
    iana::{self, CwtClaimName, EnumI64},
};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::encoding::{bytes, map};
use crate::{
    Algorithm, Evidence, Level, LevelResult, Outcome, PublicKey, Report, ReportError, Verdict,
    VerifiedReport,
    countersign::{RecordedVerdict, VerdictRecord},
};

/// The profile that these tokens follow (`eat_profile`, RFC 9711, section 4.3.2): `docs/eat.md`.
pub const PROFILE: &str = "https://github.com/sealstone/sealstone/docs/eat/v1";

/// What stands before every token: the tag of a CBOR Web Token, 61 (RFC 8392, section 6).
const CWT_TAG: [u8; 2] = [0xd8, 61];

/// A universal entity id that is a hash of identifiers, type RAND (RFC 9711, section 4.2.1.1, table 1).
const UEID_RAND: u8 = 0x01;

/// How versions are written: semantic versioning (RFC 9393, section 4.1, table 3).
const VERSION_SCHEME: u64 = 16384;

/// Keys of our own claims, in the range for private use (RFC 8392, section 9.1: below -65,536).
const LEVELS: i64 = -70_001;
const MANIFEST: i64 = -70_002;
const EVIDENCE: i64 = -70_003;
const JUDGED_AT: i64 = -70_004;
const NODE: i64 = -70_005;

/// Protections of an enclave without which whoever is root can debug it.
const AGAINST_DEBUGGING: [&str; 3] = ["not_dumpable", "tracer_guard", "ptrace_forbidden"];

/// What an auditor found of evidence that is authentic.
#[derive(Clone, Debug, PartialEq)]
pub struct AttestationResult {
    claims: Vec<u8>,
}

impl AttestationResult {
    /// The claims of an appraisal and its record. The evidence must be the one that was appraised.
    ///
    /// # Errors
    /// [`EatError`] when the evidence is not authentic, so that nothing can be claimed, or the record is of another appraisal.
    pub fn of(record: &VerdictRecord, verdict: &Verdict, evidence: &Evidence) -> Result<Self, EatError> {
        if record.verdict != RecordedVerdict::from(verdict) {
            return Err(EatError::OtherVerdict);
        }
        let passed = |level| verdict.levels().of(level).result == LevelResult::Passed;
        if !passed(Level::Authentic) {
            let detail = verdict.levels().of(Level::Authentic).detail.clone();
            return Err(EatError::NotAuthentic { detail });
        }
        let report = VerifiedReport::from_envelope(&evidence.report)?;
        let mut claims = vec![
            claim(CwtClaimName::Iss, record.auditor.as_str().into()),
            claim(CwtClaimName::Iat, record.signed_at.as_secs().into()),
            claim(CwtClaimName::UEID, Value::Bytes(ueid(evidence))),
            claim(CwtClaimName::EatProfile, PROFILE.into()),
            claim(CwtClaimName::SoftwareMeasurementResults, results(verdict)),
            claim(CwtClaimName::SubmodulesSection, map(vec![("enclave".into(), enclave(report.report()))])),
            (LEVELS.into(), levels(verdict)),
            (EVIDENCE.into(), Value::Bytes(record.evidence.as_bytes().to_vec())),
            (JUDGED_AT.into(), record.judged_at.as_secs().into()),
            (NODE.into(), report.report().node.as_str().into()),
        ];
        if passed(Level::Fresh) {
            // The one that was expected, or that the challenger signed.
            let nonce = evidence.nonce.as_bytes().to_vec();
            claims.push(claim(CwtClaimName::Nonce, Value::Bytes(nonce)));
        }
        let same = verdict.check("manifest.same").is_some_and(|check| check.result == Outcome::Passed);
        if let Some(version) = record.manifest.version.filter(|_| same) {
            let digest = Value::Bytes(record.manifest.digest.as_bytes().to_vec());
            let manifest = map(vec![("digest".into(), digest), ("version".into(), version.into())]);
            claims.push((MANIFEST.into(), manifest));
        }
        Ok(Self { claims: bytes(&map(claims)) })
    }

    /// The token: a COSE_Sign1 (RFC 9052, section 4.2) in its tag 18, in the tag 61 of a CWT. `sign` is given the bytes to sign
    /// and answers with this key's signature, so that the key may be wherever it is kept.
    ///
    /// # Errors
    /// [`EatError::Algorithm`] for a key of another algorithm than ES256 or EdDSA.
    pub fn sign(&self, key: &PublicKey, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Result<Vec<u8>, EatError> {
        let algorithm = match key.algorithm() {
            Algorithm::Es256 => iana::Algorithm::ES256,
            Algorithm::EdDsa => iana::Algorithm::EdDSA,
            found @ Algorithm::Es256k => return Err(EatError::Algorithm { found }),
        };
        let protected =
            HeaderBuilder::new().algorithm(algorithm).key_id(key.key_id().as_bytes().to_vec()).build();
        let signed = CoseSign1Builder::new()
            .protected(protected)
            .payload(self.claims.clone())
            .create_signature(&[], sign)
            .build();
        let signed = signed.to_tagged_vec().expect("writing to memory does not fail");
        Ok([&CWT_TAG[..], &signed].concat())
    }
}

fn claim(name: CwtClaimName, value: Value) -> (Value, Value) {
    (name.to_i64().into(), value)
}

/// The TPM by its endorsement key, whose name is a digest already; hashed again, so that all have one length.
fn ueid(evidence: &Evidence) -> Vec<u8> {
    let name = Sha256::digest(evidence.ek.name().as_bytes());
    [&[UEID_RAND], name.as_slice()].concat()
}

/// `measres` (RFC 9711, section 4.2.17): each check, in a group for its level.
fn results(verdict: &Verdict) -> Value {
    let result = |outcome| -> Value {
        match outcome {
            Outcome::Passed => 1.into(),
            Outcome::Failed => 2.into(),
            Outcome::NotApplicable => 3.into(),
        }
    };
    let groups = Level::ALL.iter().filter_map(|level| {
        let checks = verdict.checks().iter().filter(|check| check.level == *level);
        let results: Vec<Value> =
            checks.map(|check| Value::Array(vec![check.name.into(), result(check.result)])).collect();
        let system = format!("sealstone/{}", level.name());
        (!results.is_empty()).then(|| Value::Array(vec![system.into(), Value::Array(results)]))
    });
    Value::Array(groups.collect())
}

fn levels(verdict: &Verdict) -> Value {
    let result = |found| match found {
        LevelResult::Passed => "passed",
        LevelResult::Failed => "failed",
        LevelResult::NotShown => "not_shown",
    };
    map(verdict
        .levels()
        .iter()
        .map(|(level, found)| (level.name().into(), result(found.result).into()))
        .collect())
}

/// The enclave as a submodule (RFC 9711, section 4.2.18): what its report, which the quote vouches for, says of itself.
fn enclave(report: &Report) -> Value {
    let active = |name: &&str| {
        report.protections.iter().any(|protection| protection.name == **name && protection.active)
    };
    // Of `dbgstat` (section 4.2.9) no more than the enclave measures: disabled now, or not.
    let debugging = u64::from(AGAINST_DEBUGGING.iter().all(active));
    let version = Value::Array(vec![report.build.version.as_str().into(), VERSION_SCHEME.into()]);
    map(vec![
        claim(CwtClaimName::SoftwareName, "sealstone-enclave".into()),
        claim(CwtClaimName::SoftwareVersion, version),
        claim(CwtClaimName::DebugStatus, debugging.into()),
    ])
}

/// Why an appraisal becomes no token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EatError {
    /// Nothing can be claimed of who knows what.
    #[error("expected authentic evidence, found that it is not: {detail}")]
    NotAuthentic {
        /// What failed.
        detail: String,
    },
    /// Record and verdict do not belong together.
    #[error("expected the record of this verdict, found that of another one")]
    OtherVerdict,
    /// Tokens are signed with two algorithms only.
    #[error("expected an ES256 or EdDSA key, found {found}")]
    Algorithm {
        /// Of the key.
        found: Algorithm,
    },
    /// The report cannot be read, though its check passed.
    #[error(transparent)]
    Report(#[from] ReportError),
}
