//! Requests and what entries say of them: each code by the smallest change that earns it.

mod support;

use sealstone_attestation::{Sha256Digest, Signature64};
use sealstone_policy::amount::Amount;
use sealstone_policy::engine::{Approval, Demand, Lists, ReasonCode};
use sealstone_policy::facts::{CurrencyId, Facts, Fee, Format, MovementKind};
use sealstone_policy::rules::Policy;

use support::{
    ALICE_PAYS, Asked, BOB, MINT, NOON, USDC, address, amount, approval, eth, policy, prices, sanctioned,
    transfer, usdc, usual,
};

/// Judges a changed usual request by an entry; with prices, without a sanctions list.
fn check(entry: &str, change: impl FnOnce(&mut Asked), expected: &[ReasonCode]) {
    let policy = policy(entry);
    let prices = prices(&policy);
    let lists = Lists { sanctions: None, prices: Some(&prices) };
    let asked = Asked::changed(change);
    let judgement = asked.judged(&policy, &lists);
    assert_eq!(judgement.policy, policy.digest());
    assert_eq!(asked.codes(&policy, &lists), expected, "{entry}\n{:?}", judgement.outcome);
}

use ReasonCode::*;

#[test]
fn an_entry_permits_what_it_lists_and_nothing_else() {
    let solana = || Facts {
        format: Format::Solana,
        chain_id: None,
        nonce: None,
        movements: vec![transfer(CurrencyId::solana_native(), amount(1), BOB)],
        fee: Some(Fee { currency: CurrencyId::solana_native(), amount: amount(5000) }),
        unknown: Vec::new(),
    };
    check(&usual(""), |_| (), &[]);
    check(&usual(""), |asked| asked.tenant = "other".try_into().unwrap(), &[SenderUnknown]);
    check(&usual(""), |asked| asked.asset = Some("Hot".try_into().unwrap()), &[SenderUnknown]);
    check(&usual(""), |asked| (asked.session, asked.asset) = (asked.asset.clone(), None), &[SenderUnknown]);
    check(&usual(""), |asked| asked.facts = solana(), &[FormatNotAllowed, CurrencyNotAllowed]);
    check(
        "chains = [\"solana\"]\ncurrencies = [\"SOL\"]",
        |asked| asked.facts = solana(),
        &[ChainNotAllowed],
    );
    check(
        "chains = [\"solana\"]\ncurrencies = [\"SOL\"]",
        |asked| (asked.facts, asked.chain_id) = (solana(), 900),
        &[],
    );
    // A chain is permitted for one way of reading.
    check(
        "chains = [\"solana\"]\ncurrencies = [\"USDC\"]",
        |asked| asked.chain_id = 900,
        &[PayloadMismatch, FormatNotAllowed],
    );
    let other_chain = |asked: &mut Asked| (asked.chain_id, asked.facts.chain_id) = (137, Some(137));
    check(&usual(""), other_chain, &[ChainNotAllowed]);
    check("chains = [\"ethereum\"]", |_| (), &[CurrencyNotAllowed]);
    check("chains = [\"ethereum\"]\ncurrencies = [\"ETH\"]", |_| (), &[CurrencyNotAllowed]);
    let foreign = CurrencyId::evm_token(1, &address("0x00000000000000000000000000000000000000ff"));
    check(&usual(""), |asked| asked.facts.movements[0].currency = foreign.clone(), &[CurrencyUnknown]);
    check(
        "chains = [\"ethereum\"]\nallow_unknown_calls = true",
        |asked| asked.facts.movements[0].currency = foreign.clone(),
        &[],
    );
    check(
        &usual(""),
        |asked| asked.facts.movements[0].kind = MovementKind::Allowance,
        &[AllowanceNotAllowed],
    );
    let allowance = |asked: &mut Asked| asked.facts.movements[0].kind = MovementKind::Allowance;
    check(&usual("allow_allowances = true"), allowance, &[]);
    check(&usual(""), |asked| asked.old_epoch = true, &[OldEpochNotAllowed]);
    check(&usual("allow_old_epochs = true"), |asked| asked.old_epoch = true, &[]);
}

