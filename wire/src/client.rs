//! A small blocking client of the enclave, for tests, tools and measurements. The agent has its own.

use std::time::{Duration, Instant};

use thiserror::Error;

use crate::address::{Address, ConnectError, Stream};
use crate::channel::{self, Channel, ChannelError, ChannelKey, ChannelPublic, Opener, Sealer};
use crate::frame::{FrameError, FrameReader, FrameWriter};
use crate::limits::{FRAME_DEADLINE, HANDSHAKE_DEADLINE, RELAY_DEADLINE};
use crate::reply::{Reply, ReplyMessage};
use crate::request::{Request, RequestMessage};

/// How long a reply is waited for: a ceremony in which every step is quick, or one slow TPM command.
const REPLY_DEADLINE: Duration = RELAY_DEADLINE;

/// One connection to an enclave.
#[allow(missing_debug_implementations, reason = "holds session keys")]
pub struct Client {
    reader: FrameReader<Stream>,
    writer: FrameWriter<Stream>,
    sealer: Sealer,
    opener: Opener,
    /// The number of the next request of [`call`](Self::call).
    next_id: u64,
}

impl Client {
    /// Connects and authenticates within [`HANDSHAKE_DEADLINE`].
    ///
    /// # Errors
    /// [`ClientError::Connect`] or [`ClientError::Channel`].
    pub fn connect(
        address: &Address,
        own: &ChannelKey,
        enclave: &ChannelPublic,
    ) -> Result<Self, ClientError> {
        let deadline = Instant::now() + HANDSHAKE_DEADLINE;
        let stream = Stream::connect(address, deadline)?;
        let writer = FrameWriter::new(stream.try_clone().map_err(FrameError::Io)?);
        let mut reader = FrameReader::new(stream);
        let Channel { sealer, opener } = channel::initiate(&mut reader, own, enclave, deadline)?;
        Ok(Self { reader, writer, sealer, opener, next_id: 0 })
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Relay`] when the enclave wants a TPM command relayed.
    pub fn call(&mut self, request: Request) -> Result<Reply, ClientError> {
        let id = self.start(request)?;
        match self.answer(&[id])? {
            Reply::Relay { .. } => Err(ClientError::Relay),
            reply => Ok(reply),
        }
    }

    /// Asks, gives the TPM each command that the enclave wants relayed, and waits for the answer. `tpm` returns
    /// `None` when the TPM cannot be reached.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn call_with_tpm(
        &mut self,
        request: Request,
        tpm: &mut dyn FnMut(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<Reply, ClientError> {
        let id = self.start(request)?;
        let mut relayed = id;
        loop {
            match self.answer(&[id, relayed])? {
                Reply::Relay { step, command } => {
                    let response = tpm(&command).unwrap_or_default();
                    relayed = self.start(Request::Relayed { to: id, step, response })?;
                }
                reply => return Ok(reply),
            }
        }
    }

    /// Sends one request without waiting. Its number must differ from those of open requests, also of
    /// [`call`](Self::call), which counts from 0.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn send(&mut self, id: u64, request: Request) -> Result<(), ClientError> {
        self.queue(id, request)?;
        self.flush()
    }

    /// Gathers one request, to be sent with others by [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn queue(&mut self, id: u64, request: Request) -> Result<(), ClientError> {
        Ok(self.sealer.seal_message(&RequestMessage { id, request }, self.writer.frames())?)
    }

    /// Sends what was gathered.
    ///
    /// # Errors
    /// [`ClientError::Frame`].
    pub fn flush(&mut self) -> Result<(), ClientError> {
        Ok(self.writer.flush(FRAME_DEADLINE)?)
    }

    /// Waits for the next reply to any request.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn recv(&mut self) -> Result<ReplyMessage, ClientError> {
        let body = self.reader.next(REPLY_DEADLINE, FRAME_DEADLINE)?.ok_or(ClientError::Ended)?;
        Ok(self.opener.open_message(body)?)
    }

    fn start(&mut self, request: Request) -> Result<u64, ClientError> {
        let id = self.next_id;
        self.next_id += 1;
        self.send(id, request)?;
        Ok(id)
    }

    fn answer(&mut self, expected: &[u64]) -> Result<Reply, ClientError> {
        let ReplyMessage { id, reply } = self.recv()?;
        if expected.contains(&id) { Ok(reply) } else { Err(ClientError::OtherId { found: id }) }
    }
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The enclave cannot be reached.
    #[error("cannot reach the enclave")]
    Connect(#[from] ConnectError),
    /// The enclave is not who it should be, or a message failed.
    #[error("the channel to the enclave failed")]
    Channel(#[from] ChannelError),
    /// A frame did not come or go.
    #[error("the connection to the enclave failed")]
    Frame(#[from] FrameError),
    /// The enclave closed the connection.
    #[error("expected a reply, found the end of the stream")]
    Ended,
    /// The request needs a TPM; the caller gave none.
    #[error("expected an answer, found a TPM command to relay")]
    Relay,
    /// A reply to a request that is not the open one.
    #[error("expected a reply to the open request, found one to request {found}")]
    OtherId {
        /// Its number.
        found: u64,
    },
}
