//! The place of the tracer, taken before anybody else takes it.
//!
//! Whoever traces a task can stop it anywhere and read its registers, where for a moment there is a secret that no
//! other part of memory shows. A task has one tracer at most. So a tiny process of the enclave's own, the guard,
//! attaches before there is anything secret: from then on the kernel refuses every other tracer, root's as well. The
//! guard traces what is born later too, answers nothing, holds nothing, and lets every stop go on at once. If it
//! ends, the kernel kills the enclave; when the enclave ends, the guard has nothing left to wait for and ends.
//!
//! It needs no privilege: the same user, an enclave that is still dumpable, and the enclave's own word for Yama.
#![allow(unsafe_code, reason = "forks, traces and ends; every block says why it is sound")]

use std::ffi::{c_int, c_uint};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, PTracer, Pid, Resource, Rlimit, Signal, WaitOptions, getpid, getppid, kill_process,
    set_dumpable_behavior, set_ptracer, setrlimit, wait, waitpid,
};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_name};
use seccompiler::BpfProgram;
use thiserror::Error;

use super::descriptors::close_range;
use super::proc::Status;
use super::signals::block_all;

mod filter;

/// How long the guard may take to attach; it needs a millisecond.
const ATTACH_DEADLINE: Duration = Duration::from_secs(10);

/// What the guard does with the enclave: it is told of every thread and process that the enclave starts, and traces
/// it from its first instruction; if the guard ends, the kernel kills all of them.
const OPTIONS: c_int = libc::PTRACE_O_EXITKILL
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK;

/// `PTRACE_EVENT_STOP` (ptrace(2)), which the libc crate has for other C libraries only.
const EVENT_STOP: c_int = 128;

/// Waits for threads as well as for processes (`__WALL`, wait(2)), which rustix does not name.
const ALL: WaitOptions = WaitOptions::from_bits_retain(libc::__WALL.cast_unsigned());

/// A guard that traces this process. It lives as long as the process does, or longer for a moment.
#[derive(Debug)]
pub struct Guard {
    pid: Pid,
}

impl Guard {
    /// The guard's process id, which is every thread's `TracerPid` (proc_pid_status(5)).
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_pid()
    }
}

/// Why there is no guard.
#[derive(Debug, Error)]
pub enum GuardError {
    /// A fork copies the thread that forks and the locks of all others.
    #[error("expected one thread when the guard is forked, found more; attach it first")]
    Threads,
    /// The system call filter of the guard is none.
    #[error("cannot compile the guard's system call filter")]
    Filter(#[source] seccompiler::BackendError),
    /// The system does not give what it takes.
    #[error("cannot {what}")]
    System {
        /// What failed.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The guard would have had more than it needs.
    #[error("the guard cannot confine itself")]
    Unconfined(#[source] io::Error),
    /// The kernel does not let the guard attach.
    #[error(
        "the kernel lets no guard attach; start the enclave without a debugger, and set kernel.yama.ptrace_scope to 1, or to 3, which forbids tracing to everybody"
    )]
    Refused(#[source] io::Error),
    /// The guard said nothing.
    #[error("expected the guard to attach within {ATTACH_DEADLINE:?}, found it silent")]
    Silent,
    /// The guard is gone, or the kernel shows another tracer.
    #[error("expected the guard {guard} as tracer, the kernel shows {found}")]
    NotTracer {
        /// The guard's process id.
        guard: i32,
        /// What the kernel shows.
        found: String,
    },
}

/// Forks the guard and waits until it is this process's tracer. To be called while the process has one thread, holds
/// nothing secret, and is dumpable.
///
/// # Errors
/// [`GuardError`]; there is no guard then, and the process can go on without.
pub fn attach() -> Result<Guard, GuardError> {
    let system = |what| move |source: io::Error| GuardError::System { what, source };
    let threads = fs::read_dir("/proc/self/task").map_err(system("count threads"))?;
    if threads.take(2).count() != 1 {
        return Err(GuardError::Threads);
    }
    let (mut ours, theirs) = UnixStream::pair().map_err(system("make a pair of sockets"))?;
    ours.set_read_timeout(Some(ATTACH_DEADLINE)).map_err(system("set a deadline"))?;
    let enclave = getpid();
    let program = filter::program(enclave, theirs.as_raw_fd()).map_err(GuardError::Filter)?;

    // SAFETY: this is the only thread, so the child finds every lock free, and may allocate and call what it likes.
    let forked = unsafe { libc::fork() };
    if forked < 0 {
        return Err(system("fork")(io::Error::last_os_error()));
    }
    let Some(pid) = Pid::from_raw(forked) else { guard(enclave, theirs, &program) };
    drop(theirs);
    // For Yama's scope 1. Without Yama there is nobody to tell.
    let _ = set_ptracer(PTracer::ProcessID(pid));
    let attached = permit(&mut ours).and_then(|()| is_tracer(pid));
    if let Err(error) = attached {
        // Should it be attaching in this very moment, the kernel ends both, and whoever started the enclave starts
        // it again: better than a guard that nobody knows of.
        let _ = kill_process(pid, Signal::KILL);
        let _ = waitpid(Some(pid), WaitOptions::empty());
        let _ = set_ptracer(PTracer::None);
        return Err(error);
    }
    Ok(Guard { pid })
}

/// Tells the guard to begin, and waits for what it says: why it failed, or nothing at all.
fn permit(guard: &mut UnixStream) -> Result<(), GuardError> {
    let system = |what| move |source: io::Error| GuardError::System { what, source };
    guard.write_all(&[BEGIN]).map_err(system("reach the guard"))?;
    let mut said = [0; Failure::LEN];
    match guard.read_exact(&mut said) {
        Ok(()) => Err(Failure::decode(said).into()),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(GuardError::Silent),
        Err(error) => Err(system("hear the guard")(error)),
    }
}

/// The kernel's word for it, not the guard's.
fn is_tracer(guard: Pid) -> Result<(), GuardError> {
    let status = fs::read_to_string("/proc/self/status")
        .map_err(|source| GuardError::System { what: "read the process's status", source })?;
    let status = Status::new(status);
    let found = status.field("TracerPid").unwrap_or("none");
    if found == guard.as_raw_pid().to_string() {
        return Ok(());
    }
    Err(GuardError::NotTracer { guard: guard.as_raw_pid(), found: found.to_owned() })
}

/// What the enclave says once it has told Yama of the guard.
const BEGIN: u8 = 1;

/// What the guard says when it is none: what failed, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Confine(i32),
    Attach(i32),
}

impl Failure {
    const LEN: usize = 1 + size_of::<i32>();