#[test]
fn what_cannot_be_read_needs_its_permission() {
    let unknown = |asked: &mut Asked| asked.facts.unknown = vec!["a call of 0x12345678".to_owned()];
    let opaque = |asked: &mut Asked| (asked.facts, asked.chain_id) = (Facts::opaque(), 0);
    check(&usual(""), unknown, &[UnreadablePayload]);
    check("chains = [\"ethereum\"]\nallow_unknown_calls = true", unknown, &[]);
    check("chains = [\"papers\"]\nallow_opaque = true", opaque, &[]);
    check(
        "chains = [\"papers\"]\nallow_opaque = true",
        |asked| asked.facts = Facts::opaque(),
        &[ChainNotAllowed],
    );
    check(&usual(""), opaque, &[FormatNotAllowed, UnreadablePayload]);
    // One permission is not the other.
    check(
        "chains = [\"ethereum\"]\nallow_unknown_calls = true",
        opaque,
        &[FormatNotAllowed, UnreadablePayload],
    );
    check("chains = [\"ethereum\", \"papers\"]\nallow_opaque = true", unknown, &[UnreadablePayload]);
    // Opaque stays opaque, whatever it is said not to hold.
    let blank = |asked: &mut Asked| {
        asked.facts = Facts { unknown: Vec::new(), ..Facts::opaque() };
        asked.chain_id = 1;
    };
    check(
        "chains = [\"ethereum\"]\nallow_unknown_calls = true",
        blank,
        &[FormatNotAllowed, UnreadablePayload],
    );
}

#[test]
fn a_declared_field_must_be_true_of_the_payload() {
    let entry = usual("");
    check(&entry, |asked| asked.chain_id = 2, &[PayloadMismatch, ChainNotAllowed]);
    check(&entry, |asked| asked.nonce = 8, &[PayloadMismatch]);
    check(&entry, |asked| asked.recipient = Some(asked.facts.movements[0].recipient.clone()), &[]);
    check(&entry, |asked| asked.recipient = Some(address(USDC)), &[PayloadMismatch]);
    check(&entry, |asked| asked.amount = Some(amount(100)), &[]);
    check(&entry, |asked| asked.amount = Some(amount(101)), &[PayloadMismatch]);
    check(&entry, |asked| asked.currency = Some("USDC".to_owned()), &[]);
    for name in ["ETH", "usdc", "", "USDC ", "USDC\n", &"U".repeat(100)] {
        check(&entry, |asked| asked.currency = Some(name.to_owned()), &[PayloadMismatch]);
    }
    // Each movement must go there; the amount is their sum, of one currency.
    let second = |asked: &mut Asked| asked.facts.movements.push(transfer(usdc(), amount(1), ALICE_PAYS));
    check(&entry, |asked| (second(asked), asked.amount = Some(amount(101))).0, &[]);
    check(&entry, |asked| (second(asked), asked.amount = Some(amount(100))).0, &[PayloadMismatch]);
    let to_bob = |asked: &mut Asked| asked.recipient = Some(asked.facts.movements[0].recipient.clone());
    check(&entry, |asked| (second(asked), to_bob(asked)).0, &[PayloadMismatch]);
    let ether = |asked: &mut Asked| asked.facts.movements.push(transfer(eth(), amount(0), BOB));
    check(&entry, |asked| (ether(asked), asked.amount = Some(amount(100))).0, &[PayloadMismatch]);
    check(&entry, |asked| (ether(asked), asked.currency = Some("USDC".to_owned())).0, &[PayloadMismatch]);
    // What shows nothing proves nothing.
    let opaque = "chains = [\"papers\"]\nallow_opaque = true";
    let declared = |asked: &mut Asked| {
        (asked.facts, asked.chain_id, asked.amount) = (Facts::opaque(), 0, Some(amount(0)));
    };
    check(opaque, declared, &[PayloadMismatch]);
}

