//! The way to the TPM: somebody else executes commands, honestly or not.

use thiserror::Error;

/// Bytes of the largest command or response that is relayed. TPM 2.0 implementations take 4,096 bytes at most
/// (TPM_PT_MAX_COMMAND_SIZE), and none of the enclave's own comes near.
pub const FRAME_MAX: usize = 4096;

/// Executes one TPM command, anywhere, honestly or not.
pub trait Relay {
    /// Has the TPM execute `command`, one whole TPM 2.0 command, and returns its whole response.
    ///
    /// # Errors
    /// [`RelayError`] when no response came. Nothing is known then of whether the TPM executed the command.
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, RelayError>;
}

/// The relay brought no response.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RelayError {
    /// The relay is gone, did not answer in time, or says that it cannot reach the TPM.
    #[error("no answer from the TPM: {reason}")]
    Unreachable {
        /// What went wrong, as the relay's side puts it.
        reason: String,
    },
    /// The answer is larger than any TPM's.
    #[error("expected a TPM response of at most {FRAME_MAX} bytes, found {found}")]
    TooLarge {
        /// Bytes of the answer.
        found: usize,
    },
}
