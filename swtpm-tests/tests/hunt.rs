//! Root collects everything that it can of a node under load, and none of the node's secrets is in it.
//!
//! The control is the same hunt against an enclave that keeps its secrets in ordinary memory: it must find them.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on fails")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use sealstone_attestation::{Algorithm, Envelope, ManifestDigest, ManifestDraft};
use sealstone_swtpm_tests::hunt::collect::cores::{Gcore, crash, gcore};
use sealstone_swtpm_tests::hunt::collect::descriptors::descriptors;
use sealstone_swtpm_tests::hunt::collect::files::{node_files, proc_files};
use sealstone_swtpm_tests::hunt::collect::host::Host;
use sealstone_swtpm_tests::hunt::collect::memory::Looker;
use sealstone_swtpm_tests::hunt::collect::registers::{Outcome, registers};
use sealstone_swtpm_tests::hunt::collect::swap::swap;
use sealstone_swtpm_tests::hunt::collect::{Method, Prey, tracer_of};
use sealstone_swtpm_tests::hunt::known::Known;
use sealstone_swtpm_tests::hunt::load::{self, BARE, Made, Through};
use sealstone_swtpm_tests::hunt::quarry::Holder;
use sealstone_swtpm_tests::hunt::report::{Hit, describe, hunt};
use sealstone_swtpm_tests::hunt::{Bag, Quarry};
use sealstone_swtpm_tests::process::binary;
use sealstone_swtpm_tests::{Node, direct};
use sealstone_wire::KeyPath;
use serde_json::{Value, json};

/// Looks at each process's memory while it signs.
const LOOKS: usize = 20;

/// Looks at most, while something happens that ends by itself.
const LOOKS_MAX: usize = 200;

/// Signatures during those looks.
const SIGNATURES_MIN: usize = 1000;

/// What the control's build of the enclave says of itself, and no other build holds.
const MARKER: &[u8] = b"danger: this build keeps its secrets where root reads them";

/// The control's build.
const READABLE: &str = "sealstone-enclave-danger-readable";

fn preys(node: &Node) -> [Prey; 2] {
    let (agent, enclave) = node.pids();
    [Prey { holder: Holder::Enclave, pid: enclave }, Prey { holder: Holder::Agent, pid: agent }]
}

/// Lookers at both, and at the process that traces the enclave if there is one: it was forked from it.
fn lookers(node: &Node) -> Vec<Looker> {
    let guard = tracer_of(node.pids().1);
    let guard = (guard != 0).then_some(Prey { holder: Holder::Enclave, pid: guard });
    preys(node).into_iter().chain(guard).map(Looker::new).collect()
}

/// Looks at both processes again and again until `happens` is over.
fn watched<T>(node: &mut Node, bag: &mut Bag, happens: impl FnOnce(&mut Node) -> T) -> T {
    let mut lookers = lookers(node);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let mut bag = Bag::default();
            for _ in 0..LOOKS_MAX {
                for looker in &mut lookers {
                    looker.look(&mut bag);
                }
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
            bag
        });
        let value = happens(node);
        over.store(true, Ordering::Relaxed);
        bag.take(collector.join().unwrap());
        value
    })
}

/// A first manifest that also permits bare digests.
fn permit_digests(node: &Node, require_secret_memory: bool) {
    node.edit("manifest.json", |text| {
        let mut draft: Value = serde_json::from_str(&text).unwrap();
        draft["enclave"]["require_secret_memory"] = json!(require_secret_memory);
        let mut permission = draft["permissions"][0].clone();
        permission["asset"] = json!(BARE);
        permission["sign"] = json!(["message", "digest"]);
        draft["permissions"].as_array_mut().unwrap().push(permission);
        draft.to_string()
    });
}

/// Approves and applies the manifest's successor: the enclave seals anew.
fn apply_next(node: &Node) {
    let first = std::fs::read(node.path("m1.json")).unwrap();
    let payload = Envelope::parse(&first).unwrap().payload;
    let mut draft: ManifestDraft = serde_json::from_slice(&payload).unwrap();
    draft.version += 1;
    draft.previous = Some(ManifestDigest::of(&payload));
    draft.session_ttl_s += 1;
    let next = Envelope {
        payload_type: Envelope::parse(&first).unwrap().payload_type,
        payload: serde_json::to_vec(&draft).unwrap(),
        signatures: Vec::new(),
    };
    std::fs::write(node.path("m2.json"), next.to_json()).unwrap();
    let _ = node.cli(&["manifest", "sign", "m2.json", "--key", "alice.key"]).expect(0);
    let _ = node.cli(&["manifest", "apply", "m2.json"]).expect(0);
}

/// Whether it is a session's, and what it signs with.
fn kind(path: &KeyPath) -> (bool, Algorithm) {
    (matches!(path, KeyPath::Session { .. }), path.algorithm())
}

