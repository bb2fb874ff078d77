//! The end of the process: SIGTERM or SIGINT, seen by whoever waits for it.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Something that ends once. Clones see the same end.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// Ends what a [`Shutdown`] waits for, at the latest when it is dropped.
#[derive(Debug)]
pub struct Ender(watch::Sender<bool>);

impl Shutdown {
    /// An end that [`Ender::end`] brings about.
    #[must_use]
    pub fn new() -> (Ender, Self) {
        let (end, ended) = watch::channel(false);
        (Ender(end), Self(ended))
    }

    /// An end that SIGTERM or SIGINT brings about. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the system does not let signals be caught.
    pub fn on_signal() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (ender, shutdown) = Self::new();
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "ending: requests under way are finished first");
            ender.end();
        });
        Ok(shutdown)
    }

    /// Waits for the end.
    pub async fn ended(mut self) {
        // An ender that is gone is an end as well.
        let _ = self.0.wait_for(|ended| *ended).await;
    }
}

impl Ender {
    /// Brings the end about.
    pub fn end(self) {
        self.0.send_replace(true);
    }
}
