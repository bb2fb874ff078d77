//! The manifest in force, as the agent keeps it: it must know which PCRs to quote, and auditors want the whole.
//!
//! The enclave alone decides which manifest is in force; a copy here is used only if it has the same digest. A
//! new one is written beside the old one before the enclave is asked to take it, so whichever the enclave acts
//! upon after a crash, the agent has it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sealstone_attestation::{ManifestDigest, VerifiedManifest};
use sealstone_wire::limits::MANIFEST_MAX;

use super::AttestError;
use crate::files;

/// The copies on disk, and the one that was used last.
#[derive(Debug)]
pub(super) struct KeptManifest {
    current: PathBuf,
    next: PathBuf,
    cached: Mutex<Option<Arc<VerifiedManifest>>>,
}

impl KeptManifest {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            current: directory.join("manifest.json"),
            next: directory.join("manifest.next.json"),
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
        let manifest = match current.filter(|manifest| manifest.digest() == digest) {
            Some(manifest) => manifest,
            None => {
                let next = read(&self.next)?.filter(|manifest| manifest.digest() == digest);
                let next = next.ok_or(AttestError::ManifestMissing { expected: digest, found })?;
                fs::rename(&self.next, &self.current).map_err(|source| file(&self.next, source))?;
                next
            }
        };
        let manifest = Arc::new(manifest);
        *cached = Some(Arc::clone(&manifest));
        Ok(manifest)
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