/// Everything that the node had in its hands, computed from the root.
fn quarry(known: &Known, made: &Made) -> Quarry {
    let mut quarry = Quarry::new(known);
    for signature in &made.signatures {
        quarry.signature(&known.root, signature);
    }
    for reported in &made.reported {
        quarry.reported(&known.report_seed, reported);
    }
    quarry
}

/// A hunt that read nothing finds nothing.
fn assert_collected(bag: &Bag) {
    let read = |holder, method, place| bag.bytes_read(holder, method, place);
    for holder in [Holder::Enclave, Holder::Agent] {
        for method in [Method::ProcMem, Method::VmReadv] {
            for place in ["[stack]", "[heap]", "anonymous", "/sealstone-"] {
                assert!(
                    read(holder, method, place) > 0,
                    "{method} read nothing of {holder:?}'s {place}: {bag:?}",
                    bag = bag.read
                );
            }
        }
        for place in ["cmdline", "maps", "status", "auxv", "stat", "fd/", "/task/"] {
            assert!(read(holder, Method::ProcFile, place) > 0, "nothing of {holder:?}'s {place} was read");
        }
    }
    // The enclave has no environment.
    assert!(read(Holder::Agent, Method::ProcFile, "environ") > 0, "nothing of the agent's environ was read");
    for file in ["enclave.log", "agent.log", "agent.db", "enclave.state"] {
        assert!(read(Holder::Enclave, Method::NodeFile, file) > 0, "nothing of {file} was read");
    }
    // What the kernel keeps from root is the secret memory, and its own pages.
    for (holder, method, place) in bag.refused.keys() {
        let memory = [Method::ProcMem, Method::VmReadv].contains(method);
        let kept = place.contains("secretmem") && *holder == Holder::Enclave
            || place.starts_with("[v")
            || place.ends_with("without read permission");
        assert!(!memory || kept, "{method} could not read {holder:?}'s {place}");
    }
}

#[test]
fn root_finds_no_secret_in_anything_that_it_can_collect_of_a_node_under_load() {
    // Made first, so that it goes last, when nothing swaps to it any more. Memory file systems take no swap files.
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut host = Host::alone();
    let mut node = Node::init();
    permit_digests(&node, true);
    node.start_enclave();
    node.start_agent();
    let mut bag = Bag::default();
    let mut made = Made::default();

    watched(&mut node, &mut bag, |node| {
        let _ = node.approve_first();
        node.await_ready(true);
        load::create_assets(node);
    });
    let (reported, report_public) = load::report(&mut direct::connect(&node));
    made.reported.push(reported);

    // A new seal, a wipe, an unlock, an agent that comes back to the open session.
    watched(&mut node, &mut bag, |node| {
        let ((), meanwhile) = load::during(node, Through::Agent, |_| apply_next(node));
        made.take(meanwhile);
    });
    watched(&mut node, &mut bag, |node| {
        node.kill_agent();
        node.start_agent();
        node.await_ready(true);
    });
    watched(&mut node, &mut bag, |node| {
        let _ = node.cli(&["lock"]).expect(0);
        node.kill_agent();
        node.start_agent();
        node.await_ready(true);
    });

    // Memory, again and again while it signs.
    let (looks, under_load) = load::during(&node, Through::Both, |signatures| {
        let mut lookers = lookers(&node);
        for _ in 0..LOOKS_MAX {
            lookers.iter_mut().for_each(|looker| looker.look(&mut bag));
            if lookers[0].looks >= LOOKS && signatures.load(Ordering::Relaxed) >= SIGNATURES_MIN {
                break;
            }
        }
        lookers.iter().map(|looker| looker.looks).collect::<Vec<_>>()
    });
    let count = under_load.signatures.len() + under_load.reported.len();
    assert!(
        looks.iter().all(|looks| *looks >= LOOKS) && count >= SIGNATURES_MIN,
        "{looks:?}, {count} signatures"
    );
    made.take(under_load);

    // Everything else, while it signs.
    for (prey, through) in preys(&node).into_iter().zip([Through::Both, Through::Agent]) {
        let ((), meanwhile) =
            load::during(&node, through, |_| by_other_ways(&mut host, prey, scratch.path(), &mut bag));
        made.take(meanwhile);
    }
    let [enclave, agent] = preys(&node);
    let (died, other) = (node.take_enclave(), node.take_agent());
    assert!(
        !crash(&mut host, enclave, died, scratch.path(), &mut bag),
        "the kernel wrote a core of the enclave"
    );
    // That one comes of the agent shows that the enclave's does not fail to come for another reason.
    assert!(
        crash(&mut host, agent, other, scratch.path(), &mut bag),
        "the kernel wrote no core of the agent"
    );
    node_files(enclave, &node.folder(), &mut bag);
    drop(host);

    let known = Known::unsealed(&mut node, &report_public);
    let kinds: BTreeSet<(bool, Algorithm)> = made.signatures.iter().map(|made| kind(&made.path)).collect();
    assert_eq!(kinds.len(), 2 * Algorithm::ALL.len(), "asset and session keys of every algorithm: {kinds:?}");
    let quarry = quarry(&known, &made);
    let hits = hunt(&bag, &quarry);
    assert_collected(&bag);
    assert!(hits.is_empty(), "{}", describe(&hits));
}

