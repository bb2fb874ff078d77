//! A whole life of the enclave under strace: each entry of each list of system calls is needed by a thread of its
//! kind, and nothing else is called.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use sealstone_attestation::{Algorithm, Binding, RequestDigest, Scope};
use sealstone_swtpm_tests::log::AuditLog;
use sealstone_swtpm_tests::process::binary;
use sealstone_swtpm_tests::wait::until;
use sealstone_wire::KeyPath;
use sealstone_wire::key_path::hour_of;
use sealstone_wire::limits::{CONNECTIONS_MAX, HANDSHAKES_MAX};
use sealstone_wire::reply::{Phase, Reply};
use sealstone_wire::request::{Payload, Request, SignRequest};
use serde_json::Value;
use support::agent::{apply, asset, provision, signing, unlock};
use support::authority::successor;
use support::stage::BARE;
use support::{Agent, Stage};

/// TPM commands during which the whole process is stopped for a moment.
const STOPS: usize = 12;

/// A TPM's TPM_RC_RETRY.
const TRY_AGAIN: [u8; 10] = [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x09, 0x22];

/// Signatures that are under way when a connection or the process ends.
const IN_FLIGHT: u64 = 200;

/// What no story can make happen here, or not in every run; a longer list needs as good reasons.
const NOT_IN_EVERY_KIND: &[(&str, &str)] = &[
    ("brk", "in some thread"),
    ("mmap", "in some thread"),
    ("munmap", "in some thread"),
    ("mremap", "in some thread"),
    ("futex FUTEX_WAIT_PRIVATE", "in some thread"),
    ("futex FUTEX_WAKE_PRIVATE", "in some thread"),
    ("futex FUTEX_WAIT_BITSET_PRIVATE", "in some thread"),
    ("restart_syscall", "in some thread"),
    ("clock_gettime", "on other hosts"),
];

/// An entry of a list.
#[derive(Clone, Debug)]
struct Listed {
    kind: String,
    call: String,
    means: String,
    arguments: Vec<(usize, u64, u64)>,
    seen: String,
}

impl Listed {
    fn name(&self) -> String {
        format!("{} {}", self.call, self.means).trim().to_owned()
    }

    fn allows(&self, call: &Call) -> bool {
        self.kind == call.kind
            && self.call == call.name
            && self.arguments.iter().all(|(index, mask, value)| {
                call.arguments.get(*index).is_some_and(|argument| argument & mask == *value)
            })
    }
}

/// A call of a confined thread.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    kind: String,
    name: String,
    arguments: Vec<u64>,
}

/// The lists as the enclave prints them.
fn lists() -> Vec<Listed> {
    let printed = Command::new(binary("sealstone-enclave")).arg("--print-seccomp").output().unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let lists: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(lists["otherwise"], "kill_process");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let number = |value: &Value| value.as_u64().unwrap();
    let of_kind = |kind: &Value| -> Vec<Listed> {
        let entry = |call: &Value| Listed {
            kind: text(&kind["threads"]),
            call: text(&call["call"]),
            means: call["arguments"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| text(&one["means"]))
                .collect::<Vec<_>>()
                .join(" "),
            arguments: call["arguments"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| {
                    (
                        usize::try_from(number(&one["index"])).unwrap(),
                        number(&one["mask"]),
                        number(&one["value"]),
                    )
                })
                .collect(),
            seen: text(&call["seen"]),
        };
        kind["calls"].as_array().unwrap().iter().map(entry).collect()
    };
    lists["kinds"].as_array().unwrap().iter().flat_map(of_kind).collect()
}

/// Reads what `strace -f -e raw=!prctl` wrote: the calls of each thread after it took its filter.
fn calls(trace: &str) -> BTreeSet<Call> {
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    let mut confined: BTreeSet<&str> = BTreeSet::new();
    let mut calls = BTreeSet::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else { continue };
        let Some((name, rest)) = rest.trim_start().split_once('(') else { continue };
        if name.contains(' ') || name == "???" {
            // The rest of a call that another thread's interrupted; a thread that was gone before strace looked.
            continue;
        }
        if confined.contains(thread) {
            let arguments = rest.split([')', '<']).next().unwrap().trim().trim_end_matches(',');
            calls.insert(Call {
                kind: kinds[thread].to_owned(),
                name: name.to_owned(),
                arguments: arguments.split(", ").filter(|one| !one.is_empty()).map(hexadecimal).collect(),
            });
        } else if let Some(title) = rest.strip_prefix("PR_SET_NAME, \"") {
            let title = title.split(['"', '-']).next().unwrap();
            kinds.insert(thread, if title == "sealstone" { "main" } else { title });
        } else if name == "seccomp" {
            confined.insert(thread);
        }
    }
    calls
}

