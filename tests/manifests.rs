//! Stories of manifests, offline: proposing, approving, refusing. Who approves what, and who must not.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

mod support;

use sealstone_attestation::Envelope;
use serde_json::{Value, json};
use support::{Desk, FIRST, enrolment};

/// The payload of an envelope.
fn payload(envelope: &Value) -> Value {
    let envelope = Envelope::parse(envelope.to_string().as_bytes()).unwrap();
    serde_json::from_slice(&envelope.payload).unwrap()
}

/// The same envelope, signatures included, with another payload.
fn with_payload(envelope: &Value, payload: &Value) -> Vec<u8> {
    let mut envelope = Envelope::parse(envelope.to_string().as_bytes()).unwrap();
    envelope.payload = payload.to_string().into_bytes();
    envelope.to_json()
}

fn statuses(manifest: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    manifest["states"]
        .as_array()
        .unwrap()
        .iter()
        .map(|state| (text(&state["name"]), text(&state["status"])))
        .collect()
}

fn pairs(manifest: &Value) -> Vec<String> {
    let text = |pair: &Value, field: &str| pair[field].as_str().unwrap().to_owned();
    let pairs = manifest["successions"].as_array().unwrap().iter();
    pairs.map(|pair| format!("{}>{} {}", text(pair, "from"), text(pair, "to"), text(pair, "grace"))).collect()
}

#[test]
fn two_of_three_approve_the_first_manifest() {
    let desk = Desk::with_proposal(&["alice", "bob", "carol"], 2);
    let authority = desk.done("authority digest carol.pub alice.pub bob.pub --threshold 2");
    let digest = authority["authority"].as_str().unwrap();
    let verify = format!("manifest verify v1 --authority {digest}");

    let shown = desk.done("manifest show v1");
    assert_eq!(shown["authority"], digest);
    assert_eq!(shown["manifest"]["version"], 1);
    assert_eq!(shown["manifest"]["states"][0]["pcrs"]["7"], "00".repeat(32));

    let outcome = desk.fails(&verify, 1, "MANIFEST_REFUSED");
    assert!(outcome.detail().contains("at least 2 of the authority set, found 0"), "{}", outcome.detail());
    let signed = desk
        .done(&format!("manifest sign v1 --key alice.key --digest {}", shown["digest"].as_str().unwrap()));
    assert_eq!((&signed["signed_by"], &signed["signatures"]), (&json!("alice"), &json!(1)));
    desk.fails(&verify, 1, "MANIFEST_REFUSED");
    desk.done("manifest sign v1 --key carol.key");

    let accepted = desk.done(&verify);
    assert_eq!(accepted["accepted"], true);
    let names: Vec<&Value> =
        accepted["signed_by"].as_array().unwrap().iter().map(|signer| &signer["name"]).collect();
    assert_eq!(names, ["alice", "carol"]);
    assert_eq!(accepted["warnings"], json!([]));
}

#[test]
fn an_es256_key_approves_as_well() {
    let desk = Desk::new();
    desk.done("authority new eve --algorithm ES256");
    desk.done("init --dir node --authority eve.pub");
    desk.write("enrolment.json", enrolment(1, 0).to_string());
    desk.done(FIRST);
    desk.done("manifest sign v1 --key eve.key");
    let without_authority = desk.done("manifest verify v1");
    assert!(without_authority["warnings"][0].as_str().unwrap().contains("no --authority"));
}

#[test]
fn a_stranger_a_repeater_and_a_careless_reader_do_not_approve() {
    let desk = Desk::with_proposal(&["alice", "bob"], 2);
    desk.done("authority new mallory");
    desk.fails("manifest sign v1 --key mallory.key", 1, "FOREIGN_KEY");
    desk.fails(
        &format!("manifest sign v1 --key alice.key --digest {}", "00".repeat(32)),
        1,
        "DIGEST_DIFFERS",
    );
    desk.fails("manifest sign v1 --key alice.pub", 2, "FILE_MODE");
    assert_eq!(desk.json("v1")["signatures"], json!([]));
    desk.done("manifest sign v1 --key alice.key");
    let before = desk.read("v1");
    desk.fails("manifest sign v1 --key alice.key", 1, "ALREADY_SIGNED");
    assert_eq!(desk.read("v1"), before, "a refusal changes nothing");
}

