//! Stories of approvers who ask what a next manifest would unlock or strand, before they sign it.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use sealstone_attestation::{Algorithm, Envelope, PublicKey};
use serde_json::{Value, json};
use support::{Desk, enrolment};

/// `boot-0` was replaced by `boot-1`, which is active, in `v2`; each boot has other PCRs.
fn desk() -> Desk {
    let desk = Desk::with_node(&["alice"], 1);
    for boot in 0..4 {
        desk.write(&format!("boot-{boot}.json"), enrolment(1, boot).to_string());
    }
    desk.done("manifest propose --draft node/manifest.json --node node-1 --state boot-0 --enrolment boot-0.json -o v1");
    propose(&desk, "v1", "v2", "--state boot-1 --replaces boot-0 --enrolment boot-1.json");
    desk
}

fn propose(desk: &Desk, from: &str, to: &str, change: &str) {
    desk.done(&format!("manifest propose --from {from} {change} -o {to}"));
}

fn binding(desk: &Desk, manifest: &str, state: &str) -> Value {
    desk.done(&format!("manifest show {manifest}"))["bindings"][state].clone()
}

fn asset(name: &str, binding: &Value) -> Value {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let public = PublicKey::from_bytes(Algorithm::EdDsa, key.verifying_key().as_bytes()).unwrap();
    json!({
        "tenant": "acme", "asset": name, "algorithm": "EdDSA", "epoch": 3, "binding": binding, "key_id": public.key_id(),
        "public_key": hex::encode(public.as_bytes()), "jwk": public.jwk(), "since": "2026-11-21T03:00:00Z",
        "unfunded": false,
    })
}

/// An asset bound to each state of `v2`, in `assets.json`.
fn with_assets(desk: &Desk) {
    let assets = [asset("old", &binding(desk, "v2", "boot-0")), asset("new", &binding(desk, "v2", "boot-1"))];
    desk.write("assets.json", whole(&assets).to_string());
}

/// What `asset list --json` prints of them, if it leaves out none.
fn whole(assets: &[Value]) -> Value {
    json!({"assets": assets, "covers": {"every_tenant": true, "every_age": true, "from_start": true}})
}

fn names(of: &Value) -> Vec<&str> {
    of.as_array().unwrap().iter().map(|one| one["asset"].as_str().unwrap()).collect()
}

const PLAN: &str = "manifest plan v3 --current v2 --assets assets.json";

#[test]
fn an_update_that_lists_its_pairs_strands_nothing_and_unlocks_in_the_new_state() {
    let desk = desk();
    with_assets(&desk);
    propose(&desk, "v2", "v3", "--state boot-2 --replaces boot-1 --keep-active --enrolment boot-2.json");
    let plan = desk.done(PLAN);
    assert_eq!((&plan["strands"], &plan["actions"]), (&json!(false), &json!([])));
    assert_eq!((&plan["assets"]["read"], &plan["assets"]["usable"]), (&json!(2), &json!(2)));
    assert_eq!(names(&plan["assets"]["unlocked"]), ["old", "new"]);
    assert_eq!(plan["assets"]["unlocked"][0]["unlocked_under"], json!(["boot-2"]));
    assert_eq!(
        plan["assets"]["unlocked"][0]["uses"],
        json!([
            {"under": "boot-1", "use": "forever"}, {"under": "boot-2", "use": "forever"}
        ])
    );
    let seal = json!({"states": ["boot-1", "boot-2"], "added": ["boot-2"], "dropped": []});
    assert_eq!((&plan["seal"], &plan["warnings"]), (&seal, &json!([])));
    // A key made after the update cannot be used in the state before it.
    let states = plan["bindings"].as_array().unwrap();
    let newest = states.iter().find(|state| state["state"] == "boot-2").unwrap();
    assert_eq!(newest["uses"][0]["use"], "refused");
    assert!(newest["uses"][0]["reason"].as_str().unwrap().contains("found none"));
}

