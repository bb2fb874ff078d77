//! The enclave drives a TPM 2.0 by commands that somebody else relays.
//!
//! The relay (the agent) is not trusted: it may read, change, drop, repeat or answer every command itself, and use
//! the same TPM for commands of its own. What it can do is deny service.
//!
//! # Why the relay learns and forges nothing
//!
//! 1. **Salt.** Both sessions of a [`Ceremony`] are salted to the endorsement key that the *manifest* pins. Only
//!    the TPM with that key learns the salt, so only it has the session keys. A key that the relay showed us would
//!    mean a full man in the middle, so none is ever used; where the key is in the TPM is only a hint.
//! 2. **HMAC.** Every command that matters carries an HMAC under the session key, and every response's HMAC is
//!    verified, in constant time, before the response is decrypted, and it is decrypted before it is parsed.
//!    Nonces of both sides are in it, and the TPM's rolls only after a verified response: nothing can be replayed.
//! 3. **Names.** The HMAC covers the *names* of a command's handles, which are computed here from public areas.
//!    Handles, which nothing authenticates, may lie: the TPM then computes another name and refuses.
//! 4. **Encryption.** Secrets travel only as the first parameter, which AES-128-CFB encrypts in both directions.
//!
//! # Why the relay cannot put a storage key of its own under the seal
//!
//! The storage key is made by TPM2_CreatePrimary *in the authenticated session*: the public area in the response is
//! that of a key which the enrolled TPM made from the template, and it is compared with the template (fixedTPM,
//! fixedParent, sensitiveDataOrigin, restricted, decrypt). TPM2_Create and TPM2_Load then cover its name. A key of
//! the relay has another name, so the TPM refuses the command; and the relay cannot compute the HMAC of a command
//! with that other name. The name is kept in the [`SealedBlob`], so that a cleared TPM is told apart.
//!
//! # What opens the seal
//!
//! [`SealPolicy`]: one of the approved PCR states, *and* the counter at exactly one value, *and* an auth value that
//! only the enclave's user can read. Without the last one the relay could unseal in a policy session of its own:
//! a PCR policy alone keeps nothing from whoever can reach the TPM. The policy's digest is computed here; the
//! commands that satisfy it (PolicyPCR, PolicyOR, PolicyAuthValue) need no authentication, because TPM2_Unseal
//! fails unless they were executed as they should.
//!
//! # What is authenticated, and what is not
//!
//! *Authenticated*, when they are returned as a success: randomness, PCR values, the counter's values, blobs and
//! unsealed secrets; and the errors [`CounterMissing`](TpmError::CounterMissing),
//! [`CounterMismatch`](TpmError::CounterMismatch), [`PcrMismatch`](TpmError::PcrMismatch) and
//! [`OtherParent`](TpmError::OtherParent). *Not authenticated*: every error code of the TPM
//! ([`Rc`](TpmError::Rc)), every silence, and which EK the TPM says it has until a session verified. Whoever is
//! told an unauthenticated error must take it as "unknown" and never provision or initialise anew because of it.
//!
//! The hierarchies are used with empty auth values, as the operating system leaves them: the owner's to make the
//! storage key and the counter, the endorsement's to make the endorsement key if it is not persistent.
//!
//! Section numbers refer to the TCG's TPM 2.0 Library specification, revision 1.59.

mod auth;
mod ceremony;
mod command;
mod counter;
mod error;
mod kdf;
mod link;
mod name;
mod pcr;
mod policy;
mod relay;
mod salt;
mod seal;
mod session;

pub use auth::{AUTH_LEN, AuthValue};
pub use ceremony::{Ceremony, RANDOM_LEN};
pub use error::TpmError;
pub use policy::{PcrState, PolicyError, STATES_MAX, SealPolicy};
pub use relay::{FRAME_MAX, Relay, RelayError};
pub use seal::{SECRET_MAX, SealedBlob};
