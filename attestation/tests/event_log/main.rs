//! Measured-boot logs: of real machines, made up, and made to lie.
#![allow(clippy::unwrap_used)]

mod attacks;
mod builder;
mod changes;
mod corpus;
mod differential;
mod framing;
mod properties;
mod quirks;
