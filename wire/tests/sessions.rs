//! Frames of several sessions in any order: each session takes its own, once, in order, from the other side, and nothing
//! else.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use sealstone_wire::channel::{Channel, ChannelError, ChannelKey, Handshake};

/// Messages that each side of each session seals before any is delivered.
const MESSAGES: usize = 4;

/// Where a frame came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Origin {
    session: usize,
    from_agent: bool,
    number: usize,
}

fn origins() -> impl Strategy<Value = Vec<Origin>> {
    let origin = (0..2_usize, any::<bool>(), 0..MESSAGES).prop_map(|(session, from_agent, number)| Origin {
        session,
        from_agent,
        number,
    });
    prop::collection::vec(origin, 1..12)
}

/// A session between these keys: its two ends.
fn session(agent: &ChannelKey, enclave: &ChannelKey) -> [Channel; 2] {
    let mut initiator = Handshake::initiator(agent, &enclave.public()).unwrap();
    let mut responder = Handshake::responder(enclave, &agent.public()).unwrap();
    let mut frames = Vec::new();
    for step in 0..3 {
        frames.clear();
        let (writer, reader) = match step {
            1 => (&mut responder, &mut initiator),
            _ => (&mut initiator, &mut responder),
        };
        writer.write_message(&mut frames).unwrap();
        reader.read_message(&frames[2..]).unwrap();
    }
    [initiator.finish().unwrap(), responder.finish().unwrap()]
}

fn label(origin: Origin) -> Vec<u8> {
    format!("{origin:?}").into_bytes()
}

/// The bodies that an end seals, in order.
fn sealed(channel: &mut Channel, session: usize, from_agent: bool) -> Vec<Vec<u8>> {
    (0..MESSAGES)
        .map(|number| {
            let mut frames = Vec::new();
            channel.sealer.seal(&label(Origin { session, from_agent, number }), &mut frames).unwrap();
            frames.split_off(2)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Two sessions of the same two parties, or of a party that replaced its key. Whatever is delivered to the enclave's
    /// end of the first: it opens the frames that the agent sealed in this session, as far as they come in order, and is
    /// over for good at the first that is replayed, out of order, reflected, or of the other session.
    #[test]
    fn what_is_not_the_next_frame_of_this_session_and_direction_ends_it(
        delivered in origins(),
        replaced in any::<bool>(),
        starts_well in 0..=MESSAGES,
    ) {
        let (agent, enclave, next) =
            (ChannelKey::generate().unwrap(), ChannelKey::generate().unwrap(), ChannelKey::generate().unwrap());
        let other = if replaced { &next } else { &agent };
        let mut sessions = [session(&agent, &enclave), session(other, &enclave)];
        let mut frames = Vec::new();
        for (number, [at_agent, at_enclave]) in sessions.iter_mut().enumerate() {
            frames.push([sealed(at_agent, number, true), sealed(at_enclave, number, false)]);
        }
        let prefix = (0..starts_well).map(|number| Origin { session: 0, from_agent: true, number });
        let receiver = &mut sessions[0][1];
        let (mut expected, mut over) = (0, false);
        let mut plaintext = Vec::new();
        for origin in prefix.chain(delivered) {
            let body = &frames[origin.session][usize::from(!origin.from_agent)][origin.number];
            let opened = receiver.opener.open(body, &mut plaintext);
            let is_next = origin == Origin { session: 0, from_agent: true, number: expected };
            if !over && is_next {
                prop_assert!(opened.is_ok());
                prop_assert_eq!(&plaintext, &label(origin));
                expected += 1;
            } else if over {
                let broken = matches!(opened, Err(ChannelError::Broken));
                prop_assert!(broken);
            } else {
                let foreign = matches!(opened, Err(ChannelError::Decrypt { .. }));
                prop_assert!(foreign);
                over = true;
            }
            prop_assert!(!over || plaintext.is_empty(), "nothing of a wrong frame is seen");
        }
        // A session that is over says nothing more either.
        let mut frame = Vec::new();
        prop_assert_eq!(receiver.sealer.seal(b"", &mut frame).is_err(), over);
    }
}
