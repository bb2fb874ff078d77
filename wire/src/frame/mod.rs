//! Frames: a big-endian u16 length (1 to 65,535), then so many bytes, which are one Noise message.
//!
//! [`FrameBuffer`] takes a byte stream apart without any I/O. [`FrameReader`] and [`FrameWriter`] move frames over
//! a blocking socket: many frames for one system call, and each frame whole by its deadline, so that a peer which
//! sends one byte every few seconds gains nothing.

mod blocking;

use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::time::Duration;

use thiserror::Error;

use crate::limits::NOISE_MESSAGE_MAX;

pub use blocking::{Deadlined, FrameReader, FrameWriter, Timeouts};

/// Bytes of the length in front of each frame.
const HEADER: usize = 2;

/// Bytes of the largest frame with its length.
const FRAME_MAX: usize = HEADER + NOISE_MESSAGE_MAX;

/// Appends one frame to `frames`.
///
/// # Errors
/// [`FrameError::Length`] for an empty or an overlong body; `frames` is then unchanged.
pub fn append_frame(frames: &mut Vec<u8>, body: &[u8]) -> Result<(), FrameError> {
    frames.reserve(HEADER + body.len());
    frames.extend_from_slice(&header(body.len())?);
    frames.extend_from_slice(body);
    Ok(())
}

/// Writes one frame with one call.
///
/// # Errors
/// [`FrameError::Length`] for an empty or an overlong body, [`FrameError::Io`] when the stream fails.
pub fn write_frame(writer: &mut impl Write, body: &[u8]) -> Result<(), FrameError> {
    let mut frame = Vec::new();
    append_frame(&mut frame, body)?;
    writer.write_all(&frame).map_err(FrameError::Io)
}

/// Reads one frame into `body`, whose old content is dropped. For streams that keep time themselves;
/// [`FrameReader`] is the one with deadlines.
///
/// # Errors
/// [`FrameError::Ended`] when the stream ends between frames, otherwise as [`FrameError`] says.
pub fn read_frame(reader: &mut impl Read, body: &mut Vec<u8>) -> Result<(), FrameError> {
    let mut header = [0; HEADER];
    let mut found = 0;
    while found < HEADER {
        match reader.read(&mut header[found..]) {
            Ok(0) if found == 0 => return Err(FrameError::Ended),
            Ok(0) => return Err(FrameError::Truncated { missing: None }),
            Ok(count) => found += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(FrameError::Io(error)),
        }
    }
    let length = usize::from(u16::from_be_bytes(header));
    if length == 0 {
        return Err(FrameError::Length { found: 0 });
    }
    body.clear();
    body.resize(length, 0);
    reader.read_exact(body).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => FrameError::Truncated { missing: None },
        _ => FrameError::Io(error),
    })
}

/// The length that goes in front of a body of so many bytes.
pub(crate) fn header(length: usize) -> Result<[u8; HEADER], FrameError> {
    match u16::try_from(length) {
        Ok(length @ 1..) => Ok(length.to_be_bytes()),
        _ => Err(FrameError::Length { found: length }),
    }
}

/// Takes a byte stream apart into frames, without I/O: fill [`room`](Self::room), say how much came with
/// [`advance`](Self::advance), take every [`next_frame`](Self::next_frame), repeat.
#[derive(Debug)]
pub struct FrameBuffer {
    /// Exactly [`FRAME_MAX`] bytes: the largest frame fits once those before it are taken.
    bytes: Box<[u8]>,
    /// What has been received and not been taken.
    pending: Range<usize>,
}

impl Default for FrameBuffer {
    fn default() -> Self {
        Self { bytes: vec![0; FRAME_MAX].into_boxed_slice(), pending: 0..0 }
    }
}

impl FrameBuffer {
    /// Where the next bytes of the stream go. Never empty once [`next_frame`](Self::next_frame) returned `None`.
    pub fn room(&mut self) -> &mut [u8] {
        // At most one partial frame is left here, usually the tail of a batch, and it moves but once.
        if self.pending.start > 0 {
            self.bytes.copy_within(self.pending.clone(), 0);
            self.pending = 0..self.pending.len();
        }
        &mut self.bytes[self.pending.end..]
    }

    /// So many bytes were put at the start of [`room`](Self::room).
    ///
    /// # Panics
    /// If that is more than there was room for.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.bytes.len() - self.pending.end, "more bytes than there was room for");
        self.pending.end += count;
    }

    /// The body of the next whole frame, if it is here.
    ///
    /// # Errors
    /// [`FrameError::Length`] for an empty frame. The stream is unusable from there on.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        Ok(self.take()?.map(|body| &self.bytes[body]))
    }

    /// Whether the stream stands between two frames: if it ends here, it ends cleanly.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    fn take(&mut self) -> Result<Option<Range<usize>>, FrameError> {
        let Some((header, rest)) = self.bytes[self.pending.clone()].split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes(*header));
        if length == 0 {
            return Err(FrameError::Length { found: 0 });
        }
        if rest.len() < length {
            return Ok(None);
        }
        let start = self.pending.start + HEADER;
        self.pending.start = start + length;
        Ok(Some(start..start + length))
    }

    /// Bytes that the frame which has begun still lacks, if its length is known.
    fn missing(&self) -> Option<usize> {
        let (header, rest) = self.bytes[self.pending.clone()].split_first_chunk::<HEADER>()?;
        usize::from(u16::from_be_bytes(*header)).checked_sub(rest.len())
    }
}

