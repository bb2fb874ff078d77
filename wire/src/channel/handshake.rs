//! The handshake as a state machine without I/O.

use std::sync::Arc;

use snow::params::NoiseParams;
use snow::{Builder, HandshakeState, StatelessTransportState};

use super::key::sheltered;
use super::primitives::{NO_KEY, Primitives};
use super::{Channel, ChannelError, ChannelKey, ChannelPublic, StaticKey, TAG};
use crate::frame::append_frame;
use crate::limits::{CHANNEL_KEYS_MAX, PROTOCOL_VERSION};

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
    holder: Arc<dyn StaticKey>,
}

/// Between whom a channel is: static keys, which both sides have proven to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parties {
    /// This side's key.
    pub own: ChannelPublic,
    /// The other side's.
    pub peer: ChannelPublic,
}

enum State {
    /// KK's two messages.
    Noise(Box<HandshakeState>),
    /// Keys are agreed; the initiator's proof that it is there now is outstanding.
    Confirm(Box<StatelessTransportState>),
    Done(Box<StatelessTransportState>),
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

    /// The enclave's side, after the agent's first frame: under the first of its own keys and of the agent's with which
    /// that frame authenticates, so that either side may replace its key while the other goes on. Takes as many keys
    /// of a side as [`CHANNEL_KEYS_MAX`] and looks at no more.
    ///
    /// # Errors
    /// As [`read_message`](Self::read_message) of the last that was tried: the peer has none of the expected keys.
    pub fn answering(
        own: &[ChannelKey],
        peers: &[ChannelPublic],
        hello: &[u8],
    ) -> Result<(Self, Parties), ChannelError> {
        let mut refused = ChannelError::Handshake;
        for own in own.iter().take(CHANNEL_KEYS_MAX) {
            for peer in peers.iter().take(CHANNEL_KEYS_MAX) {
                let mut handshake = Self::responder(own, peer)?;
                match handshake.read_message(hello) {
                    Ok(()) => return Ok((handshake, Parties { own: own.public(), peer: *peer })),
                    Err(error) => refused = error,
                }
            }
        }
        Err(refused)
    }

