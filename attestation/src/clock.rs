//! The TPM's clock and counts, as a quote shows them (TPM 2.0 Part 2, TPMS_CLOCK_INFO).

use serde::{Deserialize, Serialize};

/// When a quote was made, by the TPM's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockInfo {
    /// Milliseconds that the TPM was powered; advances only.
    pub clock: u64,
    /// TPM resets: boots that did not resume.
    pub reset_count: u32,
    /// TPM restarts and resumes since the newest reset.
    pub restart_count: u32,
    /// `false` after an unorderly shutdown, until `clock` surely passed every value reported before.
    pub safe: bool,
}
