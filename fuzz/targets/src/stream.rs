//! What comes over a socket before anybody is authenticated: frames, handshakes, a VMM's answer.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use sealstone_wire::address::{Address, ConnectError, Stream};
use sealstone_wire::channel::{Channel, ChannelError, ChannelKey, Handshake};
use sealstone_wire::frame::{FrameBuffer, FrameReader, Timeouts, append_frame, read_frame};

/// Secrets of the two sides. Whoever fuzzes does not know them.
const AGENT: [u8; 32] = [0xa6; 32];
const ENCLAVE: [u8; 32] = [0xe7; 32];

/// Bytes of a VMM's answer that are tried; its longest line is far shorter.
const ANSWER_MAX: usize = 256;

/// Far longer than a local connection takes, so that a slow machine finds nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// A byte stream, behind one byte that says in which pieces it comes. Three readers find the same frames in it.
#[must_use]
pub fn frames(bytes: &[u8]) -> bool {
    let Some((piece, stream)) = bytes.split_first() else { return false };
    let (frames, whole) = split(stream);
    assert_eq!(buffered(stream, usize::from(*piece) + 1), frames);

    let mut reader = FrameReader::new(Local(stream));
    for frame in &frames {
        let next = reader.next(PATIENCE, PATIENCE).expect("another reader found a frame here");
        assert_eq!(next, Some(frame.as_slice()));
    }
    assert_eq!(matches!(reader.next(PATIENCE, PATIENCE), Ok(None)), whole);

    let mut written = Vec::new();
    for frame in &frames {
        append_frame(&mut written, frame).expect("it was a frame");
    }
    assert!(stream.starts_with(&written));
    assert_eq!(written.len() == stream.len(), whole);
    whole && !frames.is_empty()
}

/// The frames at the start of a stream, and whether it ends behind the last one.
fn split(stream: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut rest = stream;
    let mut frames = Vec::new();
    loop {
        let mut body = Vec::new();
        let ended = rest.is_empty();
        if read_frame(&mut rest, &mut body).is_err() {
            return (frames, ended);
        }
        frames.push(body);
    }
}

