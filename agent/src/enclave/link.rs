//! One connection at work: a writer that gathers, a reader that hands out.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sealstone_wire::channel::{Channel, ChannelError, Opener, Sealer};
use sealstone_wire::frame::{FrameBuffer, FrameError};
use sealstone_wire::limits::{FRAME_DEADLINE, IDLE_DEADLINE};
use sealstone_wire::reply::{Reply, ReplyMessage};
use sealstone_wire::request::{Request, RequestMessage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use super::connect::{ReadHalf, WriteHalf};
use super::{CallError, Open, Outgoing, Pending, Waiter};

/// How often the enclave is asked how it is, so that it keeps an idle connection ([`IDLE_DEADLINE`]).
const KEEP_ALIVE: Duration = Duration::from_secs(IDLE_DEADLINE.as_secs() / 4);

/// Number of the keep-alive's requests; callers' begin at 1.
const KEEP_ALIVE_ID: u64 = 0;

/// How long the enclave may say nothing at all, though it is asked how it is: three times, and then it hangs.
const SILENCE_MAX: Duration = Duration::from_secs(KEEP_ALIVE.as_secs() * 3);

/// Bytes that one write gathers: beyond it a larger write saves nothing.
const GATHER_MAX: usize = 64 * 1024;

/// An open connection, not yet at work.
pub(super) struct Link {
    pub(super) reader: ReadHalf,
    pub(super) writer: WriteHalf,
    pub(super) channel: Channel,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("the enclave closed the connection")]
    Ended,
    #[error("the enclave said nothing for {SILENCE_MAX:?}")]
    Silent,
    #[error("a frame was not written or received in whole within {FRAME_DEADLINE:?}")]
    Late,
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("the enclave broke the framing: {0}")]
    Frame(#[from] FrameError),
    #[error("the channel failed: {0}")]
    Channel(#[from] ChannelError),
    #[error("the enclave sent more TPM commands than it waits for")]
    Flooded,
    #[error("all callers are gone")]
    Abandoned,
}

impl Link {
    /// Works until the connection ends; says why it did. Every request that was written and not answered is lost
    /// by then.
    pub(super) async fn run(self, generation: u64, inbox: &mut mpsc::Receiver<Outgoing>) -> String {
        let Self { reader, writer, channel: Channel { sealer, opener } } = self;
        let open = OpenRequests::default();
        let error = tokio::select! {
            error = write(writer, sealer, generation, inbox, Arc::clone(&open.0)) => error,
            error = read(reader, opener, Arc::clone(&open.0)) => error,
        };
        let reason = match error {
            Ok(never) => match never {},
            Err(error) => error.to_string(),
        };
        open.lose(&reason);
        reason
    }
}

/// Never constructed: a connection works until it fails.
enum Never {}

/// Loses what is open even when the whole task is dropped at shutdown.
#[derive(Default)]
struct OpenRequests(Arc<Pending>);

impl OpenRequests {
    fn lose(&self, reason: &str) {
        for (_, Open { waiter, .. }) in self.0.lock().drain() {
            waiter.finish(Err(CallError::Lost { reason: reason.to_owned() }));
        }
    }
}

impl Drop for OpenRequests {
    fn drop(&mut self) {
        self.lose("the agent is shutting down");
    }
}

async fn write(
    mut writer: WriteHalf,
    mut sealer: Sealer,
    generation: u64,
    inbox: &mut mpsc::Receiver<Outgoing>,
    pending: Arc<Pending>,
) -> Result<Never, LinkError> {
    let mut keep_alive = interval(KEEP_ALIVE);
    keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    keep_alive.reset();
    let mut frames = Vec::new();
    loop {
        let mut next = tokio::select! {
            outgoing = inbox.recv() => Some(outgoing.ok_or(LinkError::Abandoned)?),
            _ = keep_alive.tick() => None,
        };
        if next.is_none() {
            sealer
                .seal_message(&RequestMessage { id: KEEP_ALIVE_ID, request: Request::Status }, &mut frames)?;
        }
        while let Some(outgoing) = next {
            if outgoing.generation != generation {
                outgoing.refuse("the connection that it was meant for has ended");
            } else if outgoing.ticket.redeem() {
                let Outgoing { message, open, .. } = outgoing;
                // Registered before the first byte, so that whatever happens from here on it is lost, not unsent.
                let id = message.id;
                pending.lock().extend(open.map(|open| (id, open)));
                match sealer.seal_message(&message, &mut frames) {
                    Err(ChannelError::Codec(error)) => {
                        if let Some(open) = pending.lock().remove(&id) {
                            open.waiter.finish(Err(CallError::NotSent { reason: error.to_string() }));
                        }
                    }
                    sealed => sealed?,
                }
            }
            next = if frames.len() < GATHER_MAX { inbox.try_recv().ok() } else { None };
        }
        timeout(FRAME_DEADLINE, writer.write_all(&frames)).await.map_err(|_| LinkError::Late)??;
        frames.clear();
    }
}

async fn read(mut reader: ReadHalf, mut opener: Opener, pending: Arc<Pending>) -> Result<Never, LinkError> {
    let mut buffer = FrameBuffer::default();
    // When the frame that is incomplete now began.
    let mut begun = None;
    loop {
        while let Some(frame) = buffer.next_frame()? {
            hand_out(opener.open_message(frame)?, &pending)?;
            begun = None;
        }
        let (end, late) = if buffer.is_empty() {
            (Instant::now() + SILENCE_MAX, LinkError::Silent)
        } else {
            (*begun.get_or_insert_with(Instant::now) + FRAME_DEADLINE, LinkError::Late)
        };
        let count = timeout_at(end, reader.read(buffer.room())).await.map_err(|_| late)??;
        if count == 0 {
            return Err(LinkError::Ended);
        }
        buffer.advance(count);
    }
}

fn hand_out(ReplyMessage { id, reply }: ReplyMessage, pending: &Pending) -> Result<(), LinkError> {
    if id == KEEP_ALIVE_ID {
        return Ok(());
    }
    let mut pending = pending.lock();
    if matches!(reply, Reply::Relay { .. })
        && let Some(Open { waiter: Waiter::Ceremony(sender), .. }) = pending.get(&id)
    {
        return match sender.try_send(Ok(reply)) {
            Err(mpsc::error::TrySendError::Full(_)) => Err(LinkError::Flooded),
            // A ceremony whose caller is gone: the enclave's patience with it will end.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
        };
    }
    match pending.remove(&id) {
        Some(Open { waiter, .. }) => waiter.finish(Ok(reply)),
        None => tracing::warn!(id, "a reply to a request that is not open"),
    }
    Ok(())
}
