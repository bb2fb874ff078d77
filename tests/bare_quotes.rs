//! Stories of quotes without a manifest, from files alone.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

mod support;

use p256::pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding};
use sealstone_attestation::Purpose;
use serde_json::{Value, json};
use support::evidence::evidence;
use support::{Desk, attestation_key, attestation_scalar};

/// A quote as some tool left it: `q.msg`, `q.sig`, `ak.pub`, `pcrs.json`; and the nonce that it answers.
fn quoted() -> (Desk, String) {
    let desk = Desk::with_proposal(&["alice"], 1);
    desk.done("manifest sign v1 --key alice.key");
    let evidence = evidence(&desk.read("v1"), 1, 3, Purpose::Evidence);
    desk.write("q.msg", &evidence.quote.attest);
    desk.write("q.sig", &evidence.quote.signature);
    desk.write("ak.pub", attestation_key(1));
    desk.write("pcrs.json", serde_json::to_vec(&evidence.quote.pcrs).unwrap());
    let attest = hex(&evidence.quote.attest);
    // Behind magic, type and signer: a length of two bytes, then the nonce.
    let from = 2 * (4 + 2 + 2 + 34 + 2);
    (desk, attest[from..from + 64].to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn verdict(desk: &Desk, options: &str) -> (i32, Value) {
    let outcome = desk.run(&format!("quote verify --attest q.msg --signature q.sig {options}"));
    (outcome.exit, outcome.json)
}

fn failed(json: &Value) -> Vec<&str> {
    let checks = json["checks"].as_array().unwrap().iter();
    checks.filter(|check| check["result"] == "failed").map(|check| check["name"].as_str().unwrap()).collect()
}

#[test]
fn a_quote_is_accepted_for_its_nonce_and_its_key() {
    let (desk, nonce) = quoted();
    let (exit, json) = verdict(&desk, &format!("--ak ak.pub --nonce {nonce} --pcrs pcrs.json"));
    assert_eq!((exit, &json["accepted"]), (0, &json!(true)), "{json}");
    assert_eq!(json["quote"]["nonce"], json!(nonce));
    assert_eq!(json["quote"]["pcrs"], desk.json("pcrs.json"));
    let mut text =
        desk.command(&format!("quote verify --attest q.msg --signature q.sig --ak ak.pub --nonce {nonce}"));
    let text = String::from_utf8(text.output().unwrap().stdout).unwrap();
    assert!(text.contains("pass signature.valid") && text.contains("\naccepted\n"), "{text}");
}

#[test]
fn what_is_wrong_is_refused_by_the_check_that_is_about_it() {
    let (desk, nonce) = quoted();
    desk.write("other.pub", attestation_key(2));
    desk.write("more.json", json!({"sha256": {"0": "03".repeat(32), "9": "03".repeat(32)}}).to_string());
    desk.write("empty.json", "{}");
    desk.write("list", "10 0adefe762c149c7cec19da62f0da1297fcfbffff x y\n");
    let usual = format!("--ak ak.pub --nonce {nonce}");
    for (options, check) in [
        (format!("--ak ak.pub --nonce {}", "00".repeat(32)), "nonce.answered"),
        ("--ak ak.pub --nonce=".to_owned(), "nonce.answered"),
        (format!("--ak other.pub --nonce {nonce}"), "signature.valid"),
        (format!("{usual} --pcrs more.json"), "pcr.values"),
        (format!("{usual} --pcrs empty.json"), "pcr.values"),
        (format!("{usual} --ima list"), "ima"),
        (format!("{usual} --pcrs pcrs.json --ima list"), "ima"),
    ] {
        let (exit, json) = verdict(&desk, &options);
        assert_eq!((exit, &json["quote"]), (1, &Value::Null), "{options}: {json}");
        assert!(failed(&json).contains(&check), "{options}: {json}");
    }
}

/// PEM and DER, of a key alone and of a certificate: none of them says that the key is restricted.
#[test]
fn a_key_without_attributes_is_believed_only_on_trust() {
    let (desk, nonce) = quoted();
    let secret = p256::SecretKey::from_slice(&attestation_scalar(1)).unwrap();
    let der = secret.to_pkcs8_der().unwrap();
    let key = rcgen::KeyPair::try_from(der.as_bytes()).unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["ak".to_owned()]).unwrap().self_signed(&key).unwrap();
    let public = secret.public_key();
    desk.write("key.pem", public.to_public_key_pem(LineEnding::LF).unwrap());
    desk.write("key.der", public.to_public_key_der().unwrap());
    desk.write("certificate.pem", format!("An attestation key:\n{}", certificate.pem()));
    desk.write("certificate.der", certificate.der());
    for ak in ["key.pem", "key.der", "certificate.pem", "certificate.der"] {
        let usual = format!("--ak {ak} --nonce {nonce} --pcrs pcrs.json");
        let (exit, json) = verdict(&desk, &usual);
        assert_eq!((exit, failed(&json)), (1, vec!["ak.attributes"]), "{ak}: {json}");
        let (exit, json) = verdict(&desk, &format!("{usual} --ak-trusted"));
        assert_eq!(exit, 0, "{ak}: {json}");
        assert!(json["warnings"].to_string().contains("taken on trust"), "{json}");
    }
}

#[test]
fn what_cannot_be_used_is_said_to_be_unusable() {
    let (desk, nonce) = quoted();
    desk.write("pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    desk.write("text", "hello");
    for (options, code) in [
        (format!("--ak pem --nonce {nonce}"), "AK"),
        (format!("--ak text --nonce {nonce}"), "AK"),
        (format!("--ak q.sig --nonce {nonce}"), "AK"),
        (format!("--ak absent --nonce {nonce}"), "FILE_UNREADABLE"),
        ("--ak ak.pub --nonce 0".to_owned(), "NONCE"),
        (format!("--ak ak.pub --nonce {nonce} --pcrs text"), "PCR_VALUES"),
        (format!("--ak ak.pub --nonce {nonce} --ima absent"), "FILE_UNREADABLE"),
        ("--ak ak.pub".to_owned(), "USAGE"),
    ] {
        let (exit, json) = verdict(&desk, &options);
        assert_eq!((exit, &json["error"]["code"]), (2, &json!(code)), "{options}: {json}");
    }
}
