//! `[log]` of `agent.toml`: how the agent tells what it does.

use serde::Deserialize;
use tracing::level_filters::LevelFilter;

use super::FieldError;

/// `[log]` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLog {
    /// `text` (default) or `json`.
    #[serde(default)]
    pub format: LogFormat,
    /// `off`, `error`, `warn`, `info` (default), `debug` or `trace`.
    pub level: Option<String>,
}

/// How a line of log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// `[log]`, checked.
#[derive(Clone, Copy, Debug)]
pub struct LogConfig {
    /// How a line is written.
    pub format: LogFormat,
    /// The least important events that are written.
    pub level: LevelFilter,
}

impl RawLog {
    /// Checks every field.
    ///
    /// # Errors
    /// Names the field and what was expected of it.
    pub fn check(self) -> Result<LogConfig, FieldError> {
        let Self { format, level } = self;
        let level = match level {
            None => LevelFilter::INFO,
            Some(text) => text.parse().map_err(|_| {
                FieldError::new(
                    "log.level",
                    format!("expected off, error, warn, info, debug or trace, found {text:?}"),
                )
            })?,
        };
        Ok(LogConfig { format, level })
    }
}
