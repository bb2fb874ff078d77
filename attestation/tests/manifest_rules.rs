//! The rules that a manifest must keep, and what it then permits.
#![allow(clippy::unwrap_used)]

mod fake;

use fake::{ISSUED_AT, Key, Machine, Person, Secret, authority, draft, next, state, verified};
use sealstone_attestation::{
    Algorithm, AssetPermission, Binding, BindingRefusal, Grace, HexBytes, Manifest, ManifestDigest,
    ManifestDraft, ManifestError, PayloadKind, PcrBank, PcrIndex, Scope, State, StateStatus, Succession,
    UnixTime,
};

fn good() -> ManifestDraft {
    draft(&Person::new(1), &[&Machine::new("node-1", 1)])
}

fn refused(change: impl FnOnce(&mut ManifestDraft)) -> ManifestError {
    let mut draft = good();
    change(&mut draft);
    Manifest::try_from(draft).unwrap_err()
}

fn index(index: u8) -> PcrIndex {
    PcrIndex::new(index).unwrap()
}

#[test]
fn a_manifest_reads_as_it_was_written() {
    let manifest = Manifest::try_from(good()).unwrap();
    assert_eq!(manifest.to_draft(), good());
    let again = Manifest::from_payload(&manifest.to_payload()).unwrap();
    assert_eq!(again, manifest);
    assert_eq!(manifest.digest(), ManifestDigest::of(&manifest.to_payload()));
    assert_eq!(manifest.session_ttl().as_secs(), 300);
    assert_eq!(manifest.version(), 1);
    let machine = Machine::new("node-1", 1);
    let node = manifest.node_by_ak(machine.ak.public().name()).unwrap();
    assert_eq!(node.name(), "node-1");
    assert_eq!(manifest.node_by_ak(machine.ek.public().name()), None);
}

#[test]
fn a_digest_is_of_the_bytes_as_received() {
    let manifest = Manifest::try_from(good()).unwrap();
    let pretty = serde_json::to_vec_pretty(&good()).unwrap();
    let other = Manifest::from_payload(&pretty).unwrap();
    assert_eq!(other.to_draft(), manifest.to_draft());
    assert_eq!(other.digest(), ManifestDigest::of(&pretty));
    assert_ne!(other.digest(), manifest.digest());
}

#[test]
fn json_that_is_not_exactly_a_manifest_is_refused() {
    let text = String::from_utf8(serde_json::to_vec(&good()).unwrap()).unwrap();
    let edits = [
        ("\"version\":1", "\"version\":1,\"extra\":0"),
        ("\"version\":1", "\"version\":1,\"version\":2"),
        ("\"version\":1", "\"version\":-1"),
        ("\"version\":1", "\"version\":1.5"),
        ("\"version\":1", "\"version\":18446744073709551616"),
        ("\"bank\":\"sha256\"", "\"bank\":\"sha256\",\"x\":0"),
        ("\"bank\":\"sha256\"", "\"bank\":\"md5\""),
        ("\"status\":\"active\"", "\"status\":\"Active\""),
        ("\"code\":\"none\"", "\"code\":\"trust me\""),
        ("2026-11-21T03:00:00Z", "2026-11-21T03:00:00+01:00"),
        ("\"pcrs\":{\"0\"", "\"pcrs\":{\"24\""),
        ("\"pcrs\":{\"0\"", "\"pcrs\":{\"4\""),
        ("\"session_permissions\"", "\"sessions\""),
        ("\"verify_signatures\":true", "\"verify_signatures\":1"),
        ("\"tenant\":\"*\"", "\"tenant\":\"\""),
        ("\"threshold\":1", "\"threshold\":2"),
        ("\"threshold\":1", "\"threshold\":0"),
        ("\"ek\":\"0023", "\"ek\":\"0025"),
        ("\"ak\":\"0023", "\"ak\":\"002300"),
    ];
    for (from, to) in edits {
        assert!(text.contains(from), "{from}");
        let edited = text.replacen(from, to, 1);
        let error = Manifest::from_payload(edited.as_bytes()).unwrap_err();
        assert!(matches!(error, ManifestError::Malformed(_)), "{to}: {error}");
    }
    for bytes in
        [&b""[..], b"null", b"[]", b"{}", b"\xff", &text.as_bytes()[1..], &text.as_bytes()[..text.len() - 1]]
    {
        assert!(matches!(Manifest::from_payload(bytes), Err(ManifestError::Malformed(_))));
    }
    let nested = "[".repeat(100_000);
    assert!(matches!(Manifest::from_payload(nested.as_bytes()), Err(ManifestError::Malformed(_))));
    let long = vec![b' '; Manifest::PAYLOAD_BYTES_MAX + 1];
    assert!(matches!(Manifest::from_payload(&long), Err(ManifestError::PayloadLength { .. })));
}

