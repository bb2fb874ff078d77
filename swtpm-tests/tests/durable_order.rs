//! The system calls of a signature: the reservation is on disk before the enclave is asked, and the answer before the
//! client has it. `kill -9` alone would prove nothing about the disk.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::process::Command;

use sealstone_swtpm_tests::Node;
use sealstone_swtpm_tests::process::{Running, binary};
use sealstone_swtpm_tests::wait::until;

/// Bytes of a payload: a write to the enclave that is as long carries it, and nothing else is.
const PAYLOAD: usize = 40_000;

/// Signatures of the story.
const SIGNATURES: u64 = 8;

/// One system call of the agent.
#[derive(Clone, Debug, PartialEq)]
struct Call {
    name: String,
    /// What the first argument's descriptor stands for.
    file: String,
    arguments: String,
    result: i64,
    /// Lines of the trace in which it began and ended.
    began: usize,
    ended: usize,
}

impl Call {
    fn writes(&self, file: &str) -> bool {
        const WRITES: [&str; 7] = ["write", "writev", "pwrite64", "pwritev", "sendto", "sendmsg", "pwritev2"];
        WRITES.contains(&self.name.as_str()) && self.file == file && self.result > 0
    }

    fn syncs(&self, file: &str) -> bool {
        ["fdatasync", "fsync"].contains(&self.name.as_str()) && self.file == file && self.result == 0
    }
}

/// Reads what `strace -f -yy` wrote: calls by when they began.
fn calls(trace: &str) -> Vec<Call> {
    let mut open: BTreeMap<(&str, &str), (usize, &str)> = BTreeMap::new();
    let mut calls = Vec::new();
    for (line, text) in trace.lines().enumerate() {
        let Some((thread, rest)) = text.split_once(char::is_whitespace) else { continue };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((name, tail)) = resumed.split_once(" resumed>") else { continue };
            let Some((began, head)) = open.remove(&(thread, name)) else { continue };
            calls.extend(call(name, head, tail, began, line));
            continue;
        }
        let Some((name, arguments)) = rest.split_once('(') else { continue };
        match arguments.strip_suffix("<unfinished ...>") {
            Some(head) => drop(open.insert((thread, name), (line, head))),
            None => calls.extend(call(name, arguments, "", line, line)),
        }
    }
    calls.sort_by_key(|call| call.began);
    calls
}

fn call(name: &str, head: &str, tail: &str, began: usize, ended: usize) -> Option<Call> {
    let whole = format!("{head}{tail}");
    let (arguments, result) = whole.rsplit_once(" = ")?;
    let result = result.split_whitespace().next()?.parse().ok()?;
    let file = head.split_once('<').and_then(|(_, file)| file.split_once('>')).map_or("", |(file, _)| file);
    // A connected socket is `UNIX-STREAM:[5->6]`, one that is to connect `UNIX-STREAM:[5]`: the first number names it.
    let file = match file.strip_prefix("UNIX-STREAM:[") {
        Some(number) => number.trim_end_matches(|other: char| !other.is_ascii_digit()),
        None => file,
    };
    Some(Call {
        name: name.to_owned(),
        file: file.to_owned(),
        arguments: arguments.to_owned(),
        result,
        began,
        ended,
    })
}

/// For each signature: reserved, synced, asked, recorded, synced, answered, in this order.
fn check(calls: &[Call], log: &str, enclave: &str, payload: usize) -> Result<usize, String> {
    let is_answer = |call: &&Call| call.arguments.contains("\"HTTP/1.1 ") && call.result > 0;
    let mut signatures = 0;
    for asked in calls.iter().filter(|call| {
        call.writes(enclave) && usize::try_from(call.result).is_ok_and(|bytes| bytes >= payload)
    }) {
        let before = calls.iter().filter(|call| call.began < asked.began);
        let since = before.clone().filter(is_answer).map(|call| call.began).max().unwrap_or(0);
        let reserved = before
            .clone()
            .filter(|call| call.began > since && call.writes(log))
            .map(|call| call.ended)
            .max()
            .ok_or_else(|| format!("line {}: the enclave was asked without a reservation", asked.began))?;
        if !before.clone().any(|call| call.syncs(log) && call.began > reserved && call.ended < asked.began) {
            return Err(format!(
                "line {}: the enclave was asked before the reservation was on disk",
                asked.began
            ));
        }

        let after = calls.iter().filter(|call| call.began > asked.began);
        let answered = after
            .clone()
            .find(is_answer)
            .ok_or_else(|| format!("line {}: no answer after the enclave was asked", asked.began))?;
        let recorded = after
            .clone()
            .filter(|call| call.writes(log) && call.began < answered.began)
            .map(|call| call.ended)
            .max()
            .ok_or_else(|| format!("line {}: an answer that was not recorded", answered.began))?;
        if !after.clone().any(|call| call.syncs(log) && call.began > recorded && call.ended < answered.began)
        {
            return Err(format!("line {}: an answer before its record was on disk", answered.began));
        }
        signatures += 1;
    }
    Ok(signatures)
}

