//! What documents promise of evidence: its schema has every key that the type has, and its table names every check.
#![allow(clippy::unwrap_used)]

mod fake;
mod scene;

use std::collections::BTreeSet;

use scene::Scene;
use sealstone_attestation::{
    Base64Bytes, ChallengeRecord, DeploymentId, Evidence, HexBytes, Sha256Digest, UnixTime, Verdict,
    manifest_refused,
};
use serde::Serialize;
use serde_json::Value;

fn schema() -> Value {
    serde_json::from_str(include_str!("../../docs/evidence.schema.json")).unwrap()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn required(schema: &Value) -> BTreeSet<&str> {
    schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

/// The type has all keys of the schema when everything is there, and the required ones when nothing more is.
fn same_keys(schema: &Value, whole: &impl Serialize, least: &impl Serialize) {
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(keys(&serde_json::to_value(whole).unwrap()), keys(&schema["properties"]));
    assert_eq!(keys(&serde_json::to_value(least).unwrap()), required(schema));
}

#[test]
fn the_schema_has_the_keys_of_the_types() {
    let (schema, scene) = (schema(), Scene::new());
    let least = scene.evidence();
    let any = least.manifest.clone();
    let whole = Evidence {
        ek_certificates: vec![HexBytes(vec![0x30])],
        enrolment: Some(any.clone()),
        predecessors: vec![any.clone()],
        event_log: Some(Base64Bytes(vec![1])),
        ima_log: Some(Base64Bytes(vec![1])),
        challenge: Some(any.clone()),
        ..least.clone()
    };
    same_keys(&schema, &whole, &least);
    let part = |name: &str| schema["$defs"][name].clone();
    same_keys(&part("envelope"), &any, &any);
    let signature = &part("envelope")["properties"]["signatures"]["items"];
    same_keys(signature, &any.signatures[0], &any.signatures[0]);
    same_keys(&part("quote"), &least.quote, &least.quote);
    let mut report = scene.report();
    report.build.binary_sha256 = Some(Sha256Digest::of(b"x"));
    same_keys(&part("report"), &report, &report);
    same_keys(&part("report")["properties"]["build"], &report.build, &report.build);
    let protections = &part("report")["properties"]["protections"]["items"];
    same_keys(protections, &report.protections[0], &report.protections[0]);
    let record = ChallengeRecord {
        format: 1,
        nonce: scene::nonce(),
        who: "x".to_owned(),
        chosen_at: UnixTime::from_secs(1),
        not_after: None,
        deployment: None,
        node: None,
    };
    let narrow = ChallengeRecord {
        not_after: Some(UnixTime::from_secs(2)),
        deployment: Some(DeploymentId::from_bytes([1; 16])),
        node: Some("x".to_owned()),
        ..record.clone()
    };
    same_keys(&part("challenge"), &narrow, &record);
    assert!(schema["title"].as_str().unwrap().contains(Evidence::MEDIA_TYPE));
    for (name, payload_type) in [
        ("challenge", ChallengeRecord::PAYLOAD_TYPE),
        ("report", sealstone_attestation::Report::PAYLOAD_TYPE),
    ] {
        assert_eq!(
            schema["properties"][name]["allOf"][1]["properties"]["payloadType"]["const"],
            payload_type
        );
    }
}

/// The rows of the table of checks: name and level.
fn documented() -> Vec<(String, String)> {
    let text = include_str!("../../docs/evidence.md");
    let (_, table) = text.split_once("## The checks").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (name, rest) = row.split_once("` | `").unwrap();
        (name.to_owned(), rest.split_once('`').unwrap().0.to_owned())
    })
    .collect()
}

fn named(verdict: &Verdict) -> Vec<(String, String)> {
    verdict.checks().iter().map(|check| (check.name.to_owned(), check.level.name().to_owned())).collect()
}

#[test]
fn the_table_names_every_check_with_its_level_in_order() {
    let scene = Scene::new();
    let mut expected = named(&scene.appraise(&scene.evidence()));
    expected.extend(
        ["ek.chain", "ek.usage", "ek.strength", "ek.key"]
            .map(|name| (name.to_owned(), "authentic".to_owned())),
    );
    expected.extend(named(&manifest_refused(String::new())));
    assert_eq!(documented(), expected);
}

/// Programs rely on these names: none may change or go away unnoticed.
#[test]
fn the_names_of_checks_are_stable() {
    let scene = Scene::new();
    let names: Vec<String> =
        named(&scene.appraise(&scene.evidence())).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "quote.magic",
            "quote.type",
            "quote.well_formed",
            "ak.enrolled",
            "ak.attributes",
            "ak.name",
            "signature.scheme",
            "signature.valid",
            "statement.bound",
            "selection.not_empty",
            "selection.covers",
            "pcr.values",
            "pcr.digest",
            "state.approved",
            "clock.forward",
            "clock.counts",
            "firmware.allowed",
            "manifest.same",
            "report.signature",
            "report.manifest",
            "report.node",
            "evidence.purpose",
            "evidence.nonce",
            "challenge",
            "evidence.age",
            "log.anchored",
            "tpm.enrolled",
            "code.measured",
            "event_log",
            "ima",
        ]
    );
}

/// `appraise_ek` makes the checks that the table has of certificates.
#[cfg(feature = "endorsement")]
#[test]
fn the_checks_of_certificates_are_those_of_the_table() {
    use sealstone_attestation::endorsement::{PinnedCertificates, appraise_ek_of};
    let scene = Scene::new();
    let verdict = appraise_ek_of(&scene.evidence(), &PinnedCertificates::new(), scene::NOW);
    let documented: Vec<_> = documented().into_iter().filter(|(name, _)| name.starts_with("ek.")).collect();
    assert_eq!(named(&verdict), documented);
}