fn hexadecimal(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap(),
        None => text.parse().unwrap(),
    }
}

/// Which entries were not needed, and which calls nobody listed.
fn judge(lists: &[Listed], calls: &BTreeSet<Call>) -> Result<(), String> {
    let unlisted: Vec<_> =
        calls.iter().filter(|call| !lists.iter().any(|entry| entry.allows(call))).collect();
    if !unlisted.is_empty() {
        return Err(format!("called and not listed: {unlisted:?}"));
    }
    let seen = |entry: &Listed| calls.iter().any(|call| entry.allows(call));
    let unneeded: Vec<String> = lists
        .iter()
        .filter(|entry| match entry.seen.as_str() {
            "here" => !seen(entry),
            "in some thread" => {
                // In whichever kind.
                !lists.iter().any(|other| other.name() == entry.name() && seen(other))
            }
            _ => false,
        })
        .map(|entry| format!("{}: {}", entry.kind, entry.name()))
        .collect();
    if unneeded.is_empty() { Ok(()) } else { Err(format!("listed and never called: {unneeded:?}")) }
}

/// The enclave under strace, and what it does.
struct Life {
    stage: Stage,
    trace: PathBuf,
    binding: Option<Binding>,
}

impl Life {
    fn begin(trace: &Path) -> Self {
        // -D: the enclave is our child and strace its grandchild, so that signals and the exit code are the enclave's.
        let mut strace = Command::new("strace");
        strace.args(["-D", "-f", "-e", "raw=!prctl", "-e", "signal=none", "-o"]).arg(trace);
        strace.arg(binary("sealstone-enclave"));
        Self { stage: Stage::traced_by(&mut strace), trace: trace.to_owned(), binding: None }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.stage.node.enclave_pid()).unwrap()).unwrap()
    }

    /// Provisions under a manifest that fills most of what an envelope may have, and stops the process now and then.
    fn provision(&self) -> Vec<u8> {
        let mut draft = self.stage.draft();
        let acme = draft.permissions.clone();
        for number in 0..900 {
            let mut more = acme[0].clone();
            more.tenant = Scope::from(format!("{number:0>250}").as_str());
            more.asset = Scope::from(format!("{number:0>250}").as_str());
            draft.permissions.push(more);
        }
        let manifest = self.stage.authority.sign(&draft);
        assert!(manifest.len() > 700_000, "{} bytes", manifest.len());
        let mut agent = self.stage.connect();
        agent.upload(&manifest).unwrap();
        let (mut stops, enclave) = (0, self.stage.node.enclave_pid());
        let mut busy = true;
        agent
            .ceremony(provision(), &mut |command| {
                if std::mem::take(&mut busy) {
                    return Some(TRY_AGAIN.to_vec());
                }
                if stops < STOPS {
                    stops += 1;
                    stop_while_waiting(enclave, "ceremony");
                }
                self.stage.tpm().transmit(command).ok()
            })
            .unwrap();
        manifest
    }

    /// A request in every shape, over a connection on which nothing else was asked before.
    fn sign_everything(&mut self) {
        let mut agent = self.stage.connect();
        let binding = self.stage.attest(&mut agent).unwrap().binding;
        self.binding = Some(binding);
        for algorithm in Algorithm::ALL {
            let path = asset("treasury", algorithm);
            let key_id = agent.public_key(&path, None).unwrap().key_id();
            self.stage.connect().sign(signing(&path, binding, Some(key_id))).unwrap();
            if algorithm != Algorithm::EdDsa {
                let path = asset(BARE, algorithm);
                let key_id = agent.public_key(&path, None).unwrap().key_id();
                let payload = Payload::Digest([7; 32]);
                agent.sign(SignRequest { payload, ..signing(&path, binding, Some(key_id)) }).unwrap();
            }
            let now = agent.clock();
            let path = KeyPath::Session {
                tenant: "acme".parse().unwrap(),
                sender: "hot".parse().unwrap(),
                chain_id: 1,
                nonce: 1,
                hour: hour_of(now / 1000),
                algorithm,
            };
            let request = RequestDigest::of(b"one");
            agent
                .sign(SignRequest { issued_at_ms: Some(now), request, ..signing(&path, binding, None) })
                .unwrap();
        }
        until("a measurement for a status", || {
            agent.status();
            let calls = calls(&std::fs::read_to_string(&self.trace).unwrap());
            calls.iter().any(|call| call.kind == "connection" && call.name == "pread64").then_some(())
        });
        assert!(matches!(agent.ask(Request::Report), Ok(Reply::Report { .. })));
        AuditLog::default().follow(&mut agent.0).unwrap();
        assert!(
            matches!(agent.ask(Request::Receipts { from: 0 }), Ok(Reply::Receipts(receipts)) if receipts.len() > 3)
        );
    }

    /// A re-seal under the next manifest, a lock, and an unlock over a connection of its own.
    fn change_the_seal(&self, manifest: &[u8]) {
        let mut agent = self.stage.connect();
        agent.upload(&self.stage.authority.sign(&successor(manifest))).unwrap();
        agent.honest(apply(), self.stage.tpm()).unwrap();
        agent.ask(Request::Lock).unwrap();
        // Gone in the middle of it.
        let mut leaving = self.stage.connect();
        leaving.0.send(1, unlock()).unwrap();
        assert!(matches!(leaving.0.recv().unwrap().reply, Reply::Relay { .. }));
        drop(leaving);
        until("the ceremony to be over", || self.stage.log().contains("ceremony refused").then_some(()));
        support::commands::flush_everything(self.stage.tpm());
        self.stage.connect().honest(unlock(), self.stage.tpm()).unwrap();
        assert_eq!(agent.status().phase, Phase::Unlocked);
    }

    /// Strangers, too many of them, and agents that leave without their answers.
    fn suffer(&self) {
        let socket = self.stage.node.path("enclave.sock");
        let stranger = || UnixStream::connect(&socket).unwrap();
        // Not one descriptor more than it always has: those of connections come and go.
        let before = getrlimit_of(self.pid());
        let full = Rlimit { current: Some(self.kept_descriptors()), ..before };
        prlimit(Some(self.pid()), Resource::Nofile, full).unwrap();
        let waiting: Vec<UnixStream> = (0..4).map(|_| stranger()).collect();
        until("descriptors to run out", || self.stage.log().contains("cannot accept").then_some(()));
        prlimit(Some(self.pid()), Resource::Nofile, before).unwrap();
        drop(waiting);
        until("room for another", || self.try_status());

        stranger().write_all(&[0xff; 1000]).unwrap();
        let crowd: Vec<UnixStream> = (0..2 * HANDSHAKES_MAX + CONNECTIONS_MAX).map(|_| stranger()).collect();
        until("an agent to get in", || self.try_status());
        drop(crowd);
        let many: Vec<Agent> = (0..CONNECTIONS_MAX).map(|_| self.stage.connect()).collect();
        assert!(self.try_status().is_none(), "{} connections and one more", many.len());
        drop(many);
        until("room for another", || self.try_status());

        let mut agent = self.stage.connect();
        self.stage.attest(&mut agent).unwrap();
        until("a signing thread to find its connection gone", || {
            let mut leaving = self.stage.connect();
            self.queue_many(&mut leaving);
            drop(leaving);
            self.stage.log().contains("reply not sent").then_some(())
        });
    }

    /// How many of its first descriptors are no sockets, and so are never closed.
    fn kept_descriptors(&self) -> u64 {
        let folder = PathBuf::from(format!("/proc/{}/fd", self.stage.node.enclave_pid()));
        let kept = |number: &u64| {
            let open = std::fs::read_link(folder.join(number.to_string()));
            open.is_ok_and(|target| !target.to_string_lossy().starts_with("socket:"))
        };
        (0..).take_while(kept).count().try_into().unwrap()
    }

    /// Told to end while it signs.
    fn end(&mut self) -> ExitStatus {
        let mut agent = self.stage.connect();
        self.stage.attest(&mut agent).unwrap();
        self.queue_many(&mut agent);
        self.stage.node.take_enclave().terminate()
    }

    fn queue_many(&self, agent: &mut Agent) {
        let path = asset("treasury", Algorithm::Es256);
        for id in 0..IN_FLIGHT {
            let request = signing(&path, self.binding.unwrap(), None);
            agent.0.queue(1000 + id, Request::Sign(request)).unwrap();
            agent.0.queue(2000 + id, Request::PublicKey { path: path.clone(), binding: None }).unwrap();
        }
        agent.0.flush().unwrap();
    }

    fn try_status(&self) -> Option<Reply> {
        let (own, enclave) = (self.stage.agent_key(), self.stage.enclave_key());
        let mut client =
            sealstone_wire::client::Client::connect(&self.stage.address(), &own, &enclave).ok()?;
        client.call(Request::Status).ok()
    }
}

