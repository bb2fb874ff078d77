//! `sealstone policy`, as its users type it: checks, cases, lists and prices.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

mod support;

use serde_json::{Value, json};
use support::Desk;

const USDC: &str = "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48";
const BOB: &str = "0xb0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0";
const LISTED: &str = "0x8589427373D6D84E98730D7795D8f6f8731FDA16";

/// A desk with a policy whose prices `pricer.key` signs.
fn desk() -> Desk {
    let desk = Desk::new();
    for name in ["pricer", "alice", "bob"] {
        desk.done(&format!("authority new {name}"));
    }
    let key = |name: &str| {
        // The raw key is the end of its SPKI encoding.
        let pem = String::from_utf8(desk.read(&format!("{name}.pub"))).unwrap();
        let der = std::process::Command::new("openssl")
            .args(["pkey", "-pubin", "-outform", "DER", "-in"])
            .arg(desk.at(&format!("{name}.pub")))
            .output()
            .expect("openssl is installed: apt-get install openssl");
        assert!(der.status.success(), "{pem}");
        der.stdout[der.stdout.len() - 32..].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let policy = format!(
        r#"
version = 1
sanctions = "required"
[reference]
name = "USD"
decimals = 2
[prices]
threshold = 1
keys = [{{ name = "pricer", algorithm = "EdDSA", public_key = "{}" }}]
[chains]
ethereum = "evm:1"
[currencies]
ETH = "evm:1:native"
USDC = "evm:1:{USDC}"
[approvers]
alice = {{ algorithm = "EdDSA", public_key = "{}" }}
bob = {{ algorithm = "EdDSA", public_key = "{}" }}
[[senders]]
tenant = "acme"
asset = "hot"
chains = ["ethereum"]
currencies = ["USDC"]
transaction = {{ USD = "100000" }}
rolling = [{{ over = "24h", amounts = {{ USDC = "500" }} }}]
approvals = [{{ above = {{ USDC = "400" }}, threshold = 2, of = ["alice", "bob"] }}]
"#,
        key("pricer"),
        key("alice"),
        key("bob"),
    );
    desk.write("policy.toml", policy);
    desk.write("own.csv", format!("address\n{LISTED}\n"));
    desk.done("policy sanctions import own.csv -o list");
    desk.write(
        "prices.json",
        json!({
            "reference": "USD", "decimals": 2,
            "issued_at": "2026-11-20T11:55:00Z", "expires_at": "2026-11-20T12:05:00Z",
            "prices": [
                {"currency": "USDC", "numerator": "2", "denominator": "1"},
                {"currency": "ETH", "numerator": "1", "denominator": "1"},
            ],
        })
        .to_string(),
    );
    desk.done("policy prices sign prices.json --key pricer.key -o prices");
    desk
}

/// A case around a payment of USDC.
fn case(name: &str, expect: &str, codes: &[&str], change: impl FnOnce(&mut Value)) -> Value {
    let mut case = json!({
        "name": name,
        "expect": expect,
        "codes": codes,
        "request": {
            "tenant": "acme", "asset": "hot", "chain_id": 1, "nonce": 7, "time": "2026-11-20T12:00:00Z",
            "facts": {
                "format": "evm", "chain_id": 1, "nonce": 7,
                "movements": [{
                    "kind": "transfer", "currency": format!("evm:1:{USDC}"), "amount": "100",
                    "recipient": BOB, "recipient_proven": true,
                }],
                "fee": {"currency": "evm:1:native", "amount": "10"},
                "unknown": [],
            },
        },
    });
    change(&mut case["request"]);
    case
}

const TEST: &str = "policy test policy.toml cases.json --prices prices --sanctions list";

#[test]
fn cases_are_judged_with_their_past_and_their_approvals() {
    let desk = desk();
    let cases = [
        case("small", "accepted", &[], |_| ()),
        case("a stranger", "refused", &["SENDER_UNKNOWN"], |request| request["tenant"] = "other".into()),
        case("no room left", "refused", &["DAILY_LIMIT_EXCEEDED"], |request| {
            request["used"] = json!({"amount:USDC:86400": "401"});
        }),
        case("just room left", "accepted", &[], |request| {
            request["used"] = json!({"amount:USDC:86400": "400", "count:60": "9"});
        }),
        case("alone", "refused", &["APPROVALS_MISSING"], |request| {
            request["facts"]["movements"][0]["amount"] = "401".into();
            request["approved_by"] = json!(["alice", "alice"]);
        }),
        case("together", "accepted", &[], |request| {
            request["facts"]["movements"][0]["amount"] = "401".into();
            request["approved_by"] = json!(["alice", "bob"]);
        }),
        case("by nobody", "refused", &["APPROVAL_INVALID"], |request| {
            request["approved_by"] = json!(["eve"])
        }),
        case("listed", "refused", &["RECIPIENT_SANCTIONED"], |request| {
            request["facts"]["movements"][0]["recipient"] = LISTED.to_ascii_lowercase().into();
        }),
        case("too late", "refused", &["PRICE_UNAVAILABLE"], |request| {
            request["time"] = "2026-11-20T12:05:00Z".into();
        }),
        case("declared", "refused", &["PAYLOAD_MISMATCH"], |request| request["amount"] = "99".into()),
    ];
    desk.write("cases.json", json!({"cases": cases}).to_string());
    let answer = desk.done(TEST);
    assert_eq!((&answer["passed"], &answer["failed"]), (&json!(10), &json!(0)), "{answer}");
    assert_eq!(answer["policy"], desk.done("policy check policy.toml")["digest"]);
    assert_eq!(answer["cases"][2]["reasons"][0]["code"], "DAILY_LIMIT_EXCEEDED");
    // Without what the policy requires, nothing is accepted.
    let outcome = desk.run("policy test policy.toml cases.json");
    assert_eq!((outcome.exit, &outcome.json["cases"][0]["decision"]), (1, &json!("refused")));
}

/// A transfer of 100 USDC to Bob with nonce 7, as eth-account made it.
const TRANSFER: &str = "02f8640107010182520894a0b86991c6218b36c1d19d4a2e9eb0ce3606eb4880b844a9059cbb00000000000000\
                        0000000000b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b00000000000000000000000000000000000000000\
                        000000000000000000000064c0";

#[test]
fn a_payload_is_read_as_the_agent_reads_it() {
    let desk = desk();
    let read = |name: &str, expect: &str, codes: &[&str], change: fn(&mut Value)| {
        case(name, expect, codes, |request| {
            request.as_object_mut().unwrap().remove("facts");
            request["format"] = "evm".into();
            request["payload"] = TRANSFER.into();
            request["sender"] = "0x52908400098527886E0F7030069857D2E4169EE7".into();
            change(request);
        })
    };
    let cases = [
        read("a transfer", "accepted", &[], |request| {
            request["recipient"] = BOB.into();
            request["amount"] = "100".into();
            request["currency"] = "USDC".into();
        }),
        read("the generator's key", "accepted", &[], |request| {
            request["sender"] = json!({
                "algorithm": "ES256K",
                "public_key": "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
            });
        }),
        read("another amount", "refused", &["PAYLOAD_MISMATCH"], |request| request["amount"] = "99".into()),
        read("another nonce", "refused", &["PAYLOAD_MISMATCH"], |request| request["nonce"] = 8.into()),
        read("no room", "refused", &["DAILY_LIMIT_EXCEEDED"], |request| {
            request["used"] = json!({"amount:USDC:86400": "401"});
        }),
        read("a byte more", "refused", &["PAYLOAD_MALFORMED"], |request| {
            request["payload"] = format!("{TRANSFER}00").into();
        }),
        read("opaque", "refused", &["FORMAT_NOT_ALLOWED", "UNREADABLE_PAYLOAD"], |request| {
            request["format"] = "opaque".into();
        }),
    ];
    desk.write("cases.json", json!({"cases": cases}).to_string());
    let answer = desk.done(TEST);
    assert_eq!((&answer["passed"], &answer["failed"]), (&json!(7), &json!(0)), "{answer}");
    let malformed = &answer["cases"][5]["reasons"][0];
    assert!(
        malformed["detail"].as_str().unwrap().starts_with("expected one unsigned evm payload"),
        "{malformed}"
    );

    let bad: [fn(&mut Value); 6] = [
        |request| request["payload"] = "0".into(),
        |request| request["facts"] = json!({"format": "opaque", "movements": [], "unknown": []}),
        |request| drop(request.as_object_mut().unwrap().remove("sender")),
        |request| request["sender"] = "0x52908400098527886E0F7030069857D2E4169Ee7".into(),
        |request| request["sender"] = json!({"algorithm": "EdDSA", "public_key": "00"}),
        |request| {
            request["sender"] = json!({
                "algorithm": "EdDSA",
                "public_key": "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            });
        },
    ];
    for change in bad {
        desk.write("cases.json", json!({"cases": [read("n", "accepted", &[], change)]}).to_string());
        desk.fails(TEST, 2, "CASES");
    }
}

#[test]
fn a_case_that_differs_fails_the_run() {
    let desk = desk();
    for (expect, codes) in
        [("refused", &["FEE_TOO_HIGH"][..]), ("refused", &["FEE_TOO_HIGH", "SENDER_UNKNOWN"])]
    {
        desk.write("cases.json", json!({"cases": [case("small", expect, codes, |_| ())]}).to_string());
        let outcome = desk.run(TEST);
        assert_eq!((outcome.exit, &outcome.json["failed"]), (1, &json!(1)));
    }
    let other = case("other", "accepted", &[], |request| request["asset"] = "cold".into());
    desk.write("cases.json", json!({"cases": [other]}).to_string());
    let output = desk.command(TEST).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("FAIL  other: refused\n        SENDER_UNKNOWN: expected a sender"), "{text}");
    assert!(text.contains("expected: accepted\n0 passed, 1 failed"), "{text}");
}

#[test]
fn the_documented_case_is_one() {
    let document = include_str!("../docs/cli.md");
    let begin = document.find("[[cases]]").expect("docs/cli.md has a case");
    let end = begin + document[begin..].find("```").expect("the case ends");
    let desk = desk();
    desk.write("cases.toml", &document[begin..end]);
    let outcome = desk.run(&TEST.replace("cases.json", "cases.toml"));
    assert_eq!(outcome.json["cases"][0]["name"], "more than the day has left", "{}", outcome.json);
}

#[test]
fn cases_may_be_toml() {
    let desk = desk();
    desk.write(
        "cases.toml",
        format!(
            r#"
[[cases]]
name = "small"
expect = "accepted"
[cases.request]
tenant = "acme"
asset = "hot"
chain_id = 1
nonce = 7
time = "2026-11-20T12:00:00Z"
[cases.request.facts]
format = "evm"
chain_id = 1
nonce = 7
fee = {{ currency = "evm:1:native", amount = "10" }}
unknown = []
[[cases.request.facts.movements]]
kind = "transfer"
currency = "evm:1:{USDC}"
amount = "100"
recipient = "{BOB}"
recipient_proven = true
"#
        ),
    );
    desk.done(&TEST.replace("cases.json", "cases.toml"));
}

#[test]
fn what_cannot_be_tried_is_unusable() {
    let desk = desk();
    let good = case("small", "accepted", &[], |_| ());
    for (cases, code) in [
        (json!({"cases": []}).to_string(), "CASES"),
        (json!({}).to_string(), "CASES"),
        ("not JSON".to_owned(), "CASES"),
        (json!({"cases": [good], "more": 1}).to_string(), "CASES"),
        (json!({"cases": [case("n", "refused", &[], |_| ())]}).to_string(), "CASES"),
        (json!({"cases": [case("n", "accepted", &["FEE_TOO_HIGH"], |_| ())]}).to_string(), "CASES"),
        (json!({"cases": [case("n", "refused", &["NO_SUCH_CODE"], |_| ())]}).to_string(), "CASES"),
        (
            json!({"cases": [case("n", "accepted", &[], |request| request["session"] = "x".into())]})
                .to_string(),
            "CASES",
        ),
        (
            json!({"cases": [case("n", "accepted", &[], |request| request["extra"] = 1.into())]}).to_string(),
            "CASES",
        ),
        (
            json!({"cases": [case("n", "accepted", &[], |request| request["amount"] = 1.5.into())]})
                .to_string(),
            "CASES",
        ),
    ] {
        desk.write("cases.json", cases);
        desk.fails(TEST, 2, code);
    }
    desk.write("cases.json", json!({"cases": [case("small", "accepted", &[], |_| ())]}).to_string());
    desk.fails("policy test policy.toml absent.json", 2, "FILE_UNREADABLE");
    desk.fails("policy test cases.json cases.json", 2, "POLICY");
    desk.fails("policy test policy.toml cases.json --prices prices.json", 2, "PRICES");
    desk.fails("policy test policy.toml cases.json --sanctions own.csv", 2, "SANCTIONS");
    desk.write("bad.toml", "version = 1\nsanctions = \"off\"\n[chains]\nethereum = \"evm:x\"\n");
    let outcome = desk.fails("policy check bad.toml", 2, "POLICY");
    assert!(
        outcome.detail().contains("chains.\"ethereum\": expected a chain such as"),
        "{}",
        outcome.detail()
    );
    desk.write("latin.toml", b"version = 1 # \xe9");
    desk.fails("policy check latin.toml", 2, "FILE_NOT_TEXT");
}

#[test]
fn a_checked_policy_is_summed_up() {
    let desk = desk();
    let answer = desk.done("policy check policy.toml");
    assert_eq!(answer["currencies"], json!(["ETH", "USDC"]));
    assert_eq!(answer["approvers"], json!(["alice", "bob"]));
    assert_eq!(answer["reference"], json!({"name": "USD", "decimals": 2}));
    assert_eq!((&answer["senders"], &answer["sanctions"]), (&json!(1), &json!("required")));
    assert_eq!(answer["digest"].as_str().unwrap().len(), 64);
}

#[test]
fn a_sanctions_list_is_made_looked_up_and_told_of() {
    let desk = Desk::new();
    let many: String = (0..20_000).map(|number| format!("0x{number:040x}\n")).collect();
    desk.write("many.csv", &many);
    desk.write("sdn.csv", format!("5,\"X\",\"individual\",\"CYBER2\",-0- ,-0- ,-0- ,-0- ,-0- ,-0- ,-0- ,\"Digital Currency Address - ETH {LISTED}; more.\"\r\n\x1a"));
    let output = desk.command("policy sanctions import many.csv sdn.csv -o list").output().unwrap();
    let progress = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{progress}");
    assert!(
        progress.starts_with("many.csv: ") && progress.contains("many.csv: 100 %\nsdn.csv: 100 %\n"),
        "{progress}"
    );
    assert!(progress.lines().count() <= 22, "{progress}");
    let answer = desk.done("policy sanctions import many.csv sdn.csv -o list");
    assert_eq!(answer["addresses"], 20_001);

    desk.done(&format!("policy sanctions check list {BOB}"));
    let outcome = desk.run(&format!("policy sanctions check list {BOB} {}", LISTED.to_ascii_lowercase()));
    assert_eq!(outcome.exit, 1);
    assert_eq!(outcome.json["listed"], json!([LISTED.to_ascii_lowercase()]));
    assert_eq!(outcome.json["clear"], json!([BOB]));

    // A failed import leaves the list that there is.
    let before = desk.read("list");
    desk.write("bad.csv", "address\nnot an address\n");
    let outcome = desk.fails("policy sanctions import bad.csv -o list", 2, "SANCTIONS_SOURCE");
    assert!(outcome.detail().contains("line 2"), "{}", outcome.detail());
    desk.write("nobody.csv", "address\n");
    desk.fails("policy sanctions import nobody.csv -o list", 2, "SANCTIONS_SOURCE");
    assert_eq!(desk.read("list"), before);
    let mut damaged = before;
    damaged[100] ^= 1;
    desk.write("list", damaged);
    desk.fails(&format!("policy sanctions check list {BOB}"), 2, "SANCTIONS");
}

#[test]
fn prices_are_signed_once_by_each_key_and_only_if_they_are_prices() {
    let desk = desk();
    let envelope = desk.json("prices");
    assert_eq!(envelope["signatures"].as_array().unwrap().len(), 1);
    desk.fails("policy prices sign prices --key pricer.key -o prices", 1, "ALREADY_SIGNED");
    let answer = desk.done("policy prices sign prices --key alice.key -o both");
    assert_eq!((&answer["signatures"], &answer["currencies"]), (&json!(2), &json!(["ETH", "USDC"])));
    // A stranger's signature beside the right one is refused by whoever takes prices.
    desk.write("cases.json", json!({"cases": [case("small", "accepted", &[], |_| ())]}).to_string());
    desk.fails("policy test policy.toml cases.json --prices both", 2, "PRICES");
    desk.write("none.json", r#"{"prices": []}"#);
    desk.fails("policy prices sign none.json --key pricer.key -o none", 2, "PRICES");
    desk.write(
        "manifest",
        r#"{"payloadType":"application/vnd.sealstone.manifest.v1+json","payload":"","signatures":[]}"#,
    );
    desk.fails("policy prices sign manifest --key pricer.key -o none", 2, "PRICES");
    desk.fails("policy prices sign prices.json --key pricer.pub -o none", 2, "FILE_MODE");
    assert!(!desk.at("none").exists());
}