#[test]
fn format_version_and_predecessor_must_fit() {
    assert_eq!(refused(|draft| draft.format = 2), ManifestError::Format { expected: 1, found: 2 });
    assert_eq!(refused(|draft| draft.version = 0), ManifestError::VersionZero);
    assert_eq!(refused(|draft| draft.version = 2), ManifestError::WithoutPrevious { version: 2 });
    let previous = Some(fake::no_manifest());
    assert_eq!(refused(|draft| draft.previous = previous), ManifestError::FirstWithPrevious);
}

#[test]
fn a_session_lasts_from_ten_seconds_to_an_hour() {
    for found in [0, 9, 3601, u64::MAX] {
        let error = refused(|draft| draft.session_ttl_s = found);
        assert_eq!(error, ManifestError::SessionTtl { min: 10, max: 3600, found });
    }
    for seconds in [10, 3600] {
        let mut draft = good();
        draft.session_ttl_s = seconds;
        assert!(Manifest::try_from(draft).is_ok());
    }
}

#[test]
fn a_state_that_could_be_forged_or_means_nothing_is_refused() {
    let sha1 = refused(|draft| {
        draft.states[0].bank = PcrBank::Sha1;
        draft.states[0].pcrs.values_mut().for_each(|value| value.0.truncate(20));
    });
    assert!(matches!(sha1, ManifestError::StateBank { found: PcrBank::Sha1, .. }));
    for pcr in [10, 16, 23] {
        let error = refused(|draft| {
            draft.states[0].pcrs.insert(index(pcr), HexBytes(vec![0; 32]));
        });
        assert_eq!(error, ManifestError::StatePcr { state: "boot-1".to_owned(), found: index(pcr) });
    }
    let empty = refused(|draft| draft.states[0].pcrs.clear());
    assert!(matches!(empty, ManifestError::StateWithoutPcrs { .. }));
    let short = refused(|draft| {
        draft.states[0].pcrs.insert(index(0), HexBytes(vec![0; 31]));
    });
    assert!(matches!(short, ManifestError::Pcr(_)));
    let bank = refused(|draft| draft.states[0].bank = PcrBank::Sha384);
    assert!(matches!(bank, ManifestError::Pcr(_)));
    let long = refused(|draft| draft.states[0].transit_key_id = "x".repeat(256));
    assert!(matches!(long, ManifestError::TransitKeyId { found: 256, .. }));
}

#[test]
fn states_must_be_told_apart() {
    let twin = |name: &str| state(name, StateStatus::Active, &[(0, 0xa0), (4, 0xa4), (7, 0xa7)]);
    let name = refused(|draft| draft.states.push(state("boot-1", StateStatus::Active, &[(0, 1)])));
    assert!(matches!(name, ManifestError::RepeatedName { what: "state", .. }));
    let shared = refused(|draft| draft.states.push(twin("boot-2")));
    assert!(matches!(shared, ManifestError::SharedBinding { .. }));
    let mut retired = twin("old");
    retired.status = StateStatus::Retired;
    let shared = refused(|draft| draft.states.push(retired));
    assert!(matches!(shared, ManifestError::SharedBinding { .. }));
    // Another Transit key makes another binding, but a machine would be in both states.
    let mut other_route = twin("boot-2");
    other_route.transit_key_id = "transit-1".to_owned();
    let ambiguous = refused(|draft| draft.states.push(other_route.clone()));
    assert!(matches!(ambiguous, ManifestError::AmbiguousStates { .. }));
    let subset = refused(|draft| draft.states.push(state("boot-2", StateStatus::Active, &[(0, 0xa0)])));
    assert!(matches!(subset, ManifestError::AmbiguousStates { .. }));
    // As a predecessor it only names old bindings.
    other_route.status = StateStatus::Predecessor;
    let mut draft = good();
    draft.states.push(other_route);
    assert!(Manifest::try_from(draft).is_ok());
}

