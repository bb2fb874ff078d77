//! The authenticated channel between agent and enclave: Noise without I/O, and postcard inside it.
//!
//! `Noise_KK_25519_ChaChaPoly_SHA256` (revision 34): each side knows the other's static key beforehand; the agent
//! initiates. The prologue is `sealstone/channel/v1` and the [`PROTOCOL_VERSION`](crate::limits::PROTOCOL_VERSION),
//! so versions that differ never get past the handshake.
//!
//! The handshake has three frames. The first two are KK's. The first can be replayed by anyone who once saw it, so
//! the third, an empty transport message, proves to the enclave that the agent is there now; only then does
//! either side hold a [`Channel`].
//!
//! What produces bytes here appends whole frames to a vector, so that many can be written at once; what consumes
//! bytes takes the body of one frame.

mod blocking;
mod codec;
mod handshake;
mod key;
mod primitives;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Serialize, de::DeserializeOwned};
use snow::StatelessTransportState;
use thiserror::Error;

use crate::frame::{self, FrameError};
use crate::limits::PLAINTEXT_MAX;

pub use blocking::{initiate, respond};
pub use codec::{CodecError, decode, encode};
pub use handshake::{Handshake, Parties};
pub use key::{
    ChannelKey, ChannelPublic, KeyError, PublicError, PublicKeysError, StaticKey, create_secret, public_keys,
    read_secret,
};

/// Bytes that encryption adds: the Poly1305 tag.
const TAG: usize = 16;

/// Messages in each direction. Far below the 2^64 - 1 nonces of Noise (section 5.1), far above what a connection
/// can carry in a human life.
const MESSAGES_MAX: u64 = 1 << 48;

/// An authenticated session, in two halves for two threads.
#[allow(missing_debug_implementations, reason = "holds session keys")]
pub struct Channel {
    /// Encrypts what this side says.
    pub sealer: Sealer,
    /// Decrypts what the other side says.
    pub opener: Opener,
}

impl Channel {
    /// The halves of a finished handshake, with the number of messages that went each way already.
    fn new(
        transport: Box<StatelessTransportState>,
        holder: Arc<dyn StaticKey>,
        sent: u64,
        received: u64,
    ) -> Self {
        let session = Arc::new(Session { transport, holder, broken: AtomicBool::new(false) });
        Self {
            sealer: Sealer { session: Arc::clone(&session), next: sent, scratch: Vec::new() },
            opener: Opener { session, next: received, scratch: Vec::new() },
        }
    }
}

/// What both halves share. The two directions have keys of their own, so sharing needs no lock.
struct Session {
    transport: Box<StatelessTransportState>,
    holder: Arc<dyn StaticKey>,
    /// Set by the first failure of either half, for ever.
    broken: AtomicBool,
}

impl Session {
    fn check(&self, next: u64) -> Result<(), ChannelError> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(ChannelError::Broken);
        }
        if next >= MESSAGES_MAX {
            return Err(ChannelError::Exhausted);
        }
        Ok(())
    }

    fn fail(&self, error: ChannelError) -> ChannelError {
        self.broken.store(true, Ordering::Relaxed);
        error
    }
}

/// The sending half.
#[allow(missing_debug_implementations, reason = "holds session keys")]
pub struct Sealer {
    session: Arc<Session>,
    /// The nonce of the next message: each is used once, in order.
    next: u64,
    /// Where messages are encoded, kept so that none allocates.
    scratch: Vec<u8>,
}

impl Sealer {
    /// Appends one frame with the encrypted `plaintext` to `frames`.
    ///
    /// # Errors
    /// [`ChannelError::PlaintextLength`] when it is too long: nothing was appended and the channel is as it was.
    /// Everything else is final.
    pub fn seal(&mut self, plaintext: &[u8], frames: &mut Vec<u8>) -> Result<(), ChannelError> {
        seal(&self.session, &mut self.next, plaintext, frames)
    }

    /// Appends one frame with the encoded and encrypted `message` to `frames`.
    ///
    /// # Errors
    /// [`ChannelError::Codec`] when it does not encode or is too long: nothing was appended and the channel is as
    /// it was. Everything else is final.
    pub fn seal_message(
        &mut self,
        message: &impl Serialize,
        frames: &mut Vec<u8>,
    ) -> Result<(), ChannelError> {
        if self.scratch.is_empty() {
            self.scratch = vec![0; PLAINTEXT_MAX];
        }
        let plaintext = codec::encode_into(message, &mut self.scratch)?;
        seal(&self.session, &mut self.next, plaintext, frames)
    }
}

