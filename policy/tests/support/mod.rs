//! What the tests of the rules share: a policy around one entry, and a request that it takes.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

use ed25519_dalek::{Signer as _, SigningKey};
use sealstone_attestation::{Envelope, EnvelopeSignature, PublicKey, RequestDigest, Signature64, UnixTime};
use sealstone_policy::amount::Amount;
use sealstone_policy::approvals::approval_message;
use sealstone_policy::engine::{Approval, Declared, Lists, Reason, ReasonCode, Request, Signer, judge};
use sealstone_policy::facts::{Address, CurrencyId, Facts, Fee, Format, Movement, MovementKind};
use sealstone_policy::prices::{PriceList, Prices};
use sealstone_policy::rules::Policy;
use sealstone_policy::sanctions::{Importer, SanctionsList};
use sealstone_wire::PathText;
use serde_json::json;

/// USDC on Ethereum.
pub(crate) const USDC: &str = "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48";
/// A mint on Solana.
pub(crate) const MINT: &str = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v";
pub(crate) const ALICE_PAYS: [u8; 20] = [0xa1; 20];
pub(crate) const BOB: [u8; 20] = [0xb0; 20];
/// A Friday.
pub(crate) const NOON: &str = "2026-11-20T12:00:00Z";

pub(crate) fn key(name: &str) -> SigningKey {
    let mut seed = [7; 32];
    seed[..name.len()].copy_from_slice(name.as_bytes());
    SigningKey::from_bytes(&seed)
}

pub(crate) fn public_hex(name: &str) -> String {
    PublicKey::from(&key(name).verifying_key()).to_string()
}

/// A policy without senders.
pub(crate) fn head() -> String {
    let person =
        |name: &str| format!("{name} = {{ algorithm = \"EdDSA\", public_key = \"{}\" }}\n", public_hex(name));
    format!(
        r#"
version = 1
sanctions = "off"

[reference]
name = "USD"
decimals = 2

[prices]
threshold = 1
keys = [{{ name = "pricer", algorithm = "EdDSA", public_key = "{pricer}" }}]

[chains]
ethereum = "evm:1"
polygon = "evm:137"
solana = "solana:900"
papers = "opaque:0"

[currencies]
ETH = "evm:1:native"
USDC = "evm:1:{USDC}"
SOL = "solana:native"

[approvers]
{people}
"#,
        pricer = public_hex("pricer"),
        people = ["alice", "bob", "carol"].map(person).concat(),
    )
}

/// A policy with one entry, for `acme`'s asset `hot`.
pub(crate) fn text(entry: &str) -> String {
    format!("{}\n[[senders]]\ntenant = \"acme\"\nasset = \"hot\"\n{entry}\n", head())
}

pub(crate) fn policy(entry: &str) -> Policy {
    Policy::parse(&text(entry)).unwrap_or_else(|error| panic!("{error}\n{entry}"))
}

/// An entry that takes the usual request, with more rules.
pub(crate) fn usual(more: &str) -> String {
    format!("chains = [\"ethereum\"]\ncurrencies = [\"ETH\", \"USDC\"]\n{more}")
}

pub(crate) fn amount(number: u64) -> Amount {
    Amount::from(number)
}

pub(crate) fn eth() -> CurrencyId {
    CurrencyId::evm_native(1)
}

pub(crate) fn address(text: &str) -> Address {
    serde_json::from_value(json!(text)).unwrap()
}

pub(crate) fn usdc() -> CurrencyId {
    CurrencyId::evm_token(1, &address(USDC))
}

pub(crate) fn transfer(currency: CurrencyId, amount: Amount, to: [u8; 20]) -> Movement {
    Movement {
        kind: MovementKind::Transfer,
        currency,
        amount,
        recipient: Address::evm(&to),
        recipient_proven: true,
    }
}

/// A request, owned.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) tenant: PathText,
    pub(crate) asset: Option<PathText>,
    pub(crate) session: Option<PathText>,
    pub(crate) chain_id: u64,
    pub(crate) nonce: u64,
    pub(crate) recipient: Option<Address>,
    pub(crate) amount: Option<Amount>,
    pub(crate) currency: Option<String>,
    pub(crate) old_epoch: bool,
    pub(crate) facts: Facts,
    pub(crate) request: RequestDigest,
    pub(crate) approvals: Vec<Approval>,
    pub(crate) now: UnixTime,
}

