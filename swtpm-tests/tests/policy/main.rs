//! Policies at work on a whole node: limits, lists, prices, approvals, repeated requests, and a clock that is set.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on fails")]

mod approvals;
mod clock;
mod limits;
mod lists;
mod repeats;
mod support;
