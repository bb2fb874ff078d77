//! The counter that ages sealed blobs: an NV index that only the enclave's auth value reads and increments.
//!
//! Its name covers its attributes, so a counter cannot be replaced by an index of another kind. One that somebody
//! undefines (the owner can) and defines anew has the same name but another auth value, and the TPM starts it
//! above every counter that it ever had.

use tpm2_protocol::basic::{TpmHandle, TpmUint16, TpmUint32};
use tpm2_protocol::data::{
    Tpm2bDigest, Tpm2bNvPublic, TpmAlgId, TpmCap, TpmCc, TpmRh, TpmaNv, TpmsNvPublic, TpmuCapabilities,
};
use tpm2_protocol::frame::TpmGetCapabilityResponse;

use super::auth::AuthValue;
use super::ceremony::Ceremony;
use super::command::{Command, Handle, SecretCommand, malformed, parameters};
use super::error::TpmError;
use super::name::Name;
use super::session::Use;
use crate::secret::{self, SecretBytes};

/// Bytes of a counter (TPM2_NV_Increment, TPM 2.0 Part 3).
const COUNTER_LEN: u16 = 8;

/// The session's authorisation failed: another auth value, or another name.
const RC_AUTH_FAIL: u32 = 0x08e;
const RC_BAD_AUTH: u32 = 0x0a2;
/// The response code without the number of the handle, session or parameter (TPM 2.0 Part 2, 6.6.2).
const RC_FORMAT_ONE: u32 = 0x0bf;
/// "NV Index already defined".
const RC_NV_DEFINED: u32 = 0x14c;