/// Stops every thread while one of them waits, and lets it go on.
fn stop_while_waiting(pid: u32, thread: &str) {
    let tasks = || std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|task| task.unwrap().path());
    let named = |task: &PathBuf| std::fs::read_to_string(task.join("comm")).unwrap().trim() == thread;
    let task = tasks().find(named).unwrap();
    let state = || {
        let stat = std::fs::read_to_string(task.join("stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    };
    let number = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    until("the thread to wait", || (state() == 'S').then_some(()));
    kill_process(number, Signal::STOP).unwrap();
    until("the enclave to stop", || ['t', 'T'].contains(&state()).then_some(()));
    kill_process(number, Signal::CONT).unwrap();
    until("the enclave to go on", || (!['t', 'T'].contains(&state())).then_some(()));
}

fn getrlimit_of(pid: Pid) -> Rlimit {
    // The hard limit is the enclave's own; asking is setting what is.
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let values: Vec<u64> = line.split_whitespace().take(2).map(|value| value.parse().unwrap()).collect();
    assert!(values[1] < getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX), "{limits}");
    Rlimit { current: Some(values[0]), maximum: Some(values[1]) }
}

#[test]
fn every_listed_call_is_needed_and_nothing_else_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut life = Life::begin(&trace);
    let manifest = life.provision();
    life.sign_everything();
    life.change_the_seal(&manifest);
    life.suffer();
    let status = life.end();

    let trace = until("strace to have written everything", || {
        let trace = std::fs::read_to_string(&trace).unwrap();
        trace.lines().last().is_some_and(|line| line.contains("+++ ")).then_some(trace)
    });
    let log = life.stage.log();
    judge(&lists(), &calls(&trace)).unwrap_or_else(|fault| panic!("{fault}\n{log}"));
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("wiped, ending on SIGTERM"), "{log}");
}

