//! `sealstone init`: a node's keys, configurations and the skeleton of its first manifest.

mod config;
mod skeleton;

pub(super) use self::config::{AGENT_CONFIG, ENCLAVE_CONFIG};

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use sealstone_attestation::{Algorithm, AuthorityKey, AuthoritySet, DeploymentId};
use sealstone_wire::address::Address;
use sealstone_wire::channel::ChannelKey;
use serde_json::json;
use zeroize::Zeroizing;

use self::config::{
    AGENT_KEY, CREDENTIAL, ENCLAVE_KEY, MANIFEST, POLICY, POLICY_TEXT, STATE_DIR, Settings, agent_toml,
    enclave_toml,
};
use super::{authority, now};
use crate::failure::{Failure, chain};
use crate::files::{self, PUBLIC_MODE, SECRET_MODE};
use crate::output::{Answer, fields};

/// Make a node's keys, configurations and the skeleton of its first manifest
///
/// Writes agent.key, enclave.key, enclave.credential, agent.toml, enclave.toml, policy.toml,
/// manifest.json and state/ to an empty or new folder. Nothing is ever replaced; the same command again changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        sealstone init --dir node --authority alice.pub --authority bob.pub --threshold 2\n  \
        sealstone init --dir trial --new-authority me --tcti swtpm:host=127.0.0.1,port=2321")]
#[command(group = clap::ArgGroup::new("authorities").required(true).multiple(true).args(["authority", "new_authority"]))]
pub(super) struct Args {
    /// The node's folder
    #[arg(long)]
    dir: PathBuf,
    /// The node's name in the manifest
    #[arg(long, default_value = "node-1", value_name = "NAME")]
    node: String,
    /// How the agent reaches the TPM: device:PATH, swtpm:host=H,port=P or tabrmd:
    #[arg(long, default_value = "device:/dev/tpmrm0")]
    tcti: String,
    /// Where the agent reaches the enclave: unix:PATH, vsock:CID:PORT or unix-vsock:PATH:PORT
    #[arg(long, default_value = "unix:enclave.sock", value_name = "ADDRESS")]
    enclave_address: Address,
    /// Public key (PEM) of one who approves manifests; repeat for each
    #[arg(long, value_name = "PUB.pem")]
    authority: Vec<PathBuf>,
    /// How many of them must sign [default: 1 for one key; with more it must be given]
    #[arg(long, value_name = "K")]
    threshold: Option<u8>,
    /// For trials: make a key of this name in the node's folder; repeat for more
    #[arg(long, value_name = "NAME")]
    new_authority: Vec<String>,
}

pub(super) fn run(args: Args) -> Result<Answer, Failure> {
    check_names(&args)?;
    match fs::read_dir(&args.dir) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return unchanged(&args);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_dir(&args.dir, NODE_DIR_MODE)?,
        Err(error) => return Err(bad_dir(&args.dir, &error)),
    }
    create(&args)
}

/// Refuses what could be refused later, before anything is written.
fn check_names(args: &Args) -> Result<(), Failure> {
    if args.node.is_empty() || args.node.len() > NODE_NAME_MAX {
        return Err(Failure::unusable(
            "NAME",
            format!("expected a node name of 1 to {NODE_NAME_MAX} bytes, found {}", args.node.len()),
            "choose a shorter name",
        ));
    }
    for name in &args.new_authority {
        let pair = authority::pair_names(name, &args.dir)?;
        if [AGENT_KEY, ENCLAVE_KEY].iter().any(|taken| pair.private == args.dir.join(taken)) {
            return Err(Failure::unusable(
                "NAME",
                format!("expected a name other than the node's own keys, found {name}"),
                "choose another name",
            ));
        }
    }
    let count = args.authority.len() + args.new_authority.len();
    authority::threshold_of(args.threshold, count).map(drop)
}

/// Bytes of a node's name; the manifest's own bound.
const NODE_NAME_MAX: usize = 64;