impl Ceremony<'_> {
    /// Defines the counter under `auth` and increments it once, so that it has a value, which is returned.
    ///
    /// A counter of this auth value that was defined and never incremented is taken: that is how an earlier call
    /// that was cut off leaves it.
    ///
    /// # Errors
    /// [`TpmError::CounterExists`] when the index holds a counter with a value, or anything that is not the
    /// enclave's; faults of relay and TPM.
    pub fn define_counter(&mut self, index: u32, auth: &AuthValue) -> Result<u64, TpmError> {
        let public = parameters(&[&Tpm2bNvPublic { inner: public(index, TpmaNv::empty()) }]);
        let definition = secret::run(|inside| {
            let auth = auth.trimmed(inside);
            let len = u16::try_from(auth.len()).expect("an auth value is at most 32 bytes");
            SecretBytes::new(inside, [&len.to_be_bytes()[..], auth, &public].concat())
        });
        let command = SecretCommand {
            code: TpmCc::NvDefineSpace,
            handles: vec![Handle::plain(TpmRh::Owner.value())],
            parameters: definition,
        };
        match self.link.authentic_secret(&mut self.hmac, command, Use::authorise_empty()) {
            Ok(response) => response.empty()?,
            Err(TpmError::Rc { code: RC_NV_DEFINED, .. }) => {}
            Err(error) => return Err(error),
        }
        match self.increment(index, &unwritten_name(index), auth) {
            Ok(()) => self.read(index, auth),
            Err(TpmError::Rc { code, .. }) if is_authorisation_failure(code) => {
                Err(TpmError::CounterExists { index })
            }
            Err(error) => Err(error),
        }
    }

    /// The counter's value. Authenticated.
    ///
    /// # Errors
    /// [`TpmError::CounterMissing`] when the TPM says, authenticated, that there is none, or one that was never
    /// incremented; faults of relay and TPM, among them a counter with another auth value.
    pub fn read_counter(&mut self, index: u32, auth: &AuthValue) -> Result<u64, TpmError> {
        match self.read(index, auth) {
            Err(TpmError::Rc { command, code }) => {
                // Nothing authenticates an error. That there is no counter can be asked in a way that is.
                if !self.is_defined(index)? || self.is_unwritten(index)? {
                    Err(TpmError::CounterMissing { index })
                } else {
                    Err(TpmError::Rc { command, code })
                }
            }
            result => result,
        }
    }

    /// Increments the counter and returns the value that it then has. Authenticated, both.
    ///
    /// # Errors
    /// Faults of relay and TPM. After one that is no error of the TPM the counter may have risen or not; a new
    /// ceremony reads it.
    pub fn increment_counter(&mut self, index: u32, auth: &AuthValue) -> Result<u64, TpmError> {
        self.increment(index, &written_name(index), auth)?;
        self.read(index, auth)
    }

    fn increment(&mut self, index: u32, name: &Name, auth: &AuthValue) -> Result<(), TpmError> {
        let handles = vec![Handle::named(index, name), Handle::named(index, name)];
        let command = Command::new(TpmCc::NvIncrement, handles, parameters(&[]));
        self.link.authentic(&mut self.hmac, command, Use::authorise(auth))?.empty()
    }

    fn read(&mut self, index: u32, auth: &AuthValue) -> Result<u64, TpmError> {
        let name = written_name(index);
        let handles = vec![Handle::named(index, &name), Handle::named(index, &name)];
        let range = parameters(&[&TpmUint16::new(COUNTER_LEN), &TpmUint16::new(0)]);
        let command = Command::new(TpmCc::NvRead, handles, range);
        let usage = Use::authorise(auth).encrypt_response();
        let response = self.link.authentic(&mut self.hmac, command, usage)?;
        secret::run(|inside| {
            let value = response.sized_buffer(inside)?;
            let value =
                value.try_into().map_err(|_| malformed(TpmCc::NvRead, "the eight bytes of a counter"))?;
            Ok(u64::from_be_bytes(value))
        })
    }

    /// Whether the TPM holds an index with this handle. Authenticated.
    fn is_defined(&mut self, index: u32) -> Result<bool, TpmError> {
        let query = parameters(&[&TpmCap::Handles, &TpmUint32::new(index), &TpmUint32::new(1)]);
        let command = Command::new(TpmCc::GetCapability, Vec::new(), query);
        let response: TpmGetCapabilityResponse =
            self.link.authentic(&mut self.hmac, command, Use::audit())?.parse()?;
        match response.capability_data.data {
            // The first handle of that kind from this one on.
            TpmuCapabilities::Handles(handles) => Ok(handles.iter().any(|handle| handle.value() == index)),
            _ => Err(malformed(TpmCc::GetCapability, "a list of handles")),
        }
    }

    /// Whether the index is the counter as it is before its first increment. Authenticated if it is: the command
    /// covers the name, which covers the attributes.
    fn is_unwritten(&mut self, index: u32) -> Result<bool, TpmError> {
        let handles = vec![Handle::named(index, &unwritten_name(index))];
        let command = Command::new(TpmCc::NvReadPublic, handles, parameters(&[]));
        match self.link.authentic(&mut self.hmac, command, Use::audit()) {
            Ok(_) => Ok(true),
            Err(TpmError::Rc { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The counter's name once it has a value.
pub(super) fn written_name(index: u32) -> Name {
    Name::of_public(&parameters(&[&public(index, TpmaNv::WRITTEN)]))
}

/// The counter's name before its first increment.
fn unwritten_name(index: u32) -> Name {
    Name::of_public(&parameters(&[&public(index, TpmaNv::empty())]))
}

/// Whether a response code says that the session did not authorise: unauthenticated, as all of them.
pub(super) fn is_authorisation_failure(code: u32) -> bool {
    matches!(code & RC_FORMAT_ONE, RC_AUTH_FAIL | RC_BAD_AUTH)
}

/// Read and incremented by auth value only; guesses do not lock the TPM, because 32 secret bytes are not guessed.
fn public(index: u32, written: TpmaNv) -> TpmsNvPublic {
    TpmsNvPublic {
        nv_index: TpmHandle::new(index),
        name_alg: TpmAlgId::Sha256,
        attributes: TpmaNv::COUNTER | TpmaNv::AUTHREAD | TpmaNv::AUTHWRITE | TpmaNv::NO_DA | written,
        auth_policy: Tpm2bDigest::default(),
        data_size: TpmUint16::new(COUNTER_LEN),
    }
}
