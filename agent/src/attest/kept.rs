//! The manifest in force, as the agent keeps it: it must know which PCRs to quote, and auditors want the whole.
//!
//! The enclave alone decides which manifest is in force; a copy here is used only if it has the same digest. A
//! new one is written beside the old one before the enclave is asked to take it, so whichever the enclave acts
//! upon after a crash, the agent has it. Since an authority handed over, those that were replaced are kept as well: whoever pinned
//! that authority gets from there to here by them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sealstone_attestation::{Envelope, Evidence, ManifestDigest, VerifiedManifest};
use sealstone_wire::limits::MANIFEST_MAX;

use super::AttestError;
use crate::files;

/// Bytes of the manifests before: what evidence holds of them (4 MiB), in base64 and with room for its braces.
const BEFORE_MAX: u64 = 8 * 1024 * 1024;

/// The copies on disk, and the one that was used last.
#[derive(Debug)]
pub(super) struct KeptManifest {
    current: PathBuf,
    next: PathBuf,
    before: PathBuf,
    cached: Mutex<Option<Arc<VerifiedManifest>>>,
}

impl KeptManifest {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            current: directory.join("manifest.json"),
            next: directory.join("manifest.next.json"),
            before: directory.join("manifests.before.json"),
            cached: Mutex::new(None),
        }
    }

    /// The manifest with this digest.
    ///
    /// # Errors
    /// [`AttestError::ManifestMissing`] if neither copy is it, [`AttestError::File`] if one cannot be read.
    pub(super) fn with_digest(&self, digest: ManifestDigest) -> Result<Arc<VerifiedManifest>, AttestError> {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(manifest) = cached.as_ref().filter(|manifest| manifest.digest() == digest) {
            return Ok(Arc::clone(manifest));
        }
        let current = read(&self.current)?;
        let found =
            current.as_ref().map_or_else(|| "none".to_owned(), |manifest| manifest.digest().to_string());
        let manifest = match current {
            Some(manifest) if manifest.digest() == digest => manifest,
            replaced => {
                let next = read(&self.next)?.filter(|manifest| manifest.digest() == digest);
                let next = next.ok_or(AttestError::ManifestMissing { expected: digest, found })?;
                // Before the one that it replaces is gone; after a crash in between it is found to be there already.
                if let Some(replaced) = replaced {
                    self.keep_before(&replaced, &next)?;
                }
                fs::rename(&self.next, &self.current).map_err(|source| file(&self.next, source))?;
                next
            }
        };
        let manifest = Arc::new(manifest);
        *cached = Some(Arc::clone(&manifest));
        Ok(manifest)
    }

    /// The manifests before this one since an authority handed over, oldest first; none if they do not lead to it.
    pub(super) fn predecessors(&self, manifest: &VerifiedManifest) -> Result<Vec<Envelope>, AttestError> {
        let kept = self.read_before()?;
        let newest = kept.last().map(|envelope| ManifestDigest::of(&envelope.payload));
        Ok(if newest.is_some() && newest == manifest.manifest().previous() { kept } else { Vec::new() })
    }

    /// Keeps what is replaced by a manifest of another authority, and from then on whatever is replaced.
    fn keep_before(&self, replaced: &VerifiedManifest, next: &VerifiedManifest) -> Result<(), AttestError> {
        let mut kept = self.read_before()?;
        let newest = kept.last().map(|envelope| ManifestDigest::of(&envelope.payload));
        if newest == Some(replaced.digest()) || next.manifest().previous() != Some(replaced.digest()) {
            return Ok(());
        }
        // What does not lead here is of no use.
        if newest != replaced.manifest().previous() {
            kept.clear();
        }
        if kept.is_empty() && next.manifest().outgoing_authority().is_none() {
            return Ok(());
        }
        kept.push(Envelope::parse(replaced.envelope()).expect("a verified manifest was parsed from it"));
        while !Evidence::predecessors_fit(&kept) {
            kept.remove(0);
        }
        let bytes = serde_json::to_vec(&kept).expect("envelopes always serialize");
        files::write_durably(&self.before, &bytes).map_err(|source| file(&self.before, source))
    }

    fn read_before(&self) -> Result<Vec<Envelope>, AttestError> {
        match files::read_capped(&self.before, BEFORE_MAX) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)
                .inspect_err(|error| tracing::warn!(path = %self.before.display(), %error, "not manifests"))
                .unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(file(&self.before, source)),
        }
    }

    /// Keeps a manifest that the enclave is about to be asked to take.
    pub(super) fn prepare(&self, manifest: &VerifiedManifest) -> Result<(), AttestError> {
        files::write_durably(&self.next, manifest.envelope()).map_err(|source| file(&self.next, source))
    }
}

/// `None` if there is no such file, or what is in it is no manifest any more: then it is not the one looked for.
fn read(path: &Path) -> Result<Option<VerifiedManifest>, AttestError> {
    let max = u64::try_from(MANIFEST_MAX).unwrap_or(u64::MAX);
    match files::read_capped(path, max) {
        Ok(envelope) => Ok(VerifiedManifest::danger_trust_as_given(&envelope)
            .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "not a manifest"))
            .ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(file(path, source)),
    }
}

fn file(path: &Path, source: io::Error) -> AttestError {
    AttestError::File { path: path.to_owned(), source }
}