fn buffered(stream: &[u8], piece: usize) -> Vec<Vec<u8>> {
    let mut buffer = FrameBuffer::default();
    let mut frames = Vec::new();
    for piece in stream.chunks(piece) {
        let room = buffer.room();
        room[..piece.len()].copy_from_slice(piece);
        buffer.advance(piece.len());
        loop {
            match buffer.next_frame() {
                Ok(Some(body)) => frames.push(body.to_vec()),
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
    }
    frames
}

/// Bytes as a socket that never makes anybody wait.
#[derive(Debug)]
struct Local<'b>(&'b [u8]);

impl Read for Local<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Timeouts for Local<'_> {
    fn set_read_timeout(&self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    fn set_write_timeout(&self, _: Option<Duration>) -> io::Result<()> {
        Ok(())
    }
}

/// Frames to both sides of a handshake. Without a static key nobody gets to its end, not even by repeating the
/// first frame of a real one.
#[must_use]
pub fn handshake(bytes: &[u8]) -> bool {
    let (frames, _) = split(bytes);
    let Some(first) = frames.first() else { return false };
    let (mut initiator, mut responder) = sides();
    let mut said = Vec::new();
    let repeated = responder.read_message(first).is_ok();
    if repeated {
        responder.write_message(&mut said).expect("it is the responder's turn");
    }
    for frame in frames.iter().skip(1) {
        assert!(responder.read_message(frame).is_err(), "expected proof that the agent is there now");
    }
    assert!(!responder.is_done() && responder.finish().is_err());

    initiator.write_message(&mut said).expect("the initiator begins");
    for frame in &frames {
        assert!(initiator.read_message(frame).is_err(), "expected the enclave's key");
    }
    assert!(!initiator.is_done() && initiator.finish().is_err());
    repeated
}

/// Frames inside a channel, behind one byte that says how many genuine ones go before: none of them opens, and
/// nothing opens after one that did not.
#[must_use]
pub fn channel(bytes: &[u8]) -> bool {
    let Some((before, stream)) = bytes.split_first() else { return false };
    let (frames, _) = split(stream);
    let (mut agent, mut enclave) = channels();
    let mut plaintext = Vec::new();
    for _ in 0..before % 4 {
        let genuine = sealed(&mut agent);
        enclave.opener.open(&genuine, &mut plaintext).expect("the agent sealed it");
    }
    for (number, frame) in frames.iter().enumerate() {
        let opened = enclave.opener.open(frame, &mut plaintext);
        assert!(plaintext.is_empty());
        match (number, opened) {
            (_, Ok(())) => panic!("expected a refusal of what nobody sealed"),
            (0, Err(error)) => assert!(!matches!(error, ChannelError::Broken)),
            (_, Err(error)) => assert!(matches!(error, ChannelError::Broken)),
        }
    }
    let genuine = sealed(&mut agent);
    assert_eq!(enclave.opener.open(&genuine, &mut plaintext).is_ok(), frames.is_empty());
    !frames.is_empty()
}

fn sides() -> (Handshake, Handshake) {
    let (agent, enclave) = (ChannelKey::from_secret(&AGENT), ChannelKey::from_secret(&ENCLAVE));
    let initiator = Handshake::initiator(&agent, &enclave.public());
    let responder = Handshake::responder(&enclave, &agent.public());
    (initiator.expect("the keys are valid"), responder.expect("the keys are valid"))
}

fn channels() -> (Channel, Channel) {
    let (mut initiator, mut responder) = sides();
    let mut said = Vec::new();
    while !responder.is_done() {
        initiator.write_message(&mut said).expect("it is the initiator's turn");
        responder.read_message(&only_frame(&mut said)).expect("the initiator wrote it");
        if !responder.is_done() {
            responder.write_message(&mut said).expect("it is the responder's turn");
            initiator.read_message(&only_frame(&mut said)).expect("the responder wrote it");
        }
    }
    (initiator.finish().expect("it is done"), responder.finish().expect("it is done"))
}

fn sealed(channel: &mut Channel) -> Vec<u8> {
    let mut frames = Vec::new();
    channel.sealer.seal(b"genuine", &mut frames).expect("a short message is sealed");
    only_frame(&mut frames)
}

fn only_frame(stream: &mut Vec<u8>) -> Vec<u8> {
    let mut body = Vec::new();
    read_frame(&mut stream.as_slice(), &mut body).expect("one frame was written");
    stream.clear();
    body
}

/// What a VMM answers to `CONNECT`. The guest's first bytes may come right behind it, and are not touched.
#[must_use]
pub fn vmm_answer(bytes: &[u8]) -> bool {
    let answer = &bytes[..bytes.len().min(ANSWER_MAX)];
    let folder = tempfile::tempdir().expect("there is room for a socket");
    let path = folder.path().join("vmm");
    let listener = UnixListener::bind(&path).expect("a fresh folder has no socket");
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut vmm, _) = listener.accept().expect("the other thread connects");
            let mut asked = [0; b"CONNECT 5000\n".len()];
            vmm.read_exact(&mut asked).expect("the other thread asks");
            assert_eq!(&asked, b"CONNECT 5000\n");
            // Whoever does not like the beginning hangs up.
            let _ = vmm.write_all(answer);
        });
        let connected = Stream::connect(&Address::UnixVsock { path, port: 5000 }, Instant::now() + PATIENCE);
        connected.map(|mut stream| {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).expect("the VMM hangs up in the end");
            rest
        })
    });
    match (outcome, accepted(answer)) {
        (Ok(rest), Some(expected)) => assert_eq!(rest, expected),
        (Err(ConnectError::Vmm { .. } | ConnectError::VmmEnded { .. }), None) => return false,
        (outcome, expected) => panic!("expected {expected:?}, found {outcome:?}"),
    }
    true
}

/// What follows `OK <number>\n`, if the answer begins with that.
fn accepted(answer: &[u8]) -> Option<&[u8]> {
    // As many bytes as the longest line may have, its end included.
    let end = answer.iter().take(32).position(|byte| *byte == b'\n')?;
    let number = std::str::from_utf8(answer[..end].strip_prefix(b"OK ")?).ok()?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (digits && number.parse::<u32>().is_ok()).then_some(&answer[end + 1..])
}
