//! Strangers, and the agent itself, abuse the enclave's socket: after each abuse the enclave serves as before, and
//! neither its memory nor its threads have grown.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use sealstone_attestation::{Algorithm, Binding, KeyId};
use sealstone_swtpm_tests::wait::until;
use sealstone_wire::KeyPath;
use sealstone_wire::address::Address;
use sealstone_wire::channel::{self, Channel, ChannelKey};
use sealstone_wire::client::Client;
use sealstone_wire::frame::{FrameReader, append_frame};
use sealstone_wire::limits::{
    CONNECTIONS_MAX, FRAME_DEADLINE, HANDSHAKE_DEADLINE, HANDSHAKES_MAX, QUEUE_MAX,
};
use sealstone_wire::reply::{Phase, RefusalCode, Reply};
use sealstone_wire::request::{Request, RequestMessage};
use support::agent::{asset, signing};
use support::{Agent, Stage};

/// What abuse may add to the enclave's memory for good: buffers and stacks of the connections that are allowed.
const GROWTH_MAX_KIB: u64 = 24 * 1024;

/// How long a stranger may be kept waiting beyond a deadline on a loaded machine.
const SLACK: Duration = Duration::from_secs(10);

/// An attested enclave, and what it was like before the abuse.
struct Server {
    stage: Stage,
    path: KeyPath,
    binding: Binding,
    key_id: KeyId,
    rss_kib: u64,
    threads: u64,
}

impl Server {
    fn start() -> Self {
        let (stage, mut agent, _) = Stage::provisioned();
        let binding = stage.attest(&mut agent).unwrap().binding;
        let path = asset("treasury", Algorithm::Es256);
        let key_id = agent.public_key(&path, None).unwrap().key_id();
        let mut server = Self { stage, path, binding, key_id, rss_kib: 0, threads: 0 };
        server.sign_with(&mut agent);
        drop(agent);
        server.rss_kib = server.process("VmRSS");
        server.threads = server.process("Threads");
        server
    }

    fn sign_with(&self, agent: &mut Agent) {
        agent.sign(signing(&self.path, self.binding, Some(self.key_id))).unwrap();
    }

    fn pid(&self) -> u32 {
        self.stage.node.enclave_pid()
    }

    /// A number of `/proc/PID/status`.
    fn process(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:"))).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    fn raw(&self) -> UnixStream {
        let stream = UnixStream::connect(self.stage.node.path("enclave.sock")).unwrap();
        stream.set_read_timeout(Some(HANDSHAKE_DEADLINE + SLACK)).unwrap();
        stream
    }

    /// A connection that authenticated as the agent, without the client's good manners.
    fn authenticated(&self) -> (FrameReader<UnixStream>, UnixStream, Channel) {
        let stream = self.raw();
        let writer = stream.try_clone().unwrap();
        let mut reader = FrameReader::new(stream);
        let deadline = Instant::now() + HANDSHAKE_DEADLINE;
        let (own, peer) = (self.stage.agent_key(), self.stage.enclave_key());
        let channel = channel::initiate(&mut reader, &own, &peer, deadline).unwrap();
        (reader, writer, channel)
    }

    /// The enclave is the same process, in the same session, and as small as it was.
    #[track_caller]
    fn serves(&self, after: &str) {
        let begin = Instant::now();
        let mut agent = self.stage.connect();
        assert_eq!(agent.status().phase, Phase::Attested, "after {after}");
        self.sign_with(&mut agent);
        assert!(begin.elapsed() < HANDSHAKE_DEADLINE, "after {after}: {:?}", begin.elapsed());
        assert_eq!(self.process("Threads"), self.threads, "after {after}");
        let rss = self.process("VmRSS");
        assert!(
            rss <= self.rss_kib + GROWTH_MAX_KIB,
            "after {after}: {rss} KiB, before {} KiB",
            self.rss_kib
        );
    }

    /// Waits until the enclave has said this of a connection.
    fn says(&self, what: &str) {
        until(what, || self.stage.log().contains(what).then_some(()));
    }
}

/// Whether the enclave closed the connection without a byte; fails if it keeps it open.
fn closed(stream: &mut UnixStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => rest.is_empty(),
        Err(error) => matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
    }
}

// ---- strangers ----------------------------------------------------------------------------------------------

