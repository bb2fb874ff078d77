//! The enclave's tracer is its own guard: root's debuggers are refused for every thread, and neither lives without
//! the other.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sealstone_swtpm_tests::Node;
use sealstone_swtpm_tests::process::{Running, binary};
use sealstone_swtpm_tests::wait::until;
use serde_json::Value;
use support::{Agent, Stage};

/// How long a debugger may take that should be refused at once; one that got in would stay.
const REFUSAL_SECONDS: &str = "30";

/// How long whoever started the enclave may wait for the end of a killed one: the guard hears of it first.
const PROMPT: Duration = Duration::from_secs(5);

/// Connections whose threads are born long after the guard attached.
const CONNECTIONS: usize = 3;

/// A field of `/proc/PID/status` or of a thread's; `None` if there is no such task any more.
fn field(task: impl AsRef<Path>, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(Path::new("/proc").join(task).join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")))?;
    Some(line.trim().to_owned())
}

fn tracer(pid: u32) -> u32 {
    field(pid.to_string(), "TracerPid").unwrap().parse().unwrap()
}

/// A running enclave's process and its guard's.
fn pair(node: &Node) -> (u32, u32) {
    let enclave = node.enclave_pid();
    let guard = tracer(enclave);
    assert_ne!(guard, 0, "{}", log(node));
    assert_eq!(std::fs::read_to_string(format!("/proc/{guard}/comm")).unwrap(), "guard\n");
    (enclave, guard)
}

fn threads(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|task| task.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

fn await_gone(what: &str, pid: u32) {
    until(&format!("{what} to be gone"), || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
}

fn log(node: &Node) -> String {
    std::fs::read_to_string(node.path("enclave.log")).unwrap()
}

/// Runs a debugger; what it said, and whether it ended well.
fn debug(program: &str, arguments: &[&str]) -> (String, bool) {
    let Output { status, stdout, stderr } = Command::new("timeout")
        .args(["--signal=KILL", REFUSAL_SECONDS, program])
        .args(arguments)
        .output()
        .unwrap();
    assert_ne!(status.code(), Some(127), "install it: apt-get install {program}");
    let said = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    (said, status.success())
}

/// What a debugger finds that attaches to one task and reads a register.
fn registers(task: u32) -> String {
    debug("gdb", &["-nx", "-batch", "-p", &task.to_string(), "-ex", "printf \"at %#lx\\n\", $pc"]).0
}

/// The enclave's own word on its guard, through agent and CLI.
fn told(node: &Node) -> Value {
    until("the agent to know the enclave's protections", || {
        let status = node.cli(&["status", "--json"]).json();
        let protections = status["enclave"]["protections"].as_array()?.clone();
        protections.into_iter().find(|protection| protection["name"] == "tracer_guard")
    })
}

fn started(edit: impl FnOnce(String) -> String) -> Node {
    let mut node = Node::init();
    node.edit("enclave.toml", edit);
    node.start_enclave();
    node
}

#[test]
fn no_debugger_of_root_attaches_to_any_thread_also_of_those_born_later() {
    let stage = Stage::new();
    let (enclave, guard) = pair(&stage.node);
    let mut agents: Vec<Agent> = (0..CONNECTIONS).map(|_| stage.connect()).collect();
    for agent in &mut agents {
        let _ = agent.status();
    }
    let mut refused = 0;
    for thread in threads(enclave) {
        let task = format!("{enclave}/task/{thread}");
        // One of a connection that ended just now is not there any more.
        let Some(tracer) = field(&task, "TracerPid") else { continue };
        assert_eq!(tracer, guard.to_string(), "{:?}", field(&task, "Name"));
        let (said, _) = debug("strace", &["-p", &thread.to_string()]);
        let gone = field(&task, "Name").is_none();
        assert!(gone || said.contains("Operation not permitted"), "{:?}: {said}", field(&task, "Name"));
        refused += usize::from(!gone);
    }
    // Main thread, acceptor, a signing thread, and one for each connection.
    assert!(refused >= 3 + CONNECTIONS, "{refused} threads");
    let said = registers(enclave);
    assert!(said.contains("Operation not permitted") && !said.contains("at 0x"), "{said}");
    let core = stage.node.path("core");
    let (said, dumped) = debug("gcore", &["-o", core.to_str().unwrap(), &enclave.to_string()]);
    assert!(!dumped && said.contains("already traced"), "{said}");
    assert!(!stage.node.path(&format!("core.{enclave}")).exists());
    for agent in &mut agents {
        let _ = agent.status();
    }
}

#[test]
fn without_the_guard_the_same_debugger_reads_registers_and_the_node_says_so() {
    let mut node = started(|text| text + "trace_guard = false\n");
    assert_eq!(tracer(node.enclave_pid()), 0);
    let said = registers(node.enclave_pid());
    assert!(said.contains("at 0x"), "{said}");
    assert!(log(&node).contains("trace_guard = false"), "{}", log(&node));
    node.start_agent();
    let told = told(&node);
    assert_eq!(told["active"], false, "{told}");
    assert_eq!(told["detail"], "TracerPid 0");
    let said = node.cli(&["status"]).stdout;
    assert!(said.contains("tracer_guard: TracerPid 0"), "{said}");
}

#[test]
fn the_node_says_which_process_guards_the_enclave() {
    let mut node = started(|text| text);
    let (_, guard) = pair(&node);
    node.start_agent();
    let told = told(&node);
    assert_eq!(told["active"], true, "{told}");
    assert_eq!(told["detail"], format!("TracerPid {guard}"));
    let said = node.cli(&["status"]).stdout;
    assert!(!said.contains("tracer_guard:"), "only what is missing has its details: {said}");
}

#[test]
fn a_tracer_that_came_first_is_not_taken_for_the_guard() {
    let mut node = Node::init();
    let socket = node.path("enclave.sock");
    // -D: the enclave is our child and strace its grandchild, so that ending the enclave ends both.
    let enclave = Running::start(
        Command::new("strace")
            .args(["-D", "-f", "-e", "trace=none", "-o"])
            .arg(node.path("enclave.trace"))
            .arg(binary("sealstone-enclave"))
            .arg("--config")
            .arg(node.path("enclave.toml")),
        &node.path("enclave.log"),
        "strace",
    );
    until("the enclave to listen under strace", || std::os::unix::net::UnixStream::connect(&socket).ok());
    assert!(log(&node).contains("no tracer guard"), "{}", log(&node));
    assert!(log(&node).contains("start the enclave without a debugger"), "{}", log(&node));
    let strace = tracer(enclave.pid());
    node.start_agent();
    let told = told(&node);
    assert_eq!(told["active"], false, "{told}");
    assert_eq!(told["detail"], format!("TracerPid {strace}"));
}

#[test]
fn the_guard_has_nothing_and_may_do_nothing() {
    let node = started(|text| text);
    let (enclave, guard) = pair(&node);
    let guard = |name: &str| field(guard.to_string(), name).unwrap();
    assert_eq!(guard("PPid"), enclave.to_string());
    assert_eq!(guard("Threads"), "1");
    assert_eq!(guard("TracerPid"), "0");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(guard(set), "0000000000000000", "{set}");
    }
    assert_eq!(guard("NoNewPrivs"), "1");
    assert_eq!(guard("Seccomp"), "2");
    // All but SIGKILL and SIGSTOP.
    assert_eq!(guard("SigBlk"), "fffffffffffbfeff");
    let (_, guard) = pair(&node);
    assert_eq!(std::fs::read_dir(format!("/proc/{guard}/fd")).unwrap().count(), 0, "no descriptor");
    let limits = std::fs::read_to_string(format!("/proc/{guard}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
}

#[test]
fn a_guard_made_to_do_anything_else_dies_and_the_enclave_with_it() {
    // What somebody would have it do who controls it: read the enclave's registers (PTRACE_GETREGSET), attach to
    // another process, look at itself.
    for call in ["ptrace(0x4204, ENCLAVE, 1, 0)", "ptrace(0x4206, 1, 0, 0)", "getpid()"] {
        let mut node = started(|text| text);
        let (enclave, guard) = pair(&node);
        let call = format!("print (long) {}", call.replace("ENCLAVE", &enclave.to_string()));
        let guard_pid = guard.to_string();
        let (said, _) =
            debug("gdb", &["-nx", "-batch", "-p", &guard_pid, "-ex", "set language c", "-ex", &call]);
        assert!(said.contains("SIGSYS"), "{call}: {said}");
        let status = until("the enclave to end with its guard", || node.enclave().exited());
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{call}");
        await_gone("the guard", guard);
    }
}

#[test]
fn whoever_kills_the_guard_kills_the_enclave() {
    let mut node = started(|text| text);
    let (_, guard) = pair(&node);
    signal(guard, Signal::KILL);
    let status = until("the enclave to end with its guard", || node.enclave().exited());
    assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
    await_gone("the guard", guard);
}

#[test]
fn a_killed_enclave_is_gone_at_once_and_its_guard_with_it() {
    let (mut stage, agent, _) = Stage::provisioned();
    let (enclave, guard) = pair(&stage.node);
    let began = Instant::now();
    stage.node.kill_enclave();
    let took = began.elapsed();
    assert!(took < PROMPT, "the end of the enclave was told after {took:?}");
    await_gone("the enclave", enclave);
    await_gone("the guard", guard);
    drop(agent);
    // Another one has another guard.
    stage.node.start_enclave();
    assert_ne!(pair(&stage.node).1, guard);
}

#[test]
fn told_to_end_together_the_enclave_wipes_first_and_the_guard_follows() {
    for (ending, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let mut node = started(|text| text);
        let (enclave, guard) = pair(&node);
        // As a service manager tells a control group, and a terminal a process group: the guard first.
        for also in [Signal::HUP, Signal::QUIT, Signal::USR1, ending] {
            signal(guard, also);
        }
        signal(enclave, ending);
        let status = until("the enclave to end", || node.enclave().exited());
        assert_eq!(status.code(), Some(0), "{}", log(&node));
        assert!(log(&node).contains(&format!("wiped, ending on {name}")));
        await_gone("the guard", guard);
    }
}

#[test]
fn an_enclave_that_is_stopped_stays_stopped_until_it_is_continued() {
    let stage = Stage::new();
    let (enclave, guard) = pair(&stage.node);
    let stands = || {
        let states =
            threads(enclave).into_iter().map(|thread| field(format!("{enclave}/task/{thread}"), "State"));
        states.flatten().all(|state| state.starts_with(['t', 'T'])).then_some(())
    };
    let runs = || stands().is_none().then_some(());
    // The guard may be stopped as well, before or after, and continued, before or after.
    for order in [&[enclave][..], &[enclave, guard], &[guard, enclave]] {
        for &pid in order {
            signal(pid, Signal::STOP);
        }
        if order == [enclave] {
            until("the enclave to stand", stands);
            signal(enclave, Signal::WINCH);
        }
        for &pid in order {
            signal(pid, Signal::CONT);
        }
        until("the enclave to run", runs);
        let _ = stage.connect().status();
    }
}
