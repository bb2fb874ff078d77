//! The sandbox from outside: what the kernel shows root of a running enclave, what the enclave says of itself, and
//! that both agree, also where the host or the kernel takes a protection away.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sealstone_attestation::{Algorithm, Protection, VerifiedReport};
use sealstone_swtpm_tests::Node;
use sealstone_swtpm_tests::process::{Running, binary};
use sealstone_swtpm_tests::wait::until;
use serde_json::Value;
use support::Stage;
use support::agent::{asset, signing};

const NONCE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Every signal but SIGKILL and SIGSTOP.
const ALL_BLOCKED: &str = "fffffffffffbfeff";

/// The same less SIGINT and SIGTERM, for which the main thread waits: so the kernel shows a thread that does.
const WAITED_FOR: &str = "fffffffffffbbefd";

/// Descriptors of an enclave without connections: standard ones, listener, state file, and what it measures with.
const IDLE_DESCRIPTORS_MAX: usize = 12;

/// Descriptors at most, with all connections.
const DESCRIPTORS_MAX: u64 = 96;

/// The user nobody.
const NOBODY: u32 = 65534;

/// Protections that the kernel shows to nobody but the process.
const UNSEEN: [&str; 4] = ["landlock", "not_dumpable", "secret_memory", "secret_stacks"];

/// What is below `/proc` of a process.
struct Shown(PathBuf);

impl Shown {
    fn of(pid: u32) -> Self {
        Self(PathBuf::from(format!("/proc/{pid}")))
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }

    fn status(&self, field: &str) -> String {
        field_of(&self.read("status"), field)
    }

    /// A field of every thread's status.
    fn of_threads(&self, field: &str) -> BTreeSet<String> {
        let tasks = std::fs::read_dir(self.0.join("task")).unwrap();
        let status = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap());
        status.map(|status| field_of(&status, field)).collect()
    }

    fn threads_all_say(&self, field: &str, value: &str) -> bool {
        self.of_threads(field) == BTreeSet::from([value.to_owned()])
    }

    fn limit(&self, name: &str) -> Vec<u64> {
        let limits = self.read("limits");
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().take(2).map(|value| value.parse().unwrap_or(u64::MAX)).collect()
    }

    /// What its descriptors stand for.
    fn descriptors(&self) -> Vec<String> {
        let descriptors = std::fs::read_dir(self.0.join("fd")).unwrap();
        // One that was closed meanwhile is none.
        descriptors
            .filter_map(|one| std::fs::read_link(one.ok()?.path()).ok())
            .map(|target| target.display().to_string())
            .collect()
    }

    /// Each protection as the kernel shows it, but those that it does not.
    fn protections(&self) -> BTreeMap<&'static str, bool> {
        let host = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let none = "0000000000000000";
        let kib = |field: &str| -> u64 { self.status(field).trim_end_matches(" kB").parse().unwrap() };
        BTreeMap::from([
            ("no_core_dumps", self.limit("Max core file size") == [0, 0]),
            ("no_new_privileges", self.threads_all_say("NoNewPrivs", "1")),
            (
                "no_capabilities",
                ["CapInh", "CapPrm", "CapEff", "CapAmb"].iter().all(|set| self.threads_all_say(set, none)),
            ),
            ("no_supplementary_groups", self.of_threads("Groups").iter().all(|groups| groups.is_empty())),
            ("few_descriptors", self.limit("Max open files").iter().all(|most| *most <= DESCRIPTORS_MAX)),
            ("empty_environment", self.read("environ").is_empty()),
            ("memory_locked", self.heap_is_locked() && kib("VmLck") >= kib("VmRSS")),
            ("seccomp_filter", self.threads_all_say("Seccomp", "2")),
            ("fixed_threads", true),
            (
                "signals_blocked",
                self.status("SigBlk") == WAITED_FOR
                    && self.of_threads("SigBlk")
                        == BTreeSet::from([ALL_BLOCKED.to_owned(), WAITED_FOR.to_owned()]),
            ),
            ("tracer_guard", self.tracer() == "guard"),
            ("ptrace_forbidden", host("/proc/sys/kernel/yama/ptrace_scope").trim() == "3"),
            ("kernel_lockdown", host("/sys/kernel/security/lockdown").contains("[confidentiality]")),
            ("no_swap", host("/proc/swaps").lines().count() == 1),
        ])
    }

    /// Whether the kernel keeps the ordinary heap out of swap; secret memory it always does.
    fn heap_is_locked(&self) -> bool {
        let smaps = self.read("smaps");
        let flags = smaps.split("[heap]").nth(1).unwrap().lines().find(|line| line.starts_with("VmFlags:"));
        flags.unwrap().split_whitespace().any(|flag| flag == "lo")
    }

    /// The name of the process that traces it; empty if none does.
    fn tracer(&self) -> String {
        let tracer = self.status("TracerPid");
        std::fs::read_to_string(format!("/proc/{tracer}/comm")).unwrap_or_default().trim().to_owned()
    }
}