#[test]
fn limits_of_one_transaction_are_exact_and_take_the_fee_in() {
    let limits =
        |usdc: u64, eth: u64| usual(&format!("transaction = {{ USDC = \"{usdc}\", ETH = \"{eth}\" }}"));
    check(&limits(100, 10), |_| (), &[]);
    check(&limits(99, 10), |_| (), &[TransactionLimitExceeded]);
    check(&limits(100, 9), |_| (), &[TransactionLimitExceeded]);
    check(&limits(100, 0), |asked| asked.facts.fee = None, &[]);
    let two = |asked: &mut Asked| asked.facts.movements.push(transfer(usdc(), amount(1), ALICE_PAYS));
    check(&limits(100, 10), two, &[TransactionLimitExceeded]);
    check(&limits(101, 10), two, &[]);
    let ether = |asked: &mut Asked| asked.facts.movements = vec![transfer(eth(), amount(90), BOB)];
    check(&limits(0, 100), ether, &[]);
    check(&limits(0, 99), ether, &[TransactionLimitExceeded]);
}

#[test]
fn limits_in_the_reference_currency_take_everything_in_and_round_up() {
    // 100 USDC at 2 cents, and a fee of 10 ETH units at 3/2 cents: 215 cents.
    let limit = |cents: u64| usual(&format!("transaction = {{ USD = \"{cents}\" }}"));
    check(&limit(215), |_| (), &[]);
    check(&limit(214), |_| (), &[TransactionLimitExceeded]);
    // 11 × 3/2 is 16.5: 17.
    let fee = |asked: &mut Asked| asked.facts.fee.as_mut().unwrap().amount = amount(11);
    check(&limit(217), fee, &[]);
    check(&limit(216), fee, &[TransactionLimitExceeded]);
}

#[test]
fn without_a_price_a_rule_that_needs_one_refuses() {
    let policy = policy(&usual("transaction = { USD = \"100000\" }"));
    let prices = prices(&policy);
    let none = Lists::default();
    assert_eq!(Asked::usual().codes(&policy, &none), [PriceUnavailable]);
    let some = Lists { sanctions: None, prices: Some(&prices) };
    for (time, expected) in [
        ("2026-11-20T11:54:59Z", &[PriceUnavailable][..]),
        ("2026-11-20T11:55:00Z", &[]),
        ("2026-11-20T12:04:59Z", &[]),
        ("2026-11-20T12:05:00Z", &[PriceUnavailable]),
    ] {
        let asked = Asked::changed(|asked| asked.now = time.parse().unwrap());
        assert_eq!(asked.codes(&policy, &some), expected, "{time}");
    }
    // Nothing needs no price.
    let nothing = Asked::changed(|asked| (asked.facts.movements, asked.facts.fee) = (Vec::new(), None));
    assert_eq!(nothing.codes(&policy, &none), []);
    // SOL has none.
    let sol =
        support::policy("chains = [\"solana\"]\ncurrencies = [\"SOL\"]\ntransaction = { USD = \"100000\" }");
    let prices = support::prices(&sol);
    let asked = Asked::changed(|asked| {
        asked.chain_id = 900;
        asked.facts = Facts {
            format: Format::Solana,
            chain_id: None,
            nonce: None,
            movements: vec![transfer(CurrencyId::solana_native(), amount(1), BOB)],
            fee: None,
            unknown: Vec::new(),
        };
    });
    assert_eq!(asked.codes(&sol, &Lists { sanctions: None, prices: Some(&prices) }), [PriceUnavailable]);
}

#[test]
fn a_fee_of_a_currency_that_nobody_named_is_not_worth_nothing() {
    let foreign = |asked: &mut Asked| {
        asked.facts.fee = Some(Fee { currency: CurrencyId::evm_native(5), amount: amount(1) });
    };
    check(&usual("transaction = { USD = \"100000\" }"), foreign, &[CurrencyUnknown, FeeTooHigh]);
    check(&usual("fee = { USD = \"100000\" }"), foreign, &[FeeTooHigh]);
    check(&usual("fee = { ETH = \"100000\" }"), foreign, &[FeeTooHigh]);
}