#[test]
fn a_retired_state_strands_what_is_bound_to_it_and_the_answer_says_what_to_do() {
    let desk = desk();
    with_assets(&desk);
    propose(&desk, "v2", "v3", "--retire boot-0");
    let outcome = desk.run(PLAN);
    assert_eq!((outcome.exit, &outcome.json["strands"]), (1, &json!(true)));
    let stranded = &outcome.json["assets"]["stranded"];
    assert_eq!(names(stranded), ["old"]);
    assert_eq!((&stranded[0]["bound_to"], &stranded[0]["epoch"]), (&json!("boot-0"), &json!(3)));
    assert!(stranded[0]["uses"][0]["reason"].as_str().unwrap().contains("retired"));
    assert!(stranded[0]["key_id"].as_str().unwrap().len() == 43);
    let actions = outcome.json["actions"].to_string();
    assert!(actions.contains("--replaces") && actions.contains("asset rotate"), "{actions}");

    let output = desk.command(PLAN).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.contains("STRANDED: acme/old  epoch 3") && text.ends_with("keys would be stranded\n"),
        "{text}"
    );
}

#[test]
fn a_pair_that_is_forgotten_a_grace_of_none_and_one_that_ended_strand() {
    let desk = desk();
    with_assets(&desk);
    // Active again, without a pair from anywhere.
    propose(&desk, "v2", "v3", "--state boot-2 --predecessor boot-1 --enrolment boot-2.json");
    let outcome = desk.run(PLAN);
    assert_eq!(names(&outcome.json["assets"]["stranded"]), ["old", "new"]);
    for (grace, fate) in [("none", "stranded"), ("2030-01-01T00:00:00Z", "until")] {
        std::fs::remove_file(desk.at("v3")).unwrap();
        let change = format!("--state boot-2 --replaces boot-1 --grace {grace} --enrolment boot-2.json");
        propose(&desk, "v2", "v3", &change);
        let outcome = desk.run(PLAN);
        assert_eq!(names(&outcome.json["assets"][fate]), ["new"], "{grace}");
        assert_eq!(outcome.exit, i32::from(fate == "stranded"), "{grace}");
    }
    let until = &desk.done(PLAN)["assets"]["until"][0];
    assert_eq!((&until["fate"], &until["until"]), (&json!("until"), &json!("2030-01-01T00:00:00Z")));
    // The same manifest, a second before the end and at it.
    desk.done(&format!("{PLAN} --at 2029-12-31T23:59:59Z"));
    let outcome = desk.run(&format!("{PLAN} --at 2030-01-01T00:00:00Z"));
    assert_eq!((outcome.exit, names(&outcome.json["assets"]["stranded"])), (1, vec!["new"]));
}

#[test]
fn an_asset_of_a_binding_that_nobody_knows_is_stranded_and_a_retired_one_is_not() {
    let desk = desk();
    propose(&desk, "v2", "v3", "--set-session-ttl 60");
    let mut retired = asset("retired", &json!("ab".repeat(32)));
    retired["retired_at"] = "2026-11-21T04:00:00Z".into();
    desk.write("assets.json", whole(std::slice::from_ref(&retired)).to_string());
    assert_eq!(desk.done(PLAN)["assets"]["retired"], 1);
    desk.write("assets.json", whole(&[retired, asset("lost", &json!("ab".repeat(32)))]).to_string());
    // With nothing to compare it with, it could have been usable.
    let outcome = desk.run("manifest plan v3 --assets assets.json");
    assert_eq!((outcome.exit, names(&outcome.json["assets"]["stranded"])), (1, vec!["lost"]));
    assert_eq!(outcome.json["assets"]["stranded"][0]["bound_to"], Value::Null);
}

