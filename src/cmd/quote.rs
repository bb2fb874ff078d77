//! `sealstone quote verify`: appraise a bare TPM quote from any tool.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use sealstone_attestation::event_log::EventLog;
use sealstone_attestation::ima::ImaList;
use sealstone_attestation::{
    BareAppraisal, BareQuote, PublicArea, Quote, QuotingKey, TpmKey, appraise_bare_quote,
};
use serde_json::{Value, json};
use x509_cert::certificate::Certificate;
use x509_cert::der::{Decode as _, Encode as _, pem};

use super::pcr_file;
use super::verify::described;
use crate::failure::{Failure, chain};
use crate::files;
use crate::output::{Answer, json_of, shown};

/// Bytes of a quote, a signature or a public area: the largest structure of a TPM has 4 KiB.
const STRUCTURE_MAX: usize = 16 * 1024;

/// Bytes of a key file: a certificate has one or two KiB, with text around it some more.
const KEY_MAX: usize = 64 * 1024;

/// Appraise TPM quotes that any tool made
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    Verify(VerifyArgs),
}

/// Appraise a bare TPM quote: files that tpm2-tools or any other tool wrote
///
/// Needs no TPM, no node and no manifest: you say which key must have signed, and the nonce that you asked with. Every
/// check is named; the quote is accepted only if none failed. Whether the PCR values are good ones is left to you.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        tpm2_quote -c ak.ctx -l sha256:0,7 -q $NONCE -m quote.msg -s quote.sig -o quote.pcrs -g sha256\n  \
        sealstone quote verify --attest quote.msg --signature quote.sig --ak ak.pub --nonce $NONCE --pcrs quote.pcrs\n  \
        sealstone quote verify --attest quote.msg --signature quote.sig --ak ak.pem --ak-trusted --nonce $NONCE --json\n\n\
    Refused whatever else is right: an empty nonce, a quote of no PCRs, banks, signatures and names by SHA-1, values that\n\
    were not quoted. PCR 16 and 23 may be quoted, but any program can reset them.\n\
    Exit codes: 0 accepted; 1 refused by a check; 2 a file or option that cannot be used.")]
pub(super) struct VerifyArgs {
    /// The quote: TPMS_ATTEST, with or without its length before it
    #[arg(long, value_name = "FILE")]
    attest: PathBuf,
    /// Its signature: TPMT_SIGNATURE, or a plain RSA or DER ECDSA signature
    #[arg(long, value_name = "FILE")]
    signature: PathBuf,
    /// The attestation key that you trust: TPM2B_PUBLIC, TPMT_PUBLIC, or a public key or certificate in PEM or DER
    #[arg(long, value_name = "FILE")]
    ak: PathBuf,
    /// You know from elsewhere that a key without attributes (PEM, DER, certificate) is a TPM's restricted signing key
    #[arg(long)]
    ak_trusted: bool,
    /// The nonce that you asked with, hex
    #[arg(long, value_name = "HEX")]
    nonce: String,
    /// Values of exactly the quoted PCRs: JSON, or what tpm2_quote -o wrote
    #[arg(long, value_name = "FILE")]
    pcrs: Option<PathBuf>,
    /// The firmware's event log, which must explain the values of --pcrs
    #[arg(long, value_name = "FILE")]
    eventlog: Option<PathBuf>,
    /// The kernel's measurement list, which must lead to the quoted PCR 10
    #[arg(long, value_name = "FILE")]
    ima: Option<PathBuf>,
}

pub(super) fn run(verb: Verb) -> Result<Answer, Failure> {
    match verb {
        Verb::Verify(args) => verify(args),
    }
}

