//! One appraisal of files, made for `verify`, and made again for `verdict verify`.

use std::path::Path;

use sealstone_attestation::countersign::{
    ManifestTrust, RecordedExpectations, RecordedManifest, RecordedVerdict, VerdictRecord,
};
use sealstone_attestation::endorsement::{PinnedCertificates, appraise_ek_of};
use sealstone_attestation::{
    Envelope, Evidence, Expectations, ManifestDigest, Sha256Digest, UnixTime, Verdict, VerifiedManifest,
    appraise, manifest_refused,
};

use super::manifest::Unverified;
use crate::failure::{Failure, chain};
use crate::files;

/// Evidence as a file holds it; nothing in it is believed yet.
pub(super) struct EvidenceFile {
    pub(super) evidence: Evidence,
    /// Of the file, byte for byte.
    pub(super) digest: Sha256Digest,
}

impl EvidenceFile {
    pub(super) fn read(file: &Path) -> Result<Self, Failure> {
        let bytes = files::read(file, "evidence", Evidence::BYTES_MAX)?;
        let evidence = Evidence::parse(&bytes).map_err(|error| {
            Failure::unusable(
                "EVIDENCE",
                format!("expected evidence in {}, found: {}", file.display(), chain(&error)),
                "give the file that `sealstone attest` wrote, whole",
            )
        })?;
        Ok(Self { evidence, digest: Sha256Digest::of(&bytes) })
    }
}

/// What an appraisal is made of.
pub(super) struct Basis {
    pub(super) file: EvidenceFile,
    /// The manifest's envelope: JSON, and what it says of itself.
    manifest: Vec<u8>,
    digest: ManifestDigest,
    pub(super) trusted: ManifestTrust,
    pub(super) expectations: Expectations,
    pub(super) pinned: Option<PinnedCertificates>,
    pub(super) at: UnixTime,
}

impl Basis {
    /// Takes the manifest of a file, or the one inside the evidence.
    pub(super) fn new(
        file: EvidenceFile,
        manifest: Option<&Path>,
        trusted: ManifestTrust,
        expectations: Expectations,
        at: UnixTime,
    ) -> Result<Self, Failure> {
        let (manifest, digest) = match manifest {
            Some(path) => {
                let read = Unverified::read(path)?;
                let digest = ManifestDigest::of(&read.envelope.payload);
                (read.bytes, digest)
            }
            None => {
                let Envelope { payload, .. } = &file.evidence.manifest;
                (file.evidence.manifest.to_json(), ManifestDigest::of(payload))
            }
        };
        Ok(Self { file, manifest, digest, trusted, expectations, pinned: None, at })
    }

    /// The appraisal; a manifest that is not approved is a refusal.
    pub(super) fn judge(&self) -> Judged {
        let approved = match self.trusted {
            ManifestTrust::Authority(authority) => {
                VerifiedManifest::through(&self.manifest, &self.file.evidence.predecessors, authority)
            }
            ManifestTrust::AsGiven => VerifiedManifest::danger_trust_as_given(&self.manifest),
        };
        match approved {
            Err(error) => Judged { verdict: manifest_refused(chain(&error)), manifest: None },
            Ok(manifest) => {
                let evidence = &self.file.evidence;
                let mut verdict = appraise(evidence, &manifest, &self.expectations, self.at);
                if let Some(pinned) = &self.pinned {
                    verdict = verdict.and(appraise_ek_of(evidence, pinned, self.at));
                }
                Judged { verdict, manifest: Some(manifest) }
            }
        }
    }

    /// What is signed of it.
    pub(super) fn record(&self, judged: &Judged, auditor: String, signed_at: UnixTime) -> VerdictRecord {
        let mut expectations = RecordedExpectations::of(&self.expectations);
        if let Some(pinned) = &self.pinned {
            expectations.roots = Some(pinned.root_digests());
            expectations.intermediates = pinned.intermediate_digests();
        }
        VerdictRecord {
            format: 1,
            evidence: self.file.digest,
            manifest: RecordedManifest {
                digest: self.digest,
                version: judged.manifest.as_ref().map(|manifest| manifest.manifest().version()),
                trusted: self.trusted,
            },
            expectations,
            judged_at: self.at,
            signed_at,
            auditor,
            verdict: RecordedVerdict::from(&judged.verdict),
        }
    }
}

/// What an appraisal came to.
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    /// The manifest, if it was approved.
    pub(super) manifest: Option<VerifiedManifest>,
}
