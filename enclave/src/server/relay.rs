//! TPM commands on their way through the agent.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Instant;

use sealstone_wire::limits::{CEREMONY_DEADLINE, RELAY_DEADLINE, TPM_COMMANDS_MAX, TPM_FRAME_MAX};
use sealstone_wire::reply::Reply;

use super::connection::Connection;
use crate::tpm::{Relay, RelayError};

/// One answer of the agent: the step and the TPM's bytes.
pub(super) type Relayed = (u32, Vec<u8>);

/// The relay of one ceremony over one connection.
pub(super) struct ConnectionRelay {
    connection: Arc<Connection>,
    id: u64,
    step: u32,
    began: Instant,
    answers: Receiver<Relayed>,
}

impl ConnectionRelay {
    /// The relay for request `id`, and where the connection's reader puts the answers.
    pub(super) fn new(connection: Arc<Connection>, id: u64) -> (Self, SyncSender<Relayed>) {
        // One command is under way at a time, so one answer is ever waiting.
        let (sender, answers) = sync_channel(1);
        (Self { connection, id, step: 0, began: Instant::now(), answers }, sender)
    }
}

impl Relay for ConnectionRelay {
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, RelayError> {
        let unreachable = |reason: &str| RelayError::Unreachable { reason: reason.to_owned() };
        let step = self.step;
        if usize::try_from(step).unwrap_or(usize::MAX) >= TPM_COMMANDS_MAX {
            return Err(unreachable(&format!("more than {TPM_COMMANDS_MAX} commands in one ceremony")));
        }
        let left = CEREMONY_DEADLINE.saturating_sub(self.began.elapsed());
        if left.is_zero() {
            return Err(unreachable(&format!("the ceremony took longer than {CEREMONY_DEADLINE:?}")));
        }
        self.step += 1;
        self.connection.reply(self.id, Reply::Relay { step, command: command.to_vec() });
        let (answered, response) =
            self.answers.recv_timeout(RELAY_DEADLINE.min(left)).map_err(|error| match error {
                RecvTimeoutError::Timeout => unreachable("the agent did not relay the command in time"),
                RecvTimeoutError::Disconnected => unreachable("the agent's connection ended"),
            })?;
        if answered != step {
            return Err(unreachable("the agent answered another step than the one that was relayed"));
        }
        if response.is_empty() {
            return Err(unreachable("the agent could not reach the TPM"));
        }
        if response.len() > TPM_FRAME_MAX {
            return Err(unreachable("the agent relayed more bytes than a TPM answers"));
        }
        Ok(response)
    }
}
