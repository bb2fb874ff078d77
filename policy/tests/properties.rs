//! What holds for every policy and request: rules only ever refuse more, order says nothing, limits are exact.

#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::subsequence;
use sealstone_policy::amount::Amount;
use sealstone_policy::engine::{Lists, ReasonCode};
use sealstone_policy::facts::{Address, CurrencyId, Fee, Movement, MovementKind};
use sealstone_policy::rules::Policy;
use sealstone_policy::sanctions::SanctionsList;

use support::{Asked, amount, approval, eth, policy, prices, sanctioned, transfer, usdc, usual};

/// Rules that an entry may have, each by itself.
const RULES: [&str; 12] = [
    "transaction = { USDC = \"150\", ETH = \"40\", USD = \"260\" }",
    "rolling = [{ over = \"24h\", amounts = { USDC = \"300\", ETH = \"100\" } }]",
    "velocity = [{ over = \"1m\", count = 2 }, { over = \"1h\", count = 5 }]",
    "recipients = { allow = [\"0x0101010101010101010101010101010101010101\", \"0x0202020202020202020202020202020202020202\"] }",
    "fee = { ETH = \"20\" }",
    "fee = { USD = \"40\" }",
    "windows = [{ days = [\"fri\"], from = \"11:00\", to = \"13:00\" }]",
    "sanctions = \"required\"",
    "approvals = [{ above = { USD = \"200\" }, threshold = 1, of = [\"alice\", \"bob\"] }]",
    "approvals = [{ threshold = 1, of = [\"carol\"] }]",
    "recipients = { deny = [\"0x0303030303030303030303030303030303030303\"] }",
    "rolling = [{ over = \"7d\", amounts = { USD = \"900\" } }]",
];

fn movement() -> impl Strategy<Value = Movement> {
    let currency = prop_oneof![4 => Just(usdc()), 3 => Just(eth()), 1 => Just(CurrencyId::evm_native(9))];
    (currency, 0_u64..200, 1_u8..5, prop::bool::weighted(0.9), prop::bool::weighted(0.1)).prop_map(
        |(currency, number, to, proven, allowance)| {
            let mut movement = transfer(currency, amount(number), [to; 20]);
            movement.recipient_proven = proven;
            if allowance {
                movement.kind = MovementKind::Allowance;
            }
            movement
        },
    )
}

fn asked() -> impl Strategy<Value = Asked> {
    let fee = prop::option::weighted(0.9, (any::<bool>(), 0_u64..50));
    let approvers = subsequence(vec!["alice", "bob", "carol", "eve"], 0..3);
    let movements = prop::collection::vec(movement(), 0..4);
    (movements, fee, approvers, 0_u64..3 * 86_400, prop::bool::weighted(0.05), prop::bool::weighted(0.05))
        .prop_map(|(movements, fee, approvers, later, old_epoch, unknown)| {
            Asked::changed(|asked| {
                asked.facts.movements = movements;
                asked.facts.fee = fee.map(|(ether, number)| Fee {
                    currency: if ether { eth() } else { CurrencyId::evm_native(9) },
                    amount: amount(number),
                });
                asked.approvals = approvers.iter().map(|name| approval(name, &asked.request)).collect();
                asked.now =
                    sealstone_attestation::UnixTime::from_secs(asked.now.as_secs() - 120 + later / 1000);
                asked.old_epoch = old_epoch;
                asked.facts.unknown = if unknown { vec!["a call".to_owned()] } else { Vec::new() };
            })
        })
}

fn entry(rules: &[&str]) -> Option<Policy> {
    // Two rules of one name are not two entries of one list in TOML.
    let mut names: Vec<&str> = rules.iter().map(|rule| rule.split(' ').next().unwrap()).collect();
    names.sort_unstable();
    let distinct = names.len();
    names.dedup();
    (names.len() == distinct).then(|| policy(&usual(&rules.join("\n"))))
}

/// Whether a request would be signed, its past included.
fn taken(
    policy: &Policy,
    asked: &Asked,
    used: &BTreeMap<String, u64>,
    sanctions: Option<&SanctionsList>,
) -> bool {
    let prices = prices(policy);
    let lists = Lists { sanctions, prices: Some(&prices) };
    asked.judged(policy, &lists).outcome.is_ok_and(|demands| {
        demands.iter().all(|demand| {
            let used = used.get(&demand.window).copied().unwrap_or(0);
            demand.check(&amount(used)).is_ok()
        })
    })
}

