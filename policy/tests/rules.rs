//! What a policy may say, and that everything else is refused by the name of its rule and field.

mod support;

use sealstone_attestation::PolicyDigest;
use sealstone_policy::engine::ReasonCode;
use sealstone_policy::rules::{Policy, PolicyError};

use support::{Asked, USDC, head, policy, public_hex, text, usual};

/// An entry must be refused with this in its text.
fn refused(entry: &str, expected: &str) {
    let error = Policy::parse(&text(entry)).expect_err(entry);
    assert!(error.to_string().contains(expected), "{entry}\nexpected {expected:?}, found: {error}");
}

#[test]
fn the_documented_example_is_a_policy() {
    let document = include_str!("../../docs/policy.md");
    let (_, rest) = document.split_once("```toml\n# policy.toml").expect("docs/policy.md has the example");
    let (example, _) = rest.split_once("```").expect("the example ends");
    let policy = Policy::parse(example).unwrap_or_else(|error| panic!("docs/policy.md: {error}"));
    assert!(policy.sender_count() >= 3 && policy.requires_sanctions());
}

#[test]
fn every_reason_is_documented_in_its_order() {
    let document = include_str!("../../docs/policy.md");
    let (_, table) = document.split_once("## Reasons").expect("docs/policy.md has the reasons");
    let rows: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let codes: Vec<&str> = ReasonCode::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(rows, codes);
}

#[test]
fn a_policy_is_named_by_its_bytes() {
    let one = text(&usual(""));
    assert_eq!(Policy::parse(&one).unwrap().digest(), PolicyDigest::of(one.as_bytes()));
    let commented = format!("{one}# a comment\n");
    assert_ne!(Policy::parse(&commented).unwrap().digest(), Policy::parse(&one).unwrap().digest());
}

#[test]
fn the_most_specific_entry_alone_applies() {
    let entry = |who: &str, more: &str| {
        format!("[[senders]]\n{who}\nchains = [\"ethereum\"]\ncurrencies = [\"USDC\"]\n{more}\n")
    };
    let limit =
        |number: u32| format!("transaction = {{ USDC = \"{number}\" }}\nfee = {{ ETH = \"1000000\" }}");
    let policy = Policy::parse(&format!(
        "{}{}{}{}",
        head(),
        // Neither order nor a stricter neighbour changes which entry applies.
        entry("tenant = \"acme\"\nasset = \"*\"", &limit(1)),
        entry("tenant = \"acme\"\nasset = \"hot\"", &limit(100)),
        entry("tenant = \"acme\"\nsession = \"*\"", &limit(1000)),
    ))
    .unwrap();
    let take = |asset: Option<&str>, session: Option<&str>, tenant: &str| {
        let asked = Asked::changed(|asked| {
            asked.tenant = tenant.try_into().unwrap();
            asked.asset = asset.map(|name| name.try_into().unwrap());
            asked.session = session.map(|name| name.try_into().unwrap());
        });
        let codes = asked.codes(&policy, &Default::default());
        codes.first().map_or("", |code| code.name())
    };
    assert_eq!(take(Some("hot"), None, "acme"), "");
    assert_eq!(take(Some("cold"), None, "acme"), "TRANSACTION_LIMIT_EXCEEDED");
    assert_eq!(take(None, Some("hot"), "acme"), "");
    assert_eq!(take(Some("hot"), None, "other"), "SENDER_UNKNOWN");
    assert_eq!(take(Some("hot"), None, "*"), "SENDER_UNKNOWN");
    assert_eq!(take(None, Some("hot"), "other"), "SENDER_UNKNOWN");
}