#[test]
fn who_bounds_amounts_or_recipients_bounds_the_fee_as_well() {
    let fee_of = |spent: u64| {
        move |asked: &mut Asked| {
            asked.facts.fee = Some(Fee { currency: eth(), amount: amount(spent) });
        }
    };
    let only_usdc =
        usual("rolling = [{ over = \"24h\", amounts = { USDC = \"1000000\", ETH = \"1000000\" } }]");
    check(&only_usdc, fee_of(10), &[]);
    let allowed = usual("recipients = { allow = [\"0xb0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0\"] }");
    check(&allowed, fee_of(10), &[FeeTooHigh]);
    check(&allowed, fee_of(0), &[]);
}

#[test]
fn a_fee_is_bounded_in_each_currency_that_it_may_be_in() {
    check(&usual("fee = { ETH = \"10\" }"), |_| (), &[]);
    check(&usual("fee = { ETH = \"9\" }"), |_| (), &[FeeTooHigh]);
    check(&usual("fee = { USDC = \"10000\" }"), |_| (), &[FeeTooHigh]);
    check(&usual("fee = { USD = \"15\" }"), |_| (), &[]);
    check(&usual("fee = { USD = \"14\" }"), |_| (), &[FeeTooHigh]);
    check(&usual("fee = { USD = \"15\", ETH = \"9\" }"), |_| (), &[FeeTooHigh]);
    check(&usual("fee = { USD = \"14\", ETH = \"10\" }"), |_| (), &[FeeTooHigh]);
    check(&usual("fee = { ETH = \"10\" }"), |asked| asked.facts.fee = None, &[FeeTooHigh]);
}

#[test]
fn recipients_are_held_to_both_lists() {
    let bob = "0xb0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0";
    let loud = "0xB0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0B0";
    check(&usual(&format!("fee = {{ ETH = \"10\" }}\nrecipients = {{ allow = [\"{bob}\"] }}")), |_| (), &[]);
    check(&usual(&format!("fee = {{ ETH = \"10\" }}\nrecipients = {{ allow = [\"{loud}\"] }}")), |_| (), &[]);
    check(&usual("fee = { ETH = \"10\" }\nrecipients = { allow = [] }"), |_| (), &[RecipientNotAllowed]);
    check(
        &usual(&format!("fee = {{ ETH = \"10\" }}\nrecipients = {{ allow = [\"{USDC}\"] }}")),
        |_| (),
        &[RecipientNotAllowed],
    );
    check(&usual(&format!("recipients = {{ deny = [\"{loud}\"] }}")), |_| (), &[RecipientDenied]);
    check(&usual(&format!("recipients = {{ deny = [\"{USDC}\"] }}")), |_| (), &[]);
    check(
        &usual(&format!(
            "fee = {{ ETH = \"10\" }}\nrecipients = {{ allow = [\"{bob}\"], deny = [\"{bob}\"] }}"
        )),
        |_| (),
        &[RecipientDenied],
    );
    let second = |asked: &mut Asked| asked.facts.movements.push(transfer(eth(), amount(1), ALICE_PAYS));
    check(
        &usual(&format!("fee = {{ ETH = \"10\" }}\nrecipients = {{ allow = [\"{bob}\"] }}")),
        second,
        &[RecipientNotAllowed],
    );
    // Of an account whose owner is not shown nobody can say that it is on no list.
    let unproven = |asked: &mut Asked| asked.facts.movements[0].recipient_proven = false;
    check(&usual(""), unproven, &[]);
    check(
        &usual(&format!("fee = {{ ETH = \"10\" }}\nrecipients = {{ allow = [\"{bob}\"] }}")),
        unproven,
        &[],
    );
    check(&usual(&format!("recipients = {{ deny = [\"{USDC}\"] }}")), unproven, &[RecipientUnproven]);
    check(
        &usual(&format!(
            "fee = {{ ETH = \"10\" }}\nrecipients = {{ allow = [\"{bob}\"], deny = [\"{USDC}\"] }}"
        )),
        unproven,
        &[RecipientUnproven],
    );
}

