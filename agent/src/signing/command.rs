//! What a client asks to be signed: parsed, bounded, and named by one digest.

use sealstone_attestation::{Algorithm, RequestDigest, Sha256Digest, lp};
use sealstone_policy::amount::{Amount, AmountError};
use sealstone_policy::approvals::APPROVALS_MAX;
use sealstone_policy::engine::Approval;
use sealstone_policy::facts::{Address, Format};
use sealstone_wire::api::{ApprovalBody, HashName, PayloadFormat, SessionKey, SignBody};
use sealstone_wire::limits::MESSAGE_MAX;
use sealstone_wire::request::Payload;
use sealstone_wire::{Epoch, PathText};

use crate::failure::{Code, Failure};
use crate::store::{IdempotencyKey, NonceKey, Sender};

/// Separates request digests from everything else that is hashed.
const LABEL: &[u8] = b"sealstone/request/v1";

/// Bytes of a client's idempotency key.
pub const IDEMPOTENCY_KEY_MAX: usize = 128;

/// Bytes of a name that a client gives, of a currency or an approver.
const NAME_MAX: usize = 255;

/// Who asks, as the connection shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The client's name in the configuration.
    pub client: String,
    /// The client's own name for its request.
    pub idempotency: Option<String>,
    /// Names the exchange in logs and records.
    pub trace_id: String,
}

/// One request to sign, well formed. Nothing is known yet of whether its key exists or may sign it.
#[derive(Clone, Debug)]
pub struct SignCommand {
    /// What it spends.
    pub nonce: NonceKey,
    /// Whose key signs.
    pub signer: Signer,
    /// What is signed.
    pub payload: Payload,
    /// SHA-256 of the payload's bytes, or the bare digest.
    pub payload_digest: [u8; 32],
    /// Names the request: two requests with one digest are the same request.
    pub request: RequestDigest,
    /// Who asks.
    pub asker: Asker,
    /// How the payload is read.
    pub format: Format,
    /// The asset's epoch that the client named; the newest if it named none.
    pub epoch: Option<Epoch>,
    /// Who receives, as the client says.
    pub recipient: Option<Address>,
    /// How much, as the client says.
    pub amount: Option<Amount>,
    /// Of which currency, as the client says.
    pub currency: Option<String>,
    /// Who approved it, as the client says.
    pub approvals: Vec<Approval>,
}

/// All that the outcome of a request may depend on: what is signed, who asks, and what is judged beside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Whole {
    request: RequestDigest,
    client: String,
    idempotency: Option<String>,
    format: Format,
    recipient: Option<Address>,
    amount: Option<Amount>,
    currency: Option<String>,
    approvals: Vec<Approval>,
}

/// Whose key signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// An asset's, in its newest epoch.
    Asset {
        /// Who owns it.
        tenant: PathText,
        /// Its name.
        asset: PathText,
    },
    /// A key for this one use.
    Session {
        /// Who owns the sender.
        tenant: PathText,
        /// Who sends.
        sender: PathText,
        /// With what.
        algorithm: Algorithm,
    },
}

impl Signer {
    fn names(&self) -> [&PathText; 2] {
        match self {
            Self::Asset { tenant, asset: name } | Self::Session { tenant, sender: name, .. } => {
                [tenant, name]
            }
        }
    }
}

/// That a name has no control characters: no owner has meant one, logs and databases differ about them, and PostgreSQL
/// takes no NUL.
///
/// # Errors
/// [`Code::BadRequest`].
pub fn plain(name: &PathText) -> Result<(), Failure> {
    if name.as_str().chars().any(char::is_control) {
        return Err(bad(
            "expected a tenant, asset or sender without control characters, found one with some",
        ));
    }
    Ok(())
}

