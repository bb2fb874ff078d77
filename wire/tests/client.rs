//! A client against an enclave of the test's own, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{Read, Write};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sealstone_wire::address::{Address, Listener, Stream};
use sealstone_wire::channel::{self, Channel, ChannelError, ChannelKey, ChannelPublic};
use sealstone_wire::client::{Client, ClientError};
use sealstone_wire::frame::{FrameError, FrameReader, FrameWriter, write_frame};
use sealstone_wire::reply::{Refusal, RefusalCode, Reply, ReplyMessage};
use sealstone_wire::request::{Request, RequestMessage, TpmHints};

/// Long enough for a loaded machine, and never waited for by a test that passes.
const AMPLE: Duration = Duration::from_secs(20);

/// An authenticated connection as the enclave sees it.
struct Served {
    reader: FrameReader<Stream>,
    writer: FrameWriter<Stream>,
    channel: Channel,
}

impl Served {
    fn recv(&mut self) -> Option<RequestMessage> {
        let body = self.reader.next(AMPLE, AMPLE).unwrap()?;
        Some(self.channel.opener.open_message(body).unwrap())
    }

    fn reply(&mut self, id: u64, reply: Reply) {
        self.channel.sealer.seal_message(&ReplyMessage { id, reply }, self.writer.frames()).unwrap();
        self.writer.flush(AMPLE).unwrap();
    }
}

struct Node {
    _folder: tempfile::TempDir,
    address: Address,
    agent: ChannelKey,
    enclave: ChannelPublic,
    thread: JoinHandle<Result<(), ChannelError>>,
}

impl Node {
    /// An enclave that takes one connection and serves it as told.
    fn serving(serve: impl FnOnce(Served) + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::Unix { path: folder.path().join("enclave.sock") };
        let listener = Listener::bind(&address).unwrap();
        let (agent, enclave) = (ChannelKey::generate().unwrap(), ChannelKey::generate().unwrap());
        let (agent_public, enclave_public) = (agent.public(), enclave.public());
        let thread = thread::spawn(move || {
            let mut reader = FrameReader::new(listener.accept().unwrap());
            let (channel, _) =
                channel::respond(&mut reader, &[enclave], &[agent_public], Instant::now() + AMPLE)?;
            let writer = FrameWriter::new(reader.get_mut().try_clone().unwrap());
            serve(Served { reader, writer, channel });
            Ok(())
        });
        Self { _folder: folder, address, agent, enclave: enclave_public, thread }
    }

    fn connect(&self) -> Client {
        Client::connect(&self.address, &self.agent, &self.enclave).unwrap()
    }

    fn end(self) -> Result<(), ChannelError> {
        self.thread.join().unwrap()
    }
}

#[test]
fn a_question_gets_its_answer() {
    let node = Node::serving(|mut served| {
        let RequestMessage { id, request } = served.recv().unwrap();
        assert_eq!(request, Request::Clock);
        served.reply(id, Reply::Clock { now_ms: 7 });
        let RequestMessage { id, .. } = served.recv().unwrap();
        let refusal = Refusal { code: RefusalCode::Locked, detail: "unlock first".to_owned() };
        served.reply(id, Reply::Refused(refusal));
        assert!(served.recv().is_none(), "the client leaves");
    });
    let mut client = node.connect();
    assert_eq!(client.call(Request::Clock).unwrap(), Reply::Clock { now_ms: 7 });
    let refused = client.call(Request::Report).unwrap();
    assert!(matches!(refused, Reply::Refused(Refusal { code: RefusalCode::Locked, .. })));
    drop(client);
    node.end().unwrap();
}

#[test]
fn pipelined_requests_are_answered_in_any_order() {
    const COUNT: u64 = 300;
    let node = Node::serving(|mut served| {
        let mut ids: Vec<u64> = (0..COUNT).map(|_| served.recv().unwrap().id).collect();
        ids.reverse();
        for id in ids {
            served.reply(id, Reply::Clock { now_ms: id });
        }
    });
    let mut client = node.connect();
    for id in 0..COUNT - 1 {
        client.queue(id, Request::Clock).unwrap();
    }
    client.send(COUNT - 1, Request::Clock).unwrap();
    for expected in (0..COUNT).rev() {
        let ReplyMessage { id, reply } = client.recv().unwrap();
        assert_eq!((id, reply), (expected, Reply::Clock { now_ms: expected }));
    }
    assert!(matches!(client.recv(), Err(ClientError::Ended)));
    node.end().unwrap();
}