#[test]
fn everybody_whom_a_payload_names_is_screened() {
    let policy = policy(&usual("sanctions = \"required\"\nallow_allowances = true"));
    let asked = Asked::usual();
    assert_eq!(asked.codes(&policy, &Lists::default()), [SanctionsUnavailable]);
    let screened = |asked: &Asked, listed: &str| {
        let list = sanctioned(&[listed]);
        asked.codes(&policy, &Lists { sanctions: Some(&list), prices: None })
    };
    assert_eq!(screened(&asked, MINT), []);
    assert_eq!(screened(&asked, "0xB0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0"), [RecipientSanctioned]);
    assert_eq!(screened(&asked, &USDC.to_ascii_uppercase().replacen("0X", "0x", 1)), [RecipientSanctioned]);
    let allowance = Asked::changed(|asked| asked.facts.movements[0].kind = MovementKind::Allowance);
    assert_eq!(screened(&allowance, "0xb0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0"), [RecipientSanctioned]);
    let unproven = Asked::changed(|asked| asked.facts.movements[0].recipient_proven = false);
    assert_eq!(screened(&unproven, MINT), [RecipientUnproven]);
    // Whoever has no entry is screened as well, for the record.
    let required = support::text(&usual("")).replacen("\"off\"", "\"required\"", 1);
    let required = Policy::parse(&required).unwrap();
    let stranger = Asked::changed(|asked| asked.tenant = "other".try_into().unwrap());
    assert_eq!(stranger.codes(&required, &Lists::default()), [SenderUnknown, SanctionsUnavailable]);
}

#[test]
fn a_time_window_must_be_open() {
    let entry = usual("windows = [{ days = [\"fri\"], from = \"09:00\", to = \"17:00\" }]");
    check(&entry, |_| (), &[]);
    check(&entry, |asked| asked.now = "2026-11-20T17:00:00Z".parse().unwrap(), &[OutsideTimeWindow]);
    let two = usual(
        "windows = [{ days = [\"mon\"], from = \"09:00\", to = \"17:00\" }, { days = [\"fri\"], from = \"11:00\", to = \"13:00\" }]",
    );
    check(&two, |_| (), &[]);
}

#[test]
fn approvals_are_demanded_above_an_amount_and_counted_once() {
    let above = usual(
        "approvals = [{ above = { USDC = \"99\", ETH = \"10\" }, threshold = 2, of = [\"alice\", \"bob\"] }]",
    );
    let not_above = above.replace("99", "100");
    let by = |names: &'static [&'static str]| {
        move |asked: &mut Asked| {
            asked.approvals = names.iter().map(|name| approval(name, &asked.request)).collect();
        }
    };
    check(&not_above, |_| (), &[]);
    check(&above, |_| (), &[ApprovalsMissing]);
    check(&above, by(&["alice"]), &[ApprovalsMissing]);
    check(&above, by(&["alice", "alice"]), &[ApprovalsMissing]);
    check(&above, by(&["alice", "carol"]), &[ApprovalsMissing]);
    check(&above, by(&["bob", "alice"]), &[]);
    check(&above, by(&["carol", "bob", "alice"]), &[]);
    let reasons = |asked: &Asked| {
        let policy = policy(&above);
        asked.reasons(&policy, &Lists::default())
    };
    assert_eq!(
        reasons(&Asked::changed(by(&["alice"])))[0].detail,
        "expected 2 approvals by alice, bob, found 1; 1 more needed"
    );
    let in_reference = usual("approvals = [{ above = { USD = \"214\" }, threshold = 1, of = [\"alice\"] }]");
    check(&in_reference, |_| (), &[ApprovalsMissing]);
    check(&in_reference.replace("214", "215"), |_| (), &[]);
    let always = usual("approvals = [{ threshold = 1, of = [\"carol\"] }]");
    check(&always, |_| (), &[ApprovalsMissing]);
    check(&always, by(&["carol"]), &[]);
    // Each rule by itself.
    let both = usual("approvals = [{ threshold = 1, of = [\"alice\"] }, { threshold = 1, of = [\"bob\"] }]");
    check(&both, by(&["alice"]), &[ApprovalsMissing]);
    check(&both, by(&["alice", "bob"]), &[]);
}

