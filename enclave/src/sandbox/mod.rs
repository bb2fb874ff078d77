//! What the process gives up before the first connection, in this order:
//!
//! 1. [`environment`]: the program starts again with none, so that `/proc/PID/environ` and the first stack hold none.
//! 2. [`descriptors`]: whatever was inherited is closed, before anything of our own is open.
//! 3. [`signals`]: blocked, so that none ends the process unwiped or interrupts a stack that holds secrets.
//! 4. [`guard`]: the place of the tracer is taken, while the process is still dumpable.
//! 5. [`limits`]: no core dumps, not dumpable, no new privileges, few descriptors, memory locked. The files of
//!    [`Protections`] are opened before, because a process that is not dumpable may not open all of its own.
//! 6. Keys, state and socket are opened, with the privileges that the process was started with.
//! 7. [`identity`]: supplementary groups and every capability go, before any other thread is born, so that all of
//!    them are born without.
//! 8. [`Crew`]: each thread that there will ever be starts, takes [`landlock`] and its list of [`seccomp`] upon
//!    itself and says so; the main thread measures all of them, then does the same.
//!
//! Only then are connections accepted. A seccomp list that cannot be installed ends the process; any other protection
//! that the host does not give is reported as inactive.

pub mod descriptors;
pub mod environment;
pub mod guard;
pub mod identity;
pub mod landlock;
pub mod limits;
pub mod seccomp;
pub mod signals;

mod crew;
mod proc;
mod protections;

pub(crate) use crew::survive;
pub use crew::{Crew, CrewError};
pub use protections::Protections;

use crate::core::describe;
use crate::notice::notice;

/// The first three steps.
///
/// # Errors
/// Inherited descriptors cannot be closed, or signals cannot be blocked.
pub fn begin() -> Result<(), std::io::Error> {
    environment::start_without();
    descriptors::close_inherited()?;
    signals::block_all()?;
    signals::forget_handlers()
}

/// The fourth and the fifth; nothing secret exists yet. What the host refuses is warned of and measured.
#[must_use]
pub fn harden(trace_guard: bool) -> Protections {
    let guard = if trace_guard {
        let failed = |error| notice(format_args!("warning: no tracer guard: {}", describe(&error)));
        guard::attach().map_err(failed).ok()
    } else {
        notice("warning: trace_guard = false; whoever may trace this process can read its registers");
        None
    };
    let protections = Protections::open(guard);
    for (what, error) in limits::give_up() {
        notice(format_args!("warning: {what}: {error}"));
    }
    protections
}