fn field_of(status: &str, field: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap_or_else(|| panic!("no {field} in {status}")).trim().to_owned()
}

/// Name and state of what an enclave says of itself.
fn said(protections: &[Protection]) -> BTreeMap<String, bool> {
    protections.iter().map(|protection| (protection.name.clone(), protection.active)).collect()
}

fn detail(protections: &[Protection], name: &str) -> String {
    let protection = protections.iter().find(|protection| protection.name == name).unwrap();
    format!("{}: {}", protection.active, protection.detail)
}

/// The protections of `sealstone status --json`.
fn of_status(node: &Node) -> Vec<Protection> {
    let status = node.cli(&["status", "--json"]).json();
    serde_json::from_value(status["enclave"]["protections"].clone()).unwrap()
}

/// Whether a process says what the kernel shows.
fn agrees(said: &BTreeMap<String, bool>, shown: &Shown) -> bool {
    let seen: BTreeMap<String, bool> = said
        .iter()
        .filter(|(name, _)| !UNSEEN.contains(&name.as_str()))
        .map(|(name, active)| (name.clone(), *active))
        .collect();
    let shown = shown.protections();
    seen.len() == shown.len() && seen.iter().all(|(name, active)| shown.get(name.as_str()) == Some(active))
}

/// What an enclave says, once it and the kernel say the same: its main thread may not be waiting yet, and somebody
/// else may be switching swap on or off.
fn agreed(stage: &Stage, shown: &Shown) -> Vec<Protection> {
    let mut agent = stage.connect();
    until("the enclave to agree with the kernel", || {
        let protections = agent.status().protections;
        agrees(&said(&protections), shown).then_some(protections)
    })
}

#[test]
fn status_and_evidence_say_what_the_kernel_shows_of_every_thread() {
    let node = Node::ready();
    node.create_asset("treasury", "ES256");
    let _ = node.sign("treasury", 0, b"pay").json();
    let metrics = String::from_utf8(node.try_get("/metrics").unwrap().body).unwrap();
    assert!(
        metrics.contains(r#"sealstone_enclave_protection_active{protection="secret_memory"} 1"#),
        "{metrics}"
    );
    let shown = Shown::of(node.enclave_pid());
    // Somebody may be switching swap on or off, so once is enough.
    until("status to agree with the kernel", || agrees(&said(&of_status(&node)), &shown).then_some(()));
    let evidence = until("evidence to agree with the kernel", || {
        let _ = node.cli(&["attest", "--nonce", NONCE, "-o", "evidence.json"]).expect(0);
        let evidence: Value =
            serde_json::from_str(&std::fs::read_to_string(node.path("evidence.json")).unwrap()).unwrap();
        let report = VerifiedReport::parse(evidence["report"].to_string().as_bytes()).unwrap();
        let protections = report.report().protections.clone();
        agrees(&said(&protections), &shown).then_some(protections)
    });
    let active = said(&evidence);
    for name in [
        "empty_environment",
        "few_descriptors",
        "fixed_threads",
        "landlock",
        "no_capabilities",
        "no_core_dumps",
        "no_new_privileges",
        "no_supplementary_groups",
        "not_dumpable",
        "seccomp_filter",
        "signals_blocked",
    ] {
        assert_eq!(active.get(name), Some(&true), "{}", detail(&evidence, name));
    }
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(shown.of_threads(set), BTreeSet::from(["0000000000000000".to_owned()]), "{set}");
    }
    // What people read names both kinds.
    let text = node.cli(&["status"]).stdout;
    assert!(text.contains("seccomp_filter") && text.contains("secret_stacks"), "{text}");
}

