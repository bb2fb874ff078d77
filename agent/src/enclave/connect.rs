//! Connecting, and connecting again.

use std::future::Future;
use std::io;
use std::time::Duration;

use sealstone_wire::address::Address;
use sealstone_wire::channel::{Channel, ChannelError, ChannelKey, Handshake};
use sealstone_wire::frame::{FrameBuffer, FrameError};
use sealstone_wire::limits::HANDSHAKE_DEADLINE;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_vsock::{VsockAddr, VsockStream};

use super::link::Link;
use super::{Connection, Outgoing};
use crate::backoff::BackOff;
use crate::config::enclave::EnclaveConfig;

/// First and longest wait between two attempts to connect: an enclave that restarts is back in a moment, and
/// one that is gone is not worth more than one attempt in five seconds.
const BACK_OFF: BackOff = BackOff::new(Duration::from_millis(50), Duration::from_secs(5));

/// A connection that stood this long was a good one: the next wait is short again. One that ends at once, as
/// when the enclave closes connections beyond its maximum, is not.
const STOOD: Duration = Duration::from_secs(5);

/// Bytes of the answer to `CONNECT`: `OK` and a port number.
const CONNECT_ANSWER_MAX: usize = 32;

pub(super) type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
pub(super) type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("{address} cannot be reached ({source}); is the enclave running?")]
    Unreachable { address: String, source: io::Error },
    #[error("{address} did not finish the handshake within {HANDSHAKE_DEADLINE:?}")]
    Late { address: String },
    #[error("{address} ended the handshake: do enclave.public_key and the enclave's agent_public_key match?")]
    Rejected { address: String },
    #[error("the handshake with {address} failed: {detail}")]
    Handshake { address: String, detail: String },
}

/// The background task.
pub(super) struct Supervisor {
    config: EnclaveConfig,
    key: ChannelKey,
    inbox: mpsc::Receiver<Outgoing>,
    announce: watch::Sender<Connection>,
}

impl Supervisor {
    pub(super) fn new(
        config: EnclaveConfig,
        key: ChannelKey,
        inbox: mpsc::Receiver<Outgoing>,
        announce: watch::Sender<Connection>,
    ) -> Self {
        Self { config, key, inbox, announce }
    }

    pub(super) async fn run(mut self, shutdown: impl Future<Output = ()> + Send) {
        tokio::select! {
            () = shutdown => {}
            () = self.keep_connected() => {}
        }
        self.inbox.close();
        self.down("the agent is shutting down".to_owned());
        while let Some(outgoing) = self.inbox.recv().await {
            outgoing.refuse("the agent is shutting down");
        }
    }

    async fn keep_connected(&mut self) {
        let mut back_off = BACK_OFF.clone();
        for generation in 1.. {
            let reason = match self.connect().await {
                Ok(link) => {
                    tracing::info!(address = %self.config.address, generation, "connected to the enclave");
                    let since = tokio::time::Instant::now();
                    self.announce.send_replace(Connection::Up { generation });
                    let reason = link.run(generation, &mut self.inbox).await;
                    if since.elapsed() >= STOOD {
                        back_off.reset();
                    }
                    reason
                }
                Err(error) => error.to_string(),
            };
            self.down(reason.clone());
            // Nobody waits for a connection: who asks now is told why there is none.
            let wait = sleep(back_off.wait());
            tokio::pin!(wait);
            loop {
                tokio::select! {
                    () = &mut wait => break,
                    outgoing = self.inbox.recv() => match outgoing {
                        Some(outgoing) => outgoing.refuse(&reason),
                        None => return,
                    },
                }
            }
        }
    }

    fn down(&self, reason: String) {
        let news = Connection::Down { reason: reason.clone() };
        if self.announce.send_replace(news.clone()) != news {
            tracing::warn!(reason, "no connection to the enclave");
        }
    }

    async fn connect(&self) -> Result<Link, ConnectError> {
        let address = || self.config.address.to_string();
        timeout(HANDSHAKE_DEADLINE, async {
            let (mut reader, mut writer) = open(&self.config.address)
                .await
                .map_err(|source| ConnectError::Unreachable { address: address(), source })?;
            let channel = self.handshake(&mut reader, &mut writer).await.map_err(|error| match error {
                HandshakeError::Ended => ConnectError::Rejected { address: address() },
                other => ConnectError::Handshake { address: address(), detail: other.to_string() },
            })?;
            Ok(Link { reader, writer, channel })
        })
        .await
        .map_err(|_| ConnectError::Late { address: address() })?
    }

    async fn handshake(
        &self,
        reader: &mut ReadHalf,
        writer: &mut WriteHalf,
    ) -> Result<Channel, HandshakeError> {
        let mut handshake = Handshake::initiator(&self.key, &self.config.public_key)?;
        let (mut frames, mut buffer) = (Vec::new(), FrameBuffer::default());
        handshake.write_message(&mut frames)?;
        writer.write_all(&frames).await?;
        loop {
            if let Some(answer) = buffer.next_frame()? {
                handshake.read_message(answer)?;
                break;
            }
            let count = reader.read(buffer.room()).await?;
            if count == 0 {
                return Err(HandshakeError::Ended);
            }
            buffer.advance(count);
        }
        if !buffer.is_empty() {
            return Err(HandshakeError::Early);
        }
        frames.clear();
        handshake.write_message(&mut frames)?;
        writer.write_all(&frames).await?;
        Ok(handshake.finish()?)
    }
}

#[derive(Debug, thiserror::Error)]
enum HandshakeError {
    #[error("the connection ended")]
    Ended,
    #[error("expected nothing after the handshake before it is asked for, found more")]
    Early,
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

async fn open(address: &Address) -> io::Result<(ReadHalf, WriteHalf)> {
    match address {
        Address::Unix { path } => Ok(halves(UnixStream::connect(path).await?)),
        Address::UnixVsock { path, port } => {
            let mut stream = UnixStream::connect(path).await?;
            stream.write_all(format!("CONNECT {port}\n").as_bytes()).await?;
            let mut answer = Vec::new();
            // Byte by byte: what follows the line belongs to the handshake.
            while answer.last() != Some(&b'\n') {
                if answer.len() == CONNECT_ANSWER_MAX {
                    return Err(bad_answer(&answer));
                }
                answer.push(stream.read_u8().await?);
            }
            let port = answer.strip_prefix(b"OK ").and_then(|rest| rest.strip_suffix(b"\n"));
            if port.is_none_or(|port| port.is_empty() || !port.iter().all(u8::is_ascii_digit)) {
                return Err(bad_answer(&answer));
            }
            Ok(halves(stream))
        }
        Address::Vsock { cid, port } => {
            let (reader, writer) = VsockStream::connect(VsockAddr::new(*cid, *port)).await?.into_split();
            Ok((Box::new(reader), Box::new(writer)))
        }
    }
}

fn halves(stream: UnixStream) -> (ReadHalf, WriteHalf) {
    let (reader, writer) = stream.into_split();
    (Box::new(reader), Box::new(writer))
}

fn bad_answer(answer: &[u8]) -> io::Error {
    let found = String::from_utf8_lossy(answer);
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("expected \"OK <port>\" after CONNECT, found {found:?}"),
    )
}