#[test]
fn what_is_unusable_already_is_listed_and_does_not_count() {
    let desk = desk();
    propose(&desk, "v2", "v3", "--retire boot-0");
    let (old, lost) = (binding(&desk, "v2", "boot-0"), json!("ab".repeat(32)));
    desk.write("assets.json", whole(&[asset("lost", &lost)]).to_string());
    let plan = desk.done(PLAN);
    assert_eq!((names(&plan["assets"]["unusable_already"]), &plan["strands"]), (vec!["lost"], &json!(false)));
    assert_eq!((names(&plan["assets"]["stranded"]), &plan["actions"]), (vec![], &json!([])));
    // Beside it, one that the manifest strands.
    desk.write("assets.json", whole(&[asset("lost", &lost), asset("old", &old)]).to_string());
    let outcome = desk.run(PLAN);
    assert_eq!((outcome.exit, names(&outcome.json["assets"]["stranded"])), (1, vec!["old"]));
    assert_eq!(names(&outcome.json["assets"]["unusable_already"]), ["lost"]);
    // After that, it is one of them.
    propose(&desk, "v3", "v4", "--set-session-ttl 60");
    let plan = desk.done("manifest plan v4 --current v3 --assets assets.json");
    assert_eq!(names(&plan["assets"]["unusable_already"]), ["lost", "old"]);
    // No permission is taken from what cannot sign.
    permit(&desk, "v4", json!([]));
    let plan = desk.done("manifest plan v4 --current v3 --assets assets.json");
    assert_eq!((names(&plan["assets"]["permission_lost"]), &plan["forbids"]), (vec![], &json!(false)));
    assert_eq!(plan["assets"]["unusable_already"][1]["no_longer_permitted"], json!(["message"]));
    assert_eq!(names(&plan["assets"]["not_permitted"]), ["lost", "old"]);
}

/// The permissions of a manifest instead of its own.
fn permit(desk: &Desk, manifest: &str, permissions: Value) {
    let mut envelope = Envelope::parse(&desk.read(manifest)).unwrap();
    let mut payload: Value = serde_json::from_slice(&envelope.payload).unwrap();
    payload["permissions"] = permissions;
    envelope.payload = serde_json::to_vec(&payload).unwrap();
    std::fs::remove_file(desk.at(manifest)).unwrap();
    desk.write(manifest, envelope.to_json());
}

/// Lets `assets` of everybody sign `kinds` with these algorithms.
fn permission(assets: &str, algorithms: &[&str], kinds: &[&str]) -> Value {
    json!({"tenant": "*", "asset": assets, "algorithms": algorithms, "sign": kinds})
}

const BOTH: [&str; 2] = ["message", "digest"];

