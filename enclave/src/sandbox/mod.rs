//! What the process gives up before the first connection, in this order:
//!
//! 1. [`environment`]: the program starts again with none, so that `/proc/PID/environ` and the first stack hold none.
//! 2. [`descriptors`]: whatever was inherited is closed, before anything of our own is open.
//! 3. [`signals`]: blocked, so that none ends the process unwiped or interrupts a stack that holds secrets.
//! 4. [`limits`]: no core dumps, not dumpable, no new privileges, few descriptors, memory locked. The files of
//!    [`Protections`] are opened before, because a process that is not dumpable may not open all of its own.
//! 5. Keys, state and socket are opened, with the privileges that the process was started with.
//! 6. [`identity`]: supplementary groups and every capability go, before any other thread is born, so that all of
//!    them are born without.
//! 7. [`Crew`]: each thread that there will ever be starts, takes [`landlock`] and its list of [`seccomp`] upon
//!    itself and says so; the main thread measures all of them, then does the same.
//!
//! Only then are connections accepted. A seccomp list that cannot be installed ends the process; any other protection
//! that the host does not give is reported as inactive.

pub mod descriptors;
pub mod environment;
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

use crate::notice::notice;

/// The first four steps; nothing secret exists yet.
///
/// # Errors
/// Inherited descriptors cannot be closed, or signals cannot be blocked.
pub fn begin() -> Result<Protections, std::io::Error> {
    environment::start_without();
    descriptors::close_inherited()?;
    // the guard is attached here
    signals::block_all()?;
    signals::forget_handlers()?;
    let protections = Protections::open();
    for (what, error) in limits::give_up() {
        notice(&format!("warning: {what}: {error}"));
    }
    Ok(protections)
}
