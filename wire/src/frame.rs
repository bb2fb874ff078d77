//! Frames: a big-endian u16 length (1 to 65,535), then so many bytes, which are one Noise message.
//!
//! [`FrameBuffer`] takes a byte stream apart without any I/O. [`FrameReader`] and [`FrameWriter`] move frames over
//! a blocking socket: many frames for one system call, and each frame whole by its deadline, so that a peer which
//! sends one byte every few seconds gains nothing.

use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::limits::NOISE_MESSAGE_MAX;

/// Bytes of the length in front of each frame.
const HEADER: usize = 2;

/// Bytes of the largest frame with its length.
const FRAME_MAX: usize = HEADER + NOISE_MESSAGE_MAX;

/// Bytes that one system call may write: after each, the time that is left is looked at again.
const WRITE_MAX: usize = 64 * 1024;

/// Bytes of gathered frames that a writer keeps allocated between flushes; a rare larger batch is given back.
const GATHERED_KEPT: usize = 256 * 1024;

/// Sockets below this are waited for in whole milliseconds anyway, and zero would mean "for ever".
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

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
        Ok(1..) => Ok(u16::try_from(length).expect("just converted").to_be_bytes()),
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
        // At most one partial frame is left here, usually the tail of a batch, so moving it is cheap.
        self.bytes.copy_within(self.pending.clone(), 0);
        self.pending = 0..self.pending.len();
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

/// A blocking stream that can be told how long a call may wait (`SO_RCVTIMEO`, `SO_SNDTIMEO`).
pub trait Timeouts {
    /// Bounds each read; `None` waits for ever.
    ///
    /// # Errors
    /// The system refuses.
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;

    /// Bounds each write; `None` waits for ever.
    ///
    /// # Errors
    /// The system refuses.
    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
}

impl Timeouts for std::os::unix::net::UnixStream {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        Self::set_read_timeout(self, timeout)
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        Self::set_write_timeout(self, timeout)
    }
}

/// A stream whose calls all end by one moment, however many there are. Before each call the socket's timeout is
/// set to what is left.
#[derive(Debug)]
pub struct Deadlined<'a, S> {
    stream: &'a mut S,
    deadline: Instant,
}

impl<'a, S: Timeouts> Deadlined<'a, S> {
    /// Everything through this ends by `deadline`. The stream must be in blocking mode, and it keeps the timeouts
    /// that were last set.
    pub fn new(stream: &'a mut S, deadline: Instant) -> Self {
        Self { stream, deadline }
    }

    fn left(&self) -> io::Result<Duration> {
        match self.deadline.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(left.max(TIMEOUT_MIN)),
            _ => Err(ErrorKind::TimedOut.into()),
        }
    }
}

impl<S: Read + Timeouts> Read for Deadlined<'_, S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            self.stream.set_read_timeout(Some(self.left()?))?;
            match self.stream.read(bytes) {
                // The timeout ran out, perhaps a tick early: the clock decides.
                Err(error) if is_timeout(&error) => {}
                result => return result,
            }
        }
    }
}

