//! What several test programs share; each uses a part of it.
#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod responder;
pub(crate) mod rules;
pub(crate) mod swtpm;