fn verify(args: VerifyArgs) -> Result<Answer, Failure> {
    let VerifyArgs { attest, signature, ak, ak_trusted, nonce, pcrs, eventlog, ima } = args;
    let nonce = hex::decode(&nonce).map_err(|error| {
        Failure::unusable(
            "NONCE",
            format!("expected hex digits after --nonce, found: {error}"),
            "give pairs of hex digits without prefix or spaces",
        )
    })?;
    let attest = files::read(&attest, "a quote", STRUCTURE_MAX)?;
    let signature = files::read(&signature, "a signature", STRUCTURE_MAX)?;
    let key = read_key(&ak)?;
    let pcrs = pcrs.as_deref().map(pcr_file::read).transpose()?;
    let log = "an event log";
    let event_log =
        eventlog.as_deref().map(|path| files::read_log(path, log, EventLog::BYTES_MAX)).transpose()?;
    let list = "a measurement list";
    let ima = ima.as_deref().map(|path| files::read_log(path, list, ImaList::BYTES_MAX)).transpose()?;
    let appraisal = appraise_bare_quote(BareQuote {
        attest: &attest,
        signature: &signature,
        key: &key,
        key_trusted: ak_trusted,
        nonce: &nonce,
        pcrs,
        event_log: event_log.as_deref(),
        ima: ima.as_deref(),
    });
    let accepted = appraisal.verdict.accepted();
    Ok(Answer::verdict(accepted, json_answer(&appraisal), text(&appraisal)))
}

/// The verdict, and what an accepted quote says.
fn json_answer(appraisal: &BareAppraisal) -> Value {
    let mut json = json_of(&appraisal.verdict);
    json["quote"] = appraisal.quote.as_ref().map_or(Value::Null, |quote| {
        let clock = quote.clock();
        json!({
            "nonce": hex::encode(quote.extra_data()),
            "qualified_signer": quote.qualified_signer(),
            "selection": quote.selection().to_string(),
            "pcr_digest": hex::encode(quote.pcr_digest()),
            "clock": clock,
            "firmware_version": format!("{:016x}", quote.firmware_version()),
            "pcrs": appraisal.pcrs,
        })
    });
    json
}

fn text(appraisal: &BareAppraisal) -> String {
    let mut text = String::new();
    if let Some(quote) = &appraisal.quote {
        text.push_str(&said_by(quote));
        for (bank, index, value) in appraisal.pcrs.iter() {
            text.push_str(&format!("PCR {index} {bank}: {}\n", hex::encode(value)));
        }
    }
    text + &described(&appraisal.verdict)
}

fn said_by(quote: &Quote) -> String {
    let clock = quote.clock();
    format!(
        "quoted {} at {} ms of the TPM's clock, reset {} restart {}, firmware {:016x}\n",
        quote.selection(),
        clock.clock,
        clock.reset_count,
        clock.restart_count,
        quote.firmware_version()
    )
}

/// A key in any of the forms in which tools write one.
fn read_key(path: &Path) -> Result<QuotingKey, Failure> {
    let bytes = files::read(path, "an attestation key", KEY_MAX)?;
    parse_key(&bytes).map_err(|reason| {
        Failure::unusable(
            "AK",
            format!("expected an attestation key in {}, found: {}", path.display(), shown(&reason)),
            "give TPM2B_PUBLIC (`tpm2_readpublic -o`), or a public key or certificate in PEM or DER",
        )
    })
}

fn parse_key(bytes: &[u8]) -> Result<QuotingKey, String> {
    if bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        let (label, der) =
            pem::decode_vec(bytes).map_err(|error| format!("PEM that cannot be read: {error}"))?;
        return match label {
            "PUBLIC KEY" => bare(&der),
            "CERTIFICATE" => certified(&der),
            other => Err(format!("PEM of {other:?}, neither PUBLIC KEY nor CERTIFICATE")),
        };
    }
    // DER begins with a sequence's tag, a public area or its length with 0 or 1.
    if bytes.first() == Some(&0x30) {
        return certified(bytes).or_else(|_| bare(bytes));
    }
    PublicArea::parse(bytes).map(QuotingKey::Area).map_err(|error| chain(&error))
}

fn bare(der: &[u8]) -> Result<QuotingKey, String> {
    TpmKey::from_spki_der(der).map(QuotingKey::Bare).map_err(|error| chain(&error))
}

/// The key of a certificate. Who issued it, and for what, is not looked at: the caller names the key that is trusted.
fn certified(der: &[u8]) -> Result<QuotingKey, String> {
    let certificate = Certificate::from_der(der).map_err(|error| format!("no certificate: {error}"))?;
    let key = certificate.tbs_certificate().subject_public_key_info();
    bare(&key.to_der().map_err(|error| format!("no key in the certificate: {error}"))?)
}
