//! The bound on connections that have not authenticated yet.
//!
//! When it is reached, the oldest one is closed: an agent needs a millisecond, so a flood of silent connections
//! does not keep it out, as refusing the newest would.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use sealstone_wire::address::Stream;
use sealstone_wire::limits::HANDSHAKES_MAX;

/// The connections in their handshake, oldest first.
#[derive(Debug, Default)]
pub(super) struct Handshakes(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    streams: VecDeque<(u64, Stream)>,
}

impl Handshakes {
    /// Enters a connection; `None` if the system gives no second descriptor for it.
    pub(super) fn enter(&self, stream: &Stream) -> Option<u64> {
        let stream = stream.try_clone().ok()?;
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.streams.len() == HANDSHAKES_MAX
            && let Some((_, oldest)) = waiting.streams.pop_front()
        {
            // It may have ended by itself just now; either way it is gone.
            drop(oldest.shutdown());
        }
        let ticket = waiting.next;
        waiting.next += 1;
        waiting.streams.push_back((ticket, stream));
        Some(ticket)
    }

    /// The handshake succeeded or failed.
    pub(super) fn leave(&self, ticket: u64) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.streams.retain(|(entered, _)| *entered != ticket);
    }
}
