//! One command after the other through the relay: repeats what the TPM asks to repeat, and flushes what was loaded.

use std::thread;
use std::time::Duration;

use tpm2_protocol::basic::TpmHandle;
use tpm2_protocol::data::TpmCc;

use super::command::{Command, Frame, Response, SecretCommand, parameters};
use super::error::TpmError;
use super::relay::{FRAME_MAX, Relay, RelayError};
use super::session::{Prepared, Session, Use};

/// How often one command is sent when the TPM asks to send it again: enough for a self-test in the background, and
/// a bound on how long a relay that forges the request can stall.
const ATTEMPTS_MAX: u32 = 12;
/// The pause before the first repeat; each further one is longer by as much. All together 1.3 s.
const PAUSE: Duration = Duration::from_millis(20);

/// "Send it again": the TPM has not executed the command (TPM 2.0 Part 2, 6.6.3).
const RC_YIELDED: u32 = 0x908;
const RC_TESTING: u32 = 0x90a;
const RC_NV_RATE: u32 = 0x920;
const RC_RETRY: u32 = 0x922;

/// The relay, and what the TPM holds loaded on the enclave's behalf.
pub(super) struct Link<'r> {
    relay: &'r mut dyn Relay,
    loaded: Vec<u32>,
}

impl<'r> Link<'r> {
    pub(super) fn new(relay: &'r mut dyn Relay) -> Self {
        Self { relay, loaded: Vec::new() }
    }

    /// Executes a command in a session and verifies the response.
    pub(super) fn authentic(
        &mut self,
        session: &mut Session,
        command: Command,
        usage: Use<'_>,
    ) -> Result<Response, TpmError> {
        let prepared = session.prepare(command, usage)?;
        self.exchange(session, &prepared, usage)
    }

    /// Executes a command whose first parameter is a secret in a session and verifies the response.
    pub(super) fn authentic_secret(
        &mut self,
        session: &mut Session,
        command: SecretCommand,
        usage: Use<'_>,
    ) -> Result<Response, TpmError> {
        let prepared = session.prepare_secret(command, usage)?;
        self.exchange(session, &prepared, usage.encrypt_command())
    }

    fn exchange(
        &mut self,
        session: &mut Session,
        prepared: &Prepared,
        usage: Use<'_>,
    ) -> Result<Response, TpmError> {
        let response = self.transmit(prepared.code, &prepared.frame)?;
        session.accept(&response, prepared, usage)
    }

    /// Executes a command without any authorisation. Nothing in the response is authentic.
    pub(super) fn bare(&mut self, command: &Command) -> Result<Response, TpmError> {
        self.unauthenticated(command.code, &command.bare_frame())
    }

    /// Executes a command under the empty password. Nothing in the response is authentic.
    pub(super) fn empty_password(&mut self, command: &Command) -> Result<Response, TpmError> {
        self.unauthenticated(command.code, &command.empty_password_frame())
    }

    fn unauthenticated(&mut self, code: TpmCc, frame: &[u8]) -> Result<Response, TpmError> {
        let response = self.transmit(code, frame)?;
        Response::bare(code, &Frame::parse(code, &response)?)
    }

    /// Remembers to flush a session or transient object.
    pub(super) fn loaded(&mut self, handle: u32) {
        self.loaded.push(handle);
    }

    /// Flushes what a handle stands for. Best effort: a TPM that still holds it is a nuisance, not a danger.
    pub(super) fn flush(&mut self, handle: u32) {
        self.loaded.retain(|loaded| *loaded != handle);
        let command = Command::new(TpmCc::FlushContext, Vec::new(), parameters(&[&TpmHandle::new(handle)]));
        if matches!(self.bare(&command), Err(TpmError::Unreachable { .. })) {
            // Whoever does not answer would only make the end of the ceremony wait, once for each handle.
            self.loaded.clear();
        }
    }

    /// Flushes the transient objects that are loaded, and keeps the sessions.
    pub(super) fn flush_objects(&mut self) {
        while let Some(handle) = self.loaded.iter().copied().find(|handle| is_transient(*handle)) {
            self.flush(handle);
        }
    }

    /// Sends one frame, again if the TPM says so.
    fn transmit(&mut self, command: TpmCc, frame: &[u8]) -> Result<Vec<u8>, TpmError> {
        let mut attempt = 1;
        loop {
            let response =
                self.relay.transmit(frame).map_err(|source| TpmError::Unreachable { command, source })?;
            if response.len() > FRAME_MAX {
                let source = RelayError::TooLarge { found: response.len() };
                return Err(TpmError::Unreachable { command, source });
            }
            let again = matches!(
                Frame::parse(command, &response),
                Err(TpmError::Rc { code: RC_YIELDED | RC_TESTING | RC_NV_RATE | RC_RETRY, .. })
            );
            if !again || attempt == ATTEMPTS_MAX {
                return Ok(response);
            }
            thread::sleep(PAUSE * attempt);
            attempt += 1;
        }
    }
}

impl Drop for Link<'_> {
    fn drop(&mut self) {
        while let Some(handle) = self.loaded.last().copied() {
            self.flush(handle);
        }
    }
}

/// Whether a handle is of a transient object (TPM_HT_TRANSIENT: TPM 2.0 Part 2, 7.2).
fn is_transient(handle: u32) -> bool {
    handle >> 24 == 0x80
}
