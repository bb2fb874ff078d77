//! Logs: one line per event on standard error, for people or as JSON. Never a payload, never a key.

use std::error::Error;
use std::io::IsTerminal;

pub(crate) use sealstone_wire::chain;

use crate::config::log::{LogConfig, LogFormat};

/// Begins to write events. Called once, by `main`.
///
/// # Errors
/// If something writes events already.
pub fn init(config: &LogConfig) -> Result<(), Box<dyn Error + Send + Sync>> {
    let subscriber = tracing_subscriber::fmt().with_max_level(config.level).with_writer(std::io::stderr);
    match config.format {
        // Colours are for people at a terminal, not for journals and files.
        LogFormat::Text => {
            subscriber.with_target(false).with_ansi(std::io::stderr().is_terminal()).try_init()
        }
        LogFormat::Json => subscriber.json().flatten_event(true).with_current_span(true).try_init(),
    }
}
