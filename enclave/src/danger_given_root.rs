//! A root that the configuration gives instead of one that is born inside: for stories in which several enclaves must
//! derive the same keys. Not part of a release, where it does not compile: such a root was in a file.

use std::sync::OnceLock;

use crate::derive::{ROOT_LEN, Root};
use crate::notice::notice;
use crate::secret::{self, Secret};

static GIVEN: OnceLock<Secret<ROOT_LEN>> = OnceLock::new();

/// Has every root that is born from now on be this one. Called once, after the secret memory is there.
pub fn give(root: &[u8; ROOT_LEN]) {
    notice("warning: the root is given by the configuration; this build is for stories only");
    let kept = secret::run(|inside| Secret::copied(inside, root));
    let _ = GIVEN.set(kept);
}

/// The given root, if there is one.
pub(crate) fn given() -> Option<Root> {
    GIVEN.get().map(|given| secret::run(|inside| Root::from_bytes(inside, given.expose(inside))))
}
