//! Waits between attempts: longer each time, bounded, and never in step with other nodes.

use std::time::Duration;

/// Doubles from `first` to `most`; each wait is drawn from its upper half.
#[derive(Clone, Debug)]
pub(crate) struct BackOff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl BackOff {
    pub(crate) const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// The next wait.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = between(self.next / 2, self.next);
        self.next = self.next.saturating_mul(2).min(self.most);
        wait
    }

    /// Begins anew, after a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// A random duration in the range. Where the system gives no randomness the middle does: nothing secret
/// depends on it.
pub(crate) fn between(least: Duration, most: Duration) -> Duration {
    let mut bytes = [0; 4];
    let share = match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    };
    least + most.saturating_sub(least).mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_bound_and_begin_anew() {
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut back_off = BackOff::new(first, most);
        for bound in [100, 200, 400, 800, 1000, 1000] {
            let bound = Duration::from_millis(bound);
            let wait = back_off.wait();
            assert!((bound / 2..=bound).contains(&wait), "{wait:?} of {bound:?}");
        }
        back_off.reset();
        assert!(back_off.wait() <= first);
    }

    #[test]
    fn an_empty_range_is_its_only_value() {
        assert_eq!(between(Duration::from_secs(3), Duration::from_secs(3)), Duration::from_secs(3));
        assert_eq!(between(Duration::from_secs(3), Duration::ZERO), Duration::from_secs(3));
    }
}
