//! Manifests: the signed documents of what is approved.
//!
//! Bytes become a [`ManifestDraft`] (the JSON as it is), that a checked [`Manifest`], and that, only with the
//! authority's signatures, a [`VerifiedManifest`], which alone is acted upon.

pub(crate) mod checked;
pub(crate) mod draft;
pub(crate) mod error;
pub(crate) mod node;
pub(crate) mod permission;
pub(crate) mod state;
pub(crate) mod succession;
pub(crate) mod verified;