impl SignCommand {
    /// Checks a body's form.
    ///
    /// # Errors
    /// [`Code::BadRequest`] or [`Code::PayloadTooLarge`], naming the field.
    pub fn parse(body: SignBody, asker: Asker) -> Result<Self, Failure> {
        let SignBody {
            tenant,
            asset,
            session,
            chain_id,
            nonce,
            payload,
            digest,
            hash,
            format,
            epoch,
            recipient,
            amount,
            currency,
            approvals,
        } = body;
        let signer = match (asset, session) {
            (Some(asset), None) => Signer::Asset { tenant, asset },
            (None, Some(SessionKey { sender, algorithm })) => Signer::Session { tenant, sender, algorithm },
            (Some(_), Some(_)) => return Err(bad("expected one of asset and session, found both")),
            (None, None) => return Err(bad("expected one of asset and session, found neither")),
        };
        for name in signer.names() {
            plain(name)?;
        }
        if epoch.is_some() && matches!(signer, Signer::Session { .. }) {
            return Err(bad("epoch: expected none beside a session, which has no epochs"));
        }
        let format = match format {
            PayloadFormat::Opaque => Format::Opaque,
            PayloadFormat::Evm => Format::Evm,
            PayloadFormat::Solana => Format::Solana,
        };
        let (payload, payload_digest) = signed(payload, digest, hash_of(format, hash)?)?;
        if format != Format::Opaque && matches!(payload, Payload::Digest(_)) {
            return Err(bad("format: expected none beside a digest, which nobody can read"));
        }
        if let Signer::Session { algorithm, .. } = &signer {
            suits(*algorithm, &payload)?;
        }
        let sender = match &signer {
            Signer::Asset { tenant, asset } => Sender::asset(tenant, asset),
            Signer::Session { tenant, sender, .. } => Sender::session(tenant, sender),
        };
        let nonce = NonceKey { chain_id, sender, nonce };
        let request = request_digest(&signer, epoch, &nonce, &payload, &payload_digest);
        let recipient = recipient
            .map(|text| Address::parse(format, &text))
            .transpose()
            .map_err(|error| bad(format!("recipient: {error}")))?;
        let amount = amount
            .map(|text| text.parse())
            .transpose()
            .map_err(|error: AmountError| bad(format!("amount: {error}")))?;
        if let Some(name) = &currency {
            bounded("currency", name)?;
        }
        Ok(Self {
            nonce,
            signer,
            payload,
            payload_digest,
            request,
            asker,
            format,
            epoch,
            recipient,
            amount,
            currency,
            approvals: approved(approvals)?,
        })
    }

    /// What makes this request another than one with the same digest.
    pub(super) fn whole(&self) -> Whole {
        let Self {
            // The digest is over these.
            nonce: _,
            signer: _,
            payload: _,
            payload_digest: _,
            epoch: _,
            request,
            asker: Asker { client, idempotency, trace_id: _ },
            format,
            recipient,
            amount,
            currency,
            approvals,
        } = self;
        Whole {
            request: *request,
            client: client.clone(),
            idempotency: idempotency.clone(),
            format: *format,
            recipient: recipient.clone(),
            amount: amount.clone(),
            currency: currency.clone(),
            approvals: approvals.clone(),
        }
    }

    /// The client's own name for the request, as the store keeps it.
    #[must_use]
    pub fn idempotency(&self) -> Option<IdempotencyKey> {
        let Asker { client, idempotency, trace_id: _ } = &self.asker;
        idempotency.clone().map(|key| IdempotencyKey { client: client.clone(), key })
    }

    /// Whether somebody reads the payload.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.format != Format::Opaque
    }

    /// Whose it is, and the asset or the session's sender.
    #[must_use]
    pub fn named(&self) -> (&PathText, &PathText) {
        let [tenant, name] = self.signer.names();
        (tenant, name)
    }
}

/// What is signed, and the digest that stands for it.
fn signed(
    payload: Option<String>,
    digest: Option<String>,
    hash: HashName,
) -> Result<(Payload, [u8; 32]), Failure> {
    match (payload, digest, hash) {
        (Some(text), None, hash) => {
            let bytes = message(&text)?;
            let digest = *Sha256Digest::of(&bytes).as_bytes();
            Ok(match hash {
                HashName::Sha256 => (Payload::Message(bytes), digest),
                HashName::Keccak256 => (Payload::MessageKeccak(bytes), digest),
            })
        }
        (None, Some(text), HashName::Sha256) => {
            let mut digest = [0; 32];
            hex::decode_to_slice(&text, &mut digest).map_err(|error| {
                bad(format!("digest: expected 64 hex characters, found {} ({error})", text.len()))
            })?;
            Ok((Payload::Digest(digest), digest))
        }
        (None, Some(_), HashName::Keccak256) => {
            Err(bad("hash: expected none beside a digest, found keccak256"))
        }
        (Some(_), Some(_), _) => Err(bad("expected one of payload and digest, found both")),
        (None, None, _) => Err(bad("expected one of payload and digest, found neither")),
    }
}