#[test]
fn each_kind_of_payload_that_is_no_longer_permitted_is_told_and_counts() {
    let desk = desk();
    let every = ["ES256", "EdDSA"];
    permit(&desk, "v2", json!([permission("*", &every, &BOTH)]));
    let new = binding(&desk, "v2", "boot-1");
    let (mut hot, cold) = (asset("hot", &new), asset("cold", &new));
    hot["algorithm"] = "ES256".into();
    desk.write("assets.json", whole(&[hot, cold]).to_string());
    propose(&desk, "v2", "v3", "--set-session-ttl 60");
    let (hot, cold) = ("hot", "cold");
    for (permissions, lost, none_left) in [
        (json!([permission("*", &every, &BOTH)]), vec![], vec![]),
        // The same said otherwise.
        (
            json!([permission(hot, &every, &["digest"]), permission("*", &every, &["message"])]),
            vec![],
            vec![],
        ),
        // Ed25519 never signs a digest: it loses nothing.
        (json!([permission("*", &every, &["message"])]), vec![(hot, json!(["digest"]))], vec![]),
        (
            json!([permission("*", &every, &["digest"])]),
            vec![(hot, json!(["message"])), (cold, json!(["message"]))],
            vec![cold],
        ),
        (json!([permission(hot, &every, &BOTH)]), vec![(cold, json!(["message"]))], vec![cold]),
        (json!([permission("*", &["EdDSA"], &BOTH)]), vec![(hot, json!(BOTH))], vec![hot]),
        (json!([]), vec![(hot, json!(BOTH)), (cold, json!(["message"]))], vec![hot, cold]),
    ] {
        permit(&desk, "v3", permissions.clone());
        let outcome = desk.run(PLAN);
        let (assets, forbids) = (&outcome.json["assets"], !lost.is_empty());
        assert_eq!((outcome.exit, &outcome.json["forbids"]), (i32::from(forbids), &json!(forbids)));
        assert_eq!((&outcome.json["strands"], names(&assets["not_permitted"])), (&json!(false), none_left));
        let told = assets["permission_lost"].as_array().unwrap().iter();
        let told = told.map(|one| (one["asset"].as_str().unwrap(), one["no_longer_permitted"].clone()));
        assert_eq!(told.collect::<Vec<_>>(), lost, "{permissions}");
        let actions = outcome.json["actions"].to_string();
        assert_eq!(actions.contains("permit what the assets sign"), forbids, "{actions}");
    }
    let output = desk.command(PLAN).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("PERMISSION LOST: acme/hot  ") && text.contains("; 2 lose a permission\n"),
        "{text}"
    );
    assert!(text.contains("]  may no longer sign: message, digest\n"), "{text}");
    assert!(text.ends_with("assets would lose a permission to sign\n"), "{text}");
    // What was not permitted before is not lost; what becomes permitted is no loss.
    permit(&desk, "v2", json!([]));
    propose(&desk, "v2", "v5", "--set-session-ttl 60");
    let plan = "manifest plan v5 --current v2 --assets assets.json";
    assert_eq!(names(&desk.done(plan)["assets"]["not_permitted"]), ["hot", "cold"]);
    permit(&desk, "v5", json!([permission("*", &every, &BOTH)]));
    assert_eq!(desk.done(plan)["assets"]["permission_lost"], json!([]));
}

#[test]
fn a_binding_that_no_current_epoch_has_is_warned_of_because_earlier_epochs_may() {
    let desk = desk();
    propose(&desk, "v2", "v3", "--retire boot-0");
    let (old, new) = (binding(&desk, "v2", "boot-0"), binding(&desk, "v2", "boot-1"));
    let warned = |plan: &Value| plan["warnings"].to_string().contains("earlier epochs may, which sign");
    // Rotated into the new state: its epochs before are bound to the old one.
    desk.write("assets.json", whole(&[asset("rotated", &new)]).to_string());
    let plan = desk.done(PLAN);
    assert!(warned(&plan) && plan["warnings"].to_string().contains("boot-0"), "{}", plan["warnings"]);
    assert_eq!((&plan["strands"], &plan["bindings"][0]["would_strand"]), (&json!(false), &json!(true)));
    // A retired asset signs in no epoch, but others may.
    let mut retired = asset("retired", &old);
    retired["retired_at"] = "2026-11-21T04:00:00Z".into();
    desk.write("assets.json", whole(&[retired]).to_string());
    assert!(warned(&desk.done(PLAN)));
    // One that is shown is stranded, which says more.
    desk.write("assets.json", whole(&[asset("old", &old)]).to_string());
    assert!(!warned(&desk.run(PLAN).json));
    // Nothing is stranded, or it was before.
    propose(&desk, "v3", "v4", "--set-session-ttl 60");
    desk.write("assets.json", whole(&[asset("rotated", &new)]).to_string());
    assert!(!warned(&desk.done("manifest plan v4 --current v3 --assets assets.json")));
}

#[test]
fn without_assets_the_bindings_decide() {
    let desk = desk();
    propose(&desk, "v2", "v3", "--retire boot-0");
    let outcome = desk.run("manifest plan v3 --current v2");
    assert_eq!((outcome.exit, &outcome.json["bindings"][0]["would_strand"]), (1, &json!(true)));
    assert!(outcome.json["actions"].to_string().contains("--agent or --assets"));
    // Retired on purpose, as far as is known.
    let plan = desk.done("manifest plan v3");
    assert!(plan["warnings"][0].as_str().unwrap().contains("nothing is compared"));
}

