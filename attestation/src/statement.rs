//! What a quote says besides PCR values: its qualifying data.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    ManifestDigest, ReportDigest, Statement,
    encoding::{TooLong, lp, lp_short},
};

/// Separates statements from every other use of SHA-256.
const LABEL: &[u8] = b"sealstone/quote/v1";

/// What a quote was made for; one made for the other purpose never passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// To open an attested session with an enclave.
    Session,
    /// To show an auditor.
    Evidence,
}

impl Purpose {
    /// The name that statements hold.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Evidence => "evidence",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Purpose {
    type Err = UnknownPurpose;

    fn from_str(text: &str) -> Result<Self, UnknownPurpose> {
        [Self::Session, Self::Evidence]
            .into_iter()
            .find(|purpose| purpose.name() == text)
            .ok_or(UnknownPurpose)
    }
}

/// Not the name of a purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected the purpose session or evidence")]
pub struct UnknownPurpose;

/// The qualifying data of a quote: purpose, nonce, who asks to be believed (report), under which rules
/// (manifest) and what the log said by then (checkpoint, or empty).
///
/// # Errors
/// [`TooLong`] when the nonce or the checkpoint exceeds 65,535 bytes.
pub fn statement(
    purpose: Purpose,
    nonce: &[u8],
    report: ReportDigest,
    manifest: ManifestDigest,
    checkpoint: &[u8],
) -> Result<Statement, TooLong> {
    let mut bytes = Vec::with_capacity(192 + checkpoint.len());
    lp_short(&mut bytes, LABEL);
    lp_short(&mut bytes, purpose.name().as_bytes());
    lp(&mut bytes, nonce)?;
    lp_short(&mut bytes, report.as_bytes());
    lp_short(&mut bytes, manifest.as_bytes());
    lp(&mut bytes, checkpoint)?;
    Ok(Statement::of(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_changes_the_statement() {
        let report = ReportDigest::of(b"report");
        let manifest = ManifestDigest::of(b"manifest");
        let base = statement(Purpose::Session, &[1; 32], report, manifest, b"").unwrap();
        for other in [
            statement(Purpose::Evidence, &[1; 32], report, manifest, b""),
            statement(Purpose::Session, &[2; 32], report, manifest, b""),
            statement(Purpose::Session, &[1; 31], report, manifest, b""),
            statement(Purpose::Session, &[1; 32], ReportDigest::of(b"other"), manifest, b""),
            statement(Purpose::Session, &[1; 32], report, ManifestDigest::of(b"other"), b""),
            statement(Purpose::Session, &[1; 32], report, manifest, b"checkpoint"),
        ] {
            assert_ne!(other.unwrap(), base);
        }
        assert!(statement(Purpose::Session, &[1; 32], report, manifest, &vec![0; 65_536]).is_err());
    }

    #[test]
    fn a_statement_is_the_documented_bytes() {
        let mut bytes = b"\x00\x12sealstone/quote/v1\x00\x08evidence\x00\x10".to_vec();
        bytes.extend_from_slice(&[3; 16]);
        bytes.extend_from_slice(b"\x00\x20");
        bytes.extend_from_slice(&[4; 32]);
        bytes.extend_from_slice(b"\x00\x20");
        bytes.extend_from_slice(&[5; 32]);
        bytes.extend_from_slice(b"\x00\x02cp");
        let found = statement(
            Purpose::Evidence,
            &[3; 16],
            ReportDigest::from_bytes([4; 32]),
            ManifestDigest::from_bytes([5; 32]),
            b"cp",
        );
        assert_eq!(found.unwrap(), Statement::of(&bytes));
    }
}
