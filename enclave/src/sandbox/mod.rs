//! What keeps others out of the running process.

pub mod guard;
