//! Appraisal: evidence in, a verdict of named checks out. Pure: the time and what is expected are parameters.

pub(crate) mod any_quote;
pub(crate) mod bare_quote;
pub(crate) mod clock;
pub(crate) mod code;
pub(crate) mod event_log;
pub(crate) mod evidence;
mod fresh;
pub(crate) mod ima;
pub(crate) mod level;
pub(crate) mod quote;
pub(crate) mod verdict;