/// How the message is hashed: a chain demands its own hash, for its nodes take no other.
fn hash_of(format: Format, asked: Option<HashName>) -> Result<HashName, Failure> {
    let demanded = match format {
        Format::Opaque => return Ok(asked.unwrap_or_default()),
        Format::Evm => HashName::Keccak256,
        Format::Solana => HashName::Sha256,
    };
    match asked {
        Some(asked) if asked != demanded => Err(bad(format!(
            "hash: expected none, or the one that the format {format} demands, found another"
        ))),
        _ => Ok(demanded),
    }
}

fn approved(approvals: Vec<ApprovalBody>) -> Result<Vec<Approval>, Failure> {
    if approvals.len() > APPROVALS_MAX {
        return Err(bad(format!("approvals: expected at most {APPROVALS_MAX}, found {}", approvals.len())));
    }
    approvals
        .into_iter()
        .map(|ApprovalBody { approver, signature }| {
            bounded("approvals.approver", &approver)?;
            Ok(Approval { approver, signature })
        })
        .collect()
}

fn bounded(field: &str, name: &str) -> Result<(), Failure> {
    match name.len() {
        1..=NAME_MAX => Ok(()),
        found => Err(bad(format!("{field}: expected a name of 1 to {NAME_MAX} bytes, found {found}"))),
    }
}

fn bad(detail: impl Into<String>) -> Failure {
    Failure::new(Code::BadRequest, detail)
}

/// Whether a payload can be signed with an algorithm at all.
///
/// # Errors
/// [`Code::PayloadUnsuitable`].
pub fn suits(algorithm: Algorithm, payload: &Payload) -> Result<(), Failure> {
    let found = match payload {
        Payload::MessageKeccak(_) => "a message hashed with keccak256",
        Payload::Digest(_) => "a bare digest",
        Payload::Message(_) => return Ok(()),
    };
    match algorithm {
        Algorithm::Es256 | Algorithm::Es256k => Ok(()),
        Algorithm::EdDsa => Err(Failure::new(
            Code::PayloadUnsuitable,
            format!("expected a message, as EdDSA signs no hash, found {found}"),
        )),
    }
}

fn message(text: &str) -> Result<Vec<u8>, Failure> {
    if text.len() > 2 * MESSAGE_MAX {
        return Err(Failure::new(
            Code::PayloadTooLarge,
            format!("payload: expected at most {MESSAGE_MAX} bytes, found {}", text.len() / 2),
        ));
    }
    // A signature over nothing is nobody's wish.
    if text.is_empty() {
        return Err(Failure::new(Code::BadRequest, "payload: expected at least one byte, found none"));
    }
    hex::decode(text)
        .map_err(|error| Failure::new(Code::BadRequest, format!("payload: expected hex, found {error}")))
}