    fn new(
        own: &ChannelKey,
        peer: &ChannelPublic,
        initiator: bool,
        version: u16,
    ) -> Result<Self, ChannelError> {
        let prologue = [PROLOGUE, &version.to_be_bytes()].concat();
        let parameters: NoiseParams = PATTERN.parse().map_err(reason)?;
        let holder = Arc::clone(own.holder());
        let noise = sheltered(&*holder, || {
            let builder = Builder::with_resolver(parameters, Box::new(Primitives(Arc::clone(&holder))))
                .local_private_key(NO_KEY)?
                .remote_public_key(peer.as_bytes())?
                .prologue(&prologue)?;
            if initiator { builder.build_initiator() } else { builder.build_responder() }
        });
        Ok(Self { initiator, state: State::Noise(noise.map_err(reason)?), holder })
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
                let length = sheltered(&*self.holder, || noise.write_message(&[], &mut message));
                let length = length.map_err(reason)?;
                append_frame(frames, &message[..*length])?;
                self.advance(noise)
            }
            State::Confirm(transport) if self.initiator => {
                let mut message = [0; TAG];
                sheltered(&*self.holder, || transport.write_message(0, &[], &mut message).map(drop))
                    .map_err(reason)?;
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
                sheltered(&*self.holder, || noise.read_message(body, &mut []).map(drop)).map_err(reason)?;
                self.advance(noise)
            }
            State::Confirm(transport) if !self.initiator => {
                if body.len() != TAG {
                    return Err(ChannelError::Handshake);
                }
                sheltered(&*self.holder, || transport.read_message(0, body, &mut []).map(drop))
                    .map_err(reason)?;
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
            State::Done(transport) if self.initiator => Ok(Channel::new(transport, self.holder, 1, 0)),
            State::Done(transport) => Ok(Channel::new(transport, self.holder, 0, 1)),
            State::Noise(_) | State::Confirm(_) => Err(ChannelError::Turn { expected: "go on" }),
            State::Failed => Err(ChannelError::Broken),
        }
    }

    fn advance(&mut self, noise: Box<HandshakeState>) -> Result<(), ChannelError> {
        self.state = if noise.is_handshake_finished() {
            State::Confirm(
                sheltered(&*self.holder, || noise.into_stateless_transport_mode()).map_err(reason)?,
            )
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::frame::read_frame;

    struct Sides {
        agent: ChannelKey,
        enclave: ChannelKey,
    }

    impl Sides {
        fn new() -> Self {
            Self { agent: ChannelKey::generate().unwrap(), enclave: ChannelKey::generate().unwrap() }
        }

        fn initiator(&self) -> Handshake {
            Handshake::initiator(&self.agent, &self.enclave.public()).unwrap()
        }

        fn responder(&self) -> Handshake {
            Handshake::responder(&self.enclave, &self.agent.public()).unwrap()
        }
    }

    fn written(handshake: &mut Handshake) -> Vec<u8> {
        let mut frames = Vec::new();
        handshake.write_message(&mut frames).unwrap();
        let mut body = Vec::new();
        let mut rest = frames.as_slice();
        read_frame(&mut rest, &mut body).unwrap();
        assert!(rest.is_empty(), "one frame");
        body
    }

    /// Runs a handshake, with one of its three bodies changed on the way; whether both sides finish.
    fn run(
        initiator: &mut Handshake,
        responder: &mut Handshake,
        mut change: impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<(), ChannelError> {
        for step in 0..3 {
            let (writer, reader) = match step {
                1 => (&mut *responder, &mut *initiator),
                _ => (&mut *initiator, &mut *responder),
            };
            let mut frames = Vec::new();
            writer.write_message(&mut frames)?;
            let mut body = frames.split_off(2);
            change(step, &mut body);
            reader.read_message(&body)?;
        }
        assert!(initiator.is_done() && responder.is_done());
        Ok(())
    }

    #[test]
    fn both_sides_know_each_other_after_three_frames() {
        let sides = Sides::new();
        let (mut initiator, mut responder) = (sides.initiator(), sides.responder());
        run(&mut initiator, &mut responder, |_, _| {}).unwrap();
        let (mut agent, mut enclave) = (initiator.finish().unwrap(), responder.finish().unwrap());
        let (mut frames, mut plaintext) = (Vec::new(), Vec::new());
        agent.sealer.seal(b"to the enclave", &mut frames).unwrap();
        enclave.opener.open(&frames[2..], &mut plaintext).unwrap();
        assert_eq!(plaintext, b"to the enclave");
        frames.clear();
        enclave.sealer.seal(b"to the agent", &mut frames).unwrap();
        agent.opener.open(&frames[2..], &mut plaintext).unwrap();
        assert_eq!(plaintext, b"to the agent");
    }

    #[test]
    fn a_side_with_another_key_than_expected_is_refused() {
        let (sides, other) = (Sides::new(), Sides::new());
        let impostor = |own: &ChannelKey| Handshake::initiator(own, &sides.enclave.public()).unwrap();
        // An agent that is not the expected one fails at the enclave.
        let error = run(&mut impostor(&other.agent), &mut sides.responder(), |_, _| {}).unwrap_err();
        assert!(matches!(error, ChannelError::Handshake), "{error}");
        // An enclave that is not the expected one fails already when it reads.
        let mut foreign = Handshake::responder(&other.enclave, &sides.agent.public()).unwrap();
        let error = run(&mut sides.initiator(), &mut foreign, |_, _| {}).unwrap_err();
        assert!(matches!(error, ChannelError::Handshake), "{error}");
        // The enclave's key does not make an agent.
        let error = run(&mut impostor(&sides.enclave), &mut sides.responder(), |_, _| {}).unwrap_err();
        assert!(matches!(error, ChannelError::Handshake), "{error}");
    }

    #[test]
    fn either_side_may_replace_its_key_and_each_pair_is_told_apart() {
        let (old, new, foreign) = (Sides::new(), Sides::new(), Sides::new());
        let own = [old.enclave, new.enclave];
        let peers = [old.agent.public(), new.agent.public()];
        let hello = |agent: &ChannelKey, enclave: &ChannelKey| {
            let mut initiator = Handshake::initiator(agent, &enclave.public()).unwrap();
            let body = written(&mut initiator);
            (initiator, body)
        };
        for enclave in &own {
            for agent in [&old.agent, &new.agent] {
                let (mut initiator, body) = hello(agent, enclave);
                let (mut responder, parties) = Handshake::answering(&own, &peers, &body).unwrap();
                assert_eq!(parties, Parties { own: enclave.public(), peer: agent.public() });
                initiator.read_message(&written(&mut responder)).unwrap();
                responder.read_message(&written(&mut initiator)).unwrap();
                initiator.finish().unwrap();
                responder.finish().unwrap();
            }
        }
        let refused = |own: &[ChannelKey], peers: &[ChannelPublic], body: &[u8]| {
            matches!(Handshake::answering(own, peers, body).err(), Some(ChannelError::Handshake))
        };
        // A foreign agent, one that wants a foreign enclave, and one whose key was withdrawn.
        assert!(refused(&own, &peers, &hello(&foreign.agent, &own[0]).1));
        assert!(refused(&own, &peers, &hello(&old.agent, &foreign.enclave).1));
        assert!(refused(&own, &peers[1..], &hello(&old.agent, &own[1]).1));
        assert!(refused(&own[1..], &peers, &hello(&new.agent, &own[0]).1));
        // A changed frame, one of another length, none, and nobody to expect.
        let (_, mut body) = hello(&old.agent, &own[0]);
        assert!(refused(&[], &peers, &body) && refused(&own, &[], &body));
        body[40] ^= 1;
        assert!(refused(&own, &peers, &body));
        assert!(refused(&own, &peers, &body[1..]) && refused(&own, &peers, &[]));
        // Keys beyond the bound are not looked at.
        let many = [foreign.agent.public(), foreign.agent.public(), old.agent.public()];
        assert!(refused(&own, &many, &hello(&old.agent, &own[0]).1));
        assert!(matches!(
            Handshake::answering(&own, &peers, &[0; MESSAGE]).err(),
            Some(ChannelError::LowOrder)
        ));
    }

    #[test]
    fn a_stranger_costs_two_agreements_for_each_pair_of_keys_and_no_more() {
        struct Counting(ChannelKey, Arc<AtomicUsize>);

        impl StaticKey for Counting {
            fn public(&self) -> ChannelPublic {
                self.0.public()
            }

            fn agree(&self, peer: &[u8; 32], shared: &mut [u8; 32]) {
                self.1.fetch_add(1, Ordering::Relaxed);
                self.0.holder().agree(peer, shared);
            }
        }

        let agreements = Arc::new(AtomicUsize::new(0));
        let own: Vec<_> = (0..CHANNEL_KEYS_MAX)
            .map(|_| {
                let counting = Counting(ChannelKey::generate().unwrap(), Arc::clone(&agreements));
                ChannelKey::held_by(Arc::new(counting))
            })
            .collect();
        let peers: Vec<_> = (0..CHANNEL_KEYS_MAX).map(|_| ChannelKey::generate().unwrap().public()).collect();
        let most = 2 * CHANNEL_KEYS_MAX * CHANNEL_KEYS_MAX;
        for (hello, expected) in [
            (vec![0x42; MESSAGE], most),
            (vec![0x42; MESSAGE - 1], 0),
            (vec![0x42; 65_535], 0),
            (Vec::new(), 0),
        ] {
            agreements.store(0, Ordering::Relaxed);
            assert!(Handshake::answering(&own, &peers, &hello).is_err());
            assert_eq!(agreements.load(Ordering::Relaxed), expected, "{} bytes", hello.len());
        }
    }

    #[test]
    fn two_versions_do_not_understand_each_other() {
        let sides = Sides::new();
        let mut newer =
            Handshake::new(&sides.agent, &sides.enclave.public(), true, PROTOCOL_VERSION + 1).unwrap();
        let error = run(&mut newer, &mut sides.responder(), |_, _| {}).unwrap_err();
        assert!(matches!(error, ChannelError::Handshake), "{error}");
    }

    #[test]
    fn no_bit_of_any_frame_can_be_changed() {
        let sides = Sides::new();
        for (step, length) in [(0, MESSAGE), (1, MESSAGE), (2, TAG)] {
            for byte in 0..length {
                let (mut initiator, mut responder) = (sides.initiator(), sides.responder());
                let changed = run(&mut initiator, &mut responder, |at, body| {
                    if at == step {
                        body[byte] ^= 0x40;
                    }
                });
                assert!(matches!(changed, Err(ChannelError::Handshake)), "step {step}, byte {byte}");
            }
        }
    }

    #[test]
    fn a_frame_of_another_length_is_refused() {
        let sides = Sides::new();
        for step in 0..3 {
            for length in [0, 1, TAG - 1, MESSAGE - 1, MESSAGE + 1, 65_535] {
                let (mut initiator, mut responder) = (sides.initiator(), sides.responder());
                let changed = run(&mut initiator, &mut responder, |at, body| {
                    if at == step {
                        body.resize(length, 0);
                    }
                });
                assert!(matches!(changed, Err(ChannelError::Handshake)), "step {step}, {length} bytes");
            }
        }
    }

    #[test]
    fn a_replayed_agent_never_gets_a_channel() {
        let sides = Sides::new();
        let (mut initiator, mut first) = (sides.initiator(), sides.responder());
        let hello = written(&mut initiator);
        first.read_message(&hello).unwrap();
        let answer = written(&mut first);
        initiator.read_message(&answer).unwrap();
        let confirmation = written(&mut initiator);
        first.read_message(&confirmation).unwrap();
        first.finish().unwrap();

        let mut second = sides.responder();
        second.read_message(&hello).unwrap();
        written(&mut second);
        assert!(matches!(second.read_message(&confirmation), Err(ChannelError::Handshake)));
        assert!(matches!(second.finish(), Err(ChannelError::Broken)));
    }

    #[test]
    fn a_key_of_low_order_is_refused() {
        let sides = Sides::new();
        let mut one = [0; 32];
        one[0] = 1;
        for point in [[0; 32], one] {
            let mut agent = Handshake::initiator(&sides.agent, &ChannelPublic::from_bytes(point)).unwrap();
            let error = agent.write_message(&mut Vec::new()).unwrap_err();
            assert!(matches!(error, ChannelError::LowOrder), "{error}");
            let mut body = vec![0; MESSAGE];
            body[..32].copy_from_slice(&point);
            let error = sides.responder().read_message(&body).unwrap_err();
            assert!(matches!(error, ChannelError::LowOrder), "{error}");
        }
    }

    #[test]
    fn a_call_out_of_turn_says_what_is_expected_and_ends_the_handshake() {
        let sides = Sides::new();
        let mut agent = sides.initiator();
        assert!(matches!(agent.read_message(&[0; MESSAGE]), Err(ChannelError::Turn { expected: "write" })));
        assert!(matches!(agent.write_message(&mut Vec::new()), Err(ChannelError::Broken)));
        let mut enclave = sides.responder();
        assert!(matches!(
            enclave.write_message(&mut Vec::new()),
            Err(ChannelError::Turn { expected: "read" })
        ));
        assert!(matches!(enclave.read_message(&[0; MESSAGE]), Err(ChannelError::Broken)));
        assert!(matches!(sides.initiator().finish(), Err(ChannelError::Turn { .. })));

        let (mut initiator, mut responder) = (sides.initiator(), sides.responder());
        run(&mut initiator, &mut responder, |_, _| {}).unwrap();
        assert!(matches!(
            initiator.write_message(&mut Vec::new()),
            Err(ChannelError::Turn { expected: "finish" })
        ));
        assert!(matches!(responder.read_message(&[0; TAG]), Err(ChannelError::Turn { expected: "finish" })));
    }
}