fn seal(
    session: &Session,
    next: &mut u64,
    plaintext: &[u8],
    frames: &mut Vec<u8>,
) -> Result<(), ChannelError> {
    if plaintext.len() > PLAINTEXT_MAX {
        return Err(ChannelError::PlaintextLength { found: plaintext.len() });
    }
    session.check(*next)?;
    let length = plaintext.len() + TAG;
    let start = frames.len();
    frames.extend_from_slice(&frame::header(length)?);
    let body = frames.len();
    frames.resize(body + length, 0);
    let (transport, sealed) = (&session.transport, &mut frames[body..]);
    match key::sheltered(&*session.holder, || transport.write_message(*next, plaintext, sealed).map(drop)) {
        Ok(_) => {
            *next += 1;
            Ok(())
        }
        Err(_) => {
            frames.truncate(start);
            Err(session.fail(ChannelError::Encrypt))
        }
    }
}

/// The receiving half.
#[allow(missing_debug_implementations, reason = "holds session keys")]
pub struct Opener {
    session: Arc<Session>,
    /// The nonce that the next message must have been sealed under.
    next: u64,
    /// Where messages are decrypted before they are decoded, kept so that none allocates.
    scratch: Vec<u8>,
}

impl Opener {
    /// Decrypts the body of one frame into `plaintext`, whose old content is dropped.
    ///
    /// # Errors
    /// Final: a message that was changed, repeated, lost or reordered ends the channel.
    pub fn open(&mut self, body: &[u8], plaintext: &mut Vec<u8>) -> Result<(), ChannelError> {
        open(&self.session, &mut self.next, body, plaintext)
    }

    /// Decrypts and decodes the body of one frame.
    ///
    /// # Errors
    /// [`ChannelError::Codec`] when what the peer sealed is no such message: the channel is as it was. Everything
    /// else is final.
    pub fn open_message<T: DeserializeOwned>(&mut self, body: &[u8]) -> Result<T, ChannelError> {
        open(&self.session, &mut self.next, body, &mut self.scratch)?;
        Ok(decode(&self.scratch)?)
    }
}

fn open(session: &Session, next: &mut u64, body: &[u8], plaintext: &mut Vec<u8>) -> Result<(), ChannelError> {
    plaintext.clear();
    session.check(*next)?;
    let Some(length) = body.len().checked_sub(TAG).filter(|length| *length <= PLAINTEXT_MAX) else {
        return Err(session.fail(ChannelError::MessageLength { found: body.len() }));
    };
    plaintext.resize(length, 0);
    let (transport, opened) = (&session.transport, &mut plaintext[..]);
    match key::sheltered(&*session.holder, || transport.read_message(*next, body, opened).map(drop)) {
        Ok(_) => {
            *next += 1;
            Ok(())
        }
        Err(_) => {
            plaintext.clear();
            Err(session.fail(ChannelError::Decrypt { message: *next }))
        }
    }
}

