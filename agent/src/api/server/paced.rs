//! A stream that gives up on a peer which does not read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long a peer may read nothing at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes per second that a peer must read beyond that, so that a trickle does not hold a connection for ever: below
/// the slowest network that anybody would sign over.
const RATE: u32 = 4 * 1024;

/// Wraps a stream. Waiting for the peer to read uses up a budget, which what it reads fills again.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    budget: Duration,
    /// Since when the peer is waited for.
    waiting: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, budget: PATIENCE, waiting: None, timer: Box::pin(sleep(PATIENCE)) }
    }

    /// Passes on what became of a write of some bytes, unless the peer has been waited for too long.
    fn paced<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        let now = Instant::now();
        match outcome {
            Poll::Ready(outcome) => {
                if let Some(since) = self.waiting.take() {
                    self.budget = self.budget.saturating_sub(now - since);
                }
                if let Ok(written) = &outcome {
                    let earned = u32::try_from(bytes(written)).unwrap_or(u32::MAX);
                    self.budget = (self.budget + Duration::from_secs(1) * earned / RATE).min(PATIENCE);
                }
                Poll::Ready(outcome)
            }
            Poll::Pending => {
                if self.waiting.is_none() {
                    self.waiting = Some(now);
                    let end = now + self.budget;
                    self.timer.as_mut().reset(end);
                }
                ready!(self.timer.as_mut().poll(context));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.paced(context, outcome, |written| *written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.paced(context, outcome, |written| *written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_flush(context);
        this.paced(context, outcome, |()| 0)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_shutdown(context);
        this.paced(context, outcome, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_given_up() {
        let (near, _far) = duplex(8);
        let mut near = Paced::new(near);
        let began = Instant::now();
        let error = near.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!((PATIENCE..PATIENCE * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_given_up_and_a_steady_reader_is_not() {
        for (each_ms, expected) in [(3_000, false), (1, true)] {
            let (near, mut far) = duplex(8);
            let mut near = Paced::new(near);
            let reader = tokio::spawn(async move {
                let mut buffer = [0; 8];
                while far.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    tokio::time::sleep(Duration::from_millis(each_ms)).await;
                }
            });
            let outcome = near.write_all(&[0; 8 * 1024]).await;
            assert_eq!(outcome.is_ok(), expected, "{each_ms}");
            drop(near);
            reader.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_between_writes_costs_nothing() {
        let (near, mut far) = duplex(8);
        let mut near = Paced::new(near);
        for _ in 0..10 {
            near.write_all(&[1; 8]).await.unwrap();
            tokio::time::sleep(PATIENCE * 2).await;
            far.read_exact(&mut [0; 8]).await.unwrap();
        }
    }
}