/// Whether nothing but an unbounded fee stands against a request.
fn only_the_fee(policy: &Policy, asked: &Asked, sanctions: Option<&SanctionsList>) -> bool {
    let prices = prices(policy);
    let lists = Lists { sanctions, prices: Some(&prices) };
    asked
        .judged(policy, &lists)
        .outcome
        .is_err_and(|reasons| reasons.iter().all(|reason| reason.code == ReasonCode::FeeTooHigh))
}

fn past() -> impl Strategy<Value = BTreeMap<String, u64>> {
    let windows = ["amount:USDC:86400", "amount:ETH:86400", "reference:604800", "count:60", "count:3600"]
        .map(str::to_owned);
    prop::collection::btree_map(prop::sample::select(windows.to_vec()), 0_u64..400, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_rule_more_never_permits_more(
        asked in asked(),
        rules in subsequence(RULES.to_vec(), 0..5),
        more in prop::sample::select(RULES.to_vec()),
        used in past(),
        listed in prop::option::of(1_u8..5),
    ) {
        let list = listed.map(|to| sanctioned(&[Address::evm(&[to; 20]).as_str()]));
        // A fee is permitted by what bounds it, as a currency is by its name: that is no rule that refuses.
        let open_fee = |policy: Policy| only_the_fee(&policy, &asked, list.as_ref());
        if more.starts_with("fee") || entry(&rules).is_some_and(open_fee) {
            return Ok(());
        }
        let with: Vec<&str> = rules.iter().copied().chain([more]).collect();
        let (Some(without), Some(with)) = (entry(&rules), entry(&with)) else { return Ok(()) };
        if !taken(&without, &asked, &used, list.as_ref()) {
            prop_assert!(!taken(&with, &asked, &used, list.as_ref()), "{rules:?} and {more}");
        }
    }

    #[test]
    fn the_order_of_movements_and_approvals_says_nothing(
        asked in asked(),
        rules in subsequence(RULES.to_vec(), 0..6),
        turn in 0_usize..4,
    ) {
        let Some(policy) = entry(&rules) else { return Ok(()) };
        let prices = prices(&policy);
        let lists = Lists { sanctions: None, prices: Some(&prices) };
        let mut turned = asked.clone();
        turned.approvals.reverse();
        let count = turned.facts.movements.len();
        if count > 0 {
            turned.facts.movements.rotate_left(turn % count);
            if turn % 2 == 0 {
                turned.facts.movements.reverse();
            }
        }
        prop_assert_eq!(asked.judged(&policy, &lists), turned.judged(&policy, &lists));
    }

    /// Splitting a payment into parts, or joining them, changes nothing about how much is moved.
    #[test]
    fn a_limit_is_exact_for_amounts_up_to_2_to_the_256(
        moved in prop::collection::vec(any::<[u8; 32]>(), 1..4),
        limit in any::<[u8; 32]>(),
        near in any::<bool>(),
    ) {
        let moved: Vec<Amount> = moved.iter().map(|bytes| Amount::from_be_bytes(bytes)).collect();
        let sum = moved.iter().fold(Amount::ZERO, |sum, amount| sum.plus(amount));
        let limit = if near { sum.minus(&amount(u64::from(limit[0] % 2))) } else { Amount::from_be_bytes(&limit) };
        let policy = policy(&usual(&format!("transaction = {{ USDC = \"{limit}\", ETH = \"10\" }}")));
        let parts = Asked::changed(|asked| {
            asked.facts.movements = moved.into_iter().map(|amount| transfer(usdc(), amount, [1; 20])).collect();
        });
        let expected: &[ReasonCode] = if sum > limit { &[ReasonCode::TransactionLimitExceeded] } else { &[] };
        prop_assert_eq!(parts.codes(&policy, &Lists::default()), expected);
        let joined = Asked::changed(|asked| asked.facts.movements = vec![transfer(usdc(), sum, [1; 20])]);
        prop_assert_eq!(joined.codes(&policy, &Lists::default()), expected);
    }

    #[test]
    fn no_text_makes_a_policy_by_panicking(text in "[a-z0-9\\[\\]{}=\"\\n.:_ -]{0,200}") {
        let _ = Policy::parse(&text);
        let _ = Policy::parse(&format!("{}{text}", support::head()));
    }

    #[test]
    fn no_bytes_make_a_sanctions_list_by_panicking(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(SanctionsList::parse(&bytes).is_err());
        let mut importer = sealstone_policy::sanctions::Importer::new();
        let _ = importer.read(&bytes, |_| ());
        let _ = importer.finish(sealstone_attestation::UnixTime::from_secs(0));
    }
}
