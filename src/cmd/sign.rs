//! `sealstone sign`: one signature through the agent, verified here before it is printed.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use sealstone_attestation::{Algorithm, Signature64};
use sealstone_wire::api::{
    ApprovalBody, DryRun, HashName, PayloadFormat, ReasonBody, SessionKey, SignAnswer, SignBody,
};
use sealstone_wire::limits::MESSAGE_MAX;
use sealstone_wire::{Epoch, PathText};

use super::{Context, asset};
use crate::agent::Bounds;
use crate::failure::{Failure, chain};
use crate::files;
use crate::output::{Answer, fields, json_of, shown};
use crate::signature::{self, Payload};

/// Sign one payload through the agent
///
/// The signature is verified here, under the answered public key and over the given payload, before
/// anything is printed. The same request again has the same answer; a nonce that has signed another
/// payload is refused.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        sealstone sign --tenant acme --asset treasury --nonce 7 --payload-file tx.bin --format evm --chain-id 1\n  \
        sealstone sign --tenant acme --asset treasury --nonce 7 --payload-file tx.bin --format evm --chain-id 1 --dry-run\n  \
        sealstone sign --tenant acme --sender hot-1 --algorithm EdDSA --nonce 8 --payload 68656c6c6f --json\n  \
        sealstone sign --tenant acme --asset treasury --nonce 9 --payload-file tx.bin --der-out tx.sig")]