#[test]
fn a_state_that_leaves_the_seal_and_assets_without_permission_are_told() {
    let desk = desk();
    with_assets(&desk);
    propose(&desk, "v2", "v3", "--state boot-2 --replaces boot-1 --enrolment boot-2.json");
    let plan = desk.done(PLAN);
    assert_eq!(plan["seal"]["dropped"], json!(["boot-1"]));
    assert!(plan["warnings"][0].as_str().unwrap().contains("neither attests nor unlocks"));
    assert_eq!(plan["assets"]["not_permitted"], json!([]));
    let mut skeleton = desk.json("node/manifest.json");
    skeleton["permissions"] = json!([]);
    desk.write("node/manifest.json", skeleton.to_string());
    desk.done("manifest propose --draft node/manifest.json --node node-1 --state boot-0 --enrolment boot-0.json -o w1");
    desk.write("assets.json", whole(&[asset("old", &binding(&desk, "w1", "boot-0"))]).to_string());
    // What was permitted before is not known.
    let outcome = desk.run("manifest plan w1 --assets assets.json");
    assert_eq!((outcome.exit, names(&outcome.json["assets"]["not_permitted"])), (1, vec!["old"]));
    assert_eq!((&outcome.json["strands"], &outcome.json["forbids"]), (&json!(false), &json!(true)));
}

#[test]
fn what_cannot_be_planned_is_refused() {
    let desk = desk();
    with_assets(&desk);
    propose(&desk, "v2", "v3", "--set-session-ttl 60");
    desk.fails("manifest plan v3 --current v1", 1, "PREVIOUS_DIFFERS");
    desk.fails("manifest plan v2 --current v2", 1, "PREVIOUS_DIFFERS");
    desk.fails("manifest plan assets.json", 2, "MANIFEST");
    desk.fails("manifest plan v3 --agent --assets assets.json", 2, "USAGE");
    desk.fails("manifest plan v3 --agent", 2, "NO_SOCKET");
    desk.write("bad", "{}");
    desk.fails("manifest plan v3 --assets bad", 2, "ASSETS");
}

#[test]
fn a_list_that_leaves_out_any_asset_is_refused() {
    let desk = desk();
    propose(&desk, "v2", "v3", "--set-session-ttl 60");
    let whole = whole(&[asset("new", &binding(&desk, "v2", "boot-1"))]);
    let refused = |list: &Value, found: &str| {
        desk.write("part", list.to_string());
        let outcome = desk.fails("manifest plan v3 --current v2 --assets part", 2, "ASSETS");
        let detail = outcome.detail();
        assert!(detail.starts_with("expected every asset of the node in "), "{detail}");
        assert!(detail.ends_with(&format!("part, found {found}")), "{detail}");
    };
    for (what, found) in [
        ("every_tenant", "a list of 1: those of some tenants only"),
        ("every_age", "a list of 1: those of some age only"),
        ("from_start", "a list of 1: a page that does not begin with the first asset"),
    ] {
        let mut part = whole.clone();
        part["covers"][what] = false.into();
        refused(&part, found);
    }
    let mut part = whole.clone();
    part["next"] = json!({"after_tenant": "acme", "after_asset": "new"});
    refused(&part, "a list of 1: a page that says that more follow");
    // What does not say what it covers covers nothing.
    for broken in ["covers", "every_tenant", "every_age", "from_start"] {
        let mut part = whole.clone();
        let of = if broken == "covers" { &mut part } else { &mut part["covers"] };
        of.as_object_mut().unwrap().remove(broken);
        desk.write("part", part.to_string());
        let outcome = desk.fails("manifest plan v3 --current v2 --assets part", 2, "ASSETS");
        let missing = format!("missing field `{broken}`");
        assert!(outcome.detail().contains(&missing), "{}", outcome.detail());
    }
    desk.write("part", whole.to_string());
    desk.done("manifest plan v3 --current v2 --assets part");
}

