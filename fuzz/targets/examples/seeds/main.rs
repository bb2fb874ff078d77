//! Makes the seeds of the fuzz targets: `cargo run -p sealstone-fuzz-targets --example seeds`. To be run again when
//! a format changes; the test of this crate says which seeds are not taken any more.
#![allow(clippy::unwrap_used)]

#[path = "../../../../attestation/tests/event_log/builder.rs"]
mod builder;
mod certificates;
mod event_log;
#[path = "../../../../attestation/tests/fake/mod.rs"]
mod fake;
mod ima;
mod messages;
mod payloads;
mod rules;
mod scene;
mod tpm;
mod verdicts;

use std::fs;
use std::path::Path;

use fake::{Machine, Person, envelope, next, signed, verified};
use scene::{NOW, Scene};
use sealstone_attestation::audit::{EntryBundle, LogProof, TreeHash};
use sealstone_attestation::{Grace, HexBytes, Purpose, Signature64, StateStatus, Succession};
use sealstone_enclave::state_file::{State, places};
use sealstone_wire::channel::{ChannelKey, Handshake};
use sealstone_wire::frame::append_frame;
use serde_json::json;

fn main() {
    let scene = Scene::new();
    approvals(&scene);
    audit(&scene);
    values(&scene);
    streams();
    enclave_files(&scene);
    ima::save_all();
    messages::save_all(&scene);
    payloads::save_all();
    rules::save_all();
    tpm::save_all();
    event_log::save_all();
    certificates::save_all();
    verdicts::save_all(&scene);
}

pub(crate) fn save(target: &str, name: &str, bytes: impl AsRef<[u8]>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}

fn approvals(scene: &Scene) {
    let Scene { person, draft, evidence, .. } = scene;
    save("evidence", "accepted.json", evidence.to_json());
    save("evidence", "other_nonce.json", scene.evidence_over(Purpose::Evidence, [0x5b; 32]).to_json());
    save("evidence", "other_purpose.json", scene.evidence_over(Purpose::Session, [0x5a; 32]).to_json());
    save("envelope", "manifest.json", evidence.manifest.to_json());
    save("envelope", "report.json", evidence.report.to_json());
    save("envelope", "empty.json", envelope(b"", &[]).to_json());
    save("report", "signed.json", evidence.report.to_json());

    let manifest = verified(draft, &[person]);
    let next = next(manifest.manifest());
    save("manifest_approval", "first.json", manifest.envelope());
    save("manifest_approval", "next.json", signed(&next, &[person]));
    save("manifest_approval", "foreign.json", signed(draft, &[&Person::new(9)]));
    let mut unsigned = next.clone();
    unsigned.session_ttl_s = 3600;
    save("manifest_approval", "unsigned.json", signed(&unsigned, &[]));
    save("manifest", "first.json", manifest.manifest().to_payload());

    let people = [Person::new(2), Person::new(3)];
    let mut hand_over = fake::next(verified(&next, &[person]).manifest());
    hand_over.outgoing_authority = Some(hand_over.authority);
    hand_over.authority = fake::authority(2, &[&people[0], &people[1]]);
    save("manifest_approval", "hand_over.json", signed(&hand_over, &[person, &people[0], &people[1]]));
    save("manifest", "hand_over.json", serde_json::to_vec(&hand_over).unwrap());

    let mut grown = next.clone();
    let mut before = fake::state("boot-0", StateStatus::Predecessor, &[(0, 1), (4, 2)]);
    before.transit_key_id = "transit-1".to_owned();
    grown.states.push(before);
    grown.states.push(fake::state("boot-2", StateStatus::Retired, &[(23, 9)]));
    grown.successions =
        vec![Succession { from: "boot-0".to_owned(), to: "boot-1".to_owned(), grace: Grace::Until(NOW) }];
    grown.nodes.push(Machine::new("node-2", 2).draft());
    grown.nodes[1].firmware = Some(vec![fake::FIRMWARE]);
    grown.authority = fake::authority(2, &[person, &Person::new(2), &Person::new(3)]);
    save("manifest", "grown.json", serde_json::to_vec(&grown).unwrap());
}

fn audit(scene: &Scene) {
    let leaves = scene::log_leaves();
    for (name, leaf) in ["started", "signed", "refused"].into_iter().zip(&leaves) {
        save("audit_record", name, leaf);
    }
    let mut entries = Vec::new();
    leaves.iter().for_each(|leaf| EntryBundle::append(&mut entries, leaf).unwrap());
    save("audit_entries", "three", entries);
    save("audit_entries", "empty", [0, 0]);
    let proof = scene::log_proof(&scene.report, &scene.enclave);
    save("audit_proof", "second", proof.to_bytes());
    let alone = LogProof { index: 0, hashes: vec![], ..proof.clone() };
    save("audit_proof", "other_tree", alone.to_bytes());
    save("audit_note", "checkpoint", &proof.checkpoint);
    let witness = "\u{2014} witness.example/w1 AAAAAQID\n".as_bytes();
    save("audit_note", "witnessed", [&proof.checkpoint[..], witness].concat());
    save("audit_note", "text", "text\n\n\u{2014} name AAAAAQID\n");
}

