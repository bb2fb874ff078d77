//! Each protection as it is, for every report and status: measured, never what was asked for.
//!
//! What the kernel shows in files is read anew, from files that were opened before the sandbox closed. What it shows
//! only to calls that are forbidden from then on was measured when the sandbox closed, and cannot change since:
//! whatever could change it is forbidden as well.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use sealstone_attestation::Protection;

use super::descriptors::DESCRIPTORS_MAX;
use super::guard::Guard;
use super::proc::{Kept, PROC_SUPER_MAGIC, SECURITYFS_MAGIC, Status, limit};
use super::{limits, signals};
use crate::clock::Uptime;
use crate::secret;

/// How long a measurement is told again: whoever asks without pause costs a few reads a second.
const FRESH: Duration = Duration::from_secs(1);

/// Measures, and remembers what was measured when the sandbox closed.
#[derive(Debug)]
pub struct Protections {
    guard: Option<Guard>,
    status: Kept,
    limits: Kept,
    swaps: Kept,
    ptrace_scope: Kept,
    lockdown: Kept,
    environment_empty: Option<bool>,
    closed: OnceLock<Closed>,
    newest: Mutex<Option<(Uptime, Vec<Protection>)>>,
}

/// What was found when the sandbox closed.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) threads: u64,
    pub(super) dumpable: bool,
    /// Threads, by name, in which a signal is not blocked.
    pub(super) signals_open: Vec<String>,
    /// Threads, by name, that can still open a file.
    pub(super) files_open: Vec<String>,
    /// What Landlock said.
    pub(super) landlock: String,
    /// Whether all threads had the same tracer.
    pub(super) traced: bool,
}

impl Protections {
    /// Opens what will be read. Before the process gives up being dumpable: some of its own files then belong to
    /// root.
    #[must_use]
    pub fn open(guard: Option<Guard>) -> Self {
        Self {
            guard,
            status: Kept::open("/proc/self/status", PROC_SUPER_MAGIC),
            limits: Kept::open("/proc/self/limits", PROC_SUPER_MAGIC),
            swaps: Kept::open("/proc/swaps", PROC_SUPER_MAGIC),
            ptrace_scope: Kept::open("/proc/sys/kernel/yama/ptrace_scope", PROC_SUPER_MAGIC),
            lockdown: Kept::open("/sys/kernel/security/lockdown", SECURITYFS_MAGIC),
            environment_empty: super::environment::is_empty(),
            closed: OnceLock::new(),
            newest: Mutex::new(None),
        }
    }

    /// Takes what was found when the sandbox closed, which happens once.
    pub(super) fn close(&self, found: Closed) {
        self.closed.set(found).expect("the crew that closes the sandbox is used up by that");
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Each protection as it was at most a second ago.
    #[must_use]
    pub fn measured(&self) -> Vec<Protection> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Uptime::now();
        if let Some((when, measured)) = &*newest
            && now.since(*when) < FRESH
        {
            return measured.clone();
        }
        let measured = self.measure();
        *newest = Some((now, measured.clone()));
        measured
    }

    fn measure(&self) -> Vec<Protection> {
        let status = Status::new(self.status.read().unwrap_or_default());
        let limits = self.limits.read().unwrap_or_default();
        let mut all = self.of_the_process(&status, &limits);
        all.extend(self.of_the_threads(&status));
        all.extend(of_the_secrets());
        all.extend(self.of_the_host(&status));
        all
    }

    fn of_the_process(&self, status: &Status, limits: &str) -> Vec<Protection> {
        let core = limit(limits, "Max core file size");
        let descriptors = limit(limits, "Max open files");
        let few = u64::try_from(DESCRIPTORS_MAX).unwrap_or(u64::MAX);
        let (locked, resident) =
            (status.number("VmLck").unwrap_or(0), status.number("VmRSS").unwrap_or(u64::MAX));
        vec![
            protection(
                "no_core_dumps",
                core == Some(0),
                format!("core files of at most {} bytes", shown(core)),
            ),
            protection(
                "not_dumpable",
                self.closed.get().is_some_and(|closed| !closed.dumpable),
                self.at_close(|_| "PR_GET_DUMPABLE when the sandbox closed".to_owned()),
            ),
            protection(
                "no_new_privileges",
                status.field("NoNewPrivs") == Some("1"),
                format!("NoNewPrivs {}", shown(status.field("NoNewPrivs"))),
            ),
            capabilities(status),
            groups(status),
            protection(
                "few_descriptors",
                descriptors.is_some_and(|most| most <= few),
                format!("at most {}, {few} are needed", shown(descriptors)),
            ),
            protection(
                "empty_environment",
                self.environment_empty == Some(true),
                match self.environment_empty {
                    Some(true) => "/proc/self/environ is empty".to_owned(),
                    Some(false) => "/proc/self/environ is not empty".to_owned(),
                    None => "cannot read /proc/self/environ".to_owned(),
                },
            ),
            protection(
                "memory_locked",
                limits::is_memory_locked() && locked >= resident,
                format!("VmLck {locked} KiB of VmRSS {resident} KiB"),
            ),
        ]
    }