/// Whether the process holds all of its memory locked, as the kernel counts it.
fn is_locked(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    kib("VmLck:") >= kib("VmRSS:")
}

/// Registers, a core of the living process, descriptors, everything below /proc, swap.
fn by_other_ways(host: &mut Host, prey: Prey, scratch: &Path, bag: &mut Bag) {
    match registers(prey, bag) {
        Outcome::Sampled { stops } => assert!(stops >= 100, "{prey:?} was stopped {stops} times only"),
        Outcome::Guarded { tracer } => assert_eq!((prey.holder, tracer != 0), (Holder::Enclave, true)),
    }
    match gcore(prey, scratch, bag) {
        Gcore::Written { bytes } => assert!(bytes > 1 << 20, "gdb wrote {bytes} bytes of {prey:?}"),
        Gcore::Guarded { tracer } => assert_eq!((prey.holder, tracer != 0), (Holder::Enclave, true)),
    }
    let taken = descriptors(prey, bag);
    assert!(taken.opened >= 5, "{taken:?} of {prey:?}");
    assert_eq!(taken.secret, 0, "a descriptor of secret memory is open: {:?}", bag.read);
    proc_files(prey, bag);
    let swapped = swap(host, prey, scratch, bag);
    match prey.holder {
        // Where the host lets it lock its memory. Elsewhere it says so, and what swapped is hunted.
        Holder::Enclave => {
            assert!(!is_locked(prey.pid) || swapped.kib == 0, "the enclave is in swap: {swapped:?}");
        }
        // The agent's memory is not locked: that it goes to swap shows that this machine swaps.
        Holder::Agent => {
            assert!(swapped.kib > 0 && swapped.read >= swapped.kib * 512, "{swapped:?} of {prey:?}");
        }
    }
}

#[test]
fn the_hunt_finds_the_root_and_the_report_key_of_an_enclave_without_secret_memory() {
    let holds = |name: &str| {
        let program = std::fs::read(binary(name)).unwrap();
        program.windows(MARKER.len()).any(|window| window == MARKER)
    };
    assert!(holds(READABLE), "{READABLE} is not the control's build");
    assert!(!holds("sealstone-enclave"), "the ordinary enclave was built with readable secrets");

    let _host = Host::alone();
    let mut node = Node::init();
    node.run_enclave_program(READABLE);
    permit_digests(&node, false);
    node.edit("enclave.toml", |text| format!("{text}require_secret_memory = false\n"));
    node.start_enclave();
    node.start_agent();
    let _ = node.approve_first();
    node.await_ready(true);
    let (_, report_public) = load::report(&mut direct::connect(&node));
    // It says what it is: in its log, its status and the agent's metrics.
    let log = std::fs::read_to_string(node.path("enclave.log")).unwrap();
    assert!(log.contains("warning: no secret memory"), "{log}");
    for name in ["secret_memory", "secret_stacks"] {
        let metrics = String::from_utf8(node.try_get("/metrics").unwrap().body).unwrap();
        let inactive = format!("sealstone_enclave_protection_active{{protection=\"{name}\"}} 0");
        assert!(metrics.contains(&inactive), "{metrics}");
        let status = node.cli(&["status"]).stdout;
        assert!(status.contains(&format!("{name}: ")), "{status}");
    }

    let mut bag = Bag::default();
    lookers(&node).iter_mut().for_each(|looker| looker.look(&mut bag));
    node.kill_agent();
    node.kill_enclave();
    let known = Known::unsealed(&mut node, &report_public);
    let hits = hunt(&bag, &quarry(&known, &Made::default()));
    for method in [Method::ProcMem, Method::VmReadv] {
        let found = |kind: &str, of: &str| {
            let is = |hit: &&Hit| {
                (hit.kind, hit.of.as_str(), hit.method, hit.holder) == (kind, of, method, Holder::Enclave)
            };
            // Both halves, as they are.
            hits.iter().filter(is).filter(|hit| hit.encoding == "binary").count() >= 2
        };
        assert!(found("root", ""), "{method} did not find the root; {}", describe(&hits));
        assert!(found("Ed25519 seed", "report key"), "{method} did not find the seed; {}", describe(&hits));
    }
    let strays: Vec<Hit> = hits.into_iter().filter(|hit| hit.holder == Holder::Agent).collect();
    assert!(strays.is_empty(), "the agent has what is the enclave's: {}", describe(&strays));
}