impl Asked {
    /// 100 USDC units to Bob on Ethereum, with a fee of 10 ETH units.
    pub(crate) fn usual() -> Self {
        Self {
            tenant: "acme".try_into().unwrap(),
            asset: Some("hot".try_into().unwrap()),
            session: None,
            chain_id: 1,
            nonce: 7,
            recipient: None,
            amount: None,
            currency: None,
            old_epoch: false,
            facts: Facts {
                format: Format::Evm,
                chain_id: Some(1),
                nonce: Some(7),
                movements: vec![transfer(usdc(), amount(100), BOB)],
                fee: Some(Fee { currency: eth(), amount: amount(10) }),
                unknown: Vec::new(),
            },
            request: RequestDigest::of(b"a request"),
            approvals: Vec::new(),
            now: NOON.parse().unwrap(),
        }
    }

    pub(crate) fn changed(change: impl FnOnce(&mut Self)) -> Self {
        let mut asked = Self::usual();
        change(&mut asked);
        asked
    }

    pub(crate) fn judged(&self, policy: &Policy, lists: &Lists<'_>) -> sealstone_policy::engine::Judgement {
        let signer = match (&self.asset, &self.session) {
            (Some(asset), _) => Signer::Asset(asset),
            (None, Some(sender)) => Signer::Session(sender),
            (None, None) => panic!("a request has a signer"),
        };
        let request = Request {
            tenant: &self.tenant,
            signer,
            chain_id: self.chain_id,
            nonce: self.nonce,
            declared: Declared {
                recipient: self.recipient.as_ref(),
                amount: self.amount.as_ref(),
                currency: self.currency.as_deref(),
            },
            old_epoch: self.old_epoch,
            facts: &self.facts,
            request: self.request,
            approvals: &self.approvals,
            now: self.now,
        };
        judge(policy, &request, lists)
    }

    pub(crate) fn codes(&self, policy: &Policy, lists: &Lists<'_>) -> Vec<ReasonCode> {
        let mut codes: Vec<_> = self.reasons(policy, lists).iter().map(|reason| reason.code).collect();
        codes.dedup();
        codes
    }

    pub(crate) fn reasons(&self, policy: &Policy, lists: &Lists<'_>) -> Vec<Reason> {
        self.judged(policy, lists).outcome.err().unwrap_or_default()
    }
}

/// An approval by one of the policy's people, or by anybody.
pub(crate) fn approval(name: &str, request: &RequestDigest) -> Approval {
    let message = approval_message(name, request).unwrap();
    let signature = Signature64::from_bytes(key(name).sign(&message).to_bytes());
    Approval { approver: name.to_owned(), signature }
}

/// A payload in an envelope, signed by these.
pub(crate) fn envelope(payload_type: &str, payload: &[u8], signers: &[&str]) -> Vec<u8> {
    let pae = Envelope::pae(payload_type, payload);
    let signatures = signers
        .iter()
        .map(|name| EnvelopeSignature {
            keyid: PublicKey::from(&key(name).verifying_key()).key_id().to_string(),
            sig: key(name).sign(&pae).to_bytes().to_vec(),
        })
        .collect();
    let payload_type = payload_type.to_owned();
    Envelope { payload_type, payload: payload.to_vec(), signatures }.to_json()
}

/// A payload of prices around noon: 2 cents for 1 USDC unit, 3 cents for 2 ETH units.
pub(crate) fn price_payload() -> serde_json::Value {
    json!({
        "reference": "USD",
        "decimals": 2,
        "issued_at": "2026-11-20T11:55:00Z",
        "expires_at": "2026-11-20T12:05:00Z",
        "prices": [
            {"currency": "USDC", "numerator": "2", "denominator": "1"},
            {"currency": "ETH", "numerator": "3", "denominator": "2"},
        ],
    })
}

pub(crate) fn prices(policy: &Policy) -> Prices {
    let envelope = envelope(PriceList::PAYLOAD_TYPE, price_payload().to_string().as_bytes(), &["pricer"]);
    Prices::verify(&envelope, policy).unwrap()
}

/// A list of these addresses.
pub(crate) fn sanctioned(addresses: &[&str]) -> SanctionsList {
    let mut importer = Importer::new();
    importer.read(addresses.join("\n").as_bytes(), |_| ()).unwrap();
    importer.finish(UnixTime::from_secs(1)).unwrap()
}
