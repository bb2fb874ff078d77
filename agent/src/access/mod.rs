//! Who may ask what: clients as the configuration names them, the roles that they hold, and how much they may ask.

mod client;
mod clients;
mod role;
mod rules;
mod share;
pub mod tls;

pub use client::{Client, Rate};
pub use clients::{CertificateNames, Clients};
pub use role::Role;
pub use rules::{Access, Proof, Rules};
pub use share::{Share, Shares};