#[test]
fn an_entry_that_says_nothing_sensible_is_refused_by_its_field() {
    for (entry, expected) in [
        ("", "missing field `chains`"),
        ("chains = []", "asset \"hot\".chains: expected a name of [chains], found none"),
        ("chains = [\"bitcoin\"]", "expected names of [chains], found \"bitcoin\""),
        ("chains = [\"ethereum\", \"ethereum\"]", "expected each chain once"),
        ("chains = [\"ethereum\"]\nsession = \"x\"", "expected one of asset and session, found both"),
        ("chains = [\"ethereum\"]\nlimits = 1", "unknown field `limits`"),
        ("chains = [\"ethereum\"]\nchains = [\"solana\"]", "duplicate key"),
        ("chains = [\"ethereum\"]\ncurrencies = [\"EUR\"]", "expected names of [currencies], found \"EUR\""),
        ("chains = [\"ethereum\"]\ncurrencies = [\"USD\"]", "expected names of [currencies], found \"USD\""),
        ("chains = [\"ethereum\"]\ncurrencies = [\"ETH\", \"ETH\"]", "expected each currency once"),
        ("chains = [\"ethereum\"]\nsanctions = \"maybe\"", "unknown variant `maybe`"),
        (&usual("transaction = {}"), "transaction: expected an amount of a currency, found none"),
        (&usual("transaction = { EUR = \"1\" }"), "transaction: expected a name of [currencies]"),
        (&usual("transaction = { USDC = 1 }"), "invalid type: integer `1`, expected a string"),
        (&usual("transaction = { USDC = 1.5 }"), "invalid type: floating point"),
        (&usual("transaction = { USDC = \"1.5\" }"), "expected an amount in the smallest unit"),
        (&usual("transaction = { USDC = \"-1\" }"), "expected an amount in the smallest unit"),
        (&usual("transaction = { USDC = \"\" }"), "expected an amount in the smallest unit"),
        (&usual("transaction = { USDC = \"1\" }"), "currencies: expected each of its currencies"),
        (&usual("rolling = [{ over = \"24h\", amounts = { ETH = \"1\" } }]"), "found USDC in none"),
        (&usual("rolling = [{ over = \"0s\", amounts = { USD = \"1\" } }]"), "1 s to 31 d"),
        (&usual("rolling = [{ over = \"32d\", amounts = { USD = \"1\" } }]"), "1 s to 31 d"),
        (&usual("rolling = [{ over = 60, amounts = { USD = \"1\" } }]"), "expected a string"),
        (
            &usual(
                "rolling = [{ over = \"24h\", amounts = { USD = \"1\" } }, { over = \"1d\", amounts = { USD = \"2\" } }]",
            ),
            "rolling[1]: expected one rule for each time, found another over 86400 s",
        ),
        (&usual("velocity = [{ over = \"1m\", count = -1 }]"), "expected u32"),
        (&usual("velocity = [{ over = \"1m\", count = 1 }, { over = \"60s\", count = 2 }]"), "velocity[1]"),
        (&usual("recipients = {}"), "recipients: expected a list"),
        (&usual("recipients = { allow = [\"0x00\"] }"), "recipients.allow: expected addresses"),
        (&usual("recipients = { deny = [\"not an address\"] }"), "recipients.deny: expected addresses"),
        (&usual("windows = [{ days = [\"mon\"], from = \"9:00\", to = \"10:00\" }]"), "windows[0].from"),
        (&usual("windows = [{ days = [], from = \"09:00\", to = \"10:00\" }]"), "windows[0].days"),
        (&usual("approvals = [{ threshold = 0, of = [\"alice\"] }]"), "approvals[0].threshold"),
        (&usual("approvals = [{ threshold = 2, of = [\"alice\"] }]"), "expected 1 to 1"),
        (&usual("approvals = [{ threshold = 1, of = [] }]"), "approvals[0].threshold"),
        (&usual("approvals = [{ threshold = 1, of = [\"eve\"] }]"), "expected names of [approvers]"),
        (&usual("approvals = [{ threshold = 2, of = [\"bob\", \"bob\"] }]"), "expected each approver once"),
    ] {
        refused(entry, expected);
    }
}

#[test]
fn an_entry_without_a_signer_and_a_second_entry_are_refused() {
    let entry = "chains = [\"ethereum\"]\n";
    let neither = format!("{}[[senders]]\ntenant = \"acme\"\n{entry}", head());
    assert!(Policy::parse(&neither).unwrap_err().to_string().contains("found neither"));
    let twice = format!("{}[[senders]]\ntenant = \"acme\"\nasset = \"hot\"\n{entry}", text(entry));
    let error = Policy::parse(&twice).unwrap_err().to_string();
    assert!(error.starts_with("senders[1] of tenant \"acme\", asset \"hot\": expected one entry"), "{error}");
    let nobody = format!("{}[[senders]]\ntenant = \"\"\nasset = \"hot\"\n{entry}", head());
    assert!(Policy::parse(&nobody).is_err());
}

