//! What a ceremony can end with.

use sealstone_attestation::{PcrBank, PcrIndex};
use thiserror::Error;
use tpm2_protocol::data::TpmCc;

use super::policy::PolicyError;
use super::relay::RelayError;

/// A TPM conversation failed.
///
/// Variants say what is *known*. The relay can forge every error of the TPM ([`Rc`](Self::Rc)) and every silence
/// ([`Unreachable`](Self::Unreachable)), so neither is a reason to make anything anew. What rests on a response
/// whose HMAC was verified says so.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TpmError {
    /// No response came; whether the TPM executed the command is unknown. A new ceremony reads what is.
    #[error("{command}: no usable answer through the relay")]
    Unreachable {
        /// The command.
        command: TpmCc,
        /// What the relay says.
        #[source]
        source: RelayError,
    },
    /// The response is no TPM response.
    #[error("{command}: malformed response: {what}")]
    Malformed {
        /// The command.
        command: TpmCc,
        /// What was expected.
        what: &'static str,
    },
    /// The TPM, or the relay in its name, answered with an error code: nothing is known.
    #[error("{command}: the TPM answered with error {code:#05x}, which nothing authenticates")]
    Rc {
        /// The command.
        command: TpmCc,
        /// The response code (TPM 2.0 Part 2, 6.6).
        code: u32,
    },
    /// A response or a stored object does not come from where it must: the relay, or whoever gave it, lied.
    #[error("{command}: not authentic: {what}")]
    NotAuthentic {
        /// The command.
        command: TpmCc,
        /// What failed.
        what: &'static str,
    },
    /// This is not the TPM with the pinned endorsement key, or the relay broke the session with it.
    #[error("not the enrolled TPM: {what}")]
    NotEnrolled {
        /// What differs.
        what: &'static str,
    },
    /// The pinned endorsement key cannot carry a session: it is of a kind that is not supported.
    #[error("unusable endorsement key: {what}")]
    UnusableKey {
        /// What was expected.
        what: &'static str,
    },
    /// Authenticated: the counter is not defined, or was never incremented, so nothing was sealed under it.
    #[error("the TPM holds no counter at {index:#010x}")]
    CounterMissing {
        /// The NV index.
        index: u32,
    },
    /// A counter, or something else that the credential does not open, is already defined there.
    #[error("the TPM already holds an index at {index:#010x}")]
    CounterExists {
        /// The NV index.
        index: u32,
    },
    /// Authenticated: the counter stands at another value than the one that was sealed for.
    #[error("expected the TPM counter at {expected}, found {found}")]
    CounterMismatch {
        /// The policy's value.
        expected: u64,
        /// The TPM's value.
        found: u64,
    },
    /// Authenticated: the TPM's PCRs are those of none of the policy's states.
    #[error("the PCRs match none of {states} approved states; the nearest differs in {}", list(differing))]
    PcrMismatch {
        /// How many states the policy has.
        states: usize,
        /// Where the nearest state differs.
        differing: Vec<(PcrBank, PcrIndex)>,
    },
    /// Authenticated: the TPM's storage key is another one than the blob was sealed under: the TPM was cleared.
    #[error("the TPM's storage key is not the one that the blob was sealed under: the TPM was cleared")]
    OtherParent,
    /// The blob is not what this policy seals into: another policy, or altered.
    #[error("the sealed blob does not belong to this policy")]
    OtherPolicy,
    /// The caller's policy cannot be sealed for.
    #[error("unusable seal policy")]
    Policy(#[from] PolicyError),
    /// The caller gave more than a TPM seals.
    #[error("expected at most {max} bytes to seal, found {found}")]
    SecretTooLong {
        /// Most bytes.
        max: usize,
        /// Bytes given.
        found: usize,
    },
    /// The operating system gave no randomness.
    #[error("the operating system has no randomness")]
    Randomness(#[from] getrandom::Error),
}

fn list(pcrs: &[(PcrBank, PcrIndex)]) -> String {
    let names: Vec<String> = pcrs.iter().map(|(bank, index)| format!("{bank}:{index}")).collect();
    names.join(", ")
}
