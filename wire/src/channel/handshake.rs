//! The handshake as a state machine without I/O.

use std::sync::Arc;

use snow::params::NoiseParams;
use snow::{Builder, HandshakeState, StatelessTransportState};

use super::primitives::{NO_KEY, Primitives};
use super::{Channel, ChannelError, ChannelKey, ChannelPublic, TAG};
use crate::frame::append_frame;
use crate::limits::PROTOCOL_VERSION;

/// The pattern and its primitives.
const PATTERN: &str = "Noise_KK_25519_ChaChaPoly_SHA256";

/// Starts the prologue; the protocol's version follows as a big-endian u16.
const PROLOGUE: &[u8] = b"sealstone/channel/v1";

/// Bytes of both of KK's messages: an ephemeral key, and the tag of an empty payload.
const MESSAGE: usize = 32 + TAG;

/// One side of a handshake. The initiator writes, reads, writes; the responder reads, writes, reads; then either
/// [`finish`](Self::finish)es. A failure is final.
#[allow(missing_debug_implementations, reason = "holds session keys")]
pub struct Handshake {
    initiator: bool,
    state: State,
}

enum State {
    /// KK's two messages.
    Noise(Box<HandshakeState>),
    /// Keys are agreed; the initiator's proof that it is there now is outstanding.
    Confirm(StatelessTransportState),
    Done(StatelessTransportState),
    Failed,
}

impl Handshake {
    /// The agent's side.
    ///
    /// # Errors
    /// None that a caller can cause today; the library's are passed on as [`ChannelError::Handshake`].
    pub fn initiator(own: &ChannelKey, peer: &ChannelPublic) -> Result<Self, ChannelError> {
        Self::new(own, peer, true, PROTOCOL_VERSION)
    }

    /// The enclave's side.
    ///
    /// # Errors
    /// As [`initiator`](Self::initiator).
    pub fn responder(own: &ChannelKey, peer: &ChannelPublic) -> Result<Self, ChannelError> {
        Self::new(own, peer, false, PROTOCOL_VERSION)
    }

    fn new(
        own: &ChannelKey,
        peer: &ChannelPublic,
        initiator: bool,
        version: u16,
    ) -> Result<Self, ChannelError> {
        let prologue = [PROLOGUE, &version.to_be_bytes()].concat();
        let parameters: NoiseParams = PATTERN.parse().map_err(reason)?;
        let builder = Builder::with_resolver(parameters, Box::new(Primitives(Arc::clone(own.holder()))))
            .local_private_key(NO_KEY)
            .and_then(|builder| builder.remote_public_key(peer.as_bytes()))
            .and_then(|builder| builder.prologue(&prologue))
            .map_err(reason)?;
        let noise = if initiator { builder.build_initiator() } else { builder.build_responder() };
        Ok(Self { initiator, state: State::Noise(Box::new(noise.map_err(reason)?)) })
    }

    /// Appends this side's next frame to `frames`.
    ///
    /// # Errors
    /// [`ChannelError::Turn`] when the other side is to speak, [`ChannelError::LowOrder`] and
    /// [`ChannelError::Random`] as they say.
    pub fn write_message(&mut self, frames: &mut Vec<u8>) -> Result<(), ChannelError> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Noise(mut noise) if noise.is_my_turn() => {
                let mut message = [0; MESSAGE];
                let length = noise.write_message(&[], &mut message).map_err(reason)?;
                append_frame(frames, &message[..length])?;
                self.advance(noise)
            }
            State::Confirm(transport) if self.initiator => {
                let mut message = [0; TAG];
                transport.write_message(0, &[], &mut message).map_err(reason)?;
                append_frame(frames, &message)?;
                self.state = State::Done(transport);
                Ok(())
            }
            State::Noise(_) | State::Confirm(_) => Err(ChannelError::Turn { expected: "read" }),
            State::Done(_) => Err(ChannelError::Turn { expected: "finish" }),
            State::Failed => Err(ChannelError::Broken),
        }
    }

    /// Takes the body of the other side's next frame.
    ///
    /// # Errors
    /// [`ChannelError::Turn`] when this side is to speak; otherwise the peer is not who it should be.
    pub fn read_message(&mut self, body: &[u8]) -> Result<(), ChannelError> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Noise(mut noise) if !noise.is_my_turn() => {
                if body.len() != MESSAGE {
                    return Err(ChannelError::Handshake);
                }
                noise.read_message(body, &mut []).map_err(reason)?;
                self.advance(noise)
            }
            State::Confirm(transport) if !self.initiator => {
                if body.len() != TAG {
                    return Err(ChannelError::Handshake);
                }
                transport.read_message(0, body, &mut []).map_err(reason)?;
                self.state = State::Done(transport);
                Ok(())
            }
            State::Noise(_) | State::Confirm(_) => Err(ChannelError::Turn { expected: "write" }),
            State::Done(_) => Err(ChannelError::Turn { expected: "finish" }),
            State::Failed => Err(ChannelError::Broken),
        }
    }

    /// Whether nothing is left to say.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done(_))
    }

    /// The session, once both sides have proven themselves.
    ///
    /// # Errors
    /// [`ChannelError::Turn`] when something is still to be said, [`ChannelError::Broken`] after a failure.
    pub fn finish(self) -> Result<Channel, ChannelError> {
        match self.state {
            // The confirmation was the initiator's message 0.
            State::Done(transport) if self.initiator => Ok(Channel::new(transport, 1, 0)),
            State::Done(transport) => Ok(Channel::new(transport, 0, 1)),
            State::Noise(_) | State::Confirm(_) => Err(ChannelError::Turn { expected: "go on" }),
            State::Failed => Err(ChannelError::Broken),
        }
    }

    fn advance(&mut self, noise: Box<HandshakeState>) -> Result<(), ChannelError> {
        self.state = if noise.is_handshake_finished() {
            State::Confirm(noise.into_stateless_transport_mode().map_err(reason)?)
        } else {
            State::Noise(noise)
        };
        Ok(())
    }
}

fn reason(error: snow::Error) -> ChannelError {
    match error {
        snow::Error::Dh => ChannelError::LowOrder,
        snow::Error::Rng => ChannelError::Random,
        _ => ChannelError::Handshake,
    }
}
