//! Signed prices: whose, when, of what.

mod support;

use sealstone_attestation::Envelope;
use sealstone_policy::engine::{Lists, ReasonCode};
use sealstone_policy::prices::{PriceError, PriceList, Prices};
use sealstone_policy::rules::Policy;
use serde_json::{Value, json};

use support::{Asked, envelope, head, policy, price_payload, prices, public_hex, text, usual};

const RULE: &str = "transaction = { USD = \"100000\" }";

fn read(change: impl FnOnce(&mut Value)) -> Result<PriceList, PriceError> {
    let mut payload = price_payload();
    change(&mut payload);
    PriceList::from_payload(payload.to_string().as_bytes())
}

#[test]
fn a_price_list_says_when_and_of_what() {
    let list = read(|_| ()).unwrap();
    assert_eq!(list.currencies().collect::<Vec<_>>(), ["ETH", "USDC"]);
    assert_eq!(list.issued_at().to_string(), "2026-11-20T11:55:00Z");
    assert_eq!(list.expires_at().to_string(), "2026-11-20T12:05:00Z");
    read(|payload| payload["expires_at"] = "2026-11-27T11:55:00Z".into()).unwrap();
}

#[test]
fn what_is_no_price_list_is_refused() {
    let refused = |change: fn(&mut Value), expected: &str| {
        let error = read(change).unwrap_err().to_string();
        assert!(error.contains(expected), "expected {expected:?}, found {error}");
    };
    refused(|payload| payload["prices"] = json!([]), "expected 1 to 1024 prices, found 0");
    refused(|payload| payload["prices"] = vec![payload["prices"][0].clone(); 1025].into(), "found 1025");
    refused(|payload| payload["prices"][1] = payload["prices"][0].clone(), "found two of \"USDC\"");
    refused(|payload| payload["prices"][0]["numerator"] = "0".into(), "above 0 for \"USDC\"");
    refused(|payload| payload["prices"][0]["denominator"] = "0".into(), "above 0 for \"USDC\"");
    refused(|payload| payload["prices"][0]["numerator"] = "-1".into(), "smallest unit");
    refused(|payload| payload["prices"][0]["numerator"] = json!(1), "invalid type");
    refused(|payload| payload["prices"][0]["numerator"] = json!(1.5), "invalid type");
    refused(|payload| payload["prices"][0]["more"] = json!(1), "unknown field");
    refused(|payload| payload["more"] = json!(1), "unknown field");
    refused(|payload| payload["expires_at"] = payload["issued_at"].clone(), "at most 7 days");
    refused(|payload| payload["expires_at"] = "2026-11-20T11:54:59Z".into(), "at most 7 days");
    refused(|payload| payload["expires_at"] = "2026-11-27T11:55:01Z".into(), "at most 7 days");
    refused(|payload| payload["issued_at"] = "yesterday".into(), "expected a time");
    for bytes in [&b""[..], b"null", b"[]", b"{}", b"{\"reference\":\"USD\",\"reference\":\"EUR\"}", b"\xff"]
    {
        assert!(matches!(PriceList::from_payload(bytes), Err(PriceError::Malformed(_))));
    }
}

#[test]
fn only_those_whom_the_policy_names_sign_prices() {
    let policy = policy(&usual(RULE));
    let payload = price_payload().to_string().into_bytes();
    let refused = |envelope: &[u8]| Prices::verify(envelope, &policy).unwrap_err();
    let signed = |signers: &[&str]| envelope(PriceList::PAYLOAD_TYPE, &payload, signers);
    Prices::verify(&signed(&["pricer"]), &policy).unwrap();
    assert!(matches!(refused(&signed(&[])), PriceError::Signatures(_)));
    // An approver prices nothing, and a stranger beside the right one spoils the whole.
    assert!(matches!(refused(&signed(&["alice"])), PriceError::Signatures(_)));
    assert!(matches!(refused(&signed(&["pricer", "alice"])), PriceError::Signatures(_)));
    assert!(matches!(refused(&signed(&["pricer", "pricer"])), PriceError::Signatures(_)));
    let mut changed = Envelope::parse(&signed(&["pricer"])).unwrap();
    changed.payload = String::from_utf8(payload.clone()).unwrap().replace("\"2\"", "\"1\"").into_bytes();
    assert!(matches!(refused(&changed.to_json()), PriceError::Signatures(_)));
    let other_type = envelope("application/vnd.sealstone.manifest.v1+json", &payload, &["pricer"]);
    assert!(matches!(refused(&other_type), PriceError::Envelope(_)));
    assert!(matches!(refused(b"{}"), PriceError::Envelope(_)));
    for (field, value) in [("reference", json!("EUR")), ("decimals", json!(3))] {
        let mut payload = price_payload();
        payload[field] = value;
        let signed = envelope(PriceList::PAYLOAD_TYPE, payload.to_string().as_bytes(), &["pricer"]);
        assert!(matches!(refused(&signed), PriceError::Reference { .. }));
    }
    let without = head();
    let cut = &without[without.find("[prices]").unwrap()..without.find("[chains]").unwrap()];
    let without = Policy::parse(&without.replace(cut, "")).unwrap();
    assert_eq!(Prices::verify(&signed(&["pricer"]), &without), Err(PriceError::NoAuthority));
}

/// A policy with other signers does not take what the one before it took.
#[test]
fn prices_do_not_outlive_their_signers() {
    let before = policy(&usual(RULE));
    let prices = prices(&before);
    let lists = Lists { sanctions: None, prices: Some(&prices) };
    assert_eq!(Asked::usual().codes(&before, &lists), []);
    let after = text(&usual(RULE)).replace(&public_hex("pricer"), &public_hex("another"));
    let after = Policy::parse(&after).unwrap();
    assert_eq!(Asked::usual().codes(&after, &lists), [ReasonCode::PriceUnavailable]);
}
