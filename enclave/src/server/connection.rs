//! One authenticated connection: a reader that dispatches, and a writer that every thread may use.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use sealstone_wire::address::Stream;
use sealstone_wire::channel::{
    self, Channel, ChannelError, ChannelKey, ChannelPublic, Opener, Parties, Sealer,
};
use sealstone_wire::frame::{FrameReader, FrameWriter};
use sealstone_wire::limits::{FRAME_DEADLINE, HANDSHAKE_DEADLINE, IDLE_DEADLINE};
use sealstone_wire::reply::{RefusalCode, Reply, ReplyMessage};
use sealstone_wire::request::{Request, RequestMessage, TpmHints};

use super::ceremonies::{Ceremonies, Ceremony, Kind};
use super::pool::{Audit, Job, Pool, Work};
use super::relay::{ConnectionRelay, Relayed};
use crate::core::{Enclave, describe, lock};
use crate::notice::notice;
use crate::refuse::{Refuse, refuse};
use crate::state_file::LogHead;

/// The writing half, shared by the reader, the signing threads and a ceremony.
pub(super) struct Connection {
    /// Shut down to end the connection from any thread.
    stream: Stream,
    /// The enclave's key on this connection, which its reports name.
    own: ChannelPublic,
    writer: Mutex<Option<Writer>>,
    /// The ceremony that waits for relayed answers, by its request's number.
    ceremony: Mutex<Option<(u64, SyncSender<Relayed>)>>,
}

struct Writer {
    sealer: Sealer,
    frames: FrameWriter<Stream>,
}

/// The reading half, used by one thread.
pub(super) struct Reader {
    opener: Opener,
    frames: FrameReader<Stream>,
}

/// Proves both sides to each other, whole by the deadline of a handshake.
pub(super) fn authenticate(
    stream: Stream,
    own: &[ChannelKey],
    agent: &[ChannelPublic],
) -> Result<(FrameReader<Stream>, Channel, Parties), ChannelError> {
    let mut frames = FrameReader::new(stream);
    let (channel, parties) = channel::respond(&mut frames, own, agent, Instant::now() + HANDSHAKE_DEADLINE)?;
    Ok((frames, channel, parties))
}

impl Connection {
    /// Splits an authenticated stream.
    pub(super) fn open(
        mut frames: FrameReader<Stream>,
        channel: Channel,
        own: ChannelPublic,
    ) -> std::io::Result<(Arc<Self>, Reader)> {
        let Channel { sealer, opener } = channel;
        let stream = frames.get_mut().try_clone()?;
        let writer = Writer { sealer, frames: FrameWriter::new(stream.try_clone()?) };
        let connection = Self { stream, own, writer: Mutex::new(Some(writer)), ceremony: Mutex::new(None) };
        Ok((Arc::new(connection), Reader { opener, frames }))
    }

    /// Serves until the agent ends the connection or breaks the protocol.
    pub(super) fn serve(
        self: Arc<Self>,
        mut reader: Reader,
        enclave: &Enclave,
        pool: &Pool,
        ceremonies: &Ceremonies,
    ) {
        let end = loop {
            let message = match reader.frames.next(IDLE_DEADLINE, FRAME_DEADLINE) {
                Ok(Some(body)) => reader.opener.open_message::<RequestMessage>(body),
                Ok(None) => break None,
                Err(error) => break Some(describe(&error)),
            };
            match message {
                Ok(RequestMessage { id, request }) => {
                    self.dispatch(id, request, enclave, pool, ceremonies);
                }
                // An authenticated agent that sends what does not decode is of another version or broken.
                Err(error) => break Some(describe(&error)),
            }
        };
        if let Some(error) = end {
            notice(format!("connection ended: {error}"));
        }
        // A ceremony that waits for this agent learns that it is gone; late answers have nowhere to go.
        self.end_ceremony();
        self.close();
    }

    /// Sends a reply; a connection that cannot take it is over.
    pub(super) fn reply(&self, id: u64, reply: Reply) {
        let mut writer = lock(&self.writer);
        let Some(Writer { sealer, frames }) = writer.as_mut() else { return };
        let sent = sealer
            .seal_message(&ReplyMessage { id, reply }, frames.frames())
            .and_then(|()| frames.flush(FRAME_DEADLINE).map_err(ChannelError::from));
        if let Err(error) = sent {
            notice(format!("reply not sent: {}", describe(&error)));
            *writer = None;
            drop(writer);
            self.close();
        }
    }

