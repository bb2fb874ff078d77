//! Whether a TPM's clock and counts went on since an earlier quote (TPM 2.0 Part 1, section 36).

use crate::ClockInfo;

/// Compares a quote's counts with those of an earlier one.
pub(crate) fn check_counts(earlier: &ClockInfo, now: &ClockInfo) -> Result<String, String> {
    let show = |clock: &ClockInfo| format!("reset {} restart {}", clock.reset_count, clock.restart_count);
    if counts(now) >= counts(earlier) {
        Ok(format!("{}, earlier {}", show(now), show(earlier)))
    } else {
        Err(format!("expected counts of at least {}, found {}", show(earlier), show(now)))
    }
}

/// Compares a quote's clock with that of an earlier one. After an unorderly shutdown (`safe` clear) the clock
/// may have lost what was not yet written, but the reset that followed was counted.
pub(crate) fn check_forward(earlier: &ClockInfo, now: &ClockInfo) -> Result<String, String> {
    if now.clock >= earlier.clock {
        return Ok(format!("{} ms, earlier {} ms", now.clock, earlier.clock));
    }
    if !now.safe && counts(now) > counts(earlier) {
        return Ok(format!("{} ms after an unorderly shutdown, earlier {} ms", now.clock, earlier.clock));
    }
    Err(format!("expected a clock of at least {} ms, found {} ms", earlier.clock, now.clock))
}

fn counts(clock: &ClockInfo) -> (u32, u32) {
    (clock.reset_count, clock.restart_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(clock: u64, reset_count: u32, restart_count: u32, safe: bool) -> ClockInfo {
        ClockInfo { clock, reset_count, restart_count, safe }
    }

    fn goes_on(earlier: ClockInfo, now: ClockInfo) -> bool {
        check_counts(&earlier, &now).is_ok() && check_forward(&earlier, &now).is_ok()
    }

    #[test]
    fn time_and_counts_go_on() {
        assert!(goes_on(at(10, 2, 3, true), at(10, 2, 3, true)));
        assert!(goes_on(at(10, 2, 3, true), at(11, 2, 4, true)));
        assert!(goes_on(at(10, 2, 3, true), at(11, 3, 0, true)));
        assert!(goes_on(at(10, 2, 3, false), at(11, 2, 3, true)));
    }

    #[test]
    fn a_clock_or_count_that_went_back_is_refused() {
        assert!(!goes_on(at(10, 2, 3, true), at(9, 2, 3, true)));
        assert!(!goes_on(at(10, 2, 3, true), at(9, 3, 0, true)));
        assert!(!goes_on(at(10, 2, 3, true), at(11, 1, 9, true)));
        assert!(!goes_on(at(10, 2, 3, true), at(11, 2, 2, true)));
        assert!(!goes_on(at(10, 2, 3, true), at(11, 2, 2, false)));
    }

    #[test]
    fn after_an_unorderly_shutdown_the_counts_decide() {
        assert!(goes_on(at(10, 2, 3, true), at(4, 3, 0, false)));
        assert!(!goes_on(at(10, 2, 3, true), at(4, 2, 3, false)));
    }
}
