//! Measured-boot event logs: what firmware, boot loader and kernel say that they measured (TCG PC Client Platform Firmware
//! Profile 1.06; TCG EFI Protocol Specification 2.0).
//!
//! A log is a story told by the machine that is judged. Three things are checked, and only together do they make a fact:
//!
//! 1. its digests, replayed, give the PCR values that the TPM quoted ([`EventLog::compare`]);
//! 2. the data of an event hashes to its digest, where the profile says that it does ([`Tie`]);
//! 3. the log keeps the rules that nobody can bend unnoticed, because neither an event's type nor its order across PCRs is in
//!    any digest ([`EventLog::findings`]).

mod algorithm;
mod boot_option;
mod changes;
mod cursor;
mod describe;
mod device_path;
mod error;
mod event;
mod event_type;
mod examine;
mod facts;
mod guid;
mod header;
mod image;
mod log;
mod parse;
mod remark;
mod replay;
mod separator;
mod signature_list;
mod startup;
mod structure;
mod text;
mod tie;
mod variable;

pub use algorithm::LogAlgorithm;
pub use changes::PcrChanges;
pub use error::{EventLogError, EventLogReason};
pub use event::{Event, EventDigest};
pub use event_type::EventType;
pub use facts::{
    Facts,
    boot::{BootText, Image, ShimVariable},
    policy::{Authority, Certificate, KeyDatabase, SecureBoot},
};
pub use guid::Guid;
pub use image::ImageLoad;
pub use log::{EventLog, LogFormat};
pub use remark::Remark;
pub use replay::{ComparedPcr, Comparison, Replay};
pub use signature_list::{SignatureContent, SignatureEntry, parse_signature_lists};
pub use structure::StructureError;
pub use tie::Tie;
pub use variable::Variable;