/// What cannot be read satisfies no rule, so an entry cannot ask for both.
#[test]
fn a_permission_to_sign_what_nobody_reads_excludes_rules_that_need_reading() {
    let opaque = "chains = [\"papers\"]\nallow_opaque = true\n";
    let unknown = "chains = [\"ethereum\"]\nallow_unknown_calls = true\n";
    for rule in [
        "currencies = [\"ETH\"]",
        "transaction = { USDC = \"1\" }",
        "rolling = [{ over = \"24h\", amounts = { USD = \"1\" } }]",
        "recipients = { allow = [] }",
        "recipients = { deny = [\"0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48\"] }",
        "approvals = [{ above = { USD = \"1\" }, threshold = 1, of = [\"alice\"] }]",
        "sanctions = \"required\"",
    ] {
        refused(&format!("{opaque}{rule}"), "allow_opaque: expected no rule that");
        refused(&format!("{unknown}{rule}"), "allow_unknown_calls: expected no rule that");
    }
    refused(&format!("{opaque}fee = {{ ETH = \"1\" }}"), "allow_opaque: expected no rule that");
    for rule in [
        "",
        "approvals = [{ threshold = 2, of = [\"alice\", \"bob\"] }]",
        "velocity = [{ over = \"1m\", count = 3 }]",
        "windows = [{ days = [\"mon\"], from = \"09:00\", to = \"10:00\" }]",
    ] {
        policy(&format!("{opaque}{rule}"));
        policy(&format!("{unknown}{rule}"));
    }
    policy(&format!("{unknown}fee = {{ ETH = \"1\" }}"));
    refused("chains = [\"papers\"]", "allow_opaque: expected true for an entry with an opaque chain");
    refused("chains = [\"ethereum\"]\nallow_opaque = true", "expected an opaque chain");
    // Where screening is the rule, such an entry says that it goes without.
    let screened = |entry: &str| text(entry).replacen("sanctions = \"off\"", "sanctions = \"required\"", 1);
    assert!(Policy::parse(&screened(opaque)).unwrap_err().to_string().contains("sanctions screening"));
    Policy::parse(&screened(&format!("{opaque}sanctions = \"off\""))).unwrap();
}

