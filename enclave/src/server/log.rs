//! Lines about connections on standard error, few enough that whoever may connect cannot fill a disk with them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::notice::notice;

/// Lines in each [`WINDOW`]: enough to see what happens, too few to matter.
const LINES_MAX: u32 = 10;

/// How long lines are counted together.
const WINDOW: Duration = Duration::from_secs(10);

/// Counts lines and leaves out what is too much.
#[derive(Debug)]
pub(super) struct Log(Mutex<Counted>);

#[derive(Debug)]
struct Counted {
    since: Instant,
    lines: u32,
    left_out: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self(Mutex::new(Counted { since: Instant::now(), lines: 0, left_out: 0 }))
    }
}

impl Log {
    /// Writes a line, unless there were too many just now; what was left out is counted in the next one.
    pub(super) fn say(&self, line: &str) {
        let left_out = {
            let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if counted.since.elapsed() >= WINDOW {
                *counted = Counted { since: Instant::now(), lines: 0, left_out: counted.left_out };
            }
            if counted.lines >= LINES_MAX {
                counted.left_out += 1;
                return;
            }
            counted.lines += 1;
            std::mem::take(&mut counted.left_out)
        };
        if left_out > 0 {
            notice(format!("{left_out} lines about connections were left out"));
        }
        notice(line);
    }
}
