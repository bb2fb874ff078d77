//! Connecting, and connecting again.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use sealstone_wire::address::Address;
use sealstone_wire::channel::{Channel, ChannelError, ChannelKey, ChannelPublic, Handshake, Parties};
use sealstone_wire::frame::{FrameBuffer, FrameError};
use sealstone_wire::limits::HANDSHAKE_DEADLINE;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_vsock::{VsockAddr, VsockStream};

use super::endpoint::Endpoint;
use super::link::{End, Link};
use super::{Connection, Outgoing};
use crate::backoff::BackOff;

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
    #[error(
        "{address} ended the handshake: do enclave.public_keys and the enclave's agent_public_keys match?"
    )]
    Rejected { address: String },
    #[error("the handshake with {address} failed: {detail}")]
    Handshake { address: String, detail: String },
}

/// The background task.
pub(super) struct Supervisor {
    endpoint: watch::Receiver<Arc<Endpoint>>,
    inbox: mpsc::Receiver<Outgoing>,
    announce: watch::Sender<Connection>,
}

impl Supervisor {
    pub(super) fn new(
        endpoint: watch::Receiver<Arc<Endpoint>>,
        inbox: mpsc::Receiver<Outgoing>,
        announce: watch::Sender<Connection>,
    ) -> Self {
        Self { endpoint, inbox, announce }
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
            let endpoint = Arc::clone(&self.endpoint.borrow_and_update());
            let reason = match connect(&endpoint).await {
                Ok(link) => {
                    let Parties { own, peer } = link.parties;
                    tracing::info!(address = %endpoint.address, generation, %own, enclave = %peer, "connected to the enclave");
                    let since = tokio::time::Instant::now();
                    self.announce.send_replace(Connection::Up { generation });
                    let reason = self.serve(link, generation).await;
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

    /// Serves over a connection and over those that take its place; says why the last one ended. All of them are of one
    /// generation: the enclave behind them is the same process, or the earlier connection would have ended with it.
    async fn serve(&mut self, mut link: Link, generation: u64) -> String {
        let Self { endpoint, inbox, announce: _ } = self;
        loop {
            match link.run(generation, inbox, successor(endpoint)).await {
                End::Lost(reason) => return reason,
                End::Succeeded(next, draining) => {
                    let Parties { own, peer } = next.parties;
                    tracing::info!(generation, %own, enclave = %peer, "another connection to the enclave has taken over");
                    tokio::spawn(draining.finish());
                    link = *next;
                }
            }
        }
    }
}

/// A connection under keys that are not yet in use; waits until there are such keys.
async fn successor(endpoint: &mut watch::Receiver<Arc<Endpoint>>) -> Link {
    if endpoint.changed().await.is_err() {
        // No handle is left that could replace keys; the connection ends when that is noticed.
        std::future::pending::<()>().await;
    }
    let mut back_off = BACK_OFF.clone();
    loop {
        let newest = Arc::clone(&endpoint.borrow_and_update());
        match connect(&newest).await {
            Ok(link) => return link,
            Err(error) => {
                tracing::warn!(%error, "no connection under the new keys yet; the open one goes on")
            }
        }
        sleep(back_off.wait()).await;
    }
}

/// Tries one pair of keys after the other, until the enclave has the one and knows the other.
async fn connect(endpoint: &Endpoint) -> Result<Link, ConnectError> {
    let mut outcome = Err(ConnectError::Rejected { address: endpoint.address.to_string() });
    for (own, enclave) in endpoint.pairs() {
        outcome = connect_as(&endpoint.address, own, enclave).await;
        if !matches!(outcome, Err(ConnectError::Rejected { .. } | ConnectError::Handshake { .. })) {
            break;
        }
    }
    outcome
}

async fn connect_as(at: &Address, own: &ChannelKey, enclave: &ChannelPublic) -> Result<Link, ConnectError> {
    let address = || at.to_string();
    timeout(HANDSHAKE_DEADLINE, async {
        let (mut reader, mut writer) =
            open(at).await.map_err(|source| ConnectError::Unreachable { address: address(), source })?;
        let channel =
            handshake(own, enclave, &mut reader, &mut writer).await.map_err(|error| match error {
                HandshakeError::Ended => ConnectError::Rejected { address: address() },
                other => ConnectError::Handshake { address: address(), detail: other.to_string() },
            })?;
        Ok(Link { parties: Parties { own: own.public(), peer: *enclave }, reader, writer, channel })
    })
    .await
    .map_err(|_| ConnectError::Late { address: address() })?
}

async fn handshake(
    own: &ChannelKey,
    enclave: &ChannelPublic,
    reader: &mut ReadHalf,
    writer: &mut WriteHalf,
) -> Result<Channel, HandshakeError> {
    let mut handshake = Handshake::initiator(own, enclave)?;
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