#[test]
fn frames_of_strangers_are_answered_with_nothing() {
    let frame = |body: &[u8]| {
        let mut frame = Vec::new();
        append_frame(&mut frame, body).unwrap();
        frame
    };
    let mut noise = vec![0; 100_000];
    getrandom::fill(&mut noise).unwrap();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a length of zero", vec![0, 0], "found 0"),
        ("zeros", vec![0; 70_000], "found 0"),
        ("ones", vec![0xff; 70_000], "handshake"),
        ("the longest frame", frame(&[7; 65_535]), "handshake"),
        ("a frame of one byte", frame(&[1]), "handshake"),
        ("a frame of a handshake's length", frame(&[0x42; 48]), "handshake"),
        ("a key of low order", frame(&[0; 48]), "low order"),
        ("an HTTP request", b"GET / HTTP/1.1\r\nhost: enclave\r\n\r\n".to_vec(), "handshake"),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), ""),
        ("random bytes", noise, ""),
    ];
    // The enclave says only so much about strangers at a time: a few of them for each enclave.
    for cases in cases.chunks(5) {
        let server = Server::start();
        let refusals = || -> Vec<String> {
            let log = server.stage.log();
            log.lines().filter(|line| line.contains("connection refused")).map(str::to_owned).collect()
        };
        // The one that only looked whether the enclave listens.
        until("the first to be gone", || (refusals().len() == 1).then_some(()));
        for (number, (what, bytes, says)) in cases.iter().enumerate() {
            let mut stream = server.raw();
            // It may close before everything is written.
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(Shutdown::Write);
            assert!(closed(&mut stream), "{what}");
            let refusal = until(what, || refusals().get(number + 1).cloned());
            assert!(refusal.contains(says), "{what}: {refusal}");
            server.serves(what);
        }
    }
}

#[test]
fn strangers_fill_no_log() {
    let server = Server::start();
    let before = server.stage.log().len();
    for _ in 0..1_000 {
        drop(server.raw());
    }
    server.serves("a thousand strangers");
    let added = server.stage.log().len() - before;
    assert!(added < 16 * 1024, "{added} bytes");
}

#[test]
fn half_open_silent_and_slow_strangers_are_gone_after_the_handshakes_deadline() {
    let server = Server::start();
    let begin = Instant::now();
    // A length bomb: the longest frame is announced and never comes.
    let mut bomb = server.raw();
    bomb.write_all(&[0xff, 0xff, 1, 2, 3]).unwrap();
    let mut silent = server.raw();
    let mut half_open = server.raw();
    half_open.shutdown(Shutdown::Write).unwrap();
    let mut deaf = server.raw();
    deaf.shutdown(Shutdown::Read).unwrap();
    drop(server.raw());
    let mut slow = server.raw();
    thread::scope(|scope| {
        let drip = scope.spawn(|| {
            // A byte every now and then of what could be a handshake.
            let mut bytes = [vec![0, 48], vec![5; 48]].concat().into_iter();
            while begin.elapsed() < HANDSHAKE_DEADLINE + SLACK {
                let Some(byte) = bytes.next() else { break };
                if slow.write_all(&[byte]).is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(200));
            }
            (closed(&mut slow), begin.elapsed())
        });
        assert!(closed(&mut half_open));
        assert!(begin.elapsed() < HANDSHAKE_DEADLINE, "the end of a stream is noticed at once");
        server.serves("half-open connections, while silent ones wait");
        assert!(closed(&mut bomb) && closed(&mut silent));
        let waited = begin.elapsed();
        assert!((HANDSHAKE_DEADLINE..HANDSHAKE_DEADLINE + SLACK).contains(&waited), "{waited:?}");
        let (closed, waited) = drip.join().unwrap();
        assert!(closed && waited < HANDSHAKE_DEADLINE + SLACK, "{waited:?}");
    });
    // It cannot hear; that it cannot say anything either shows that it is gone.
    until("the deaf one to be gone", || deaf.write_all(&[0]).err());
    server.serves("strangers who waited");
}