fn given_keys(args: &Args) -> Result<Vec<AuthorityKey>, Failure> {
    args.authority.iter().map(|path| authority::key_from(path)).collect()
}

fn create(args: &Args) -> Result<Answer, Failure> {
    let mut made = Made { paths: Vec::new() };
    let mut keys = given_keys(args)?;
    for name in &args.new_authority {
        let (pair, key) = authority::new_pair(name, Algorithm::EdDsa, &args.dir)?;
        made.paths.extend([pair.private, pair.public]);
        keys.push(key);
    }
    let set = authority::set_of(keys, args.threshold)?;
    let at = |name: &str| args.dir.join(name);

    let agent_key = channel_key(&at(AGENT_KEY), &mut made)?;
    let enclave_key = channel_key(&at(ENCLAVE_KEY), &mut made)?;
    let mut credential = Zeroizing::new([0u8; CREDENTIAL_LEN]);
    files::random_bytes(credential.as_mut())?;
    let credential = Zeroizing::new(hex::encode(credential.as_ref()));
    made.write(&at(CREDENTIAL), "the enclave's credential", credential.as_bytes(), SECRET_MODE)?;

    let settings = settings(args, &set, &agent_key, &enclave_key);
    made.write(
        &at(AGENT_CONFIG),
        "the agent's configuration",
        agent_toml(&settings).as_bytes(),
        PUBLIC_MODE,
    )?;
    made.write(
        &at(ENCLAVE_CONFIG),
        "the enclave's configuration",
        enclave_toml(&settings).as_bytes(),
        PUBLIC_MODE,
    )?;

    made.write(&at(POLICY), "the policy", POLICY_TEXT.as_bytes(), PUBLIC_MODE)?;

    let mut deployment = [0u8; DeploymentId::LENGTH];
    files::random_bytes(&mut deployment)?;
    let draft = skeleton::draft(DeploymentId::from_bytes(deployment), now()?, &set);
    made.write(&at(MANIFEST), "the manifest's skeleton", skeleton::text(&draft).as_bytes(), PUBLIC_MODE)?;
    make_dir(&at(STATE_DIR), STATE_DIR_MODE)?;
    made.paths.clear();
    Ok(answer(args, &set, true))
}

/// Bytes of the enclave's credential (32 are a full TPM auth value of SHA-256).
const CREDENTIAL_LEN: usize = 32;

fn channel_key(path: &Path, made: &mut Made) -> Result<ChannelKey, Failure> {
    let key = ChannelKey::create(path).map_err(|error| key_failure(path, &error))?;
    made.paths.push(path.to_owned());
    Ok(key)
}

fn key_failure(path: &Path, error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::unusable(
        "CHANNEL_KEY",
        format!("expected a channel key at {}, found: {}", path.display(), chain(error)),
        "check the folder; a new key needs a new folder",
    )
}

fn settings<'a>(
    args: &'a Args,
    set: &AuthoritySet,
    agent_key: &ChannelKey,
    enclave_key: &ChannelKey,
) -> Settings<'a> {
    Settings {
        node: &args.node,
        tcti: &args.tcti,
        address: &args.enclave_address,
        authority: set.digest(),
        agent_public: agent_key.public(),
        enclave_public: enclave_key.public(),
        owner: rustix::process::getuid().as_raw(),
    }
}

