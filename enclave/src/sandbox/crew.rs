//! Every thread that there will ever be: born before the sandbox closes, each confined by its own hand.

use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use thiserror::Error;

use super::landlock::Restricted;
use super::proc::{self, Status};
use super::protections::Closed;
use super::seccomp::{self, FilterError, Kind};
use super::{Protections, landlock, limits, signals};
use crate::notice::notice;

/// Threads beside the main one: the connections, the most signing threads, and some.
const THREADS_MAX: usize = 128;

/// How long all threads together may take to confine themselves; they need milliseconds.
const CLOSING_DEADLINE: Duration = Duration::from_secs(30);

/// Why the sandbox did not close.
#[derive(Debug, Error)]
pub enum CrewError {
    /// The system gives no thread.
    #[error("cannot start thread {name}")]
    Thread {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A thread cannot confine itself.
    #[error("thread {name} cannot install its system call filter")]
    Filter {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: FilterError,
    },
    /// A thread says nothing.
    #[error("expected {expected} threads to confine themselves within {CLOSING_DEADLINE:?}, found {found}")]
    Silent {
        /// How many were started.
        expected: usize,
        /// How many did.
        found: usize,
    },
    /// The kernel shows something else than the threads say.
    #[error("expected a system call filter in {expected} threads, the kernel shows {found}")]
    Unfiltered {
        /// How many were started.
        expected: usize,
        /// How many have one.
        found: usize,
    },
    /// The kernel does not show the threads.
    #[error("cannot look at the own threads in /proc")]
    Proc(#[source] io::Error),
}

/// What a thread says once it is confined.
type Said = (String, Result<Restricted, FilterError>);

/// The threads that were started so far.
#[derive(Debug)]
pub struct Crew {
    born: usize,
    say: Sender<Said>,
    said: Receiver<Said>,
}

impl Default for Crew {
    fn default() -> Self {
        let (say, said) = bounded(THREADS_MAX);
        Self { born: 0, say, said }
    }
}

impl Crew {
    /// Starts a thread that confines itself and then does `work`, which never ends.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        &mut self,
        kind: Kind,
        name: String,
        stack: usize,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<(), CrewError> {
        let say = self.say.clone();
        let own = name.clone();
        let confined = move || {
            // The C library unblocked two of them when the first thread was born; what fails is measured.
            drop(signals::block_all());
            let restricted = landlock::restrict();
            let filtered = seccomp::install(kind).map(|()| restricted);
            let sound = filtered.is_ok();
            // If nobody listens any more, the process is ending.
            if say.send((own, filtered)).is_ok() && sound {
                work();
            }
            // Work ends only when the process does. A confined thread may not end before it: what it would free, it
            // may not touch any more, and the kernel would kill the process instead of letting it say why it ends.
            loop {
                thread::park();
            }
        };
        thread::Builder::new()
            .name(name.clone())
            .stack_size(stack)
            .spawn(confined)
            .map_err(|source| CrewError::Thread { name, source })?;
        self.born += 1;
        Ok(())
    }

    /// Waits until every thread is confined, looks whether the kernel says so too, and confines the calling one.
    ///
    /// # Errors
    /// One of them is not; the process must end.
    pub fn close(self, protections: &Protections) -> Result<(), CrewError> {
        let mut restricted = Vec::with_capacity(self.born + 1);
        let deadline = Instant::now() + CLOSING_DEADLINE;
        while restricted.len() < self.born {
            let silent = |_| CrewError::Silent { expected: self.born, found: restricted.len() };
            let (name, said) = self.said.recv_deadline(deadline).map_err(silent)?;
            match said {
                Ok(found) => restricted.push((name, found)),
                Err(source) => return Err(CrewError::Filter { name, source }),
            }
        }
        drop(signals::block_all());
        let tasks = proc::tasks().map_err(CrewError::Proc)?;
        let filtered = tasks.iter().filter(|task| task.field("Seccomp") == Some("2")).count();
        // All but the calling one.
        if filtered < self.born || tasks.len() != self.born + 1 {
            return Err(CrewError::Unfiltered { expected: self.born, found: filtered });
        }

        restricted.push(("main".to_owned(), landlock::restrict()));
        let dumpable = limits::is_dumpable();
        seccomp::install(Kind::Main)
            .map_err(|source| CrewError::Filter { name: "main".to_owned(), source })?;
        let files_open: Vec<String> =
            restricted.iter().filter(|(_, found)| !found.closed).map(|(name, _)| name.clone()).collect();
        if !files_open.is_empty() {
            notice(format!("warning: no Landlock in {}", files_open.join(", ")));
        }
        protections.close(Closed {
            threads: u64::try_from(tasks.len()).unwrap_or(u64::MAX),
            dumpable,
            signals_open: tasks.iter().filter(|task| !blocks_all(task)).map(name_of).collect(),
            files_open,
            traced: same_tracer(&tasks),
            landlock: restricted.pop().map_or_else(String::new, |(_, found)| found.detail),
        });
        Ok(())
    }
}

/// Does one piece of work; a panic ends it and not the thread, because there will be no other. Tells whether it
/// came to its end.
pub(crate) fn survive(work: impl FnOnce()) -> bool {
    // What a panic leaves half done is behind locks, whose users take it as it is.
    catch_unwind(AssertUnwindSafe(work)).is_ok()
}

fn blocks_all(task: &Status) -> bool {
    task.set("SigBlk") == Some(signals::BLOCKED)
}

fn same_tracer(tasks: &[Status]) -> bool {
    let tracers: BTreeSet<_> = tasks.iter().map(|task| task.number("TracerPid")).collect();
    tracers.len() == 1
}

fn name_of(task: &Status) -> String {
    task.field("Name").unwrap_or("a thread").to_owned()
}
