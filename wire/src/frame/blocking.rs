//! Frames over blocking sockets, each whole by its deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::{FrameBuffer, FrameError};

/// Bytes that one system call may write: after each, the time that is left is looked at again.
const WRITE_MAX: usize = 64 * 1024;

/// Bytes of gathered frames that a writer keeps allocated between flushes; a rare larger batch is given back.
const GATHERED_KEPT: usize = 256 * 1024;

/// The shortest timeout of a socket: zero would mean "for ever", and less than this would only spin.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

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

impl Timeouts for UnixStream {
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    use super::*;
    use crate::frame::{append_frame, write_frame};
    use crate::limits::NOISE_MESSAGE_MAX;

    /// Long enough for a loaded machine, and never waited for by a test that passes.
    const AMPLE: Duration = Duration::from_secs(20);

    /// The deadline that hostile peers run into.
    const SHORT: Duration = Duration::from_millis(60);

    /// The pace of a peer that sends as little as it can: many times within [`SHORT`].
    const PACE: Duration = Duration::from_millis(3);

    /// A peer that sends `bytes`, then one zero after the other at its pace, until it is dropped or refused.
    fn dribble(mut peer: UnixStream, bytes: Vec<u8>) -> Sender<()> {
        let (stop, stopped): (Sender<()>, Receiver<()>) = channel();
        thread::spawn(move || {
            peer.write_all(&bytes).unwrap();
            while stopped.recv_timeout(PACE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                if peer.write_all(&[0]).is_err() {
                    break;
                }
            }
        });
        stop
    }

    #[test]
    fn a_peer_that_sends_a_byte_now_and_then_does_not_move_the_deadline() {
        for begun in [vec![0xff], vec![0xff, 0xff], vec![0xff, 0xff, 1, 2, 3]] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let peer = dribble(theirs, begun);
            let started = Instant::now();
            let mut reader = FrameReader::new(ours);
            assert!(matches!(reader.next(AMPLE, SHORT), Err(FrameError::Late { .. })));
            assert!(started.elapsed() >= SHORT);
            assert!(started.elapsed() < AMPLE);
            drop(peer);
        }
    }

    #[test]
    fn a_deadline_for_several_reads_holds_for_all_of_them_together() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let peer = dribble(theirs, Vec::new());
        let mut reader = Deadlined::new(&mut ours, Instant::now() + SHORT);
        let error = reader.read_exact(&mut [0; 100_000]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(peer);
    }

    #[test]
    fn silence_is_told_from_a_late_frame_and_the_connection_survives_it() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut reader = FrameReader::new(ours);
        assert!(matches!(reader.next(SHORT, AMPLE), Err(FrameError::Idle { waited }) if waited == SHORT));
        write_frame(&mut theirs, b"late but whole").unwrap();
        assert_eq!(reader.next(AMPLE, AMPLE).unwrap(), Some(b"late but whole".as_slice()));
        assert!(matches!(reader.next_by(Instant::now() + SHORT), Err(FrameError::Late { missing: None })));
        assert!(matches!(reader.next_by(Instant::now()), Err(FrameError::Late { missing: None })));
    }

    #[test]
    fn frames_that_came_together_come_out_one_by_one_and_then_the_end() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut stream = Vec::new();
        for body in [b"one".as_slice(), b"two", b"three"] {
            append_frame(&mut stream, body).unwrap();
        }
        theirs.write_all(&stream).unwrap();
        drop(theirs);
        let mut reader = FrameReader::new(ours);
        assert_eq!(reader.next(AMPLE, AMPLE).unwrap(), Some(b"one".as_slice()));
        assert_eq!(reader.next_by(Instant::now() + AMPLE).unwrap(), Some(b"two".as_slice()));
        assert_eq!(reader.next(AMPLE, AMPLE).unwrap(), Some(b"three".as_slice()));
        assert_eq!(reader.next(AMPLE, AMPLE).unwrap(), None);
        assert_eq!(reader.next_by(Instant::now() + AMPLE).unwrap(), None);
    }

    #[test]
    fn a_stream_that_ends_inside_a_frame_is_an_error() {
        for (begun, missing) in [(vec![0], None), (vec![0, 5], Some(5)), (vec![0, 5, 1, 2], Some(3))] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(&begun).unwrap();
            drop(theirs);
            let error = FrameReader::new(ours).next(AMPLE, AMPLE).unwrap_err();
            assert!(matches!(error, FrameError::Truncated { missing: found } if found == missing), "{error}");
        }
    }

    #[test]
    fn an_announced_length_costs_no_more_than_the_buffer() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&[0xff, 0xff, 1]).unwrap();
        drop(theirs);
        let error = FrameReader::new(ours).next(AMPLE, AMPLE).unwrap_err();
        assert!(matches!(error, FrameError::Truncated { missing: Some(65_534) }), "{error}");
    }

    #[test]
    fn an_empty_frame_ends_the_stream() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&[0, 0]).unwrap();
        assert!(matches!(FrameReader::new(ours).next(AMPLE, AMPLE), Err(FrameError::Length { found: 0 })));
    }

    #[test]
    fn gathered_frames_arrive_whole_however_many() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let sender = thread::spawn(move || {
            let mut writer = FrameWriter::new(ours);
            for byte in 0..20 {
                append_frame(writer.frames(), &vec![byte; NOISE_MESSAGE_MAX]).unwrap();
            }
            writer.flush(AMPLE).unwrap();
            assert!(writer.frames().is_empty());
            assert!(writer.frames().capacity() <= GATHERED_KEPT);
            writer.flush(AMPLE).unwrap();
        });
        let mut reader = FrameReader::new(theirs);
        for byte in 0..20 {
            assert_eq!(reader.next(AMPLE, AMPLE).unwrap(), Some(vec![byte; NOISE_MESSAGE_MAX].as_slice()));
        }
        assert_eq!(reader.next(AMPLE, AMPLE).unwrap(), None);
        sender.join().unwrap();
    }

    #[test]
    fn a_peer_that_takes_nothing_does_not_hold_the_writer() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut writer = FrameWriter::new(ours);
        for _ in 0..100 {
            append_frame(writer.frames(), &[0; NOISE_MESSAGE_MAX]).unwrap();
        }
        let error = writer.flush(SHORT).unwrap_err();
        assert!(matches!(error, FrameError::Late { missing: Some(1..) }), "{error}");
    }

    #[test]
    fn a_peer_that_hung_up_is_reported_not_fatal() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let mut writer = FrameWriter::new(ours);
        append_frame(writer.frames(), b"to nobody").unwrap();
        assert!(
            matches!(writer.flush(AMPLE), Err(FrameError::Io(error)) if error.kind() == ErrorKind::BrokenPipe)
        );
    }
}