/// Answers with the manifest in force and with assets in pages of one; each page says which tenants it has.
fn agent(desk: &Desk, manifest: Vec<u8>, assets: Vec<(Value, bool)>) {
    let listener = UnixListener::bind(desk.at("agent.sock")).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            serve(stream.unwrap(), &manifest, &assets);
        }
    });
}

fn serve(mut stream: UnixStream, manifest: &[u8], assets: &[(Value, bool)]) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut asked = String::new();
    reader.read_line(&mut asked).unwrap();
    let mut header = String::new();
    while reader.read_line(&mut header).unwrap() > 2 {
        header.clear();
    }
    let body = if asked.contains("/v1/manifest") {
        manifest.to_vec()
    } else {
        let after = assets.iter().position(|(asset, _)| {
            asked.contains(&format!("after_asset={} ", asset["asset"].as_str().unwrap()))
        });
        let index = after.map_or(0, |after| after + 1);
        let (page, every_tenant) = &assets[index];
        let mut list = whole(std::slice::from_ref(page));
        list["covers"]["every_tenant"] = (*every_tenant).into();
        list["covers"]["from_start"] = (index == 0).into();
        if index + 1 < assets.len() {
            list["next"] = json!({"after_tenant": page["tenant"], "after_asset": page["asset"]});
        }
        list.to_string().into_bytes()
    };
    write!(stream, "HTTP/1.1 200 x\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
    stream.write_all(&body).unwrap();
}

#[test]
fn the_agents_manifest_and_every_page_of_its_assets_are_looked_at() {
    let desk = desk();
    propose(&desk, "v2", "v3", "--retire boot-0");
    let old = binding(&desk, "v2", "boot-0");
    let assets = ["a", "b", "c"].map(|name| (asset(name, &old), true)).to_vec();
    agent(&desk, desk.read("v2"), assets);
    let outcome = desk.run("manifest plan v3 --agent");
    assert_eq!((outcome.exit, names(&outcome.json["assets"]["stranded"])), (1, vec!["a", "b", "c"]));
    assert_eq!(outcome.json["current"]["version"], 2);
    assert_eq!(outcome.stderr, "read 1 assets\nread 2 assets\nread 3 assets\n");
}

#[test]
fn an_agent_that_shows_some_tenants_only_is_refused_and_its_list_says_so() {
    for tenants in [[false, false], [true, false], [false, true]] {
        let desk = desk();
        propose(&desk, "v2", "v3", "--set-session-ttl 60");
        let new = binding(&desk, "v2", "boot-1");
        let pages = ["a", "b"].into_iter().zip(tenants);
        agent(&desk, desk.read("v2"), pages.map(|(name, every)| (asset(name, &new), every)).collect());
        let outcome = desk.fails("manifest plan v3 --agent", 2, "ASSETS");
        assert_eq!(
            outcome.detail(),
            "expected every asset of the node, found a list of 2: those of some tenants only"
        );
        let list = desk.done("asset list");
        assert_eq!(list["covers"], json!({"every_tenant": false, "every_age": true, "from_start": true}));
        desk.write("assets.json", list.to_string());
        desk.fails(PLAN, 2, "ASSETS");
        // The last page alone.
        let list = desk.done("asset list --limit 1 --after-tenant acme --after-asset a");
        assert_eq!((&list["covers"]["from_start"], list.get("next")), (&json!(false), None));
        desk.write("assets.json", list.to_string());
        desk.fails(PLAN, 2, "ASSETS");
    }
}

#[test]
fn all_pages_that_the_agent_listed_are_whole() {
    let desk = desk();
    propose(&desk, "v2", "v3", "--set-session-ttl 60");
    let new = binding(&desk, "v2", "boot-1");
    agent(&desk, desk.read("v2"), ["a", "b"].map(|name| (asset(name, &new), true)).to_vec());
    desk.write("assets.json", desk.done("asset list").to_string());
    assert_eq!(desk.done(PLAN)["assets"]["read"], 2);
}