#[command(group = clap::ArgGroup::new("path").required(true).args(["asset", "sender"]))]
pub(super) struct Args {
    /// Who owns the key
    #[arg(long)]
    tenant: PathText,
    /// The asset that signs
    #[arg(long)]
    asset: Option<PathText>,
    /// Sign with a key for this one use, of this sender
    #[arg(long, requires = "algorithm")]
    sender: Option<PathText>,
    /// What the sender's key signs with: ES256, ES256K or EdDSA
    #[arg(long, conflicts_with = "asset")]
    algorithm: Option<Algorithm>,
    /// Spent by this signature
    #[arg(long)]
    nonce: u64,
    /// The chain on which the nonce counts
    #[arg(long, default_value_t = 0)]
    chain_id: u64,
    #[command(flatten)]
    payload: PayloadArgs,
    /// How the payload is read: what it says is held to the policy
    #[arg(long, value_enum, default_value = "opaque", conflicts_with = "digest")]
    format: Format,
    /// How an ECDSA key hashes the message [default: as the format demands, else sha256]
    #[arg(long, value_enum, conflicts_with = "digest")]
    hash: Option<Hash>,
    /// Sign with the key of this earlier epoch, if the policy permits it
    #[arg(long, requires = "asset")]
    epoch: Option<u64>,
    /// Who receives: the payload must say the same
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// How much, in the smallest unit: the payload must say the same
    #[arg(long, value_name = "DIGITS")]
    amount: Option<String>,
    /// Of which currency, by the policy's name: the payload must say the same
    #[arg(long, value_name = "NAME")]
    currency: Option<String>,
    /// An approval, as `sealstone approve` prints it; repeat for more
    #[arg(long, value_name = "APPROVER=HEX", value_parser = approval)]
    approval: Vec<ApprovalBody>,
    /// Only say what would happen: nothing is reserved, signed or recorded
    #[arg(long, conflicts_with_all = ["out", "der_out"])]
    dry_run: bool,
    /// Write the signature's 64 bytes to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the signature as DER to this file (ECDSA only), as OpenSSL reads it
    #[arg(long, value_name = "FILE")]
    der_out: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct PayloadArgs {
    /// The message, hex
    #[arg(long, value_name = "HEX")]
    payload: Option<String>,
    /// The message is this file's bytes
    #[arg(long, value_name = "FILE")]
    payload_file: Option<PathBuf>,
    /// A bare 32-byte digest, hex; needs a permission in the manifest
    #[arg(long, value_name = "HEX")]
    digest: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Hash {
    Sha256,
    Keccak256,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Not at all
    Opaque,
    /// An unsigned Ethereum transaction
    Evm,
    /// A Solana message
    Solana,
}

fn approval(text: &str) -> Result<ApprovalBody, String> {
    let (approver, signature) = text.rsplit_once('=').ok_or("expected APPROVER=HEX")?;
    let mut bytes = [0; 64];
    hex::decode_to_slice(signature, &mut bytes)
        .map_err(|error| format!("expected a signature of 128 hex digits: {error}"))?;
    Ok(ApprovalBody { approver: approver.to_owned(), signature: Signature64::from_bytes(bytes) })
}

pub(super) fn run(args: Args, context: &Context) -> Result<Answer, Failure> {
    let Args {
        tenant,
        asset,
        sender,
        algorithm,
        nonce,
        chain_id,
        payload,
        format,
        hash,
        epoch,
        recipient,
        amount,
        currency,
        approval,
        dry_run,
        out,
        der_out,
    } = args;
    let hash = hash.map(|hash| match hash {
        Hash::Sha256 => HashName::Sha256,
        Hash::Keccak256 => HashName::Keccak256,
    });
    let (format, demanded) = match format {
        Format::Opaque => (PayloadFormat::Opaque, HashName::Sha256),
        Format::Evm => (PayloadFormat::Evm, HashName::Keccak256),
        Format::Solana => (PayloadFormat::Solana, HashName::Sha256),
    };
    let payload = payload.read(hash.unwrap_or(demanded))?;
    let (message, digest) = match &payload {
        Payload::Message(message, _) => (Some(hex::encode(message)), None),
        Payload::Digest(digest) => (None, Some(hex::encode(digest))),
    };
    let session = match (sender, algorithm) {
        (Some(sender), Some(algorithm)) => Some(SessionKey { sender, algorithm }),
        _ => None,
    };
    let body = SignBody {
        tenant,
        asset,
        session,
        chain_id,
        nonce,
        payload: message,
        digest,
        hash,
        format,
        epoch: epoch.map(Epoch),
        recipient,
        amount,
        currency,
        approvals: approval,
    };
    if dry_run {
        let answer: DryRun =
            context.agent()?.post("/v1/sign?dry_run=true".to_owned(), &body, Bounds::Ordinary)?;
        return Ok(foretold(&answer));
    }
    let answer: SignAnswer = context.agent()?.post("/v1/sign".to_owned(), &body, Bounds::Ordinary)?;
    signature::check(&answer, &payload, algorithm).map_err(|flaw| {
        Failure::refused(
            "SIGNATURE_DOES_NOT_VERIFY",
            chain(&flaw),
            "do not use the answer; check that the socket is the agent's, and tell whoever runs this node",
        )
    })?;
    write(&answer, out.as_deref(), der_out.as_deref())?;
    Ok(Answer::done(json_of(&answer), described(&answer)))
}

/// What would happen: exit code 1 if it would be refused.
fn foretold(answer: &DryRun) -> Answer {
    let DryRun { allowed, reasons, policy, request_digest, address, facts } = answer;
    let would = if *allowed { "be signed" } else { "be refused" };
    let mut rows = vec![("would", would.to_owned())];
    rows.extend(
        reasons.iter().map(|ReasonBody { code, detail }| ("reason", shown(&format!("{code}: {detail}")))),
    );
    rows.push(("request digest", request_digest.to_string()));
    rows.extend(address.as_ref().map(|address| ("from", shown(address))));
    rows.extend([("policy", shown(policy)), ("payload", shown(&facts.to_string()))]);
    Answer::verdict(*allowed, json_of(answer), fields(&rows))
}

impl PayloadArgs {
    fn read(self, hash: HashName) -> Result<Payload, Failure> {
        let Self { payload, payload_file, digest } = self;
        if let Some(text) = digest {
            let bytes = from_hex(&text, "--digest")?;
            let found = bytes.len();
            return bytes.try_into().map(Payload::Digest).map_err(|_| {
                Failure::unusable(
                    "DIGEST_LENGTH",
                    format!("expected a digest of 32 bytes, found {found}"),
                    "give the digest alone, or the message with --payload",
                )
            });
        }
        let message = match (payload, payload_file) {
            (Some(text), _) => from_hex(&text, "--payload")?,
            (None, Some(path)) => files::read(&path, "the payload", MESSAGE_MAX)?,
            (None, None) => Vec::new(),
        };
        match message.len() {
            1..=MESSAGE_MAX => Ok(Payload::Message(message, hash)),
            found => Err(Failure::unusable(
                "PAYLOAD_LENGTH",
                format!("expected a payload of 1 to {MESSAGE_MAX} bytes, found {found}"),
                "sign a digest of a longer message, if the manifest permits it",
            )),
        }
    }
}

fn from_hex(text: &str, option: &str) -> Result<Vec<u8>, Failure> {
    hex::decode(text).map_err(|error| {
        Failure::unusable(
            "NOT_HEX",
            format!("expected hex digits after {option}, found: {error}"),
            "give pairs of hex digits without prefix or spaces",
        )
    })
}

fn write(answer: &SignAnswer, out: Option<&Path>, der_out: Option<&Path>) -> Result<(), Failure> {
    if let Some(path) = out {
        files::replace(path, "the signature", answer.signature.as_bytes())?;
    }
    if let Some(path) = der_out {
        // The text was compared with the signature's own DER form.
        let Some(der) = answer.der.as_ref().and_then(|text| hex::decode(text).ok()) else {
            return Err(Failure::unusable(
                "NO_DER",
                "expected an ECDSA signature for --der-out, found an Ed25519 signature, which has no DER form",
                "use --out: the 64 bytes are what OpenSSL reads; the same request again has the same answer",
            ));
        };
        files::replace(path, "the signature as DER", &der)?;
    }
    Ok(())
}

fn described(answer: &SignAnswer) -> String {
    let SignAnswer {
        signature,
        der,
        public_key,
        key_id,
        algorithm,
        epoch,
        hour,
        binding,
        digest,
        recovery_id,
        signer,
        attested_until,
        request_id,
        request_digest: _,
        receipt,
        unfunded,
    } = answer;
    let mut rows = vec![("signature", signature.to_string())];
    rows.extend(der.as_ref().map(|der| ("der", shown(der))));
    rows.extend(recovery_id.map(|id| ("recovery id", id.to_string())));
    rows.extend([
        ("algorithm", algorithm.to_string()),
        ("public key", shown(public_key)),
        ("key id", key_id.to_string()),
    ]);
    rows.extend(epoch.map(|epoch| ("epoch", epoch.to_string())));
    rows.extend(hour.map(|hour| ("hour", hour.to_string())));
    rows.extend([
        ("digest", shown(digest)),
        ("binding", binding.to_string()),
        ("signer", shown(signer)),
        ("attested until", attested_until.to_string()),
        ("request id", shown(request_id)),
        ("receipt", format!("{} of era {}", receipt.sequence, receipt.era)),
        ("verified", "yes, here, under the public key above".to_owned()),
    ]);
    let mut text = fields(&rows);
    if *unfunded {
        text.push_str(asset::UNFUNDED);
    }
    text
}