/// Why a handshake or a message fails.
#[derive(Debug, Error)]
pub enum ChannelError {
    /// The peer has not the expected static key, does not expect ours, speaks another version, or its frame was
    /// changed on the way. Which one it is cannot be told.
    #[error(
        "expected a handshake between the configured keys in protocol version {}, found one that does not authenticate",
        crate::limits::PROTOCOL_VERSION
    )]
    Handshake,
    /// The peer's public key is of low order: every secret shared with it is known to all.
    #[error("expected a public key that contributes to the shared secret, found one of low order")]
    LowOrder,
    /// The system gives no random bytes.
    #[error("the operating system gives no random bytes")]
    Random,
    /// The caller sends or receives when it is the other side's turn, or finishes too early.
    #[error("expected the handshake to {expected}, found a call out of turn")]
    Turn {
        /// What comes next.
        expected: &'static str,
    },
    /// The peer closed the stream during the handshake.
    #[error("expected a handshake, found the end of the stream")]
    Ended,
    /// A frame did not come or go.
    #[error("a frame of the handshake failed")]
    Frame(#[from] FrameError),
    /// The caller wants to send too much at once.
    #[error("expected at most {PLAINTEXT_MAX} bytes in one message, found {found}")]
    PlaintextLength {
        /// Bytes given.
        found: usize,
    },
    /// The peer sent what cannot be a message.
    #[error("expected a message of {TAG} to {} bytes, found {found}", PLAINTEXT_MAX + TAG)]
    MessageLength {
        /// Bytes received.
        found: usize,
    },
    /// The cipher refuses; a bug.
    #[error("the message could not be encrypted")]
    Encrypt,
    /// The message was changed, repeated, lost, reordered, or is of another session.
    #[error("expected message {message} of this session, found one that does not authenticate")]
    Decrypt {
        /// Its number in this direction.
        message: u64,
    },
    /// An earlier failure ended the channel.
    #[error("the channel ended with an earlier failure")]
    Broken,
    /// The bound on messages is reached; a new connection continues.
    #[error("expected at most {MESSAGES_MAX} messages in one session")]
    Exhausted,
    /// The message does not encode or decode.
    #[error("the message does not suit the protocol")]
    Codec(#[from] CodecError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels() -> (Channel, Channel) {
        let (agent, enclave) = (ChannelKey::generate().unwrap(), ChannelKey::generate().unwrap());
        let mut initiator = Handshake::initiator(&agent, &enclave.public()).unwrap();
        let mut responder = Handshake::responder(&enclave, &agent.public()).unwrap();
        let mut frames = Vec::new();
        initiator.write_message(&mut frames).unwrap();
        responder.read_message(&frames[2..]).unwrap();
        frames.clear();
        responder.write_message(&mut frames).unwrap();
        initiator.read_message(&frames[2..]).unwrap();
        frames.clear();
        initiator.write_message(&mut frames).unwrap();
        responder.read_message(&frames[2..]).unwrap();
        (initiator.finish().unwrap(), responder.finish().unwrap())
    }

    /// The body of one sealed frame.
    fn sealed(channel: &mut Channel, plaintext: &[u8]) -> Vec<u8> {
        let mut frames = Vec::new();
        channel.sealer.seal(plaintext, &mut frames).unwrap();
        frames.split_off(2)
    }

    fn assert_over(channel: &mut Channel) {
        let (mut frames, mut plaintext) = (vec![1], Vec::new());
        assert!(matches!(channel.sealer.seal(b"", &mut frames), Err(ChannelError::Broken)));
        assert!(matches!(channel.sealer.seal_message(&0_u8, &mut frames), Err(ChannelError::Broken)));
        assert!(matches!(channel.opener.open(&[0; 16], &mut plaintext), Err(ChannelError::Broken)));
        assert!(matches!(channel.opener.open_message::<u8>(&[0; 16]), Err(ChannelError::Broken)));
        assert_eq!(frames, [1]);
    }

    #[test]
    fn messages_of_every_size_arrive_in_order() {
        let (mut agent, mut enclave) = channels();
        let mut plaintext = Vec::new();
        for length in [0, 1, 15, 16, 17, 63, 64, 65, 400, 4096, PLAINTEXT_MAX] {
            let message = vec![0xa5; length];
            let body = sealed(&mut agent, &message);
            assert_eq!(body.len(), length + TAG);
            enclave.opener.open(&body, &mut plaintext).unwrap();
            assert_eq!(plaintext, message);
        }
    }

    #[test]
    fn a_message_that_was_changed_anywhere_ends_the_channel_for_both_halves() {
        for byte in 0..5 + TAG {
            let (mut agent, mut enclave) = channels();
            let mut body = sealed(&mut agent, b"hello");
            body[byte] ^= 1;
            let mut plaintext = vec![1, 2, 3];
            let error = enclave.opener.open(&body, &mut plaintext).unwrap_err();
            assert!(matches!(error, ChannelError::Decrypt { message: 1 }), "{error}");
            assert!(plaintext.is_empty(), "nothing of a forged message is seen");
            assert_over(&mut enclave);
        }
    }

    #[test]
    fn a_truncated_extended_or_overlong_message_ends_the_channel() {
        for change in [
            (|body| body.truncate(4)) as fn(&mut Vec<u8>),
            |body| body.truncate(TAG - 1),
            |body| body.truncate(TAG),
            |body| body.truncate(body.len() - 1),
            |body| body.push(0),
            |body| body.resize(PLAINTEXT_MAX + TAG + 1, 0),
            Vec::clear,
        ] {
            let (mut agent, mut enclave) = channels();
            let mut body = sealed(&mut agent, b"hello");
            change(&mut body);
            let error = enclave.opener.open(&body, &mut Vec::new()).unwrap_err();
            assert!(
                matches!(error, ChannelError::Decrypt { .. } | ChannelError::MessageLength { .. }),
                "{error}"
            );
            assert_over(&mut enclave);
        }
    }

    #[test]
    fn a_replayed_reordered_or_lost_message_ends_the_channel() {
        for story in [[0, 0], [1, 0], [0, 2]] {
            let (mut agent, mut enclave) = channels();
            let messages: Vec<_> = (0..3).map(|number| sealed(&mut agent, &[number])).collect();
            let mut plaintext = Vec::new();
            let failed = story
                .into_iter()
                .find_map(|index: usize| enclave.opener.open(&messages[index], &mut plaintext).err())
                .expect("the story is not the one that was sent");
            assert!(matches!(failed, ChannelError::Decrypt { .. }), "{failed}");
            assert_over(&mut enclave);
        }
    }

    #[test]
    fn a_message_of_another_session_or_direction_ends_the_channel() {
        let (mut agent, mut enclave) = channels();
        let (mut other, _) = channels();
        assert!(enclave.opener.open(&sealed(&mut other, b"hello"), &mut Vec::new()).is_err());
        assert_over(&mut enclave);
        // Reflected to its sender.
        let own = sealed(&mut agent, b"hello");
        assert!(agent.opener.open(&own, &mut Vec::new()).is_err());
        assert_over(&mut agent);
    }

    #[test]
    fn what_the_caller_does_wrong_leaves_the_channel_as_it_was() {
        let (mut agent, mut enclave) = channels();
        let mut frames = vec![9];
        let long = vec![0; PLAINTEXT_MAX + 1];
        let error = agent.sealer.seal(&long, &mut frames).unwrap_err();
        assert!(matches!(error, ChannelError::PlaintextLength { found } if found == PLAINTEXT_MAX + 1));
        let error = agent.sealer.seal_message(&long, &mut frames).unwrap_err();
        assert!(matches!(error, ChannelError::Codec(CodecError::TooLong)), "{error}");
        assert_eq!(frames, [9]);
        // What the peer sealed is authentic but no such message: its fault, and still in step.
        let error = enclave.opener.open_message::<bool>(&sealed(&mut agent, &[2])).unwrap_err();
        assert!(matches!(error, ChannelError::Codec(CodecError::Decode(_))), "{error}");
        let error = enclave.opener.open_message::<bool>(&sealed(&mut agent, &[1, 0])).unwrap_err();
        assert!(matches!(error, ChannelError::Codec(CodecError::Trailing { found: 1 })), "{error}");
        frames.clear();
        agent.sealer.seal_message(&true, &mut frames).unwrap();
        assert!(enclave.opener.open_message::<bool>(&frames[2..]).unwrap());
    }

    #[test]
    fn no_nonce_is_ever_used_twice_because_the_session_ends_first() {
        let (mut agent, mut enclave) = channels();
        agent.sealer.next = MESSAGES_MAX - 1;
        enclave.opener.next = MESSAGES_MAX - 1;
        let body = sealed(&mut agent, b"the last");
        enclave.opener.open(&body, &mut Vec::new()).unwrap();
        assert!(matches!(agent.sealer.seal(b"", &mut Vec::new()), Err(ChannelError::Exhausted)));
        assert!(matches!(enclave.opener.open(&body, &mut Vec::new()), Err(ChannelError::Exhausted)));
    }

    #[test]
    fn both_halves_work_at_once_in_two_threads() {
        const MESSAGES: u32 = 2000;
        let (agent, enclave) = channels();
        let (to_enclave, at_enclave) = std::sync::mpsc::sync_channel::<Vec<u8>>(8);
        let (to_agent, at_agent) = std::sync::mpsc::sync_channel::<Vec<u8>>(8);
        let (Channel { sealer: mut agent_sealer, opener: mut agent_opener }, mut enclave) = (agent, enclave);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for number in 0..MESSAGES {
                    let mut frame = Vec::new();
                    agent_sealer.seal_message(&number, &mut frame).unwrap();
                    to_enclave.send(frame).unwrap();
                }
            });
            scope.spawn(move || {
                for frame in at_enclave {
                    let number: u32 = enclave.opener.open_message(&frame[2..]).unwrap();
                    let mut frame = Vec::new();
                    enclave.sealer.seal_message(&(number, number), &mut frame).unwrap();
                    to_agent.send(frame).unwrap();
                }
            });
            for number in 0..MESSAGES {
                let frame = at_agent.recv().unwrap();
                assert_eq!(agent_opener.open_message::<(u32, u32)>(&frame[2..]).unwrap(), (number, number));
            }
        });
    }
}
