//! What the stories share: an emulated TPM, a whole node of the real binaries, a plain HTTP client.
//!
//! Every story owns its processes, ports and folders; dropping them ends and removes everything. A missing program
//! fails the story with the package that has it.
#![forbid(unsafe_code)]

pub mod browser;
pub mod clients;
pub mod cluster;
pub mod direct;
pub mod http;
pub mod hunt;
pub mod log;
pub mod node;
pub mod pgbouncer;
pub mod pki;
pub mod postgres;
pub mod process;
pub mod swtpm;
pub mod tls;
pub mod trail;
pub mod transactions;
pub mod wait;

pub use node::Node;
pub use pgbouncer::PgBouncer;
pub use postgres::Postgres;
pub use swtpm::Swtpm;
