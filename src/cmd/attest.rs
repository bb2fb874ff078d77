//! `sealstone attest`: fresh evidence from a running node.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use sealstone_attestation::{Evidence, KeyScheme, Nonce, Quote, SignatureKind};
use serde_json::json;
use x509_cert::der::pem::{self, LineEnding};

use super::{Context, challenge};
use crate::agent::Bounds;
use crate::failure::{Failure, chain};
use crate::files;
use crate::output::{Answer, fields};

/// Take fresh evidence of this node's state, for an auditor's nonce
///
/// The auditor chooses the nonce; the file is what `sealstone verify` appraises, on any machine. With --format tpm2-tools the
/// quote alone goes to a folder, in files that tpm2_checkquote reads; its README has the command.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        sealstone attest --nonce $(openssl rand -hex 32) -o evidence.json\n  \
        sealstone attest --challenge challenge.json -o evidence.json\n  \
        sealstone attest --nonce $(openssl rand -hex 32) --format tpm2-tools quote/")]
pub(super) struct Args {
    /// 16 to 64 random bytes, hex, chosen by whoever verifies
    #[arg(long, value_name = "HEX", required_unless_present = "challenge")]
    nonce: Option<Nonce>,
    /// Answer the nonce of this record (`sealstone challenge new`), and put the record into the evidence
    #[arg(long, value_name = "FILE", conflicts_with = "nonce")]
    challenge: Option<PathBuf>,
    /// What is written: evidence for `sealstone verify`, or the quote for tpm2-tools
    #[arg(long, value_enum, default_value_t = Format::Evidence)]
    format: Format,
    /// Where the evidence goes, or the folder for --format tpm2-tools
    #[arg(short, long, value_name = "FILE", required_unless_present = "dir")]
    out: Option<PathBuf>,
    /// The folder for --format tpm2-tools; it is made if need be
    #[arg(value_name = "DIR", conflicts_with = "out")]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Evidence,
    Tpm2Tools,
}

pub(super) fn run(args: Args, context: &Context) -> Result<Answer, Failure> {
    let Args { nonce, challenge, format, out, dir } = args;
    let challenge = challenge.as_deref().map(challenge::read).transpose()?;
    let nonce = nonce.or_else(|| challenge.as_ref().map(|(_, record)| record.nonce.clone()));
    let nonce = nonce.expect("one of them is required");
    let out = out.or(dir).expect("one of them is required");
    let bytes = context.agent()?.get_bytes(format!("/v1/evidence?nonce={nonce}"), Bounds::Evidence)?;
    let mut evidence = Evidence::parse(&bytes).map_err(|error| unusable(&chain(&error)))?;
    if format == Format::Tpm2Tools {
        return write_quote(&evidence, &out);
    }
    // The record need not be the agent's business: what it says is its signer's.
    let by_record = challenge.is_some();
    let bytes = match challenge {
        None => bytes,
        Some((envelope, _)) => {
            evidence.challenge = Some(envelope);
            evidence.to_json()
        }
    };
    files::replace(&out, "the evidence", &bytes)?;
    let taken_at = evidence.taken_at;
    let json =
        json!({"out": out.display().to_string(), "nonce": nonce, "taken_at": taken_at, "bytes": bytes.len()});
    let mut text = fields(&[
        ("evidence", out.display().to_string()),
        ("taken at", taken_at.to_string()),
        ("nonce", nonce.to_string()),
    ]);
    let asked = if by_record { "--challenger KEY.pub".to_owned() } else { format!("--nonce {nonce}") };
    text.push_str(&format!("next: sealstone verify {} {asked} --authority DIGEST\n", out.display()));
    Ok(Answer::done(json, text))
}

/// The quote of evidence, as tpm2-tools read it. The quoted nonce is the statement, of which the auditor's nonce is a part.
fn write_quote(evidence: &Evidence, dir: &Path) -> Result<Answer, Failure> {
    let quote = Quote::parse(&evidence.quote.attest).map_err(|error| unusable(&chain(&error)))?;
    let pcrs =
        evidence.quote.pcrs.to_tpm2_tools(quote.selection()).map_err(|error| unusable(&chain(&error)))?;
    let KeyScheme::Signature(scheme) = evidence.ak.scheme() else {
        return Err(unusable("a key without a scheme"));
    };
    let der = evidence.ak.key().to_spki_der().ok_or_else(|| unusable("a key that cannot be written"))?;
    let pem = pem::encode_string("PUBLIC KEY", LineEnding::LF, &der)
        .map_err(|error| unusable(&error.to_string()))?;
    let length =
        u16::try_from(evidence.ak.as_bytes().len()).map_err(|_| unusable("a public area too long"))?;
    let area = [&length.to_be_bytes()[..], evidence.ak.as_bytes()].concat();
    let asked = hex::encode(quote.extra_data());
    let command = format!(
        "tpm2_checkquote -u ak.pem -m quote.msg -s quote.sig -f pcrs.bin -g {} -q \"$(cat nonce.hex)\"",
        scheme.hash
    );
    std::fs::create_dir_all(dir).map_err(|error| {
        Failure::unusable(
            "DIR",
            format!("expected to make the folder {}, found: {error}", dir.display()),
            "check the path and its permissions",
        )
    })?;
    let readme = readme(evidence, &command, scheme.kind);
    let written: [(&str, &[u8]); 7] = [
        ("quote.msg", &evidence.quote.attest),
        ("quote.sig", &evidence.quote.signature),
        ("ak.pem", pem.as_bytes()),
        ("ak.pub", &area),
        ("pcrs.bin", &pcrs),
        ("nonce.hex", asked.as_bytes()),
        ("README", readme.as_bytes()),
    ];
    for (name, bytes) in written {
        files::replace(&dir.join(name), "a quote's file", bytes)?;
    }
    let out = dir.display().to_string();
    let names: Vec<&str> = written.iter().map(|(name, _)| *name).collect();
    let json = json!({"out": out, "files": names, "nonce": asked, "command": command});
    Ok(Answer::done(json, format!("wrote {} to {out}\nnext, there: {command}\n", names.join(", "))))
}

fn readme(evidence: &Evidence, command: &str, kind: SignatureKind) -> String {
    let mut text = format!(
        "A TPM quote by the attestation key {}.\n\n\
         {command}\n\
         sealstone quote verify --attest quote.msg --signature quote.sig --ak ak.pub --pcrs pcrs.bin --nonce \"$(cat nonce.hex)\"\n\n\
         nonce.hex holds what the TPM was given: the statement that binds the nonce {} to the enclave's report, the manifest and\n\
         the audit log. Only evidence (`sealstone attest -o FILE`) shows what it is made of.\n",
        evidence.ak.name(),
        evidence.nonce
    );
    if kind == SignatureKind::RsaPss {
        text.push_str("The signature is RSAPSS, which tpm2_checkquote of tpm2-tools 5.4 cannot verify.\n");
    }
    text
}

fn unusable(found: &str) -> Failure {
    Failure::unusable(
        "AGENT_ANSWER",
        format!("expected evidence, found: {found}"),
        "use the command line and the agent of the same release",
    )
}
