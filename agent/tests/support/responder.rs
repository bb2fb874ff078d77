//! An enclave of a test's own: speaks the wire, and does otherwise what the test says.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sealstone_agent::config::enclave::{EnclaveConfig, RawEnclave};
use sealstone_agent::enclave::{Enclave, Endpoint};
use sealstone_wire::channel::{Channel, ChannelError, ChannelKey, ChannelPublic, respond};
use sealstone_wire::frame::FrameReader;
use sealstone_wire::reply::{Reply, ReplyMessage};
use sealstone_wire::request::{Request, RequestMessage};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Responder {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) listener: UnixListener,
    pub(crate) key: ChannelKey,
    agent_secret: [u8; 32],
}

/// One connection, handshake done.
pub(crate) struct Peer {
    frames: FrameReader<UnixStream>,
    stream: UnixStream,
    channel: Channel,
}

impl Responder {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a folder for the test's enclave");
        let listener = UnixListener::bind(directory.path().join("enclave.sock")).expect("a socket");
        Self { directory, listener, key: ChannelKey::generate().expect("a key"), agent_secret: [7; 32] }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("enclave.sock")
    }

    pub(crate) fn agent_key(&self) -> ChannelKey {
        ChannelKey::from_secret(&self.agent_secret)
    }

    pub(crate) fn config(&self) -> EnclaveConfig {
        self.config_at("unix:enclave.sock")
    }

    pub(crate) fn config_at(&self, address: &str) -> EnclaveConfig {
        let public_key = self.key.public().to_string();
        let raw = RawEnclave {
            address: address.to_owned(),
            key_file: "agent.key".into(),
            next_key_file: None,
            public_keys: vec![public_key],
        };
        raw.check(self.directory.path()).expect("a good [enclave] section")
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::new(&self.config(), vec![self.agent_key()])
    }

    /// The client under test, which is never shut down.
    pub(crate) fn client(&self) -> Enclave {
        Enclave::spawn(self.endpoint(), std::future::pending())
    }

    /// Waits for the client's next connection.
    pub(crate) fn accept(&self) -> Peer {
        let (stream, _) = self.listener.accept().expect("the client connects");
        self.shake(stream).expect("the client's handshake")
    }

    pub(crate) fn shake(&self, stream: UnixStream) -> Result<Peer, ChannelError> {
        self.shake_with(stream, &[self.agent_key().public()])
    }

    /// The handshake of an enclave that knows these agents.
    pub(crate) fn shake_with(
        &self,
        stream: UnixStream,
        agents: &[ChannelPublic],
    ) -> Result<Peer, ChannelError> {
        let mut frames = FrameReader::new(stream.try_clone().expect("a second handle"));
        let own = std::slice::from_ref(&self.key);
        let (channel, _) = respond(&mut frames, own, agents, Instant::now() + PATIENCE)?;
        Ok(Peer { frames, stream, channel })
    }
}

impl Peer {
    /// The next request; `None` when the client closed the connection.
    pub(crate) fn receive(&mut self) -> Option<RequestMessage> {
        let body = self.frames.next(PATIENCE, PATIENCE).ok()??;
        Some(self.channel.opener.open_message(body).expect("a request"))
    }

    pub(crate) fn send(&mut self, id: u64, reply: Reply) {
        use std::io::Write;
        let mut frames = Vec::new();
        self.channel.sealer.seal_message(&ReplyMessage { id, reply }, &mut frames).expect("a reply");
        // The client may have left.
        let _ = self.stream.write_all(&frames);
    }

    /// Past the channel.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        use std::io::Write;
        let _ = self.stream.write_all(bytes);
    }

    /// Answers every question with what it asked, until the client leaves.
    pub(crate) fn echo(&mut self) {
        while let Some(RequestMessage { id, request }) = self.receive() {
            self.send(id, echo(&request));
        }
    }
}

/// A question that can be told from others: its answer holds the same number.
pub(crate) fn question(number: u64) -> Request {
    Request::Receipts { from: number }
}

/// The answer to [`question`].
pub(crate) fn echo(request: &Request) -> Reply {
    match request {
        Request::Receipts { from } => Reply::Clock { now_ms: *from },
        _ => Reply::Done,
    }
}