#[test]
fn the_entries_that_a_story_may_miss_are_few_and_known() {
    let excused: BTreeSet<(String, String)> = lists()
        .into_iter()
        .filter(|entry| entry.seen != "here")
        .map(|entry| {
            let name = if entry.call == "futex" { entry.name() } else { entry.call.clone() };
            (name, entry.seen)
        })
        .collect();
    let known: BTreeSet<(String, String)> =
        NOT_IN_EVERY_KIND.iter().map(|(name, seen)| ((*name).to_owned(), (*seen).to_owned())).collect();
    assert_eq!(excused, known);
}

#[test]
fn a_trace_with_an_unknown_call_and_a_list_with_an_idle_entry_are_found_out() {
    const TRACE: &str = "\
10 prctl(PR_SET_NAME, \"sealstone-enclave\") = 0
10 openat(0xffffff9c, 0x7f, 0, 0) = 0x3
11 prctl(PR_SET_NAME, \"connection-3\") = 0
11 seccomp(0x1, 0, 0x7f) = 0
11 futex(0x7f, 0x89, 0, 0, 0, 0xffffffff <unfinished ...>
10 seccomp(0x1, 0, 0x7f) = 0
11 <... futex resumed>) = 0
10 exit_group(0) = ?
10 +++ exited with 0 +++
";
    let entry = |kind: &str, call: &str, arguments: &[(usize, u64, u64)], seen: &str| Listed {
        kind: kind.to_owned(),
        call: call.to_owned(),
        means: String::new(),
        arguments: arguments.to_vec(),
        seen: seen.to_owned(),
    };
    let exact = vec![
        entry("main", "exit_group", &[], "here"),
        entry("connection", "futex", &[(1, 0xffff_ffff, 0x89)], "here"),
    ];
    let judge = |lists: &[Listed], trace: &str| judge(lists, &calls(trace));
    assert_eq!(judge(&exact, TRACE), Ok(()));
    for missing in 0..exact.len() {
        let mut less = exact.clone();
        less.remove(missing);
        assert!(judge(&less, TRACE).unwrap_err().contains("called and not listed"));
    }
    let idle = [exact.clone(), vec![entry("main", "futex", &[], "here")]].concat();
    assert!(judge(&idle, TRACE).unwrap_err().contains("listed and never called"));
    let excused = [exact.clone(), vec![entry("main", "brk", &[], "on other hosts")]].concat();
    assert_eq!(judge(&excused, TRACE), Ok(()));
    let elsewhere =
        [exact.clone(), vec![entry("main", "futex", &[(1, 0xffff_ffff, 0x89)], "in some thread")]].concat();
    assert_eq!(judge(&elsewhere, TRACE), Ok(()));
    let nowhere = [exact.clone(), vec![entry("main", "brk", &[], "in some thread")]].concat();
    assert!(judge(&nowhere, TRACE).unwrap_err().contains("listed and never called"));
    assert!(judge(&exact, &TRACE.replace("0x89", "0x88")).unwrap_err().contains("called and not listed"));
    assert!(
        judge(&exact, &TRACE.replace("connection-3", "accept"))
            .unwrap_err()
            .contains("called and not listed")
    );
}
