//! A verdict as one static page: what is shown is decided by a model made of evidence, manifest and verdict; the template only
//! formats it. The page has no script and loads nothing.

mod boot;
#[cfg(test)]
#[path = "../../attestation/tests/event_log/builder.rs"]
mod builder;
mod check;
mod node;
mod page;
mod pcrs;
mod questions;
mod style;
mod text;
mod write;

pub(crate) use page::{Asked, Page};
pub(crate) use write::write;