#[test]
fn an_approval_that_is_none_refuses_even_where_none_was_needed() {
    let good = |asked: &Asked| approval("alice", &asked.request);
    check(&usual(""), |asked| asked.approvals = vec![good(asked)], &[]);
    check(&usual(""), |asked| asked.approvals = vec![approval("eve", &asked.request)], &[ApprovalInvalid]);
    let mut other = None;
    check(
        &usual(""),
        |asked| {
            let of_another = sealstone_attestation::RequestDigest::of(b"another request");
            other = Some(approval("alice", &of_another));
            asked.approvals = other.iter().cloned().collect();
        },
        &[ApprovalInvalid],
    );
    // Somebody else's signature under this name, and a name that is not quite one.
    let renamed = |name: &'static str| {
        move |asked: &mut Asked| {
            asked.approvals = vec![approval("bob", &asked.request)];
            asked.approvals[0].approver = name.to_owned();
        }
    };
    for name in ["alice", "Bob", "bob ", "", "bob\n"] {
        check(&usual(""), renamed(name), &[ApprovalInvalid]);
    }
    let long = "b".repeat(70_000);
    check(
        &usual(""),
        |asked| (renamed("bob")(asked), asked.approvals[0].approver = long.clone()).0,
        &[ApprovalInvalid],
    );
    // A good one does not make up for a bad one, and too many are not looked at.
    check(
        &usual("approvals = [{ threshold = 1, of = [\"alice\"] }]"),
        |asked| asked.approvals = vec![good(asked), approval("eve", &asked.request)],
        &[ApprovalInvalid],
    );
    check(&usual(""), |asked| asked.approvals = vec![good(asked); 33], &[ApprovalInvalid]);
    check(&usual(""), |asked| asked.approvals = vec![good(asked); 32], &[]);
}

#[test]
fn an_approver_may_sign_with_p_256_and_only_with_a_low_s() {
    use p256::ecdsa::signature::hazmat::PrehashSigner;
    let request = Asked::usual().request;
    let key = p256::ecdsa::SigningKey::from_slice(&[9; 32]).unwrap();
    let public = sealstone_attestation::PublicKey::from(key.verifying_key());
    let dave = format!("[approvers]\ndave = {{ algorithm = \"ES256\", public_key = \"{public}\" }}");
    let entry = usual("approvals = [{ threshold = 1, of = [\"dave\"] }]");
    let policy = Policy::parse(&support::text(&entry).replace("[approvers]", &dave)).unwrap();
    // Written out, so that the encoding cannot drift: lp(label) ‖ lp("dave") ‖ digest.
    let mut message = b"\x00\x15sealstone/approval/v1\x00\x04dave".to_vec();
    message.extend_from_slice(request.as_bytes());
    let digest = *Sha256Digest::of(&message).as_bytes();
    let low: p256::ecdsa::Signature = key.sign_prehash(&digest).unwrap();
    let low = low.normalize_s();
    let high = p256::ecdsa::Signature::from_scalars(low.r().to_bytes(), (-*low.s()).to_bytes()).unwrap();
    for (signature, expected) in [(low, &[][..]), (high, &[ApprovalInvalid, ApprovalsMissing])] {
        let asked = Asked::changed(|asked| {
            let signature = Signature64::from_bytes(signature.to_bytes().into());
            asked.approvals = vec![Approval { approver: "dave".to_owned(), signature }];
        });
        assert_eq!(asked.codes(&policy, &Lists::default()), expected);
    }
}

