//! What the process gives up at start, and what it then measures of its own protection.
//!
//! The report shows what was measured, never what was asked for.

use std::fs;

use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, dumpable_behavior, geteuid, getrlimit, set_dumpable_behavior,
    setrlimit,
};
use rustix::thread::{no_new_privs, set_no_new_privs};
use sealstone_attestation::Protection;

use crate::notice::notice;
use crate::sandbox::guard::Guard;
use crate::secret;

/// Gives up core dumps, `/proc/PID/mem` for others of the same user, new privileges, and swapping.
///
/// Failures are not returned: [`measure`] finds them, and the report names them.
pub fn harden() {
    let no_core = Rlimit { current: Some(0), maximum: Some(0) };
    for (what, result) in [
        ("RLIMIT_CORE 0", setrlimit(Resource::Core, no_core)),
        ("not dumpable", set_dumpable_behavior(DumpableBehavior::NotDumpable)),
        ("no new privileges", set_no_new_privs(true)),
        ("memory lock", lock_memory()),
    ] {
        if let Err(error) = result {
            notice(&format!("warning: {what}: {error}"));
        }
    }
}

/// Keeps every page out of swap. Under a limit this is left alone: once the limit is reached, threads and buffers
/// could not be had any more.
fn lock_memory() -> rustix::io::Result<()> {
    if getrlimit(Resource::Memlock).current.is_some() && !geteuid().is_root() {
        return Err(Errno::PERM);
    }
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)
}

/// Each protection as it is now.
#[must_use]
pub fn measure(guard: Option<&Guard>) -> Vec<Protection> {
    let core = getrlimit(Resource::Core);
    let (locked, resident) = (status_kib("VmLck:").unwrap_or(0), status_kib("VmRSS:").unwrap_or(u64::MAX));
    let tracer = status("TracerPid:");
    let scope = read("/proc/sys/kernel/yama/ptrace_scope");
    let lockdown = read("/sys/kernel/security/lockdown");
    // The first line is a heading; each further line is a swap area.
    let swaps = read("/proc/swaps").map(|text| text.lines().count().saturating_sub(1));
    vec![
        protection(
            "no_core_dumps",
            core.current == Some(0) && core.maximum == Some(0),
            format!("RLIMIT_CORE {:?}", core.current),
        ),
        protection(
            "not_dumpable",
            dumpable_behavior().is_ok_and(|behavior| behavior == DumpableBehavior::NotDumpable),
            "PR_GET_DUMPABLE".to_owned(),
        ),
        protection("no_new_privileges", no_new_privs().unwrap_or(false), "PR_GET_NO_NEW_PRIVS".to_owned()),
        protection(
            "memory_locked",
            locked >= resident,
            format!("VmLck {locked} KiB of VmRSS {resident} KiB"),
        ),
        // Set by whoever starts the process, for example systemd; this version sets none itself.
        protection(
            "seccomp_filter",
            status("Seccomp:").as_deref() == Some("2"),
            format!("Seccomp {}", status("Seccomp:").as_deref().unwrap_or("absent")),
        ),
        protection(
            "secret_memory",
            secret::kind() == secret::Kind::MemfdSecret,
            match secret::kind() {
                secret::Kind::MemfdSecret => "memfd_secret".to_owned(),
                secret::Kind::Locked => "locked ordinary memory".to_owned(),
            },
        ),
        protection(
            "secret_stacks",
            secret::kind() == secret::Kind::MemfdSecret && secret::run(secret::is_sheltered),
            "an operation's stack and heap, wiped after it".to_owned(),
        ),
        // A task has one tracer at most: while the guard is it, nobody else is. Any other tracer is no protection.
        protection(
            "tracer_guard",
            guard.is_some_and(|guard| tracer == Some(guard.pid().to_string())),
            format!("TracerPid {}", tracer.as_deref().unwrap_or("absent")),
        ),
        protection(
            "ptrace_forbidden",
            scope.as_deref() == Some("3"),
            format!("kernel.yama.ptrace_scope {}", scope.as_deref().unwrap_or("absent")),
        ),
        protection(
            "kernel_lockdown",
            lockdown.as_deref().is_some_and(|text| text.contains("[confidentiality]")),
            lockdown.unwrap_or_else(|| "absent".to_owned()),
        ),
        protection(
            "no_swap",
            swaps == Some(0),
            swaps.map_or_else(|| "cannot read /proc/swaps".to_owned(), |areas| format!("{areas} swap areas")),
        ),
    ]
}

fn protection(name: &str, active: bool, detail: String) -> Protection {
    Protection { name: name.to_owned(), active, detail }
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn status_kib(field: &str) -> Option<u64> {
    status(field)?.strip_suffix("kB")?.trim().parse().ok()
}

/// A field of this process's status (proc_pid_status(5)).
fn status(field: &str) -> Option<String> {
    let status = read("/proc/self/status")?;
    Some(status.lines().find_map(|line| line.strip_prefix(field))?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(name: &str) -> Protection {
        measure(None).into_iter().find(|protection| protection.name == name).unwrap()
    }

    #[test]
    fn locked_secrets_alone_are_not_taken_for_a_locked_process() {
        let held = secret::run(|inside| secret::Secret::<32>::copied(inside, &[1; 32]));
        assert!(status_kib("VmLck:").unwrap() > 0, "the secrets' pages are locked");
        let protection = measured("memory_locked");
        assert!(!protection.active, "{}", protection.detail);
        drop(held);
    }

    #[test]
    fn a_filter_is_reported_only_if_the_kernel_has_one() {
        let filter = measured("seccomp_filter");
        assert_eq!(filter.active, filter.detail == "Seccomp 2");
    }

    #[test]
    fn without_a_guard_no_tracer_is_taken_for_one() {
        let guard = measured("tracer_guard");
        assert!(!guard.active && guard.detail.starts_with("TracerPid "), "{}", guard.detail);
    }
}
