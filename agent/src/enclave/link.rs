//! One connection at work: a writer that gathers, a reader that hands out. It may have a successor, which takes over
//! the writing while what was written is still answered.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use sealstone_wire::channel::{Channel, ChannelError, Opener, Parties, Sealer};
use sealstone_wire::frame::{FrameBuffer, FrameError};
use sealstone_wire::limits::{FRAME_DEADLINE, IDLE_DEADLINE};
use sealstone_wire::reply::{Reply, ReplyMessage};
use sealstone_wire::request::{Request, RequestMessage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};

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

/// How often is looked whether a ceremony, or an answer, is still outstanding when a successor waits.
const LOOK: Duration = Duration::from_millis(20);

/// How long a connection that has a successor may take for what was asked on it: more than any caller waits.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// An open connection, not yet at work.
pub(super) struct Link {
    pub(super) parties: Parties,
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

/// How a connection ended.
pub(super) enum End {
    /// It failed, and why; every request that was written and not answered is lost.
    Lost(String),
    /// This one does the writing from now on.
    Succeeded(Box<Link>, Draining),
}

impl Link {
    /// Works until the connection ends, or until `successor` is there: the same enclave process, over another
    /// connection. A ceremony is finished first, because the enclave expects its relayed answers here.
    pub(super) async fn run(
        self,
        generation: u64,
        inbox: &mut mpsc::Receiver<Outgoing>,
        successor: impl Future<Output = Self>,
    ) -> End {
        let Self { parties: _, reader, writer, channel: Channel { sealer, opener } } = self;
        let open = OpenRequests::default();
        let (hand_over, handed) = oneshot::channel();
        let mut hand_over = Some(hand_over);
        let mut reading: Reading = Box::pin(read(reader, opener, Arc::clone(&open.0)));
        let error = {
            let mut writing = pin!(write(writer, sealer, generation, inbox, Arc::clone(&open.0), handed));
            let mut successor = pin!(successor);
            loop {
                tokio::select! {
                    written = &mut writing => match written {
                        Ok((link, writer)) => {
                            return End::Succeeded(link, Draining { reading, _writer: writer, open });
                        }
                        Err(error) => break error,
                    },
                    Err(error) = &mut reading => break error,
                    link = &mut successor, if hand_over.is_some() => {
                        // The writer is there: it is awaited above.
                        drop(hand_over.take().map(|hand_over| hand_over.send(Box::new(link))));
                    }
                }
            }
        };
        let reason = error.to_string();
        open.lose(&reason);
        End::Lost(reason)
    }
}

type Reading = Pin<Box<dyn Future<Output = Result<Never, LinkError>> + Send>>;

/// A connection on which nothing is asked any more.
pub(super) struct Draining {
    reading: Reading,
    /// Dropping it would tell the enclave that the connection is over.
    _writer: WriteHalf,
    open: OpenRequests,
}

impl Draining {
    /// Hands out the answers that are still due, then ends the connection.
    pub(super) async fn finish(self) {
        let Self { mut reading, _writer, open } = self;
        let answered = async {
            while !open.0.is_empty() {
                sleep(LOOK).await;
            }
        };
        let reason = tokio::select! {
            () = answered => return,
            Err(error) = &mut reading => error.to_string(),
            () = sleep(DRAIN_MAX) => format!("no answer within {DRAIN_MAX:?} of its connection's replacement"),
        };
        open.lose(&reason);
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
    mut handed: oneshot::Receiver<Box<Link>>,
) -> Result<(Box<Link>, WriteHalf), LinkError> {
    let mut keep_alive = interval(KEEP_ALIVE);
    keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    keep_alive.reset();
    let mut frames = Vec::new();
    let mut successor = None;
    loop {
        successor = match successor {
            Some(link) if !pending.has_ceremony() => return Ok((link, writer)),
            waiting => waiting,
        };
        let mut next = tokio::select! {
            outgoing = inbox.recv() => Some(outgoing.ok_or(LinkError::Abandoned)?),
            _ = keep_alive.tick() => None,
            Ok(link) = &mut handed, if successor.is_none() => {
                successor = Some(link);
                continue;
            }
            () = sleep(LOOK), if successor.is_some() => continue,
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