    fn dispatch(
        self: &Arc<Self>,
        id: u64,
        request: Request,
        enclave: &Enclave,
        pool: &Pool,
        ceremonies: &Ceremonies,
    ) {
        let reply = match request {
            Request::Sign(request) => return self.submit(pool, id, Work::Sign(Box::new(request))),
            Request::PublicKey { path, binding } => {
                return self.submit(pool, id, Work::PublicKey(path, binding));
            }
            Request::CheckpointBegin => return self.submit(pool, id, Work::Audit(Audit::Begin)),
            Request::AuditLeaves { index, leaves } => {
                return self.submit(pool, id, Work::Audit(Audit::Leaves(index, leaves)));
            }
            Request::CheckpointSign { size, root } => {
                return self.submit(pool, id, Work::Audit(Audit::Sign(LogHead { size, root })));
            }
            Request::AuditResume { checkpoint, frontier } => {
                return self.submit(pool, id, Work::Audit(Audit::Resume(checkpoint, frontier)));
            }
            Request::AuditBeginAnew => return self.submit(pool, id, Work::Audit(Audit::BeginAnew)),
            Request::Relayed { to, step, response } => return self.relayed(to, (step, response)),
            Request::Provision { node, tpm } => {
                return self.ceremony(id, ceremonies, tpm, Kind::Provision(node));
            }
            Request::Unlock { tpm } => return self.ceremony(id, ceremonies, tpm, Kind::Unlock),
            Request::ApplyManifest { tpm } => return self.ceremony(id, ceremonies, tpm, Kind::Apply),
            Request::Status => Ok(Reply::Status(enclave.status())),
            Request::ManifestChunk { offset, bytes } => enclave.upload(offset, &bytes).map(|()| Reply::Done),
            Request::Challenge => enclave.challenge(self.own),
            Request::Attest { quote, checkpoint } => enclave.attest(&quote, &checkpoint).map(Reply::Session),
            Request::Report => enclave.report(self.own).map(|envelope| Reply::Report { envelope }),
            Request::Clock => Ok(Reply::Clock { now_ms: crate::clock::unix_ms() }),
            Request::Receipts { from } => enclave.receipts(from).map(Reply::Receipts),
            Request::Lock => enclave.lock().map(|()| Reply::Done),
            Request::ExportShares { .. }
            | Request::ImportShare { .. }
            | Request::ExportRoot { .. }
            | Request::ImportRoot { .. } => {
                Err(refuse(RefusalCode::Unsupported, "this version neither exports nor imports a root"))
            }
        };
        self.reply(id, reply.unwrap_or_else(Reply::from));
    }

    fn submit(self: &Arc<Self>, pool: &Pool, id: u64, work: Work) {
        pool.submit(Job { connection: Arc::clone(self), id, work });
    }

    /// Hands a ceremony over: this connection's reader must go on, to receive what is relayed.
    fn ceremony(self: &Arc<Self>, id: u64, ceremonies: &Ceremonies, tpm: TpmHints, kind: Kind) {
        let (relay, answers) = ConnectionRelay::new(Arc::clone(self), id);
        {
            let mut current = lock(&self.ceremony);
            if current.is_some() {
                drop(current);
                return self.reply(id, busy().into());
            }
            *current = Some((id, answers));
        }
        let ceremony = Ceremony { connection: Arc::clone(self), id, tpm, kind, relay };
        if let Err(refusal) = ceremonies.submit(ceremony) {
            self.end_ceremony();
            self.reply(id, refusal.into());
        }
    }

    /// No ceremony waits for relayed answers any more.
    pub(super) fn end_ceremony(&self) {
        *lock(&self.ceremony) = None;
    }

    /// Hands a relayed answer to the ceremony that waits for it; one that nobody waits for is dropped.
    fn relayed(&self, to: u64, answer: Relayed) {
        if let Some((id, answers)) = &*lock(&self.ceremony)
            && *id == to
        {
            // Full or gone: the agent answers twice or too late, and the ceremony fails by itself.
            drop(answers.try_send(answer));
        }
    }

    fn close(&self) {
        // It may be closed already; either way it is over.
        drop(self.stream.shutdown());
    }
}

fn busy() -> Refuse {
    refuse(RefusalCode::Busy, "a ceremony of this connection is under way; wait for it")
}
