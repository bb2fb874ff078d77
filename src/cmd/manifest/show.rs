//! `sealstone manifest show`: a manifest as its approvers must be able to read it.

use std::path::PathBuf;

use sealstone_attestation::{AssetPermission, Manifest, SessionPermission};
use serde_json::{Value, json};

use super::Unverified;
use crate::failure::Failure;
use crate::output::{Answer, fields, json_of, shown};

/// Show what a manifest approves, without saying whether it is signed
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  sealstone manifest show manifest.envelope")]
pub(in crate::cmd) struct Args {
    /// The envelope
    file: PathBuf,
}

pub(in crate::cmd) fn run(args: Args) -> Result<Answer, Failure> {
    let Args { file } = args;
    let found = Unverified::read(&file)?;
    let signers: Vec<&str> =
        found.envelope.signatures.iter().map(|signature| signature.keyid.as_str()).collect();
    let json = json!({
        "digest": found.manifest.digest(),
        "authority": found.manifest.authority().digest(),
        "signatures_unverified": signers,
        "bindings": bindings(&found.manifest),
        "manifest": payload(&found),
    });
    let mut text = described(&found.manifest);
    text.push_str(&format!(
        "signatures: {} (not verified here: `sealstone manifest verify`)\n",
        signers.len()
    ));
    Ok(Answer::done(json, text))
}

fn payload(found: &Unverified) -> Value {
    serde_json::from_slice(&found.envelope.payload).expect("it was parsed as a manifest")
}

fn bindings(manifest: &Manifest) -> Value {
    manifest.states().iter().map(|state| (state.name().to_owned(), json_of(&state.binding()))).collect()
}

/// Everything that an approver approves.
pub(super) fn described(manifest: &Manifest) -> String {
    let authority = manifest.authority();
    let mut text = fields(&[
        ("digest", manifest.digest().to_string()),
        ("deployment", manifest.deployment().to_string()),
        ("version", manifest.version().to_string()),
        (
            "previous",
            manifest.previous().map_or_else(|| "none: the first".to_owned(), |digest| digest.to_string()),
        ),
        ("issued at", manifest.issued_at().to_string()),
        (
            "authority",
            format!(
                "{} ({} of {} must sign)",
                authority.digest(),
                authority.threshold(),
                authority.keys().len()
            ),
        ),
        ("session", format!("{} s", manifest.session_ttl().as_secs())),
        ("code", json_text(&json_of(&manifest.code()))),
        ("enclave", json_of(&manifest.enclave()).to_string()),
    ]);
    for key in authority.keys() {
        let public = key.public_key();
        text.push_str(&format!(
            "  approver {}  {}  {}\n",
            shown(key.name()),
            public.algorithm(),
            public.key_id()
        ));
    }
    for state in manifest.states() {
        text.push_str(&format!(
            "state {} ({})\n  binding {}\n",
            shown(state.name()),
            json_text(&json_of(&state.status())),
            state.binding()
        ));
        if !state.transit_key_id().is_empty() {
            text.push_str(&format!("  transit key {}\n", shown(state.transit_key_id())));
        }
        for (index, value) in state.pcrs() {
            text.push_str(&format!("  {} PCR {index:>2} {}\n", state.bank(), hex::encode(value)));
        }
    }
    for succession in manifest.successions() {
        text.push_str(&format!(
            "keys bound to {} may be used in {}: {}\n",
            shown(&succession.from),
            shown(&succession.to),
            succession.grace
        ));
    }
    for node in manifest.nodes() {
        text.push_str(&format!(
            "node {}\n  EK name {}\n  AK name {}\n  firmware {}\n",
            shown(node.name()),
            node.ek().name(),
            node.ak().name(),
            node.firmware().map_or_else(|| "any".to_owned(), |versions| format!("{versions:016x?}"))
        ));
    }
    for AssetPermission { tenant, asset, algorithms, sign } in manifest.permissions() {
        let subject = format!("assets {}/{}", shown(&tenant.to_string()), shown(&asset.to_string()));
        text.push_str(&permission_line(&subject, &json_of(algorithms), &json_of(sign)));
    }
    for SessionPermission { tenant, sender, algorithms, sign } in manifest.session_permissions() {
        let subject =
            format!("keys for one use of {}/{}", shown(&tenant.to_string()), shown(&sender.to_string()));
        text.push_str(&permission_line(&subject, &json_of(algorithms), &json_of(sign)));
    }
    text
}

fn permission_line(subject: &str, algorithms: &Value, sign: &Value) -> String {
    format!("permits {subject}: {} over {}\n", json_text(algorithms), json_text(sign))
}

/// A JSON value in words: texts without quotes, lists with commas.
fn json_text(value: &Value) -> String {
    match value {
        Value::String(text) => shown(text),
        Value::Array(items) => items.iter().map(json_text).collect::<Vec<_>>().join(", "),
        other => shown(&other.to_string()),
    }
}
