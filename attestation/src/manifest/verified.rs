//! Manifests that the authority approved: the only ones that anything acts upon.

use crate::{
    AuthorityDigest, AuthoritySet, Envelope, ManifestDigest,
    authority::verify_signatures,
    manifest::{checked::Manifest, error::ManifestError},
};

/// A manifest with the signatures of its authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedManifest {
    manifest: Manifest,
    envelope: Vec<u8>,
}

impl VerifiedManifest {
    /// Takes a manifest under a pinned authority: the set that it names must be that one, and its threshold
    /// must have signed. Any version is taken; whoever knows an earlier one asks that one to
    /// [`succeed`](VerifiedManifest::succeed).
    ///
    /// # Errors
    /// [`ManifestError::ForeignAuthority`] for another set, [`ManifestError::Signatures`] when the set did
    /// not approve, and whatever else is wrong with the manifest.
    pub fn first(envelope: &[u8], authority: AuthorityDigest) -> Result<Self, ManifestError> {
        let (manifest, parsed) = read(envelope)?;
        let found = manifest.authority().digest();
        if found != authority {
            return Err(ManifestError::ForeignAuthority { expected: authority, found });
        }
        check_approval(&manifest, &parsed)?;
        Ok(Self { manifest, envelope: envelope.to_vec() })
    }

    /// Takes the next manifest: of the same deployment, the next version, naming this one, not issued
    /// earlier, and approved by the set that it names; when that is another set than this manifest's, it names this
    /// one as the outgoing set, which approved it too.
    /// The same manifest again is returned as it is.
    ///
    /// # Errors
    /// [`ManifestError`], with its own variant for each of those.
    pub fn succeed(&self, envelope: &[u8]) -> Result<Self, ManifestError> {
        let (next, parsed) = read(envelope)?;
        let current = &self.manifest;
        if next.deployment() != current.deployment() {
            let (expected, found) = (current.deployment(), next.deployment());
            return Err(ManifestError::OtherDeployment { expected, found });
        }
        let (version, found) = (current.version(), next.version());
        if found < version {
            return Err(ManifestError::OlderVersion { current: version, found });
        }
        if found == version {
            if next.digest() == current.digest() {
                return Ok(self.clone());
            }
            let (expected, found) = (current.digest(), next.digest());
            return Err(ManifestError::SameVersionOtherDigest { version, expected, found });
        }
        if version.checked_add(1) != Some(found) {
            return Err(ManifestError::MissingVersions { expected: version.saturating_add(1), found });
        }
        if next.previous() != Some(current.digest()) {
            return Err(ManifestError::OtherPrevious { expected: current.digest(), found: next.previous() });
        }
        if next.issued_at() < current.issued_at() {
            return Err(ManifestError::IssuedEarlier {
                current: current.issued_at(),
                found: next.issued_at(),
            });
        }
        let expected = current.authority().digest();
        let found = next.outgoing_authority().map(AuthoritySet::digest);
        let hands_over = next.authority().digest() != expected;
        if hands_over != found.is_some() || found.is_some_and(|found| found != expected) {
            return Err(ManifestError::OtherOutgoing { expected, found });
        }
        check_approval(&next, &parsed)?;
        Ok(Self { manifest: next, envelope: envelope.to_vec() })
    }

    /// Takes a manifest under an authority that its reader pinned once, also if that has handed over since: `predecessors`,
    /// oldest first, then lead from a manifest of that authority to this one without a gap.
    ///
    /// # Errors
    /// As [`first`](VerifiedManifest::first) if none of them is of that authority, else as
    /// [`succeed`](VerifiedManifest::succeed).
    pub fn through(
        envelope: &[u8],
        predecessors: &[Envelope],
        authority: AuthorityDigest,
    ) -> Result<Self, ManifestError> {
        let direct = match Self::first(envelope, authority) {
            Err(error @ ManifestError::ForeignAuthority { .. }) => error,
            other => return other,
        };
        let predecessors: Vec<Vec<u8>> = predecessors.iter().map(Envelope::to_json).collect();
        // The newest of that authority: what it approved before is no longer its word.
        let mut starts = predecessors.iter().enumerate().rev();
        let start = starts.find_map(|(place, earlier)| Some((place, Self::first(earlier, authority).ok()?)));
        let (place, first) = start.ok_or(direct)?;
        let rest = predecessors.iter().skip(place + 1).map(Vec::as_slice).chain([envelope]);
        let mut current = first;
        for next in rest {
            let succeeded = current.succeed(next)?;
            // Only the manifest itself may come twice, and never here: each is another version.
            if succeeded.digest() == current.digest() {
                let version = current.manifest().version();
                return Err(ManifestError::MissingVersions {
                    expected: version.saturating_add(1),
                    found: version,
                });
            }
            current = succeeded;
        }
        Ok(current)
    }

    /// Takes a manifest that is approved by whatever set it names itself: for one that its reader already
    /// trusts, such as a file that an auditor got from the authority. Anyone can make one of these.
    ///
    /// # Errors
    /// [`ManifestError`] when it is not even consistent with itself.
    pub fn danger_trust_as_given(envelope: &[u8]) -> Result<Self, ManifestError> {
        let (manifest, parsed) = read(envelope)?;
        check_approval(&manifest, &parsed)?;
        Ok(Self { manifest, envelope: envelope.to_vec() })
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Digest of the signed bytes.
    #[must_use]
    pub fn digest(&self) -> ManifestDigest {
        self.manifest.digest()
    }

    /// The envelope's JSON, as received.
    #[must_use]
    pub fn envelope(&self) -> &[u8] {
        &self.envelope
    }
}

/// The set that the manifest names approved it, and so did the one that hands over with it; nobody else signed.
fn check_approval(manifest: &Manifest, envelope: &Envelope) -> Result<(), ManifestError> {
    let set = manifest.authority();
    let outgoing = manifest.outgoing_authority();
    let sets: Vec<&AuthoritySet> = outgoing.into_iter().chain([set]).collect();
    let signers = verify_signatures(envelope, &sets)?;
    if let Some(outgoing) = outgoing {
        outgoing.check_signers(&signers).map_err(ManifestError::OutgoingAuthority)?;
    }
    Ok(set.check_signers(&signers)?)
}

fn read(envelope: &[u8]) -> Result<(Manifest, Envelope), ManifestError> {
    let envelope = Envelope::parse(envelope)?;
    envelope.check_type(Manifest::PAYLOAD_TYPE)?;
    Ok((Manifest::from_payload(&envelope.payload)?, envelope))
}
