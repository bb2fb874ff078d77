//! The handshake over a blocking stream, whole by one deadline.

use std::io::{Read, Write};
use std::time::Instant;

use super::{Channel, ChannelError, ChannelKey, ChannelPublic, Handshake, Parties};
use crate::frame::{Deadlined, FrameError, FrameReader, Timeouts};

/// Authenticates as the agent's side. The reader is used on: it may hold frames that came behind the handshake.
///
/// # Errors
/// [`ChannelError`]; the stream is unusable from there on.
pub fn initiate<S: Read + Write + Timeouts>(
    frames: &mut FrameReader<S>,
    own: &ChannelKey,
    peer: &ChannelPublic,
    deadline: Instant,
) -> Result<Channel, ChannelError> {
    let mut handshake = Handshake::initiator(own, peer)?;
    write(frames, &mut handshake, deadline)?;
    read(frames, &mut handshake, deadline)?;
    write(frames, &mut handshake, deadline)?;
    handshake.finish()
}

/// Authenticates as the enclave's side, under any of its keys and to any of the agent's. The reader is used on: it may
/// hold frames that came behind the handshake.
///
/// # Errors
/// [`ChannelError`]; the stream is unusable from there on.
pub fn respond<S: Read + Write + Timeouts>(
    frames: &mut FrameReader<S>,
    own: &[ChannelKey],
    peers: &[ChannelPublic],
    deadline: Instant,
) -> Result<(Channel, Parties), ChannelError> {
    let hello = frames.next_by(deadline)?.ok_or(ChannelError::Ended)?;
    let (mut handshake, parties) = Handshake::answering(own, peers, hello)?;
    write(frames, &mut handshake, deadline)?;
    read(frames, &mut handshake, deadline)?;
    Ok((handshake.finish()?, parties))
}

fn read<S: Read + Timeouts>(
    frames: &mut FrameReader<S>,
    handshake: &mut Handshake,
    deadline: Instant,
) -> Result<(), ChannelError> {
    match frames.next_by(deadline)? {
        Some(body) => handshake.read_message(body),
        None => Err(ChannelError::Ended),
    }
}

fn write<S: Read + Write + Timeouts>(
    frames: &mut FrameReader<S>,
    handshake: &mut Handshake,
    deadline: Instant,
) -> Result<(), ChannelError> {
    let mut frame = Vec::new();
    handshake.write_message(&mut frame)?;
    let mut stream = Deadlined::new(frames.get_mut(), deadline);
    stream.write_all(&frame).map_err(FrameError::Io)?;
    Ok(())
}