#[test]
fn definitions_are_checked_as_well() {
    let good = text(&usual("transaction = { USD = \"1\" }"));
    Policy::parse(&good).unwrap();
    let alice = public_hex("alice");
    let weak = "00".repeat(32);
    let compact = "05".repeat(33);
    let k256 = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
    for (from, to, expected) in [
        ("version = 1", "version = 2", "version: expected 1, found 2"),
        ("version = 1", "", "missing field `version`"),
        ("sanctions = \"off\"", "", "missing field `sanctions`"),
        ("sanctions = \"off\"", "sanctions = \"off\"\nextra = 1", "unknown field `extra`"),
        ("decimals = 2", "decimals = 19", "reference.decimals: expected at most 18"),
        ("decimals = 2", "decimals = 2\nprice = 1", "unknown field `price`"),
        ("name = \"USD\"", "name = \"USDC\"", "reference.name: expected a name of its own"),
        ("name = \"USD\"", "name = \"U S D\"", "reference.name: expected a name of 1 to 32"),
        ("\"evm:1\"", "\"evm:01\"", "chains.\"ethereum\": expected a chain such as"),
        ("\"evm:1\"", "\"evm:-1\"", "expected a chain such as"),
        ("\"evm:1\"", "\"evm:18446744073709551616\"", "expected a chain such as"),
        ("\"evm:1\"", "\"bitcoin:1\"", "expected a chain such as"),
        ("\"evm:1\"", "\"evm:137\"", "expected a chain with one name"),
        ("ETH = ", "\"\" = ", "currencies.\"\": expected a name of 1 to 32"),
        ("ETH = ", "\"E:TH\" = ", "currencies.\"E:TH\": expected a name"),
        ("ETH = ", "\"E\\nTH\" = ", "currencies.\"E\\nTH\": expected a name"),
        ("evm:1:native", "evm:x:native", "currencies.\"ETH\": expected \"evm:<chain id>:native\""),
        ("evm:1:native", "evm:1", "currencies.\"ETH\": expected"),
        ("evm:1:native", "evm:1:native:x", "currencies.\"ETH\": expected"),
        ("evm:1:native", "solana:native", "names it too"),
        (USDC, "0xa0b8", "currencies.\"USDC\": expected"),
        ("threshold = 1", "threshold = 2", "expected a threshold"),
        (
            "[approvers]",
            "[approvers]\neve = { algorithm = \"RS256\", public_key = \"00\" }",
            "expected the algorithm ES256",
        ),
        (
            "[approvers]",
            &format!("[approvers]\neve = {{ algorithm = \"EdDSA\", public_key = \"{weak}\" }}"),
            "line",
        ),
        (
            "[approvers]",
            &format!("[approvers]\neve = {{ algorithm = \"ES256\", public_key = \"{compact}\" }}"),
            "line",
        ),
        (
            "[approvers]",
            &format!("[approvers]\neve = {{ algorithm = \"ES256K\", public_key = \"{k256}\" }}"),
            "approvers.\"eve\": expected a name and an ES256 or EdDSA key",
        ),
        (
            "[approvers]",
            &format!("[approvers]\neve = {{ algorithm = \"EdDSA\", public_key = \"{alice}\" }}"),
            "expected a key of its own, found the key of \"alice\"",
        ),
    ] {
        assert!(good.contains(from), "{from}");
        let error = Policy::parse(&good.replacen(from, to, 1)).expect_err(to);
        assert!(error.to_string().contains(expected), "{to}\nexpected {expected:?}, found: {error}");
    }
    let prices = &good[good.find("[prices]").unwrap()..good.find("[chains]").unwrap()];
    let error = Policy::parse(&good.replacen(prices, "", 1)).unwrap_err().to_string();
    assert!(error.contains("expected [prices] that say who signs prices"), "{error}");
    let reference = &good[good.find("[reference]").unwrap()..good.find("[prices]").unwrap()];
    let error = Policy::parse(&good.replacen(reference, "", 1)).unwrap_err().to_string();
    assert!(error.contains("prices: expected a [reference]"), "{error}");
}

#[test]
fn hostile_text_is_refused_without_harm() {
    let huge = " ".repeat(Policy::BYTES_MAX + 1);
    assert_eq!(Policy::parse(&huge).unwrap_err(), PolicyError::TooLong { found: Policy::BYTES_MAX + 1 });
    let nested = format!("version = {}", "[".repeat(100_000));
    let dotted = format!("{} = 1", vec!["a"; 100_000].join("."));
    let long_name = format!("{}\n[\"{}\"]\nx = 1", head(), "n".repeat(1_000_000));
    let forged = "version = 1\n\"a\\nsealstone: accepted\\u001b[2J\" = 1";
    for hostile in ["", "\0", "version", "= 1", &nested, &dotted, &long_name, forged, "version = 1e999"] {
        let error = Policy::parse(hostile).unwrap_err().to_string();
        assert!(error.len() < 2_000, "{} bytes", error.len());
        assert!(!error.contains('\n') && !error.contains('\u{1b}'), "{error:?}");
    }
}

#[test]
fn lists_are_bounded() {
    let velocity: Vec<String> =
        (1..=33).map(|seconds| format!("{{ over = \"{seconds}s\", count = 1 }}")).collect();
    refused(
        &usual(&format!("velocity = [{}]", velocity.join(","))),
        "velocity: expected at most 32, found 33",
    );
    let addresses: Vec<String> = (0..10_001).map(|number| format!("\"0x{number:040x}\"")).collect();
    let entry = usual(&format!("recipients = {{ allow = [{}] }}", addresses.join(",")));
    refused(&entry, "recipients.allow: expected at most 10000, found 10001");
    let chains: String = (0..1025).map(|number| format!("c{number} = \"evm:{}\"\n", number + 1000)).collect();
    let error = Policy::parse(&head().replace("[chains]", &format!("[chains]\n{chains}"))).unwrap_err();
    assert!(error.to_string().contains("chains: expected at most 1024"), "{error}");
}
