//! No file system, no abstract sockets and no signals beyond the thread's own domain, by Landlock.
//!
//! A second wall behind the system call filters, which allow no call that opens, connects or signals. It binds the
//! calling thread, and is taken upon itself by each one.

use std::fs::File;
use std::io::ErrorKind;

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, Ruleset, RulesetAttr, RulesetError, RulesetStatus,
    Scope,
};

/// The newest version whose rights were reviewed; older kernels enforce what they know of them.
const REVIEWED: ABI = ABI::V9;

/// What a thread found after it restricted itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Restricted {
    /// Whether opening the root folder was refused.
    pub(super) closed: bool,
    /// The kernel's version of Landlock.
    pub(super) detail: String,
}

/// Handles every right that the kernel knows and grants none, then tries whether that holds.
pub(super) fn restrict() -> Restricted {
    let detail = match grant_nothing() {
        Ok(detail) => detail,
        Err(error) => error.to_string(),
    };
    // Whoever may not even look at the root folder for another reason is as well off.
    let closed = File::open("/").is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
    Restricted { closed, detail }
}

fn grant_nothing() -> Result<String, RulesetError> {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(REVIEWED))?
        .handle_access(AccessNet::from_all(REVIEWED))?
        .scope(Scope::from_all(REVIEWED))?
        .create()?
        .restrict_self()?;
    Ok(match (status.landlock, status.ruleset) {
        (_, RulesetStatus::NotEnforced)
        | (LandlockStatus::NotEnabled | LandlockStatus::NotImplemented, _) => {
            "the kernel has no Landlock".to_owned()
        }
        (LandlockStatus::Available { effective_abi, .. }, _) => format!("Landlock {}", effective_abi as i32),
    })
}