#[test]
fn counts_and_names_are_bounded() {
    let none = refused(|draft| draft.states.clear());
    assert_eq!(none, ManifestError::Count { what: "states", min: 1, max: 64, found: 0 });
    let many = refused(|draft| {
        draft.states =
            (0..65).map(|n| state(&format!("s{n}"), StateStatus::Active, &[(0, n), (1, n)])).collect();
    });
    assert_eq!(many, ManifestError::Count { what: "states", min: 1, max: 64, found: 65 });
    let idle = refused(|draft| draft.states[0].status = StateStatus::Predecessor);
    assert_eq!(idle, ManifestError::NoActiveState);
    let nobody = refused(|draft| draft.nodes.clear());
    assert!(matches!(nobody, ManifestError::Count { what: "nodes", .. }));
    for name in [String::new(), "x".repeat(65)] {
        let found = name.len();
        let state = refused(|draft| draft.states[0].name.clone_from(&name));
        assert_eq!(state, ManifestError::NameLength { what: "state", expected: 64, found });
        let node = refused(|draft| draft.nodes[0].name.clone_from(&name));
        assert_eq!(node, ManifestError::NameLength { what: "node", expected: 64, found });
    }
    let rule = good().permissions[0].clone();
    let many = refused(|draft| draft.permissions = vec![rule; 1025]);
    assert!(matches!(many, ManifestError::Count { what: "permissions", found: 1025, .. }));
}

#[test]
fn a_tpm_key_has_one_node_and_one_use() {
    // CVE-2025-13609: an identity registered again with another TPM.
    let name = refused(|draft| {
        let again = Machine::new("node-1", 2).draft();
        draft.nodes.push(again);
    });
    assert!(matches!(name, ManifestError::RepeatedName { what: "node", .. }));
    let shared_ek = refused(|draft| {
        let mut other = Machine::new("node-2", 2).draft();
        other.ek = draft.nodes[0].ek.clone();
        draft.nodes.push(other);
    });
    assert!(matches!(shared_ek, ManifestError::SharedKey { .. }));
    let shared_ak = refused(|draft| {
        let mut other = Machine::new("node-2", 2).draft();
        other.ak = draft.nodes[0].ak.clone();
        draft.nodes.push(other);
    });
    assert!(matches!(shared_ak, ManifestError::SharedKey { .. }));
    // One key under two sets of attributes.
    let one_key = refused(|draft| {
        draft.nodes[0].ek = Key::ek(Secret::p256(9)).public();
        draft.nodes[0].ak = Key::ak(Secret::p256(9), fake::ECDSA, fake::SHA256).public();
    });
    assert!(matches!(one_key, ManifestError::SharedKey { .. }));
    let swapped = refused(|draft| draft.nodes[0].ek = draft.nodes[0].ak.clone());
    assert!(matches!(swapped, ManifestError::EndorsementKey { .. }));
    let nothing = refused(|draft| draft.nodes[0].firmware = Some(vec![]));
    assert!(matches!(nothing, ManifestError::Firmware { found: 0, .. }));
}

fn pair(from: &str, to: &str, grace: Grace) -> Succession {
    Succession { from: from.to_owned(), to: to.to_owned(), grace }
}