    fn encode(self) -> [u8; Self::LEN] {
        let (step, errno) = match self {
            Self::Confine(errno) => (0, errno),
            Self::Attach(errno) => (1, errno),
        };
        let [a, b, c, d] = errno.to_le_bytes();
        [step, a, b, c, d]
    }

    fn decode([step, errno @ ..]: [u8; Self::LEN]) -> Self {
        let errno = i32::from_le_bytes(errno);
        if step == 0 { Self::Confine(errno) } else { Self::Attach(errno) }
    }
}

impl From<Failure> for GuardError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Confine(errno) => Self::Unconfined(io::Error::from_raw_os_error(errno)),
            Failure::Attach(errno) => Self::Refused(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// The guard's life. It never returns into the enclave's code.
fn guard(enclave: Pid, ours: UnixStream, program: &BpfProgram) -> ! {
    let ours = ours.into_raw_fd();
    if let Err(failure) = take_place(enclave, ours, program) {
        // SAFETY: the descriptor is open until this process closes it, which it does after a success only.
        let enclave = unsafe { BorrowedFd::borrow_raw(ours) };
        // An enclave that is gone needs no answer.
        let _ = rustix::io::write(enclave, &failure.encode());
        end(1);
    }
    // SAFETY: nothing owns the descriptor: it was taken out of its owner above.
    unsafe { rustix::io::close(ours) };
    keep();
}

/// Gives up everything, then attaches. Whatever can fail comes before: a guard that ends later takes the enclave
/// with it.
fn take_place(enclave: Pid, ours: RawFd, program: &BpfProgram) -> Result<(), Failure> {
    let confine = |errno: Errno| Failure::Confine(errno.raw_os_error());
    let confine_io = |error: io::Error| Failure::Confine(error.raw_os_error().unwrap_or(libc::EINVAL));
    // None of them must end the guard before the enclave has wiped, as when a service manager tells a whole control
    // group to end.
    block_all().map_err(confine_io)?;
    set_name(c"guard").map_err(confine)?;
    close_all_but(ours).map_err(confine_io)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(confine)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(confine)?;
    // SAFETY: as in `guard`.
    let channel = unsafe { BorrowedFd::borrow_raw(ours) };
    let mut begin = [0];
    if !matches!(rustix::io::retry_on_intr(|| rustix::io::read(channel, &mut begin)), Ok(1))
        || getppid() != Some(enclave)
    {
        // The enclave is gone, and its number may be another process's soon.
        end(1);
    }
    // No new privileges comes with the filter.
    seccompiler::apply_filter(program).map_err(|error| match error {
        seccompiler::Error::Prctl(source) | seccompiler::Error::Seccomp(source) => confine_io(source),
        _ => Failure::Confine(libc::EINVAL),
    })?;
    ptrace(libc::PTRACE_SEIZE, enclave, OPTIONS).map_err(|errno| Failure::Attach(errno.raw_os_error()))?;
    // After attaching, which takes as many capabilities as the enclave still has. Nobody is refused giving up his own.
    let none = CapabilitySet::empty();
    let _ = set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none });
    Ok(())
}