    fn of_the_threads(&self, status: &Status) -> Vec<Protection> {
        let threads = status.number("Threads");
        let expected = self.closed.get().map(|closed| closed.threads);
        // The kernel shows the main thread, which waits for two of them.
        let blocked =
            status.set("SigBlk").is_some_and(|set| [signals::BLOCKED, signals::WAITING].contains(&set));
        let all_of = |open: &[String], what: &str| {
            if open.is_empty() { what.to_owned() } else { format!("not in {}", open.join(", ")) }
        };
        vec![
            // A thread that is not filtered keeps the sandbox from closing.
            protection(
                "seccomp_filter",
                status.field("Seccomp") == Some("2") && self.closed.get().is_some(),
                format!("Seccomp {}", shown(status.field("Seccomp"))),
            ),
            protection(
                "landlock",
                self.closed.get().is_some_and(|closed| closed.files_open.is_empty()),
                self.at_close(|closed| {
                    let held = all_of(&closed.files_open, "no thread can open a file");
                    format!("{}, {held}", closed.landlock)
                }),
            ),
            protection(
                "fixed_threads",
                threads.is_some() && threads == expected,
                format!("{} threads, {} when the sandbox closed", shown(threads), shown(expected)),
            ),
            protection(
                "signals_blocked",
                blocked && self.closed.get().is_some_and(|closed| closed.signals_open.is_empty()),
                self.at_close(|closed| {
                    let held =
                        all_of(&closed.signals_open, "all blocked in all threads when the sandbox closed");
                    format!("SigBlk {} in main, {held}", shown(status.field("SigBlk")))
                }),
            ),
        ]
    }

    fn of_the_host(&self, status: &Status) -> Vec<Protection> {
        let tracer = status.number("TracerPid");
        let guard = self.guard.as_ref().and_then(|guard| u64::try_from(guard.pid()).ok());
        let scope = self.ptrace_scope.read();
        let lockdown = self.lockdown.read();
        // The first line is a heading, without which it is no list; each further line is a swap area.
        let swaps = self.swaps.read().filter(|text| text.starts_with("Filename"));
        let swaps = swaps.map(|text| text.lines().count() - 1);
        vec![
            // A process has one tracer at most: while there is one, nobody else attaches.
            protection(
                "tracer_guard",
                tracer.is_some() && tracer == guard && self.closed.get().is_some_and(|closed| closed.traced),
                format!("TracerPid {}", shown(tracer)),
            ),
            protection(
                "ptrace_forbidden",
                scope.as_deref() == Some("3"),
                format!("kernel.yama.ptrace_scope {}", shown(scope)),
            ),
            protection(
                "kernel_lockdown",
                lockdown.as_deref().is_some_and(|text| text.contains("[confidentiality]")),
                lockdown.unwrap_or_else(|| "absent".to_owned()),
            ),
            protection(
                "no_swap",
                swaps == Some(0),
                swaps.map_or_else(
                    || "cannot read /proc/swaps".to_owned(),
                    |areas| format!("{areas} swap areas"),
                ),
            ),
        ]
    }

    fn at_close(&self, detail: impl FnOnce(&Closed) -> String) -> String {
        self.closed.get().map_or_else(|| "the sandbox is open".to_owned(), detail)
    }
}

fn capabilities(status: &Status) -> Protection {
    let sets = ["CapInh", "CapPrm", "CapEff", "CapAmb"];
    let held: Vec<String> = sets
        .into_iter()
        .chain(["CapBnd"])
        .filter(|set| status.set(set) != Some(0))
        .map(|set| format!("{set} {}", shown(status.field(set))))
        .collect();
    // The bounding set limits what executing a program could grant: nothing, without new privileges.
    let none = sets.iter().all(|set| status.set(set) == Some(0))
        && (status.set("CapBnd") == Some(0) || status.field("NoNewPrivs") == Some("1"));
    protection(
        "no_capabilities",
        none,
        if held.is_empty() { "every set is empty".to_owned() } else { held.join(", ") },
    )
}