#[test]
fn a_succession_leads_from_a_state_in_use_to_another_active_one() {
    let with = |successions: Vec<Succession>| {
        refused(|draft| {
            draft.states.push(state("old", StateStatus::Predecessor, &[(0, 0x10)]));
            draft.states.push(state("gone", StateStatus::Retired, &[(0, 0x20)]));
            draft.successions = successions;
        })
    };
    let unknown = with(vec![pair("boot-0", "boot-1", Grace::Forever)]);
    assert_eq!(unknown, ManifestError::SuccessionState { name: "boot-0".to_owned() });
    for (from, to) in
        [("gone", "boot-1"), ("boot-1", "old"), ("old", "gone"), ("boot-1", "boot-1"), ("old", "old")]
    {
        let error = with(vec![pair(from, to, Grace::Forever)]);
        assert!(matches!(error, ManifestError::SuccessionStatus { .. }), "{from} to {to}");
    }
    let twice = with(vec![pair("old", "boot-1", Grace::None), pair("old", "boot-1", Grace::Forever)]);
    assert!(matches!(twice, ManifestError::RepeatedSuccession { .. }));
}

/// `old` precedes `boot-1`; `older` has no successor; `gone` is retired; `boot-2` is active as well.
fn with_history(grace: Grace) -> Manifest {
    let mut draft = good();
    draft.states.push(state("old", StateStatus::Predecessor, &[(0, 0x10)]));
    draft.states.push(state("older", StateStatus::Predecessor, &[(0, 0x11)]));
    draft.states.push(state("gone", StateStatus::Retired, &[(0, 0x20)]));
    draft.states.push(state("boot-2", StateStatus::Active, &[(0, 0x30), (4, 0x30), (7, 0x30)]));
    draft.successions = vec![pair("old", "boot-1", grace)];
    Manifest::try_from(draft).unwrap()
}

fn named<'m>(manifest: &'m Manifest, name: &str) -> &'m State {
    manifest.state_by_name(name).unwrap()
}

#[test]
fn a_key_is_derived_in_its_own_state_and_in_listed_successors_only() {
    let manifest = with_history(Grace::Forever);
    let now = UnixTime::from_secs(ISSUED_AT + 1);
    let derive = |recorded: &str, current: &str| {
        manifest.may_derive(named(&manifest, recorded).binding(), named(&manifest, current), now)
    };
    assert_eq!(derive("boot-1", "boot-1"), Ok(()));
    assert_eq!(derive("old", "boot-1"), Ok(()));
    // Pairs are ordered, explicit and not transitive.
    assert!(matches!(derive("old", "boot-2"), Err(BindingRefusal::NoSuccession { .. })));
    assert!(matches!(derive("boot-1", "boot-2"), Err(BindingRefusal::NoSuccession { .. })));
    assert!(matches!(derive("older", "boot-1"), Err(BindingRefusal::NoSuccession { .. })));
    assert!(matches!(derive("gone", "boot-1"), Err(BindingRefusal::Retired { .. })));
    assert!(matches!(derive("old", "old"), Err(BindingRefusal::CurrentNotActive { .. })));
    let unknown = Binding::from_bytes([9; 32]);
    let refusal = manifest.may_derive(unknown, named(&manifest, "boot-1"), now);
    assert_eq!(refusal, Err(BindingRefusal::UnknownBinding { recorded: unknown }));
}

#[test]
fn a_grace_ends_at_its_date_whatever_the_host_clock_says_before_the_manifest() {
    let end = UnixTime::from_secs(ISSUED_AT + 100);
    let manifest = with_history(Grace::Until(end));
    let at = |seconds: u64| {
        let recorded = named(&manifest, "old").binding();
        manifest.may_derive(recorded, named(&manifest, "boot-1"), UnixTime::from_secs(seconds))
    };
    assert_eq!(at(ISSUED_AT + 99), Ok(()));
    assert!(matches!(at(ISSUED_AT + 100), Err(BindingRefusal::GraceEnded { at, .. }) if at == end));
    assert!(at(u64::MAX).is_err());
    // A clock that was set back is raised to when the manifest was issued.
    assert_eq!(at(0), Ok(()));
    let over = with_history(Grace::Until(UnixTime::from_secs(ISSUED_AT - 1)));
    let refusal = over.may_derive(
        named(&over, "old").binding(),
        named(&over, "boot-1"),
        UnixTime::from_secs(ISSUED_AT - 50),
    );
    assert!(matches!(refusal, Err(BindingRefusal::GraceEnded { .. })));
    let none = with_history(Grace::None);
    let refusal =
        none.may_derive(named(&none, "old").binding(), named(&none, "boot-1"), UnixTime::from_secs(0));
    assert!(matches!(refusal, Err(BindingRefusal::GraceEnded { .. })));
}