#[test]
fn rules_about_the_past_come_out_as_demands() {
    let entry = usual(
        "rolling = [{ over = \"24h\", amounts = { USDC = \"500\", ETH = \"60\" } }, { over = \"1h\", amounts = { USD = \"900\" } }]\n\
         velocity = [{ over = \"1m\", count = 3 }]",
    );
    let policy = policy(&entry);
    let prices = prices(&policy);
    let lists = Lists { sanctions: None, prices: Some(&prices) };
    let demands = Asked::usual().judged(&policy, &lists).outcome.unwrap();
    let demand = |window: &str, seconds, add, limit, code| Demand {
        window: window.to_owned(),
        seconds,
        add: amount(add),
        limit: amount(limit),
        code,
    };
    let expected = [
        demand("amount:ETH:86400", 86_400, 10, 60, DailyLimitExceeded),
        demand("amount:USDC:86400", 86_400, 100, 500, DailyLimitExceeded),
        demand("reference:3600", 3600, 215, 900, RollingLimitExceeded),
        demand("count:60", 60, 1, 3, VelocityExceeded),
    ];
    assert_eq!(demands, expected);
    // Who moves nothing of a currency demands no room for it.
    let nothing = Asked::changed(|asked| (asked.facts.movements, asked.facts.fee) = (Vec::new(), None));
    assert_eq!(nothing.judged(&policy, &lists).outcome.unwrap(), expected[3..]);
    // A refusal demands nothing.
    let stranger = Asked::changed(|asked| asked.nonce = 8);
    assert!(stranger.judged(&policy, &lists).outcome.is_err());
}

#[test]
fn every_reason_is_collected_in_one_order() {
    let entry = usual(
        "transaction = { USDC = \"1\", ETH = \"1\" }\nfee = { ETH = \"1\" }\nrecipients = { allow = [] }\nsanctions = \"required\"\n\
         windows = [{ days = [\"mon\"], from = \"09:00\", to = \"17:00\" }]\napprovals = [{ threshold = 1, of = [\"alice\"] }]",
    );
    let everything = |asked: &mut Asked| {
        asked.nonce = 8;
        asked.chain_id = 2;
        asked.old_epoch = true;
        asked.facts.unknown = vec!["a call".to_owned()];
        asked.facts.movements[0].kind = MovementKind::Allowance;
        asked.facts.movements[0].recipient_proven = false;
        asked.approvals = vec![approval("eve", &asked.request)];
    };
    check(
        &entry,
        everything,
        &[
            PayloadMismatch,
            ChainNotAllowed,
            UnreadablePayload,
            OldEpochNotAllowed,
            OutsideTimeWindow,
            AllowanceNotAllowed,
            SanctionsUnavailable,
            RecipientNotAllowed,
            RecipientUnproven,
            FeeTooHigh,
            TransactionLimitExceeded,
            ApprovalInvalid,
            ApprovalsMissing,
        ],
    );
    assert_eq!(NOON, "2026-11-20T12:00:00Z");
}

#[test]
fn amounts_beyond_every_integer_are_exact() {
    let max: Amount =
        "115792089237316195423570985008687907853269984665640564039457584007913129639935".parse().unwrap();
    let entry = |limit: &Amount| usual(&format!("transaction = {{ USDC = \"{limit}\", ETH = \"10\" }}"));
    let huge = |asked: &mut Asked| asked.facts.movements[0].amount = max.clone();
    check(&entry(&max), huge, &[]);
    check(&entry(&max.minus(&amount(1))), huge, &[TransactionLimitExceeded]);
    // Two of them do not wrap round.
    let twice = |asked: &mut Asked| {
        asked.facts.movements = vec![transfer(usdc(), max.clone(), BOB), transfer(usdc(), max.clone(), BOB)];
    };
    check(&entry(&max), twice, &[TransactionLimitExceeded]);
}