#[test]
fn tpm_commands_are_relayed_step_by_step() {
    let node = Node::serving(|mut served| {
        let RequestMessage { id, .. } = served.recv().unwrap();
        for step in 0..3 {
            served.reply(id, Reply::Relay { step, command: step.to_be_bytes().to_vec() });
            let expected = if step == 2 { Vec::new() } else { vec![0xaa, u8::try_from(step).unwrap()] };
            let RequestMessage { id: own, request } = served.recv().unwrap();
            assert_eq!(request, Request::Relayed { to: id, step, response: expected });
            assert_ne!(own, id);
        }
        served.reply(id, Reply::Done);
    });
    let mut client = node.connect();
    // The TPM is gone at the third command.
    let mut tpm = |command: &[u8]| (command[3] < 2).then(|| vec![0xaa, command[3]]);
    let reply = client.call_with_tpm(Request::Unlock { tpm: TpmHints::default() }, &mut tpm).unwrap();
    assert_eq!(reply, Reply::Done);
    node.end().unwrap();
}

#[test]
fn a_command_to_relay_without_a_tpm_is_an_error() {
    let node = Node::serving(|mut served| {
        let RequestMessage { id, .. } = served.recv().unwrap();
        served.reply(id, Reply::Relay { step: 0, command: vec![1] });
    });
    let error = node.connect().call(Request::Unlock { tpm: TpmHints::default() }).unwrap_err();
    assert!(matches!(error, ClientError::Relay), "{error}");
    node.end().unwrap();
}

#[test]
fn an_answer_to_another_question_is_an_error() {
    let node = Node::serving(|mut served| {
        let RequestMessage { id, .. } = served.recv().unwrap();
        served.reply(id + 1, Reply::Done);
    });
    let error = node.connect().call(Request::Lock).unwrap_err();
    assert!(matches!(error, ClientError::OtherId { found: 1 }), "{error}");
    node.end().unwrap();
}

#[test]
fn a_forged_or_cut_reply_is_an_error() {
    let node = Node::serving(|mut served| {
        served.recv().unwrap();
        write_frame(served.reader.get_mut(), &[0; 40]).unwrap();
    });
    let error = node.connect().call(Request::Lock).unwrap_err();
    assert!(matches!(error, ClientError::Channel(ChannelError::Decrypt { .. })), "{error}");
    node.end().unwrap();

    let node = Node::serving(|mut served| {
        served.recv().unwrap();
        served.reader.get_mut().write_all(&[0, 40, 1]).unwrap();
    });
    let error = node.connect().call(Request::Lock).unwrap_err();
    assert!(matches!(error, ClientError::Frame(FrameError::Truncated { .. })), "{error}");
    node.end().unwrap();
}

#[test]
fn another_agent_and_another_enclave_are_both_refused() {
    let node = Node::serving(|_| panic!("nobody authenticates"));
    let stranger = ChannelKey::generate().unwrap();
    let error = Client::connect(&node.address, &stranger, &node.enclave).err().unwrap();
    // The enclave hangs up without a word.
    assert!(matches!(error, ClientError::Channel(ChannelError::Ended)), "{error}");
    assert!(matches!(node.end(), Err(ChannelError::Handshake)));

    let node = Node::serving(|_| panic!("nobody authenticates"));
    let error = Client::connect(&node.address, &node.agent, &stranger.public()).err().unwrap();
    assert!(matches!(error, ClientError::Channel(_)), "{error}");
    assert!(matches!(node.end(), Err(ChannelError::Handshake)));
}

#[test]
fn a_silent_or_babbling_peer_is_not_waited_for() {
    for babble in [b"".as_slice(), b"\0", b"\xff\xff", b"\0\x30 and then nothing"] {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::Unix { path: folder.path().join("enclave.sock") };
        let listener = Listener::bind(&address).unwrap();
        let mut peer = Stream::connect(&address, Instant::now() + AMPLE).unwrap();
        peer.write_all(babble).unwrap();
        let own = ChannelKey::generate().unwrap();
        let public = own.public();
        let mut reader = FrameReader::new(listener.accept().unwrap());
        let deadline = Instant::now() + Duration::from_millis(50);
        let error = channel::respond(&mut reader, &[own], &[public], deadline).err().unwrap();
        assert!(matches!(error, ChannelError::Frame(FrameError::Late { .. })), "{error}");
        assert!(Instant::now() >= deadline);
        drop(reader);
        assert_eq!(peer.read(&mut [0]).unwrap_or(0), 0, "and nothing was said to it");
    }
}
