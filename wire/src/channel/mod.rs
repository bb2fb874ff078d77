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
pub use handshake::Handshake;
pub use key::{ChannelKey, ChannelPublic, KeyError, PublicError, StaticKey, read_secret};

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
    fn new(transport: StatelessTransportState, sent: u64, received: u64) -> Self {
        let session = Arc::new(Session { transport, broken: AtomicBool::new(false) });
        Self {
            sealer: Sealer { session: Arc::clone(&session), next: sent, scratch: Vec::new() },
            opener: Opener { session, next: received, scratch: Vec::new() },
        }
    }
}

/// What both halves share. The two directions have keys of their own, so sharing needs no lock.
struct Session {
    transport: StatelessTransportState,
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
    match session.transport.write_message(*next, plaintext, &mut frames[body..]) {
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
    match session.transport.read_message(*next, body, plaintext) {
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