#[test]
fn a_state_that_a_newer_manifest_dropped_derives_nothing() {
    let old = with_history(Grace::Forever);
    let mut draft = next(&old);
    draft.states.retain(|state| state.name != "boot-2");
    let new = Manifest::try_from(draft).unwrap();
    let dropped = named(&old, "boot-2");
    let refusal = new.may_derive(dropped.binding(), dropped, UnixTime::from_secs(ISSUED_AT));
    assert_eq!(refusal, Err(BindingRefusal::CurrentNotActive { current: "boot-2".to_owned() }));
}

#[test]
fn a_quote_must_cover_every_active_state() {
    let mut draft = good();
    let mut wide = state("boot-2", StateStatus::Active, &[(0, 1), (2, 1)]);
    wide.bank = PcrBank::Sha384;
    wide.pcrs.values_mut().for_each(|value| value.0 = vec![1; 48]);
    draft.states.push(wide);
    draft.states.push(state("old", StateStatus::Predecessor, &[(9, 1)]));
    let selection = Manifest::try_from(draft).unwrap().quote_selection();
    let indices = |bank| selection[&bank].iter().map(|index| index.get()).collect::<Vec<_>>();
    assert_eq!(indices(PcrBank::Sha256), [0, 4, 7]);
    assert_eq!(indices(PcrBank::Sha384), [0, 2]);
    assert_eq!(selection.len(), 2);
}

#[test]
fn permissions_name_tenant_asset_algorithm_and_kind() {
    let mut draft = good();
    draft.permissions = vec![
        AssetPermission {
            tenant: "acme".into(),
            asset: Scope::Any,
            algorithms: vec![Algorithm::Es256, Algorithm::EdDsa],
            sign: vec![PayloadKind::Message],
        },
        AssetPermission {
            tenant: "acme".into(),
            asset: "hot".into(),
            algorithms: Algorithm::ALL.to_vec(),
            sign: vec![PayloadKind::Digest],
        },
    ];
    draft.session_permissions.clear();
    let manifest = verified(&draft, &[&Person::new(1)]);
    let manifest = manifest.manifest();
    use Algorithm::{EdDsa, Es256, Es256k};
    use PayloadKind::{Digest, Message};
    assert!(manifest.permits_asset("acme", "hot", Es256, Message));
    assert!(manifest.permits_asset("acme", "cold", EdDsa, Message));
    assert!(manifest.permits_asset("acme", "hot", Es256k, Digest));
    assert!(!manifest.permits_asset("acme", "hot", Es256k, Message));
    assert!(!manifest.permits_asset("acme", "cold", Es256, Digest));
    assert!(!manifest.permits_asset("acme", "hot", EdDsa, Digest));
    assert!(!manifest.permits_asset("ACME", "hot", Es256, Message));
    assert!(!manifest.permits_asset("acme ", "hot", Es256, Message));
    assert!(!manifest.permits_session("acme", "0xabc", Es256, Message));
}

#[test]
fn a_permission_for_nothing_is_a_slip() {
    let none = refused(|draft| draft.permissions[0].algorithms.clear());
    assert_eq!(none, ManifestError::PermissionLists);
    let twice = refused(|draft| draft.session_permissions[0].sign = vec![PayloadKind::Message; 2]);
    assert_eq!(twice, ManifestError::PermissionLists);
    let long = refused(|draft| draft.permissions[0].tenant = Scope::Named("x".repeat(256)));
    assert!(matches!(long, ManifestError::Malformed(_)));
}

#[test]
fn a_set_of_many_authorities_fits() {
    let people: Vec<Person> = (1..=32).map(Person::new).collect();
    let people: Vec<&Person> = people.iter().collect();
    let mut draft = good();
    draft.authority = authority(20, &people);
    assert_eq!(verified(&draft, &people[..20]).manifest().authority().keys().len(), 32);
}