#[test]
fn nothing_that_the_enclave_was_started_with_is_left() {
    // A group, a variable, an open file, a directory, a socket, a standard input.
    let mut command = Command::new("setpriv");
    command
        .args(["--groups", "4,24", "--", "sh", "-c"])
        .arg("exec 7</etc/hostname 8</ 9<&0 </etc/passwd; exec \"$0\" \"$@\"")
        .arg(binary("sealstone-enclave"))
        .env("SEALSTONE_TEST_TOKEN", "left behind");
    let stage = Stage::by(&mut command);
    let shown = Shown::of(stage.node.enclave_pid());
    assert_eq!(shown.read("environ"), "");
    assert_eq!(shown.of_threads("Groups"), BTreeSet::from([String::new()]));
    assert_eq!(shown.read("comm").trim(), "sealstone-encla");

    // It listens before it has confined itself.
    let descriptors = until("the enclave to be confined", || {
        let descriptors = shown.descriptors();
        (!descriptors.iter().any(|descriptor| descriptor.contains("landlock"))).then_some(descriptors)
    });
    assert!(descriptors.len() <= IDLE_DESCRIPTORS_MAX, "{descriptors:?}");
    let own = |name: &str| stage.node.path(name).display().to_string();
    let (log, state) = (own("enclave.log"), own("enclave.state"));
    for descriptor in &descriptors {
        let known = [
            &log,
            &state,
            "/proc/swaps",
            "/proc/sys/kernel/yama/ptrace_scope",
            "/sys/kernel/security/lockdown",
        ]
        .contains(&descriptor.as_str())
            || ["status", "limits"].iter().any(|file| *descriptor == format!("{}/{file}", shown.0.display()))
            || ["socket:[", "pipe:["].iter().any(|kind| descriptor.starts_with(kind));
        assert!(known, "{descriptor} of {descriptors:?}");
    }
    // Standard input and output, and nobody at their other ends.
    assert_eq!(shown.descriptors().iter().filter(|descriptor| descriptor.starts_with("pipe:[")).count(), 2);
    let sockets = descriptors.iter().filter(|descriptor| descriptor.starts_with("socket:[")).count();
    // The listener; and the connection with which the story looked whether it listens may be ending.
    assert!((1..=3).contains(&sockets), "{descriptors:?}");
}

#[test]
fn an_ordinary_user_is_confined_as_root_is() {
    let mut stage = Stage::new();
    stage.node.kill_enclave();
    // Everything becomes the user's, with the program, which may be where the user cannot look.
    let folder = stage.node.folder();
    let program = stage.node.path("sealstone-enclave");
    std::fs::copy(binary("sealstone-enclave"), &program).unwrap();
    give(folder.parent().unwrap());
    give(&folder);
    for file in std::fs::read_dir(&folder).unwrap() {
        give(&file.unwrap().path());
    }
    let user = NOBODY.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]).arg(&program);
    stage.node.start_enclave_by(&mut command);

    let shown = Shown::of(stage.node.enclave_pid());
    let protections = agreed(&stage, &shown);
    for name in ["landlock", "no_capabilities", "no_supplementary_groups", "not_dumpable", "seccomp_filter"] {
        assert!(detail(&protections, name).starts_with("true"), "{}", detail(&protections, name));
    }
    // The files of a process that is not dumpable belong to root.
    assert_eq!(shown.status("Uid").split_whitespace().next(), Some(user.as_str()));
    assert_eq!(std::fs::metadata(shown.0.join("environ")).unwrap().uid(), 0);
}

fn give(path: &Path) {
    std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
}

/// The enclave under an strace that lets a system call fail.
fn under_fault(fault: &str) -> Command {
    let mut strace = Command::new("strace");
    strace
        .args(["-D", "-f", "-q", "-o", "/dev/null", "-e"])
        .arg(format!("inject={fault}"))
        .arg(binary("sealstone-enclave"));
    strace
}

