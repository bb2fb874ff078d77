//! What may be signed: a payload is read as what it does ([`facts`]), and judged ([`engine`]) by declared [`rules`].
//!
//! Pure functions over values: no I/O, no clock, no randomness. The agent gives them what its store knows; the
//! command line gives them an operator's cases.
#![forbid(unsafe_code)]
// A test that unwraps fails where it should.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod address;
pub mod amount;
pub mod approvals;
pub mod decode;
pub mod engine;
pub mod facts;
pub mod prices;
pub mod rules;
pub mod sanctions;
