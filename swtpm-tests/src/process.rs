//! Child processes that end with the story.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::until;

/// One of the project's own programs, from the same build as the story.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("a story is a file");
    let folder = this.ancestors().find(|folder| folder.join(name).is_file());
    match folder {
        Some(folder) => folder.join(name),
        None => panic!("{name} is not built beside {}: cargo build --workspace --bins", this.display()),
    }
}

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
}

impl Running {
    /// Starts a program with its output appended to `log`.
    ///
    /// # Panics
    /// When it cannot be started; `package` is the Debian package that has it.
    #[must_use]
    pub fn start(command: &mut Command, log: &Path, package: &str) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let log: File =
            OpenOptions::new().create(true).append(true).open(log).expect("the story's folder is writable");
        let errors = log.try_clone().expect("a file can be shared");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        let child = child.unwrap_or_else(|error| {
            panic!("cannot start {name}: {error}; install it: apt-get install {package}")
        });
        Self { name, child }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let raw = i32::try_from(self.child.id()).expect("process ids are small");
        let pid = Pid::from_raw(raw).expect("process ids are not zero");
        // It may have ended by itself; what the story then finds says so.
        let _ = kill_process(pid, signal);
    }

    /// Ends it at once, as a crash would, and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// Asks it to end and waits for its exit code.
    ///
    /// # Panics
    /// When it does not end.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let name = self.name.clone();
        until(&format!("{name} to end on SIGTERM"), || self.exited())
    }

    /// Its exit status if it has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    fn end(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