#[test]
fn a_second_agent_key_is_refused_and_so_is_a_foreign_enclave_key() {
    let server = Server::start();
    let address = server.stage.address();
    let (own, enclave) = (server.stage.agent_key(), server.stage.enclave_key());
    let other = ChannelKey::generate().unwrap();
    assert!(Client::connect(&address, &other, &enclave).is_err(), "a second agent key");
    server.says("connection refused");
    // The enclave's own key, stolen, makes no agent.
    let stolen = ChannelKey::from_file(&server.stage.node.path("enclave.key")).unwrap();
    assert!(Client::connect(&address, &stolen, &enclave).is_err(), "the enclave's key");
    // An agent that expects another enclave does not take this one.
    assert!(Client::connect(&address, &own, &other.public()).is_err(), "another enclave");
    server.serves("keys that are not enrolled");
}

#[test]
fn a_replayed_handshake_opens_nothing() {
    let server = Server::start();
    // A listener in between records what an honest agent says.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("between.sock");
    let between = UnixListener::bind(&path).unwrap();
    let recorded = thread::scope(|scope| {
        let tap = scope.spawn(|| {
            let (mut agent, _) = between.accept().unwrap();
            let mut enclave = server.raw();
            let (mut agent_out, mut enclave_in) = (agent.try_clone().unwrap(), enclave.try_clone().unwrap());
            scope.spawn(move || std::io::copy(&mut enclave_in, &mut agent_out));
            let mut recorded = Vec::new();
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = agent.read(&mut bytes) {
                recorded.extend_from_slice(&bytes[..count]);
                enclave.write_all(&bytes[..count]).unwrap();
            }
            enclave.shutdown(Shutdown::Both).unwrap();
            recorded
        });
        let (own, enclave) = (server.stage.agent_key(), server.stage.enclave_key());
        let mut agent =
            Agent(Client::connect(&Address::Unix { path: path.clone() }, &own, &enclave).unwrap());
        agent.ask(Request::Lock).unwrap();
        drop(agent);
        tap.join().unwrap()
    });
    // What it said was the order to lock: it must not be carried out again.
    let mut agent = server.stage.connect();
    agent.honest(support::agent::unlock(), server.stage.tpm()).unwrap();
    server.stage.attest(&mut agent).unwrap();
    let before = server.stage.log().matches("connection refused").count();
    let mut replay = server.raw();
    replay.write_all(&recorded).unwrap();
    let mut answer = Vec::new();
    let _ = replay.read_to_end(&mut answer);
    assert!(
        answer.len() <= 2 + 48,
        "the enclave's half of a handshake at most, found {} bytes",
        answer.len()
    );
    until("the refusal", || {
        (server.stage.log().matches("connection refused").count() > before).then_some(())
    });
    assert_eq!(agent.status().phase, Phase::Attested);
    drop(agent);
    server.serves("a replayed handshake");
}

/// Says that something is over, once it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

// ---- ten thousand connections -------------------------------------------------------------------------------

