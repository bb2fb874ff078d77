//! The hunt: what root can collect of a running node, searched for every secret that the node has.
//!
//! The hunter is a rightful holder: once everything is [collected](mod@collect), it [unseals](known) the root with the
//! enclave's credential and computes each secret that the enclave had in its hands meanwhile, down to the nonce of
//! each signature ([`quarry`]). The [`search`] then compares every offset of what was collected with all of them.
//!
//! # Why comparing decides the same as trying each window against the public keys
//!
//! A 32-byte window is a hit as root, PRK, scalar, nonce or seed exactly if the known public keys and signatures
//! follow from it. Each of those is a function of its secret that does not collide in practice: `d ↦ d·G` and
//! `k ↦ k·G` are one-to-one below the group's order, and a root, PRK or seed that is another one and still gives the
//! same keys would be a collision of HMAC-SHA-256 or SHA-512. So the windows that pass are those that equal the
//! secret, in one of its representations, and these are what the quarry lists: big-endian, little-endian, Montgomery
//! form, both signs of an ECDSA nonce. That each listed value does give the public key and the signature is
//! [asserted](quarry::Quarry::signature) while the quarry is made, so a list of wrong values cannot hide a hit.
//! Comparing is also stricter than trying: half a secret is a hit, and so is one in hex or base64.
//!
//! # What it does not show
//!
//! Memory is looked at some hundred times, not at every instant; registers likewise. A kernel that root has replaced
//! reads everything.

pub mod collect;
pub mod ecdsa;
pub mod eddsa;
pub mod encoding;
pub mod known;
pub mod load;
pub mod quarry;
pub mod report;
pub mod search;

pub use collect::Bag;
pub use quarry::Quarry;