impl<S: Write + Timeouts> Write for Deadlined<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(WRITE_MAX)];
        loop {
            self.stream.set_write_timeout(Some(self.left()?))?;
            match self.stream.write(bytes) {
                Err(error) if is_timeout(&error) => {}
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn is_timeout(error: &io::Error) -> bool {
    // Linux says EAGAIN when a socket's timeout runs out.
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Frames from a blocking socket, each whole by its deadline, many for one system call.
#[derive(Debug)]
pub struct FrameReader<S> {
    stream: S,
    buffer: FrameBuffer,
    /// The socket's timeout as this reader last set it, to save the call that sets the same again.
    timeout: Option<Duration>,
}

impl<S: Read + Timeouts> FrameReader<S> {
    /// Reads from a stream in blocking mode whose read timeout nobody else sets.
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: FrameBuffer::default(), timeout: None }
    }

    /// The body of the next frame; `None` when the stream ended between frames. Waits up to `idle` for a frame to
    /// begin, and from then on up to `whole` for the rest of it.
    ///
    /// # Errors
    /// [`FrameError`]; the stream is unusable from there on, except after [`FrameError::Idle`].
    pub fn next(&mut self, idle: Duration, whole: Duration) -> Result<Option<&[u8]>, FrameError> {
        let body = loop {
            if let Some(body) = self.buffer.take()? {
                break body;
            }
            if !self.buffer.is_empty() {
                match self.rest_by(Instant::now() + whole)? {
                    Some(body) => break body,
                    None => return Ok(None),
                }
            }
            // The timeout stays as it is from one frame to the next, so an even flow costs one call for a read.
            match self.receive(idle) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if is_timeout(&error) => return Err(FrameError::Idle { waited: idle }),
                Err(error) => return Err(FrameError::Io(error)),
            }
        };
        Ok(Some(&self.buffer.bytes[body]))
    }

    /// The body of the next frame, whole by `deadline`; `None` when the stream ended before it began.
    ///
    /// # Errors
    /// [`FrameError`]; the stream is unusable from there on.
    pub fn next_by(&mut self, deadline: Instant) -> Result<Option<&[u8]>, FrameError> {
        let body = match self.buffer.take()? {
            Some(body) => Some(body),
            None => self.rest_by(deadline)?,
        };
        Ok(body.map(|body| &self.buffer.bytes[body]))
    }

    /// The stream, for what does not disturb reading.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    fn rest_by(&mut self, deadline: Instant) -> Result<Option<Range<usize>>, FrameError> {
        loop {
            let late = FrameError::Late { missing: self.buffer.missing() };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(late);
            }
            match self.receive(left.max(TIMEOUT_MIN)) {
                Ok(0) if self.buffer.is_empty() => return Ok(None),
                Ok(0) => return Err(FrameError::Truncated { missing: self.buffer.missing() }),
                Ok(_) => {}
                // The clock decides, at the top.
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(FrameError::Io(error)),
            }
            if let Some(body) = self.buffer.take()? {
                return Ok(Some(body));
            }
        }
    }

    fn receive(&mut self, timeout: Duration) -> io::Result<usize> {
        if self.timeout != Some(timeout) {
            self.stream.set_read_timeout(Some(timeout))?;
            self.timeout = Some(timeout);
        }
        loop {
            match self.stream.read(self.buffer.room()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.buffer.advance(count);
                    return Ok(count);
                }
            }
        }
    }
}

/// Frames to a blocking socket: gathered, then written together by a deadline.
#[derive(Debug)]
pub struct FrameWriter<S> {
    stream: S,
    frames: Vec<u8>,
    /// As in [`FrameReader`].
    timeout: Option<Duration>,
}

impl<S: Write + Timeouts> FrameWriter<S> {
    /// Writes to a stream in blocking mode whose write timeout nobody else sets.
    pub fn new(stream: S) -> Self {
        Self { stream, frames: Vec::new(), timeout: None }
    }

    /// Where frames are gathered until [`flush`](Self::flush).
    pub fn frames(&mut self) -> &mut Vec<u8> {
        &mut self.frames
    }

    /// Writes what was gathered, all of it within `whole`, usually with one call.
    ///
    /// # Errors
    /// [`FrameError::Late`] or [`FrameError::Io`]; the stream is unusable from there on.
    pub fn flush(&mut self, whole: Duration) -> Result<(), FrameError> {
        let deadline = Instant::now() + whole;
        let mut written = 0;
        let mut left = whole;
        while written < self.frames.len() {
            if left.is_zero() {
                return Err(FrameError::Late { missing: Some(self.frames.len() - written) });
            }
            let timeout = Some(left.max(TIMEOUT_MIN));
            if self.timeout != timeout {
                self.stream.set_write_timeout(timeout).map_err(FrameError::Io)?;
                self.timeout = timeout;
            }
            let end = self.frames.len().min(written + WRITE_MAX);
            match self.stream.write(&self.frames[written..end]) {
                Ok(0) => return Err(FrameError::Io(ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(FrameError::Io(error)),
            }
            if written < self.frames.len() {
                left = deadline.saturating_duration_since(Instant::now());
            }
        }
        self.frames.clear();
        self.frames.shrink_to(GATHERED_KEPT);
        Ok(())
    }

    /// The stream, for what does not disturb writing.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
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