#[test]
fn a_protection_that_the_kernel_refuses_is_warned_of_and_reported_as_inactive() {
    for (fault, name, says) in [
        ("landlock_create_ruleset:error=ENOSYS", "landlock", "no Landlock"),
        ("mlockall:error=EPERM", "memory_locked", "memory lock"),
        ("execve:error=EACCES", "empty_environment", "environment kept"),
        ("setgroups:error=EPERM", "no_supplementary_groups", ""),
    ] {
        let mut command = Command::new("setpriv");
        let faulty = under_fault(fault);
        command.args(["--groups", "4,24", "--"]).arg(faulty.get_program()).args(faulty.get_args());
        let stage = Stage::traced_by(&mut command);
        let shown = Shown::of(stage.node.enclave_pid());
        let protections = agreed(&stage, &shown);
        assert!(detail(&protections, name).starts_with("false"), "{fault}: {}", detail(&protections, name));
        assert!(stage.log().contains(says), "{fault}: {}", stage.log());
        // The rest holds.
        assert!(detail(&protections, "seccomp_filter").starts_with("true"), "{fault}");
    }
}

#[test]
fn an_enclave_that_cannot_be_confined_does_not_start() {
    let node = Node::init();
    node.edit("enclave.toml", |text| text + "trace_guard = false\n");
    for (fault, says) in [
        ("seccomp:error=EINVAL", "cannot install its system call filter"),
        ("capset:error=EPERM", "cannot give up privileges"),
        ("close_range:error=EPERM", "cannot begin in safety"),
        ("rt_sigprocmask:error=EINVAL:when=1", "cannot begin in safety"),
        ("clone3:error=EAGAIN:when=5", "cannot start thread"),
    ] {
        let log = node.path("refused.log");
        let mut enclave =
            Running::start(under_fault(fault).arg("--config").arg(node.path("enclave.toml")), &log, "strace");
        let status = until(fault, || enclave.exited());
        let log = std::fs::read_to_string(&log).unwrap();
        assert_eq!(status.code(), Some(2), "{fault}: {log}");
        assert!(log.lines().last().unwrap().contains(says), "{fault}: {log}");
        assert!(!log.contains("listening"), "{fault}: {log}");
    }
}

/// A swap area that ends with the story.
struct Swap(PathBuf);

impl Swap {
    fn on(folder: &Path) -> Self {
        let file = folder.join("swap");
        std::fs::write(&file, vec![0; 1 << 20]).unwrap();
        for program in ["mkswap", "swapon"] {
            let done = Command::new(program).arg(&file).output().unwrap();
            assert!(done.status.success(), "{program} (root, package mount): {done:?}");
        }
        Self(file)
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        drop(Command::new("swapoff").arg(&self.0).output());
    }
}

#[test]
fn what_the_host_changes_later_is_in_the_next_answer() {
    let stage = Stage::new();
    let shown = Shown::of(stage.node.enclave_pid());
    let mut agent = stage.connect();
    let mut swap_is = |on: bool| {
        until("the enclave to notice", || {
            let protections = agent.status().protections;
            let noticed = agrees(&said(&protections), &shown) && (!on || said(&protections)["no_swap"] != on);
            noticed.then_some(())
        });
    };
    let folder = tempfile::tempdir().unwrap();
    let swap = Swap::on(folder.path());
    swap_is(true);
    drop(swap);
    swap_is(false);
}

#[test]
fn a_confined_enclave_serves_under_load_with_the_threads_it_began_with() {
    let (stage, mut agent, _) = Stage::provisioned();
    let binding = stage.attest(&mut agent).unwrap().binding;
    let shown = Shown::of(stage.node.enclave_pid());
    let threads = shown.status("Threads");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut agent = stage.connect();
                for algorithm in Algorithm::ALL {
                    let path = asset("treasury", algorithm);
                    let key_id = agent.public_key(&path, None).unwrap().key_id();
                    for _ in 0..50 {
                        agent.sign(signing(&path, binding, Some(key_id))).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(shown.status("Threads"), threads);
    let protections = agent.status().protections;
    assert!(detail(&protections, "fixed_threads").starts_with("true"), "{protections:?}");
}