/// The digest that names a request, in its reservation and in the enclave's receipt: `docs/api.md` has the rule.
fn request_digest(
    signer: &Signer,
    epoch: Option<Epoch>,
    nonce: &NonceKey,
    payload: &Payload,
    payload_digest: &[u8; 32],
) -> RequestDigest {
    let (kind, tenant, name, which) = match signer {
        Signer::Asset { tenant, asset } => {
            ("asset", tenant, asset, epoch.map_or(String::new(), |epoch| format!("epoch:{epoch}")))
        }
        Signer::Session { tenant, sender, algorithm } => {
            ("session", tenant, sender, algorithm.name().to_owned())
        }
    };
    let payload_kind = match payload {
        Payload::Message(_) => "message",
        Payload::MessageKeccak(_) => "message-keccak256",
        Payload::Digest(_) => "digest",
    };
    let mut bytes = Vec::with_capacity(256);
    let text = |bytes: &mut Vec<u8>, text: &[u8]| lp(bytes, text).expect("texts are at most 255 bytes");
    text(&mut bytes, LABEL);
    text(&mut bytes, kind.as_bytes());
    text(&mut bytes, tenant.as_str().as_bytes());
    text(&mut bytes, name.as_str().as_bytes());
    text(&mut bytes, which.as_bytes());
    bytes.extend_from_slice(&nonce.chain_id.to_be_bytes());
    bytes.extend_from_slice(&nonce.nonce.to_be_bytes());
    text(&mut bytes, payload_kind.as_bytes());
    bytes.extend_from_slice(payload_digest);
    RequestDigest::of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<SignCommand, Failure> {
        let asker = Asker { client: "c".to_owned(), idempotency: None, trace_id: "t".to_owned() };
        SignCommand::parse(serde_json::from_str(json).unwrap(), asker)
    }

    #[test]
    fn the_request_digest_is_the_documented_one() {
        let command =
            parse(r#"{"tenant":"acme","asset":"hot","chain_id":1,"nonce":7,"payload":"68656c6c6f"}"#)
                .unwrap();
        let mut bytes = b"\x00\x14sealstone/request/v1\x00\x05asset\x00\x04acme\x00\x03hot\x00\x00".to_vec();
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
        bytes.extend_from_slice(b"\x00\x07message");
        bytes.extend_from_slice(Sha256Digest::of(b"hello").as_bytes());
        assert_eq!(command.request, RequestDigest::of(&bytes));
    }

    #[test]
    fn every_field_makes_another_request() {
        let bodies = [
            r#"{"tenant":"a","asset":"b","nonce":1,"payload":"00"}"#,
            r#"{"tenant":"ab","asset":"b","nonce":1,"payload":"00"}"#,
            r#"{"tenant":"a","asset":"c","nonce":1,"payload":"00"}"#,
            r#"{"tenant":"a","asset":"b","chain_id":1,"nonce":1,"payload":"00"}"#,
            r#"{"tenant":"a","asset":"b","nonce":2,"payload":"00"}"#,
            r#"{"tenant":"a","asset":"b","nonce":1,"payload":"01"}"#,
            r#"{"tenant":"a","asset":"b","nonce":1,"payload":"00","hash":"keccak256"}"#,
            r#"{"tenant":"a","asset":"b","nonce":1,"digest":"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"}"#,
            r#"{"tenant":"a","asset":"b","epoch":0,"nonce":1,"payload":"00"}"#,
            r#"{"tenant":"a","asset":"b","epoch":1,"nonce":1,"payload":"00"}"#,
            r#"{"tenant":"a","session":{"sender":"b","algorithm":"ES256"},"nonce":1,"payload":"00"}"#,
            r#"{"tenant":"a","session":{"sender":"b","algorithm":"ES256K"},"nonce":1,"payload":"00"}"#,
        ];
        let mut digests: Vec<_> = bodies.iter().map(|body| parse(body).unwrap().request).collect();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), bodies.len());
    }

    #[test]
    fn a_body_that_is_not_one_request_is_refused_by_its_field() {
        let long =
            format!(r#"{{"tenant":"a","asset":"b","nonce":1,"payload":"{}"}}"#, "00".repeat(MESSAGE_MAX + 1));
        for (body, expected, code) in [
            (r#"{"tenant":"a","nonce":1,"payload":"00"}"#, "neither", Code::BadRequest),
            (
                r#"{"tenant":"a","asset":"b","session":{"sender":"b","algorithm":"ES256"},"nonce":1,"payload":"00"}"#,
                "found both",
                Code::BadRequest,
            ),
            (
                r#"{"tenant":"a","asset":"b","nonce":1}"#,
                "payload and digest, found neither",
                Code::BadRequest,
            ),
            (
                r#"{"tenant":"a","asset":"b","nonce":1,"payload":"00","digest":"00"}"#,
                "found both",
                Code::BadRequest,
            ),
            (r#"{"tenant":"a","asset":"b","nonce":1,"payload":""}"#, "at least one byte", Code::BadRequest),
            (
                r#"{"tenant":"a","asset":"b","nonce":1,"payload":"0"}"#,
                "payload: expected hex",
                Code::BadRequest,
            ),
            (
                r#"{"tenant":"a","asset":"b","nonce":1,"payload":"0x00"}"#,
                "payload: expected hex",
                Code::BadRequest,
            ),
            (
                r#"{"tenant":"a","asset":"b","nonce":1,"digest":"00"}"#,
                "digest: expected 64",
                Code::BadRequest,
            ),
            (
                r#"{"tenant":"a","asset":"b","nonce":1,"digest":"00","hash":"keccak256"}"#,
                "beside a digest",
                Code::BadRequest,
            ),
            (
                r#"{"tenant":"a","asset":"b","nonce":1,"digest":"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d","format":"solana"}"#,
                "format: expected none beside a digest",
                Code::BadRequest,
            ),
            (
                r#"{"tenant":"a","asset":"b","nonce":1,"payload":"00","format":"evm","hash":"sha256"}"#,
                "hash: expected none",
                Code::BadRequest,
            ),
            (
                r#"{"tenant":"a","session":{"sender":"b","algorithm":"ES256"},"epoch":0,"nonce":1,"payload":"00"}"#,
                "no epochs",
                Code::BadRequest,
            ),
            (
                r#"{"tenant":"a","asset":"b\u0000","nonce":1,"payload":"00"}"#,
                "control characters",
                Code::BadRequest,
            ),
            (
                r#"{"tenant":"a\u001b","session":{"sender":"b","algorithm":"ES256"},"nonce":1,"payload":"00"}"#,
                "control characters",
                Code::BadRequest,
            ),
            (
                r#"{"tenant":"a","asset":"b","nonce":1,"payload":"00","amount":"1.5"}"#,
                "amount: expected",
                Code::BadRequest,
            ),
            (
                r#"{"tenant":"a","asset":"b","nonce":1,"payload":"00","format":"evm","recipient":"bob"}"#,
                "recipient: expected",
                Code::BadRequest,
            ),
            (long.as_str(), "at most 61440 bytes, found 61441", Code::PayloadTooLarge),
            (
                r#"{"tenant":"a","session":{"sender":"b","algorithm":"EdDSA"},"nonce":1,"payload":"00","hash":"keccak256"}"#,
                "EdDSA signs no hash",
                Code::PayloadUnsuitable,
            ),
        ] {
            let failure = parse(body).unwrap_err();
            assert!(failure.detail.contains(expected) && failure.code == code, "{expected}: {failure}");
        }
    }

    #[test]
    fn a_chain_s_own_hash_need_not_be_named() {
        for (format, expected) in [("evm", true), ("solana", false), ("opaque", false)] {
            let body =
                format!(r#"{{"tenant":"a","asset":"b","nonce":1,"payload":"00","format":"{format}"}}"#);
            assert_eq!(
                matches!(parse(&body).unwrap().payload, Payload::MessageKeccak(_)),
                expected,
                "{format}"
            );
        }
    }

    #[test]
    fn more_approvals_than_anybody_asks_for_are_refused() {
        let one = format!(r#"{{"approver":"a","signature":"{}"}}"#, "00".repeat(64));
        let body = |count: usize| {
            let approvals = vec![one.as_str(); count].join(",");
            format!(r#"{{"tenant":"a","asset":"b","nonce":1,"payload":"00","approvals":[{approvals}]}}"#)
        };
        assert_eq!(parse(&body(APPROVALS_MAX)).unwrap().approvals.len(), APPROVALS_MAX);
        assert!(parse(&body(APPROVALS_MAX + 1)).unwrap_err().detail.contains("approvals: expected at most"));
    }

    #[test]
    fn the_longest_payload_is_taken() {
        for byte in ["00", "ff"] {
            let body =
                format!(r#"{{"tenant":"a","asset":"b","nonce":1,"payload":"{}"}}"#, byte.repeat(MESSAGE_MAX));
            assert!(
                matches!(parse(&body).unwrap().payload, Payload::Message(bytes) if bytes.len() == MESSAGE_MAX)
            );
        }
    }
}
