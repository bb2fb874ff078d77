//! The record of an appraisal, which an auditor signs: who judged what by what and when, and what came of it. An appraisal is a
//! pure function, so whoever has the same files can make it again and compare.

pub(crate) mod record;
mod recorded;
pub(crate) mod verified;

pub use record::{ManifestTrust, RecordedExpectations, RecordedManifest, VerdictRecord};
pub use recorded::{RecordedCheck, RecordedFinding, RecordedVerdict};
pub use verified::{CountersignedVerdict, VerdictRecordError};
