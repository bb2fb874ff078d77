//! What the tests of the command line share: the program itself, and a machine that never was.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod evidence;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// A folder in which commands are run.
pub(crate) struct Desk {
    dir: tempfile::TempDir,
}

/// What a command came to, with `--json`.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) exit: i32,
    pub(crate) json: Value,
    pub(crate) stderr: String,
}

impl Outcome {
    /// The code of a failure.
    pub(crate) fn code(&self) -> &str {
        self.json["error"]["code"].as_str().unwrap_or("no error")
    }

    /// The detail of a failure.
    pub(crate) fn detail(&self) -> &str {
        self.json["error"]["detail"].as_str().unwrap_or("no error")
    }
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.at(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.at(name)).unwrap()
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).unwrap()
    }

    /// The program, in this folder, without an agent.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealstone"));
        command
            .args(line.split_whitespace())
            .current_dir(self.path())
            .env_remove("SEALSTONE_SOCKET")
            .env_remove("SEALSTONE_URL");
        command
    }

    /// Runs a line with `--json`, to which exactly one object must be answered.
    pub(crate) fn run(&self, line: &str) -> Outcome {
        let output = self.command(line).arg("--json").output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(stdout.lines().count(), 1, "{line}: {stdout}");
        Outcome {
            exit: output.status.code().expect("no signal ends it"),
            json: serde_json::from_str(&stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a line that must succeed.
    pub(crate) fn done(&self, line: &str) -> Value {
        let outcome = self.run(line);
        assert_eq!((outcome.exit, outcome.stderr.as_str()), (0, ""), "{line}: {}", outcome.json);
        outcome.json
    }

    /// Runs a line that must be refused (1) or be unusable (2) with this code.
    pub(crate) fn fails(&self, line: &str, exit: i32, code: &str) -> Outcome {
        let outcome = self.run(line);
        assert_eq!((outcome.exit, outcome.code()), (exit, code), "{line}: {}", outcome.json);
        let error = &outcome.json["error"];
        assert!(
            !error["detail"].as_str().unwrap().is_empty() && !error["action"].as_str().unwrap().is_empty()
        );
        outcome
    }

    /// Makes `node/` under the authority of `keys`, and `enrolment.json`.
    pub(crate) fn with_node(keys: &[&str], threshold: usize) -> Self {
        let desk = Self::new();
        let authorities: Vec<String> = keys.iter().map(|name| format!("--authority {name}.pub")).collect();
        for name in keys {
            desk.done(&format!("authority new {name}"));
        }
        desk.done(&format!("init --dir node {} --threshold {threshold}", authorities.join(" ")));
        desk.write("enrolment.json", enrolment(1, 0).to_string());
        desk
    }

    /// [`Desk::with_node`] with an unsigned first manifest in `v1`.
    pub(crate) fn with_proposal(keys: &[&str], threshold: usize) -> Self {
        let desk = Self::with_node(keys, threshold);
        desk.done(FIRST);
        desk
    }
}

/// Proposes the first manifest.
pub(crate) const FIRST: &str = "manifest propose --draft node/manifest.json --node node-1 --state boot-1 --enrolment enrolment.json -o v1";

/// `GET /v1/enrolment` of a machine whose keys come from `machine` and whose PCRs from `boot`.
pub(crate) fn enrolment(machine: u8, boot: u8) -> Value {
    let mut sha256 = serde_json::Map::new();
    let mut sha384 = serde_json::Map::new();
    for index in 0..24u8 {
        let fill = if index < 8 { boot } else { 0 };
        sha256.insert(index.to_string(), hex::encode([fill; 32]).into());
        sha384.insert(index.to_string(), hex::encode([fill; 48]).into());
    }
    json!({
        "ek": hex::encode(endorsement_key(machine)),
        "ak": hex::encode(attestation_key(machine)),
        "ek_certificate": null,
        "pcrs": {"sha256": sha256, "sha384": sha384},
        "firmware_version": 0x0001_0002_0003_0004_u64,
    })
}

/// TPMT_PUBLIC of a P-256 EK (TCG EK Credential Profile, template L-2).
pub(crate) fn endorsement_key(machine: u8) -> Vec<u8> {
    // adminWithPolicy, restricted, decrypt, fixedTPM, fixedParent, sensitiveDataOrigin.
    let attributes = 0x0003_00b2_u32;
    let policy = hex::decode("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa").unwrap();
    // AES-128-CFB, no scheme.
    let parameters = [0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10];
    ecc_public(attributes, &policy, &parameters, [machine; 32])
}

/// TPMT_PUBLIC of a restricted P-256 signing key.
pub(crate) fn attestation_key(machine: u8) -> Vec<u8> {
    // fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign.
    let attributes = 0x0005_0472_u32;
    // No symmetric algorithm, ECDSA with SHA-256.
    let parameters = [0x00, 0x10, 0x00, 0x18, 0x00, 0x0b];
    ecc_public(attributes, &[], &parameters, attestation_scalar(machine))
}

/// The private half of [`attestation_key`].
pub(crate) fn attestation_scalar(machine: u8) -> [u8; 32] {
    [machine.wrapping_add(100); 32]
}

fn ecc_public(attributes: u32, policy: &[u8], parameters: &[u8], scalar: [u8; 32]) -> Vec<u8> {
    use p256::elliptic_curve::sec1::ToSec1Point as _;
    let secret = p256::SecretKey::from_slice(&scalar).unwrap();
    let point = secret.public_key().to_sec1_point(false);
    let coordinates = &point.as_bytes()[1..];
    let mut out = vec![0x00, 0x23, 0x00, 0x0b];
    out.extend(attributes.to_be_bytes());
    out.extend(u16::try_from(policy.len()).unwrap().to_be_bytes());
    out.extend(policy);
    out.extend(parameters);
    out.extend([0x00, 0x03, 0x00, 0x10]);
    for coordinate in coordinates.chunks(32) {
        out.extend([0x00, 0x20]);
        out.extend(coordinate);
    }
    out
}