/// Why a frame did not come or go.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The peer sent an empty frame, or the caller gave an empty or overlong body.
    #[error("expected a frame of 1 to {NOISE_MESSAGE_MAX} bytes, found {found}")]
    Length {
        /// Bytes of the body.
        found: usize,
    },
    /// The peer closed the stream between frames.
    #[error("expected a frame, found the end of the stream")]
    Ended,
    /// The peer closed the stream inside a frame.
    #[error("expected {} of a frame, found the end of the stream", missing_text(*missing))]
    Truncated {
        /// Bytes that did not come, if the length was known.
        missing: Option<usize>,
    },
    /// The peer said nothing.
    #[error("expected a frame within {waited:?}, found silence")]
    Idle {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The peer began a frame and did not end it in time, or does not take what is written.
    #[error("expected a whole frame before its deadline, found {} late", missing_text(*missing))]
    Late {
        /// Bytes that were not moved, if the length was known.
        missing: Option<usize>,
    },
    /// The system reports a fault of the stream.
    #[error("the stream failed")]
    Io(#[source] io::Error),
}

fn missing_text(missing: Option<usize>) -> String {
    missing.map_or_else(|| "the length".to_owned(), |count| format!("{count} more bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds a stream in chunks of the given sizes, over and over, and collects the frames.
    fn collect(stream: &[u8], chunks: &[usize]) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut buffer = FrameBuffer::default();
        let mut frames = Vec::new();
        let mut rest = stream;
        for chunk in chunks.iter().cycle() {
            while let Some(body) = buffer.next_frame()? {
                frames.push(body.to_vec());
            }
            if rest.is_empty() {
                break;
            }
            let room = buffer.room();
            let count = rest.len().min(room.len()).min(*chunk);
            assert!(count > 0, "a buffer without a whole frame has room");
            room[..count].copy_from_slice(&rest[..count]);
            buffer.advance(count);
            rest = &rest[count..];
        }
        assert!(buffer.is_empty(), "the stream ended between frames");
        Ok(frames)
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_stream_is_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..20),
            chunks in prop::collection::vec(1_usize..700, 1..8),
        ) {
            let mut stream = Vec::new();
            for body in &bodies {
                append_frame(&mut stream, body).unwrap();
            }
            prop_assert_eq!(collect(&stream, &chunks).unwrap(), bodies.clone());
            let mut reader = stream.as_slice();
            let mut read = Vec::new();
            for body in &bodies {
                read_frame(&mut reader, &mut read).unwrap();
                prop_assert_eq!(&read, body);
            }
            prop_assert!(matches!(read_frame(&mut reader, &mut read), Err(FrameError::Ended)));
        }

        #[test]
        fn any_bytes_are_frames_a_partial_frame_or_an_error(stream in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut buffer = FrameBuffer::default();
            buffer.room()[..stream.len()].copy_from_slice(&stream);
            buffer.advance(stream.len());
            let mut taken = 0;
            while let Ok(Some(body)) = buffer.next_frame() {
                taken += HEADER + body.len();
                prop_assert_eq!(body, &stream[taken - body.len()..taken]);
            }
            prop_assert!(taken <= stream.len());
        }
    }

    #[test]
    fn the_largest_frames_fit_one_behind_the_other_in_any_cut() {
        let mut stream = Vec::new();
        for byte in 0..3 {
            append_frame(&mut stream, &vec![byte; NOISE_MESSAGE_MAX]).unwrap();
        }
        for chunk in [1009, 65_536, 65_537, usize::MAX] {
            let frames = collect(&stream, &[chunk]).unwrap();
            assert_eq!(frames.len(), 3);
            assert!(frames.iter().zip(0..).all(|(body, byte)| *body == vec![byte; NOISE_MESSAGE_MAX]));
        }
    }

    #[test]
    fn an_empty_or_overlong_frame_is_neither_written_nor_read() {
        let mut frames = vec![7];
        for length in [0, NOISE_MESSAGE_MAX + 1] {
            let body = vec![0; length];
            assert!(
                matches!(append_frame(&mut frames, &body), Err(FrameError::Length { found }) if found == length)
            );
            assert!(
                matches!(write_frame(&mut frames, &body), Err(FrameError::Length { found }) if found == length)
            );
        }
        assert_eq!(frames, [7]);
        assert!(matches!(collect(&[0, 0, 1], &[1]), Err(FrameError::Length { found: 0 })));
        let error = read_frame(&mut [0, 0, 1].as_slice(), &mut Vec::new());
        assert!(matches!(error, Err(FrameError::Length { found: 0 })));
    }

    #[test]
    fn a_stream_that_ends_inside_a_frame_is_told_from_one_that_ends_between() {
        let mut whole = Vec::new();
        write_frame(&mut whole, b"abc").unwrap();
        assert_eq!(whole, b"\0\x03abc");
        for length in 1..whole.len() {
            let error = read_frame(&mut &whole[..length], &mut Vec::new());
            assert!(matches!(error, Err(FrameError::Truncated { .. })), "{length}");
        }
        assert!(matches!(read_frame(&mut [].as_slice(), &mut Vec::new()), Err(FrameError::Ended)));
    }

    #[test]
    fn one_frame_is_one_write() {
        struct Calls(Vec<Vec<u8>>);
        impl Write for Calls {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.push(bytes.to_vec());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut calls = Calls(Vec::new());
        write_frame(&mut calls, b"body").unwrap();
        assert_eq!(calls.0, [b"\0\x04body"]);
    }
}