/// Lets everything go on that stops, until nothing is left that could: the enclave's own life bounds the loop.
fn keep() -> ! {
    loop {
        match wait(ALL) {
            Ok(Some((task, status))) => {
                if let Some((request, data)) = resumption(status.as_raw()) {
                    // A task that was killed while it stood is gone; its end is what the next wait tells.
                    let _ = ptrace(request, task, data);
                }
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(_) => end(0),
        }
    }
}

/// How a task that stopped goes on as if nobody traced it (ptrace(2), "Stopped states"); `None` if it ended.
fn resumption(status: c_int) -> Option<(c_uint, c_int)> {
    if !libc::WIFSTOPPED(status) {
        return None;
    }
    let (event, signal) = (status >> 16, libc::WSTOPSIG(status));
    Some(match (event, signal) {
        // On its way to the task, which gets it.
        (0, signal) => (libc::PTRACE_CONT, signal),
        // The whole process was stopped: it stays so until SIGCONT.
        (EVENT_STOP, libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU) => {
            (libc::PTRACE_LISTEN, 0)
        }
        // Something was born, or a stop is over.
        _ => (libc::PTRACE_CONT, 0),
    })
}

fn ptrace(request: c_uint, task: Pid, data: c_int) -> Result<(), Errno> {
    let data = std::ptr::without_provenance_mut::<libc::c_void>(usize::try_from(data).unwrap_or(0));
    let address = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: the requests of this file take `data` as a number and no memory of this process.
    let done = unsafe { libc::ptrace(request, task.as_raw_pid(), address, data) };
    if done == -1 { Err(last_errno()) } else { Ok(()) }
}

fn close_all_but(kept: RawFd) -> io::Result<()> {
    let kept = kept.cast_unsigned();
    // The owners of these descriptors are in the enclave's code, to which this process never returns.
    if let Some(last) = kept.checked_sub(1) {
        close_range(0, last)?;
    }
    close_range(kept + 1, c_uint::MAX)
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

/// Ends without running what the enclave would run at its end.
fn end(code: c_int) -> ! {
    // SAFETY: the call takes a number and does not return.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn stopped(event: c_int, signal: c_int) -> c_int {
        event << 16 | signal << 8 | 0x7f
    }

    #[test]
    fn a_signal_on_its_way_is_delivered_whatever_its_number() {
        for signal in 1..=libc::SIGRTMAX() {
            assert_eq!(resumption(stopped(0, signal)), Some((libc::PTRACE_CONT, signal)));
        }
    }

    #[test]
    fn a_stopped_process_stays_stopped_and_nothing_else_does() {
        for signal in 1..=libc::SIGRTMAX() {
            let stops = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU].contains(&signal);
            let request = if stops { libc::PTRACE_LISTEN } else { libc::PTRACE_CONT };
            assert_eq!(resumption(stopped(EVENT_STOP, signal)), Some((request, 0)), "signal {signal}");
        }
        for event in [libc::PTRACE_EVENT_CLONE, libc::PTRACE_EVENT_FORK, libc::PTRACE_EVENT_VFORK] {
            assert_eq!(resumption(stopped(event, libc::SIGTRAP)), Some((libc::PTRACE_CONT, 0)));
        }
    }

    #[test]
    fn what_ended_is_left_alone() {
        for status in [0, 2 << 8, libc::SIGKILL, libc::SIGSEGV | 0x80, 0xffff] {
            assert_eq!(resumption(status), None, "{status:#x}");
        }
    }

    #[test]
    fn a_process_with_other_threads_is_not_forked() {
        // The test's own thread is beside the main one.
        assert!(matches!(attach(), Err(GuardError::Threads)));
    }

    #[test]
    fn the_kernels_word_counts_not_that_of_a_process() {
        let error = is_tracer(getpid()).unwrap_err();
        assert!(
            matches!(&error, GuardError::NotTracer { guard, .. } if *guard == getpid().as_raw_pid()),
            "{error}"
        );
    }

    #[test]
    fn a_failure_keeps_its_kind_and_its_reason() {
        for failure in
            [Failure::Confine(libc::EPERM), Failure::Attach(libc::ESRCH), Failure::Attach(i32::MIN)]
        {
            assert_eq!(Failure::decode(failure.encode()), failure);
        }
        let told = |failure: Failure| crate::core::describe(&GuardError::from(failure));
        assert!(told(Failure::Attach(libc::EPERM)).contains("ptrace_scope"));
        assert!(told(Failure::Confine(libc::EPERM)).contains("confine"));
    }

    #[test]
    fn the_enclave_hears_silence_failure_and_nothing_apart() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&Failure::Attach(libc::EPERM).encode()).unwrap();
        assert!(matches!(permit(&mut ours), Err(GuardError::Refused(_))));

        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut told = [0];
        theirs.try_clone().unwrap().set_nonblocking(true).unwrap();
        ours.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert!(matches!(permit(&mut ours), Err(GuardError::Silent)));
        (&theirs).read_exact(&mut told).unwrap();
        assert_eq!(told, [BEGIN]);

        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let ending = std::thread::spawn(move || {
            theirs.read_exact(&mut [0]).unwrap();
        });
        assert!(permit(&mut ours).is_ok(), "nothing was said, so the kernel is asked");
        ending.join().unwrap();

        let (mut ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(matches!(permit(&mut ours), Err(GuardError::System { .. })), "nobody is there");
    }
}