#[test]
fn the_reservation_is_on_disk_before_the_enclave_is_asked_and_the_record_before_the_answer() {
    let mut node = Node::init();
    node.start_enclave();
    let trace = node.path("agent.trace");
    // -D: the agent is our child and strace its grandchild, so that ending the agent ends both.
    let mut agent = Running::start(
        Command::new("strace")
            .args(["-D", "-f", "-yy", "-s", "64"])
            .args(["-e", "trace=connect,write,writev,pwrite64,pwritev,sendto,sendmsg,fdatasync,fsync"])
            .arg("-o")
            .arg(&trace)
            .arg(binary("sealstone-agent"))
            .arg("--config")
            .arg(node.path("agent.toml")),
        &node.path("agent.log"),
        "strace",
    );
    until("the agent to answer under strace", || {
        assert_eq!(agent.exited(), None, "{}", std::fs::read_to_string(node.path("agent.log")).unwrap());
        node.try_get("/healthz")
    });
    let _ = node.approve_first();
    node.await_ready(true);
    node.create_asset("treasury", "ES256");
    for nonce in 0..SIGNATURES {
        let payload = vec![u8::try_from(nonce).unwrap(); PAYLOAD];
        let answer = node.sign("treasury", nonce, &payload);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(agent.terminate().code(), Some(0));

    let ended = || {
        let trace = std::fs::read_to_string(&trace).unwrap();
        trace.lines().last().is_some_and(|line| line.contains("+++ exited")).then_some(trace)
    };
    let trace = until("strace to have written everything", ended);
    let calls = calls(&trace);
    let socket = node.path("enclave.sock").display().to_string();
    let enclave =
        calls.iter().find(|call| call.name == "connect" && call.arguments.contains(&socket)).unwrap();
    let log = node.path("agent.db-wal").display().to_string();
    let signatures =
        check(&calls, &log, &enclave.file, PAYLOAD).unwrap_or_else(|fault| panic!("{fault}\n{trace}"));
    assert_eq!(signatures, usize::try_from(SIGNATURES).unwrap());
}

#[test]
fn a_trace_in_the_wrong_order_is_found_out() {
    const GOOD: [&str; 7] = [
        "7 connect(9<UNIX-STREAM:[5]>, {sun_path=\"/n/enclave.sock\"}, 20) = 0",
        "7 pwrite64(4</n/agent.db-wal>, \"...\"..., 4096, 0) = 4096",
        "8 fdatasync(4</n/agent.db-wal>) = 0",
        "7 writev(9<UNIX-STREAM:[5->8]>, [{iov_base=\"...\", iov_len=40100}], 1) = 40100",
        "7 pwrite64(4</n/agent.db-wal>, \"...\"..., 4096, 4096) = 4096",
        "7 fdatasync(4</n/agent.db-wal>) = 0",
        "7 sendto(11<UNIX-STREAM:[6->7, \"/n/agent.sock\"]>, \"HTTP/1.1 200 OK\\r\\n\"..., 300, 0, NULL, 0) = 300",
    ];
    let judge = |lines: &[&str]| check(&calls(&lines.join("\n")), "/n/agent.db-wal", "5", PAYLOAD);
    assert_eq!(judge(&GOOD), Ok(1));
    let without = |left_out: usize| {
        let kept = GOOD.iter().enumerate().filter(|(number, _)| *number != left_out).map(|(_, line)| *line);
        judge(&kept.collect::<Vec<_>>())
    };
    for (left_out, fault) in [
        (1, "without a reservation"),
        (2, "before the reservation was on disk"),
        (4, "not recorded"),
        (5, "before its record was on disk"),
        (6, "no answer"),
    ] {
        let found = without(left_out).unwrap_err();
        assert!(found.contains(fault), "without line {left_out}: {found}");
    }
    let mut swapped = GOOD;
    swapped.swap(2, 3);
    assert!(judge(&swapped).unwrap_err().contains("before the reservation was on disk"));
    // A sync that has begun is not one that has ended; one that failed is none; another file's is none.
    let begun = "8 fdatasync(4</n/agent.db-wal> <unfinished ...>";
    let ended = "8 <... fdatasync resumed>) = 0";
    let late = [GOOD[0], GOOD[1], begun, GOOD[3], ended, GOOD[4], GOOD[5], GOOD[6]];
    assert!(judge(&late).unwrap_err().contains("before the reservation was on disk"));
    let in_time = [GOOD[0], GOOD[1], begun, ended, GOOD[3], GOOD[4], GOOD[5], GOOD[6]];
    assert_eq!(judge(&in_time), Ok(1));
    for other in
        ["8 fdatasync(4</n/agent.db-wal>) = -1 EIO (Input/output error)", "8 fdatasync(4</n/agent.db>) = 0"]
    {
        let mut changed = GOOD;
        changed[2] = other;
        assert!(judge(&changed).unwrap_err().contains("before the reservation was on disk"), "{other}");
    }
}
