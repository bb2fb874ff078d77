//! Cores: one that gdb writes of the living process, one that the kernel writes of a crash.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use super::host::Host;
use super::{Bag, Method, Prey, run, status_field, tracer_of};
use crate::hunt::quarry::Holder;
use crate::process::Running;
use crate::wait::until;

/// What came of gcore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gcore {
    /// A core is in the bag.
    Written {
        /// Its bytes that are not in pages of zeros.
        bytes: u64,
    },
    /// Somebody else traces the process already, so gdb cannot attach.
    Guarded {
        /// Who.
        tracer: u32,
    },
}

/// Has gdb write a core with every mapping, also those that the process keeps out of dumps.
///
/// # Panics
/// When there is no core for another reason than a tracer that is there before.
pub fn gcore(prey: Prey, folder: &Path, bag: &mut Bag) -> Gcore {
    let core = folder.join(format!("gcore.{}", prey.pid));
    let output = run(
        Command::new("gdb")
            .args(["-nx", "-batch", "-iex", "set auto-solib-add off", "-iex", "set debuginfod enabled off"])
            .args(["-ex", "set use-coredump-filter off", "-ex", "set dump-excluded-mappings on"])
            .args(["-p", &prey.pid.to_string(), "-ex", &format!("gcore {}", core.display())]),
        "gdb",
    );
    let Ok(bytes) = bag.put_pages(prey.holder, Method::Gcore, "core", &core) else {
        let tracer = tracer_of(prey.pid);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_ne!(tracer, 0, "gdb wrote no core, and nobody traces {prey:?}: {said}");
        bag.refuse(prey.holder, Method::Gcore, "core");
        return Gcore::Guarded { tracer };
    };
    drop(std::fs::remove_file(&core));
    Gcore::Written { bytes }
}

/// Crashes a process after core dumps were allowed to it from outside and switched on for the whole machine. Returns
/// whether the kernel wrote a core; it is in the bag then.
///
/// # Panics
/// When the process does not end, or the machine takes no such settings.
pub fn crash(host: &mut Host, prey: Prey, mut process: Running, folder: &Path, bag: &mut Bag) -> bool {
    host.set("/proc/sys/kernel/core_pattern", &format!("{}/crash.%p", folder.display()));
    host.set("/proc/sys/kernel/core_uses_pid", "0");
    // 2: also of processes that changed their user, readable by root alone.
    host.set("/proc/sys/fs/suid_dumpable", "2");
    let pid = Pid::from_raw(i32::try_from(prey.pid).expect("process ids are small"));
    let unlimited = Rlimit { current: None, maximum: None };
    if let Err(error) = prlimit(pid, Resource::Core, unlimited) {
        // A container's root may be without the right to raise a hard limit; the process's own is what there is then.
        assert!(!may_raise_limits(), "cannot raise the core limit of {prey:?}: {error}");
        eprintln!("this root has no CAP_SYS_RESOURCE: the core limit of {prey:?} stays what the process set");
    }
    // A signal handler of the Rust runtime takes the first SIGSEGV for its own; the default one dumps.
    process.signal(Signal::SEGV);
    process.signal(Signal::ABORT);
    if prey.holder == Holder::Enclave {
        // It blocks them, so a fault of its own must end it: there is no instruction left that it could execute.
        break_code(prey.pid);
        process.signal(Signal::TERM);
    }
    let _ = until("the process to end of a fault", || process.exited());
    let core = folder.join(format!("crash.{}", prey.pid));
    let written = bag.put_pages(prey.holder, Method::Crash, "core", &core).is_ok();
    if !written {
        bag.refuse(prey.holder, Method::Crash, "core");
    }
    drop(std::fs::remove_file(&core));
    written
}

/// Overwrites the program's instructions with one that faults, as root can.
fn break_code(pid: u32) {
    const UD2: [u8; 2] = [0x0f, 0x0b];
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("root reads it");
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).expect("root reads it");
    let code =
        maps.lines().find(|line| line.contains(" r-xp ") && line.ends_with(&*program.to_string_lossy()));
    let (range, _) = code.and_then(|line| line.split_once(' ')).expect("the program's code is mapped");
    let (start, end) = range.split_once('-').expect("a range");
    let address = |text| u64::from_str_radix(text, 16).expect("in hex");
    let length = usize::try_from(address(end) - address(start)).expect("it fits this machine");
    let memory = File::options().write(true).open(format!("/proc/{pid}/mem")).expect("root may");
    memory.write_all_at(&UD2.repeat(length / 2), address(start)).expect("root writes another process's code");
}

/// Whether this process has CAP_SYS_RESOURCE (capabilities(7), number 24).
fn may_raise_limits() -> bool {
    let effective = status_field(std::process::id(), "CapEff:").expect("the kernel tells capabilities");
    u64::from_str_radix(&effective, 16).expect("in hex") >> 24 & 1 == 1
}