fn groups(status: &Status) -> Protection {
    // Real, effective, saved, file system.
    let own = status.field("Gid").and_then(|gids| gids.split_whitespace().nth(1));
    let groups = status.field("Groups");
    // Some who start services name the process's own group once more; that gives nothing.
    let none = own.is_some()
        && groups.is_some_and(|groups| groups.split_whitespace().all(|group| Some(group) == own));
    protection("no_supplementary_groups", none, format!("Groups {:?}, own {}", shown(groups), shown(own)))
}

fn of_the_secrets() -> Vec<Protection> {
    vec![
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
            "stack and heap of each operation with secrets".to_owned(),
        ),
    ]
}

fn protection(name: &str, active: bool, detail: String) -> Protection {
    Protection { name: name.to_owned(), active, detail }
}

fn shown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(protections: &Protections, name: &str) -> Protection {
        protections.measured().into_iter().find(|protection| protection.name == name).unwrap()
    }

    fn of(status: &str, check: fn(&Status) -> Protection) -> bool {
        check(&Status::new(status.to_owned())).active
    }

    #[test]
    fn an_open_sandbox_claims_nothing() {
        let protections = Protections::open(None);
        for name in [
            "not_dumpable",
            "seccomp_filter",
            "landlock",
            "fixed_threads",
            "signals_blocked",
            "empty_environment",
            "tracer_guard",
        ] {
            let protection = measured(&protections, name);
            assert!(!protection.active, "{protection:?}");
        }
    }

    #[test]
    fn locked_secrets_alone_are_not_taken_for_a_locked_process() {
        let held = secret::run(|inside| secret::Secret::<32>::copied(inside, &[1; 32]));
        let protections = Protections::open(None);
        let protection = measured(&protections, "memory_locked");
        assert!(!protection.active, "{}", protection.detail);
        assert!(
            !protection.detail.starts_with("VmLck 0 "),
            "the secrets' pages are locked: {}",
            protection.detail
        );
        drop(held);
    }

    #[test]
    fn every_set_of_capabilities_counts() {
        let none = "CapInh:\t0\nCapPrm:\t0\nCapEff:\t0\nCapBnd:\t0\nCapAmb:\t0\nNoNewPrivs:\t0";
        assert!(of(none, capabilities));
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let one = none.replace(&format!("{set}:\t0"), &format!("{set}:\t1"));
            assert!(!of(&one, capabilities), "{set}");
            let missing = none.replace(&format!("{set}:\t0\n"), "");
            assert!(!of(&missing, capabilities), "{set}");
        }
        // An ordinary user may not empty the bounding set, and can gain nothing by it.
        let bounded = none.replace("CapBnd:\t0", "CapBnd:\t1ff").replace("NoNewPrivs:\t0", "NoNewPrivs:\t1");
        assert!(of(&bounded, capabilities));
    }

    #[test]
    fn only_the_own_group_is_none() {
        for (groups, none) in
            [("", true), ("7", true), ("7 7", true), ("0", false), ("7 8", false), ("77", false)]
        {
            assert_eq!(of(&format!("Gid:\t6\t7\t6\t6\nGroups:\t{groups}"), self::groups), none, "{groups:?}");
        }
        assert!(!of("Groups:\t", self::groups));
        assert!(!of("Gid:\t0\t0\t0\t0", self::groups));
    }

    #[test]
    fn a_process_that_says_nothing_has_no_protection() {
        let protections = Protections {
            guard: None,
            status: Kept::open("/nowhere", PROC_SUPER_MAGIC),
            limits: Kept::open("/nowhere", PROC_SUPER_MAGIC),
            swaps: Kept::open("/nowhere", PROC_SUPER_MAGIC),
            ptrace_scope: Kept::open("/nowhere", PROC_SUPER_MAGIC),
            lockdown: Kept::open("/nowhere", SECURITYFS_MAGIC),
            environment_empty: None,
            closed: OnceLock::new(),
            newest: Mutex::new(None),
        };
        let active: Vec<_> = protections
            .measured()
            .into_iter()
            .filter(|protection| protection.active && !protection.name.starts_with("secret_"))
            .collect();
        assert!(active.is_empty(), "{active:?}");
    }
}