/// A folder that has something in it: fine if it is what this command makes, else refused.
fn unchanged(args: &Args) -> Result<Answer, Failure> {
    let at = |name: &str| args.dir.join(name);
    let names =
        [AGENT_KEY, ENCLAVE_KEY, CREDENTIAL, AGENT_CONFIG, ENCLAVE_CONFIG, POLICY, MANIFEST, STATE_DIR];
    let missing: Vec<&str> = names.into_iter().filter(|name| !at(name).exists()).collect();
    if !missing.is_empty() {
        return Err(not_ours(args, &format!("it has files, but not {}", missing.join(", "))));
    }
    let mut keys = given_keys(args)?;
    for name in &args.new_authority {
        let pair = authority::pair_names(name, &args.dir)?;
        keys.push(authority::key_from(&pair.public)?);
    }
    let set = authority::set_of(keys, args.threshold)?;
    let [agent_key, enclave_key] = [AGENT_KEY, ENCLAVE_KEY]
        .map(|name| ChannelKey::from_file(&at(name)).map_err(|error| key_failure(&at(name), &error)));
    let settings = settings(args, &set, &agent_key?, &enclave_key?);
    let mut differing = Vec::new();
    for (name, expected) in [(AGENT_CONFIG, agent_toml(&settings)), (ENCLAVE_CONFIG, enclave_toml(&settings))]
    {
        if files::read_text(&at(name), "a configuration")? != expected {
            differing.push(name);
        }
    }
    if !differing.is_empty() {
        return Err(not_ours(args, &format!("other options or edits in {}", differing.join(" and "))));
    }
    Ok(answer(args, &set, false))
}

fn not_ours(args: &Args, found: &str) -> Failure {
    Failure::unusable(
        "DIR_NOT_EMPTY",
        format!(
            "expected {} to be new, empty or made by this very command, found: {found}",
            args.dir.display()
        ),
        "choose another folder, or edit the files there: nothing was changed",
    )
}

/// Others may look; every secret in it has a mode of its own.
const NODE_DIR_MODE: u32 = 0o755;

/// Nobody but the agent looks.
const STATE_DIR_MODE: u32 = 0o700;

fn make_dir(dir: &Path, mode: u32) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(mode).create(dir).map_err(|error| bad_dir(dir, &error))
}

fn bad_dir(dir: &Path, error: &io::Error) -> Failure {
    Failure::unusable(
        "DIR",
        format!("expected to make or read the folder {}, found: {error}", dir.display()),
        "choose a folder that you may write to",
    )
}

fn answer(args: &Args, set: &AuthoritySet, created: bool) -> Answer {
    let dir = args.dir.display();
    let digest = set.digest();
    let mut text = fields(&[
        (
            "folder",
            format!("{dir}{}", if created { "" } else { " (nothing changed: it was made by this command)" }),
        ),
        ("node", crate::output::shown(&args.node)),
        ("authority", format!("{digest} ({} of {} must sign)", set.threshold(), set.keys().len())),
    ]);
    if !args.new_authority.is_empty() {
        text.push_str(
            "warning: the authority's private key lies in the node's folder, which is for trials only: whoever \
             takes over the node could approve any state. In production its owner keeps it elsewhere.\n",
        );
    }
    let key =
        args.new_authority.first().map_or_else(|| "YOUR.key".to_owned(), |name| format!("{dir}/{name}.key"));
    text.push_str(&format!(
        "next:\n  \
         sealstone-enclave --config {dir}/{ENCLAVE_CONFIG} &\n  \
         sealstone-agent --config {dir}/{AGENT_CONFIG} &\n  \
         export SEALSTONE_SOCKET={dir}/agent.sock\n  \
         sealstone manifest propose --draft {dir}/{MANIFEST} --node {node} --state boot-1 -o {dir}/manifest.envelope\n  \
         sealstone manifest sign {dir}/manifest.envelope --key {key}\n  \
         sealstone manifest apply {dir}/manifest.envelope --provision {node}\n",
        node = args.node,
    ));
    let json = json!({
        "dir": args.dir.display().to_string(),
        "created": created,
        "node": args.node,
        "authority": digest,
        "threshold": set.threshold(),
        "trial_keys": args.new_authority,
    });
    Answer::done(json, text)
}

/// What was written so far; removed again unless everything was.
struct Made {
    paths: Vec<PathBuf>,
}

impl Made {
    fn write(&mut self, path: &Path, what: &str, bytes: &[u8], mode: u32) -> Result<(), Failure> {
        files::write_new(path, what, bytes, mode)?;
        self.paths.push(path.to_owned());
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in &self.paths {
            // These are ours, made a moment ago in a folder that was empty.
            let _ = fs::remove_file(path);
        }
    }
}
