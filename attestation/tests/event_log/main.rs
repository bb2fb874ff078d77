//! Measured-boot logs: of real machines, made up, and made to lie.
#![allow(clippy::unwrap_used)]

mod corpus;