#[test]
fn ten_thousand_connections_keep_no_agent_out() {
    const CONNECTIONS: usize = 10_000;
    let server = Server::start();
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    // As many are held at once as this process may hold; the oldest give way to the rest.
    let held_max = limit.current.map_or(CONNECTIONS, |limit| usize::try_from(limit).unwrap() - 200);
    let socket = server.stage.node.path("enclave.sock");
    let (flooding, most_threads, opened) = (AtomicBool::new(true), AtomicUsize::new(0), AtomicUsize::new(0));

    thread::scope(|scope| {
        // Also when the story fails.
        let over = Over(&flooding);
        scope.spawn(|| {
            while flooding.load(Ordering::Acquire) {
                let threads = usize::try_from(server.process("Threads")).unwrap();
                most_threads.fetch_max(threads, Ordering::AcqRel);
                thread::sleep(Duration::from_millis(5));
            }
        });
        let (done, held) = mpsc::channel();
        let flood = scope.spawn({
            let (socket, opened) = (&socket, &opened);
            move || {
                let mut streams = VecDeque::with_capacity(CONNECTIONS);
                for _ in 0..CONNECTIONS {
                    if streams.len() == held_max {
                        streams.pop_front();
                    }
                    streams.push_back(UnixStream::connect(socket).unwrap());
                    opened.fetch_add(1, Ordering::AcqRel);
                }
                done.send(streams).unwrap();
            }
        });
        // Meanwhile: an agent that tries again when it is crowded out gets in, and signs.
        let begin = Instant::now();
        let mut attempts = 0;
        let mut agent = loop {
            attempts += 1;
            let (own, enclave) = (server.stage.agent_key(), server.stage.enclave_key());
            // The enclave may crowd it out after the agent's last word of the handshake: an answer shows that not.
            if let Ok(mut client) = Client::connect(&server.stage.address(), &own, &enclave)
                && client.call(Request::Status).is_ok()
            {
                break Agent(client);
            }
            assert!(begin.elapsed() < HANDSHAKE_DEADLINE, "{attempts} attempts");
        };
        let during = opened.load(Ordering::Acquire);
        // Nor does the flood disturb an agent that is connected.
        while opened.load(Ordering::Acquire) < CONNECTIONS && !flood.is_finished() {
            let begin = Instant::now();
            server.sign_with(&mut agent);
            assert!(begin.elapsed() < HANDSHAKE_DEADLINE, "{:?}", begin.elapsed());
        }
        flood.join().unwrap();
        let held = held.recv().unwrap();
        println!("connected after {attempts} attempts and {during} connections; {} held", held.len());

        // With all of them held: at once.
        let begin = Instant::now();
        let mut second = server.stage.connect();
        server.sign_with(&mut second);
        assert!(begin.elapsed() < HANDSHAKE_DEADLINE, "{:?}", begin.elapsed());
        drop((over, held));
    });
    let most = most_threads.load(Ordering::Acquire);
    println!("at most {most} threads, {} KiB", server.process("VmHWM"));
    assert_eq!(u64::try_from(most).unwrap(), server.threads);
    until("the handshakes to be over", || (server.descriptors() < HANDSHAKES_MAX).then_some(()));
    server.serves("ten thousand connections");
    let peak = server.process("VmHWM");
    assert!(peak <= server.rss_kib + 2 * GROWTH_MAX_KIB, "{peak} KiB at most, before {} KiB", server.rss_kib);
}

// ---- the agent itself ---------------------------------------------------------------------------------------

#[test]
fn connections_beyond_the_bound_are_closed_and_make_room_when_they_end() {
    let server = Server::start();
    let mut agents: Vec<Agent> = (0..CONNECTIONS_MAX).map(|_| server.stage.connect()).collect();
    for agent in &mut agents {
        server.sign_with(agent);
    }
    let mut excess = server.stage.connect();
    assert!(excess.0.call(Request::Status).is_err(), "one more than {CONNECTIONS_MAX}");
    server.says("connection refused: 4 are open");
    for agent in &mut agents {
        server.sign_with(agent);
    }
    agents.pop();
    until("room for another", || server.stage.connect().0.call(Request::Status).ok());
    drop(agents);
    until("room for all", || server.stage.connect().0.call(Request::Status).ok());
    server.serves("too many connections");
}

#[test]
fn what_an_authenticated_agent_sends_amiss_ends_its_connection_and_no_other() {
    let server = Server::start();
    let mut bystander = server.stage.connect();
    let sealed = |channel: &mut Channel, plaintext: &[u8]| {
        let mut frames = Vec::new();
        channel.sealer.seal(plaintext, &mut frames).unwrap();
        frames
    };
    let status = |channel: &mut Channel, id| {
        let mut frames = Vec::new();
        channel.sealer.seal_message(&RequestMessage { id, request: Request::Status }, &mut frames).unwrap();
        frames
    };
    type Abuse<'a> = Box<dyn Fn(&mut Channel) -> Vec<u8> + 'a>;
    let cases: Vec<(&str, Abuse<'_>, &str)> = vec![
        ("a length of zero", Box::new(|_| vec![0, 0]), "expected a frame of 1 to 65535 bytes, found 0"),
        ("a frame too short for a tag", Box::new(|_| vec![0, 3, 1, 2, 3]), "expected a message of 16"),
        (
            "bytes that nobody sealed",
            Box::new(|_| [&[0, 64][..], &[9; 64]].concat()),
            "does not authenticate",
        ),
        (
            "a message twice",
            Box::new(|channel| {
                let frame = status(channel, 1);
                [frame.clone(), frame].concat()
            }),
            "expected message 2 of this session",
        ),
        (
            "messages out of order",
            Box::new(|channel| {
                let first = status(channel, 1);
                [status(channel, 2), first].concat()
            }),
            "expected message 1 of this session",
        ),
        (
            "a flipped bit",
            Box::new(|channel| {
                let mut frame = status(channel, 1);
                frame[5] ^= 1;
                frame
            }),
            "does not authenticate",
        ),
        ("no message", Box::new(|channel| sealed(channel, &[])), "does not suit the protocol"),
        ("an unknown request", Box::new(|channel| sealed(channel, &[1, 200])), "does not suit the protocol"),
        ("a request and more", Box::new(|channel| sealed(channel, &[1, 0, 0])), "does not suit the protocol"),
        ("a long text", Box::new(|channel| sealed(channel, &[0xff; 60_000])), "does not suit the protocol"),
        (
            // A manifest piece that says it has 2^63 bytes.
            "a length bomb inside a message",
            Box::new(|channel| {
                let bomb = [&[1, 1, 0][..], &[0xff; 8], &[0x7f]].concat();
                sealed(channel, &bomb)
            }),
            "does not suit the protocol",
        ),
    ];
    for (what, abuse, says) in cases {
        let (_, mut stream, mut channel) = server.authenticated();
        let before = server.stage.log().matches(says).count();
        stream.write_all(&abuse(&mut channel)).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        until(what, || (server.stage.log().matches(says).count() > before).then_some(()));
        server.sign_with(&mut bystander);
        server.serves(what);
    }
}

