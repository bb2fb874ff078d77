//! What a client may be entrusted with. No role contains another: who may do two things holds two roles.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One kind of trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Has transactions signed.
    Signer,
    /// Creates, rotates and retires assets, and clears up open reservations.
    Operator,
    /// Approves transactions of others: asks what they would do, and signs them elsewhere with a key of its own.
    Approver,
    /// Reads everything that is recorded.
    Auditor,
    /// Changes what the node obeys: manifest, policy, lists; locks it.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [Self::Signer, Self::Operator, Self::Approver, Self::Auditor, Self::Admin];

    /// As in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Signer => "signer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
