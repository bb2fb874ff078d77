//! Stories of the store, told on SQLite and on PostgreSQL: who gets a nonce, what survives, what is refused.
#![allow(clippy::unwrap_used, reason = "a story that unwraps fails where it should")]

#[macro_use]
mod support;

mod assets;
mod failover;
mod limits;
mod log;
mod migration;
mod nonces;
mod postgres;
mod power;
mod races;
mod void;