#[test]
fn a_private_key_that_others_may_read_is_not_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let desk = Desk::with_proposal(&["alice"], 1);
    std::fs::set_permissions(desk.at("alice.key"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let outcome = desk.fails("manifest sign v1 --key alice.key", 2, "FILE_MODE");
    assert!(outcome.detail().contains("0640"), "{}", outcome.detail());
}

#[test]
fn a_payload_changed_after_signing_is_refused_by_everyone() {
    let desk = Desk::with_proposal(&["alice", "bob"], 2);
    desk.done("manifest sign v1 --key alice.key");
    let envelope = desk.json("v1");
    let mut changed = payload(&envelope);
    changed["session_ttl_s"] = 3600.into();
    desk.write("v1", with_payload(&envelope, &changed));
    let outcome = desk.fails("manifest verify v1", 1, "MANIFEST_REFUSED");
    assert!(outcome.detail().contains("does not verify"), "{}", outcome.detail());
    desk.fails("manifest sign v1 --key bob.key", 1, "UNACCEPTABLE_SIGNATURE");
}

#[test]
fn foreign_repeated_and_broken_signatures_refuse_the_envelope() {
    let desk = Desk::with_proposal(&["alice", "bob"], 1);
    desk.done("manifest sign v1 --key alice.key");
    let good = desk.json("v1");
    let signature = good["signatures"][0].clone();
    let other_key_id = desk.done("authority new mallory")["key_id"].clone();
    let cases: [(Value, &str); 5] = [
        (json!([signature, signature]), "two by"),
        (json!([signature, {"keyid": other_key_id, "sig": signature["sig"]}]), "foreign signature"),
        (json!([signature, {"keyid": "", "sig": signature["sig"]}]), "thumbprint"),
        (json!([{"keyid": signature["keyid"], "sig": "AAAA"}]), "does not verify"),
        (json!([]), "at least 1"),
    ];
    for (signatures, reason) in cases {
        let mut envelope = good.clone();
        envelope["signatures"] = signatures;
        desk.write("bad", envelope.to_string());
        let outcome = desk.fails("manifest verify bad", 1, "MANIFEST_REFUSED");
        assert!(outcome.detail().contains(reason), "{reason}: {}", outcome.detail());
    }
    desk.fails(&format!("manifest verify v1 --authority {}", "ab".repeat(32)), 1, "MANIFEST_REFUSED");
}

#[test]
fn files_that_are_no_manifest_are_unusable() {
    let desk = Desk::with_proposal(&["alice"], 1);
    let envelope = desk.json("v1");
    desk.write("empty", "");
    desk.write("text", "hello");
    desk.write("binary", [0xff; 100]);
    desk.write("huge", vec![b' '; 2 * 1024 * 1024]);
    desk.write("cut", &desk.read("v1")[..200]);
    let mut other_type = envelope.clone();
    other_type["payloadType"] = "application/vnd.in-toto+json".into();
    desk.write("other-type", other_type.to_string());
    let mut unknown_field = envelope.clone();
    unknown_field["extra"] = 1.into();
    desk.write("unknown-field", unknown_field.to_string());
    let mut misspelt = payload(&envelope);
    misspelt["permission"] = json!([]);
    desk.write("misspelt", with_payload(&envelope, &misspelt));
    let mut sha1 = payload(&envelope);
    sha1["states"][0]["bank"] = "sha1".into();
    desk.write("sha1", with_payload(&envelope, &sha1));
    for (file, code) in [
        ("absent", "FILE_UNREADABLE"),
        ("node", "FILE_KIND"),
        ("/dev/zero", "FILE_KIND"),
        ("empty", "FILE_EMPTY"),
        ("huge", "FILE_TOO_LARGE"),
        ("text", "MANIFEST"),
        ("binary", "MANIFEST"),
        ("cut", "MANIFEST"),
        ("other-type", "MANIFEST"),
        ("unknown-field", "MANIFEST"),
        ("misspelt", "MANIFEST"),
        ("sha1", "MANIFEST"),
    ] {
        for command in ["verify", "show", "apply"] {
            desk.fails(&format!("manifest {command} {file}"), 2, code);
        }
        desk.fails(&format!("manifest sign {file} --key alice.key"), 2, code);
        desk.fails(&format!("manifest propose --from {file} --set-session-ttl 60 -o out"), 2, code);
    }
    desk.fails("manifest apply v1", 1, "NOT_SIGNED");
}

#[test]
fn a_second_version_succeeds_the_first_and_nothing_else() {
    let desk = Desk::with_proposal(&["alice"], 1);
    desk.done("manifest sign v1 --key alice.key");
    desk.done("manifest propose --from v1 --set-session-ttl 600 -o v2");
    desk.done("manifest sign v2 --key alice.key --previous v1");
    let accepted = desk.done("manifest verify v2 --previous v1");
    assert_eq!(accepted["version"], 2);

    // The wrong way round, a gap, and another branch.
    let refused = |line: &str, reason: &str| {
        let outcome = desk.fails(line, 1, "MANIFEST_REFUSED");
        assert!(outcome.detail().contains(reason), "{line}: {}", outcome.detail());
    };
    refused("manifest verify v1 --previous v2", "newer than version 2");
    desk.done("manifest propose --from v2 --set-session-ttl 700 -o v3");
    desk.done("manifest sign v3 --key alice.key");
    refused("manifest verify v3 --previous v1", "version 2 next, found version 3");
    desk.done("manifest propose --from v1 --set-session-ttl 900 -o v2b");
    desk.done("manifest sign v2b --key alice.key");
    refused("manifest verify v2b --previous v2", "another manifest of that version");
    refused("manifest verify v3 --previous v2b", "follows");
    desk.fails("manifest sign v3 --key alice.key --previous v1 -o out", 1, "PREVIOUS_DIFFERS");

    // Another deployment of the same people.
    desk.done("init --dir other --authority alice.pub");
    desk.done(
        "manifest propose --draft other/manifest.json --node n --state s --enrolment enrolment.json -o o1",
    );
    desk.done("manifest sign o1 --key alice.key");
    refused("manifest verify o1 --previous v1", "deployment");
}

#[test]
fn a_new_state_takes_over_and_no_key_is_stranded() {
    let desk = Desk::with_proposal(&["alice"], 1);
    desk.write("enrolment.json", enrolment(1, 1).to_string());
    let next = "--enrolment enrolment.json";
    let v2 = desk.done(&format!("manifest propose --from v1 --state boot-2 --replaces boot-1 {next} -o v2"));
    assert_eq!(v2["warnings"], json!([]));
    let manifest = payload(&desk.json("v2"));
    assert_eq!(manifest["previous"], desk.done("manifest show v1")["digest"]);
    assert_eq!(
        statuses(&manifest),
        [("boot-1".into(), "predecessor".into()), ("boot-2".into(), "active".into())]
    );
    assert_eq!(pairs(&manifest), ["boot-1>boot-2 forever"]);

    // Keys of boot-1 stay usable in boot-3, though it replaces boot-2 alone.
    desk.write("enrolment.json", enrolment(1, 2).to_string());
    let until = "--grace 2030-01-01T00:00:00Z";
    desk.done(&format!("manifest propose --from v2 --state boot-3 --replaces boot-2 {until} {next} -o v3"));
    let manifest = payload(&desk.json("v3"));
    assert_eq!(pairs(&manifest), ["boot-2>boot-3 2030-01-01T00:00:00Z", "boot-1>boot-3 forever"]);

    let v4 = desk.done("manifest propose --from v3 --retire boot-1 -o v4");
    assert!(v4["warnings"][0].as_str().unwrap().contains("boot-1"), "{v4}");
    assert_eq!(pairs(&payload(&desk.json("v4"))), ["boot-2>boot-3 2030-01-01T00:00:00Z"]);
}

#[test]
fn an_update_keeps_the_old_state_active_until_the_machine_has_booted() {
    let desk = Desk::with_proposal(&["alice"], 1);
    desk.write("enrolment.json", enrolment(1, 1).to_string());
    desk.done(
        "manifest propose --from v1 --state boot-2 --replaces boot-1 --keep-active --enrolment enrolment.json -o v2",
    );
    let manifest = payload(&desk.json("v2"));
    assert_eq!(statuses(&manifest), [("boot-1".into(), "active".into()), ("boot-2".into(), "active".into())]);
    assert_eq!(pairs(&manifest), ["boot-1>boot-2 forever"]);
    desk.done("manifest propose --from v2 --predecessor boot-1 -o v3");
    let manifest = payload(&desk.json("v3"));
    assert_eq!(statuses(&manifest)[0].1, "predecessor");
    assert_eq!(pairs(&manifest), ["boot-1>boot-2 forever"]);
}

#[test]
fn proposals_that_make_no_sense_are_refused_and_write_nothing() {
    let desk = Desk::with_proposal(&["alice"], 1);
    desk.write("boot-2.json", enrolment(1, 1).to_string());
    desk.write("no-pcrs.json", {
        let mut found = enrolment(1, 1);
        found["pcrs"] = json!({"sha384": found["pcrs"]["sha384"]});
        found.to_string()
    });
    desk.write("swapped.json", {
        let found = enrolment(1, 1);
        json!({"ek": found["ak"], "ak": found["ek"], "ek_certificate": null, "pcrs": found["pcrs"], "firmware_version": 0})
            .to_string()
    });
    desk.write("garbage.json", "{}");
    let from = "manifest propose --from v1 -o out";
    for (line, code) in [
        // The same PCRs under another name, and the same name twice.
        (format!("{from} --state again --enrolment enrolment.json"), "PROPOSAL"),
        (format!("{from} --state boot-1 --enrolment boot-2.json"), "PROPOSAL"),
        (format!("{from} --state boot-2 --replaces boot-9 --enrolment boot-2.json"), "PROPOSAL"),
        (format!("{from} --state boot-2 --enrolment no-pcrs.json"), "ENROLMENT"),
        (format!("{from} --state boot-2 --enrolment garbage.json"), "ENROLMENT"),
        (format!("{from} --state boot-2 --enrolment node"), "FILE_KIND"),
        // No active state would be left.
        (format!("{from} --retire boot-1"), "PROPOSAL"),
        (format!("{from} --predecessor boot-1"), "PROPOSAL"),
        (format!("{from} --retire boot-9"), "PROPOSAL"),
        // The machine is enrolled already, under this name or another.
        (format!("{from} --add-node --node node-1 --enrolment boot-2.json"), "PROPOSAL"),
        (format!("{from} --add-node --node node-2 --enrolment boot-2.json"), "PROPOSAL"),
        (format!("{from} --add-node --node node-2 --enrolment swapped.json"), "PROPOSAL"),
        (format!("{from} --set-session-ttl 9"), "PROPOSAL"),
        (format!("{from} --set-session-ttl 3601"), "PROPOSAL"),
        (format!("{from} --permission {{}}"), "PERMISSION"),
        (format!("{from} --permission [1]"), "PERMISSION"),
        (
            format!(
                r#"{from} --session-permission {{"tenant":"*","asset":"*","algorithms":["ES256"],"sign":["message"]}}"#
            ),
            "PERMISSION",
        ),
        (
            format!(r#"{from} --permission {{"tenant":"*","asset":"*","algorithms":[],"sign":["digest"]}}"#),
            "PROPOSAL",
        ),
        (format!("{from} --authority alice.pub --threshold 2"), "THRESHOLD"),
        (format!("{from} --authority alice.key"), "KEY_UNREADABLE"),
        ("manifest propose --draft v1 --node n --state s -o out".to_owned(), "DRAFT"),
        (
            "manifest propose --draft node/manifest.json --node n --state s --pcrs sha1:0 -o out".to_owned(),
            "USAGE",
        ),
        (
            "manifest propose --draft node/manifest.json --node n --state s --pcrs sha256:16 -o out"
                .to_owned(),
            "USAGE",
        ),
        (format!("{from} --state s --replaces boot-1 --grace tomorrow"), "USAGE"),
        (format!("{from} --grace none"), "USAGE"),
        ("manifest propose -o out".to_owned(), "USAGE"),
        (
            "manifest propose --from v1 --draft node/manifest.json --node n --state s -o out".to_owned(),
            "USAGE",
        ),
        // No agent to ask.
        (format!("{from} --state boot-2"), "NO_SOCKET"),
        ("manifest propose --from v1 --set-session-ttl 60 -o v1".to_owned(), "FILE_EXISTS"),
        ("manifest propose --from v1 --set-session-ttl 60 -o no/such/out".to_owned(), "FILE_UNWRITABLE"),
    ] {
        desk.fails(&line, 2, code);
        assert!(!desk.at("out").exists(), "{line}");
    }
}

#[test]
fn a_proposal_adds_nodes_permissions_and_pins_firmware() {
    let desk = Desk::with_proposal(&["alice"], 1);
    desk.write("node-2.json", enrolment(2, 0).to_string());
    let permission = r#"{"tenant":"acme","asset":"*","algorithms":["ES256K"],"sign":["digest"]}"#;
    desk.done(&format!(
        "manifest propose --from v1 --add-node --node node-2 --pin-firmware --enrolment node-2.json \
         --permission {permission} -o v2"
    ));
    let manifest = payload(&desk.json("v2"));
    assert_eq!(manifest["nodes"][0]["firmware"], Value::Null);
    assert_eq!(manifest["nodes"][1]["firmware"], json!([0x0001_0002_0003_0004_u64]));
    assert_eq!(manifest["permissions"][0]["sign"], json!(["message"]), "the skeleton permits no bare digest");
    assert_eq!(manifest["permissions"][1]["tenant"], "acme");
}

#[test]
fn an_authority_hands_over_only_with_both_sets() {
    let desk = Desk::with_proposal(&["alice"], 1);
    desk.done("manifest sign v1 --key alice.key");
    desk.done("authority new bob");
    desk.done("manifest propose --from v1 --authority bob.pub -o v2");
    let verify = "manifest verify v2 --previous v1";

    // The new set alone does not take over.
    desk.done("manifest sign v2 --key bob.key");
    let outcome = desk.fails(verify, 1, "MANIFEST_REFUSED");
    assert!(outcome.detail().contains("at least 1"), "{}", outcome.detail());
    desk.done("manifest sign v2 --key alice.key --previous v1");
    let accepted = desk.done(verify);
    assert_eq!(accepted["signed_by"][0]["name"], "bob");
    assert_eq!(accepted["signed_by"][1]["name"], "alice");

    // The one after is the new set's alone.
    desk.done("manifest propose --from v2 --set-session-ttl 60 -o v3");
    desk.fails("manifest sign v3 --key alice.key", 1, "FOREIGN_KEY");
    desk.done("manifest sign v3 --key bob.key");
    desk.done("manifest verify v3 --previous v2");
}

#[test]
fn what_is_shown_cannot_forge_a_line() {
    let desk = Desk::with_node(&["alice"], 1);
    let mut skeleton = desk.json("node/manifest.json");
    skeleton["permissions"][0]["tenant"] = "x\naccepted: all\u{1b}[2J".into();
    desk.write("node/manifest.json", skeleton.to_string());
    desk.done(FIRST);
    let output = desk.command("manifest show v1").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("x\\naccepted: all\\u{1b}[2J"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("accepted")) && !text.contains('\u{1b}'));
}