#[test]
fn a_frame_that_an_agent_never_finishes_ends_its_connection() {
    let server = Server::start();
    let (_, mut stream, _) = server.authenticated();
    stream.write_all(&[0xff, 0xff, 1, 2, 3]).unwrap();
    stream.set_read_timeout(Some(FRAME_DEADLINE + SLACK)).unwrap();
    let begin = Instant::now();
    assert!(closed(&mut stream));
    let waited = begin.elapsed();
    assert!(waited > FRAME_DEADLINE / 2 && waited < FRAME_DEADLINE + SLACK, "{waited:?}");
    server.says("expected a whole frame before its deadline");
    server.serves("half a frame");
}

#[test]
fn an_agent_that_asks_for_more_than_the_queue_holds_is_told_so_and_gets_the_rest() {
    let server = Server::start();
    let mut agent = server.stage.connect();
    let requests = 4 * u64::try_from(QUEUE_MAX).unwrap();
    let request = || Request::Sign(signing(&server.path, server.binding, Some(server.key_id)));
    thread::scope(|scope| {
        for id in 0..requests {
            agent.0.queue(id, request()).unwrap();
        }
        agent.0.flush().unwrap();
        // Another connection is told the same, and is served when the queue has emptied.
        let other = scope.spawn(|| {
            let mut other = server.stage.connect();
            assert_eq!(other.status().phase, Phase::Attested, "what needs no key is answered meanwhile");
            until("room in the queue", || {
                other.sign(signing(&server.path, server.binding, Some(server.key_id))).ok()
            });
        });
        let (mut signed, mut overloaded) = (0, 0);
        let mut seen = vec![false; usize::try_from(requests).unwrap()];
        for _ in 0..requests {
            let message = agent.0.recv().unwrap();
            let id = usize::try_from(message.id).unwrap();
            assert!(!std::mem::replace(&mut seen[id], true), "one answer each");
            match message.reply {
                Reply::Signed(_) => signed += 1,
                Reply::Refused(refusal) => {
                    assert_eq!(refusal.code, RefusalCode::Overloaded, "{refusal:?}");
                    overloaded += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        println!("{signed} signed, {overloaded} refused");
        assert!(signed >= QUEUE_MAX, "{signed}");
        other.join().unwrap();
    });
    drop(agent);
    server.serves("a full queue");
}

#[test]
fn an_agent_that_never_reads_its_answers_stops_nobody_else() {
    let server = Server::start();
    let (_, stream, mut channel) = server.authenticated();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    // Until neither side can write any more.
    let mut frames = Vec::new();
    for id in 0..50_000u64 {
        frames.clear();
        channel.sealer.seal_message(&RequestMessage { id, request: Request::Status }, &mut frames).unwrap();
        if (&stream).write_all(&frames).is_err() {
            break;
        }
    }
    server.serves("an agent that does not listen");
    server.says("reply not sent");
    server.serves("an agent that did not listen");
}