fn values(scene: &Scene) {
    let p256 = "036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296";
    let secp256k1 = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
    let HexBytes(p256) = serde_json::from_value(json!(p256)).unwrap();
    let HexBytes(secp256k1) = serde_json::from_value(json!(secp256k1)).unwrap();
    // SEC1's compact form has the tag 5: another spelling of the same key.
    save("public_key", "es256_compact", [&[0, 5], &p256[1..]].concat());
    save("public_key", "es256", [vec![0], p256].concat());
    save("public_key", "es256k", [vec![1], secp256k1].concat());
    save("public_key", "eddsa", [&[2], scene.enclave.public_key().as_bytes()].concat());

    let receipts = scene.receipts();
    save("receipts", "chain.json", serde_json::to_vec(&receipts).unwrap());
    save("receipts", "chain.postcard", postcard::to_stdvec(&receipts).unwrap());

    save("text", "time", NOW.to_string());
    save("text", "forever", Grace::Forever.to_string());
    save("text", "key_id", scene.enclave.public_key().key_id().to_string());
    save("text", "digest", scene.report.manifest.to_string());
    save("text", "signature", Signature64::from_bytes([0xa5; 64]).to_string());
    save("text", "bank", "sha384");
    save("text", "algorithm", "ES256K");
    save("address", "vsock", "vsock:3:5000");
    save("address", "unix", "unix:/run/sealstone/enclave.sock");
    save("address", "unix_vsock", "unix-vsock:/run/vm:3.sock:5000");
}

pub(crate) fn framed(bodies: &[&[u8]]) -> Vec<u8> {
    let mut frames = Vec::new();
    bodies.iter().for_each(|body| append_frame(&mut frames, body).unwrap());
    frames
}

fn streams() {
    save("frames", "three", [vec![6], framed(&[b"one", &[2; 300], b"3"])].concat());
    save("frames", "cut", [vec![0], framed(&[b"one", b"two"])[..7].to_vec()].concat());

    // The secrets of `stream.rs`.
    let (agent, enclave) = (ChannelKey::from_secret(&[0xa6; 32]), ChannelKey::from_secret(&[0xe7; 32]));
    let mut hello = Vec::new();
    Handshake::initiator(&agent, &enclave.public()).unwrap().write_message(&mut hello).unwrap();
    save("handshake", "repeated", [hello, framed(&[&[0; 16]])].concat());
    save("handshake", "garbage", framed(&[&[9; 48], &[9; 48]]));
    save("channel", "garbage", [vec![2], framed(&[&[7; 40], &[8; 16]])].concat());

    save("vmm_answer", "accepted", "OK 1073741824\nhello from the guest");
    save("vmm_answer", "refused", "ERR no such port\n");

    let pieces: [&[u8]; 3] = [b"\0\0\0\0{\"payload", b"\0\0\0\x09Type\":\"", b"\0\0\0\x10x\"}"];
    save("upload", "in_order", framed(&pieces));
    save("upload", "empty_piece", framed(&[pieces[0], b"\0\0\0\x09"]));
    save("upload", "begun_anew", framed(&[pieces[0], pieces[2], pieces[0], pieces[1]]));
}

fn enclave_files(scene: &Scene) {
    let state = State::provisioning("node-1", 0x0185_ea15, NOW);
    save("state_file", "provisioning.json", serde_json::to_vec_pretty(&state).unwrap());
    let mut sealed = serde_json::to_value(&state).unwrap();
    sealed["check"] = serde_json::to_value(scene.enclave.public_key()).unwrap();
    sealed["clock"] = json!({ "clock": 5, "reset_count": 7, "restart_count": 2, "safe": true });
    let slot = |counter: u64| {
        let blob = json!({ "public": "0008", "private": "00ff", "parent": "000b" });
        json!({ "counter": counter, "blob": blob, "manifest": "{}" })
    };
    sealed["slots"] = json!([slot(4), slot(5)]);
    save("state_file", "sealed.json", serde_json::to_vec_pretty(&sealed).unwrap());
    save("state_file", "record", places::record(7, &serde_json::to_vec(&sealed).unwrap()).unwrap());
    sealed["log_head"] = json!({ "size": 17, "root": TreeHash::empty() });
    save("state_file", "with_log.json", serde_json::to_vec_pretty(&sealed).unwrap());
    sealed["slots"] = json!([slot(4), slot(5), slot(6)]);
    save("state_file", "three_slots.json", serde_json::to_vec_pretty(&sealed).unwrap());

    let agent = ChannelKey::from_secret(&[0xa6; 32]).public();
    let config = format!(
        "listen = \"unix:enclave.sock\"\nchannel_key_file = \"enclave.key\"\n\
         next_channel_key_file = \"enclave-2.key\"\nagent_public_keys = [\"{agent}\"]\n\
         state_file = \"state.json\"\ncredential_file = \"credential\"\nauthority = \"{}\"\n\
         nv_index = \"0x0185ea15\"\nsigning_threads = 2\nrequire_secret_memory = true\ntrace_guard = true\n",
        scene.report.authority
    );
    save("enclave_config", "whole.toml", config);

    let version = 3_u64.to_be_bytes();
    let payload = [&[0x11; 32], scene.report.authority.as_bytes(), &version[..], &[0x22; 32]].concat();
    save("seal_payload", "sealed", payload);
}
