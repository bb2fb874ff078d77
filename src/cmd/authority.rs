//! `sealstone authority`: keys of the people who approve manifests, and the digest that names them together.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use sealstone_attestation::{Algorithm, AuthorityKey, AuthoritySet, PublicKey};
use serde_json::json;

use super::name_of;
use crate::failure::{Failure, chain};
use crate::files::{self, PUBLIC_MODE, SECRET_MODE};
use crate::keyfile::{AuthoritySigner, not_for_authorities, public_pem, read_public};
use crate::output::{Answer, fields};

/// Make keys for those who approve manifests, and name a set of them
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Example:\n  sealstone authority new alice\n  sealstone authority digest alice.pub bob.pub --threshold 2"
)]
pub(super) enum Verb {
    /// Make a key pair: NAME.key (PKCS#8 PEM, mode 0600) and NAME.pub (SPKI PEM)
    #[command(after_help = "Examples:\n  sealstone authority new alice\n  \
            sealstone authority new bob --algorithm ES256 --out /media/bob")]
    New {
        /// Who owns the key
        name: String,
        /// EdDSA or ES256
        #[arg(long, default_value = "EdDSA")]
        algorithm: Algorithm,
        /// The folder for both files
        #[arg(long, default_value = ".", value_name = "DIR")]
        out: PathBuf,
    },
    /// Print the digest of an authority set: what `verify --authority` and enclave.toml take
    #[command(
        after_help = "Example:\n  sealstone authority digest alice.pub bob.pub carol.pub --threshold 2"
    )]
    Digest {
        /// The members' public keys (PEM); each key is named after its file
        #[arg(required = true, value_name = "PUB.pem")]
        keys: Vec<PathBuf>,
        /// How many of them must sign [default: 1 for one key; with more it must be given]
        #[arg(long, value_name = "K")]
        threshold: Option<u8>,
    },
}

pub(super) fn run(verb: Verb) -> Result<Answer, Failure> {
    match verb {
        Verb::New { name, algorithm, out } => {
            let (pair, key) = new_pair(&name, algorithm, &out)?;
            let [private, public] = [&pair.private, &pair.public].map(|path| path.display().to_string());
            let text = fields(&[
                ("private key", format!("{private} (keep it secret, and a copy of it safe)")),
                ("public key", public.clone()),
                ("key id", key.public_key().key_id().to_string()),
            ]);
            let key_id = key.public_key().key_id();
            Ok(Answer::done(
                json!({"private": private, "public": public, "key_id": key_id, "algorithm": algorithm}),
                text,
            ))
        }
        Verb::Digest { keys, threshold } => {
            let set = set_from(&keys, threshold)?;
            let digest = set.digest();
            let json = json!({"authority": digest, "threshold": set.threshold(), "keys": set.keys().len()});
            Ok(Answer::done(json, format!("{digest}\n")))
        }
    }
}

/// Where a new pair of keys lies.
pub(super) struct Pair {
    pub(super) private: PathBuf,
    pub(super) public: PathBuf,
}

/// Makes NAME.key and NAME.pub in a folder; replaces nothing.
pub(super) fn new_pair(
    name: &str,
    algorithm: Algorithm,
    dir: &Path,
) -> Result<(Pair, AuthorityKey), Failure> {
    if algorithm == Algorithm::Es256k {
        return Err(not_for_authorities(algorithm.name()));
    }
    let pair = pair_names(name, dir)?;
    let signer = AuthoritySigner::generate(algorithm)?;
    let key = named(name.to_owned(), signer.public_key())?;
    files::write_new(&pair.private, "the private key", signer.to_pem().as_bytes(), SECRET_MODE)?;
    let written = files::write_new(
        &pair.public,
        "the public key",
        public_pem(key.public_key()).as_bytes(),
        PUBLIC_MODE,
    );
    if let Err(failure) = written {
        // A pair or nothing.
        let _ = std::fs::remove_file(&pair.private);
        return Err(failure);
    }
    Ok((pair, key))
}

/// Reads a public key and names it after its file.
pub(super) fn key_from(path: &Path) -> Result<AuthorityKey, Failure> {
    named(name_of(path)?, read_public(path)?)
}

/// A key with a name that an authority set takes.
pub(super) fn named(name: String, public_key: PublicKey) -> Result<AuthorityKey, Failure> {
    AuthorityKey::new(name, public_key).map_err(|error| {
        Failure::unusable("AUTHORITY", chain(&error), "rename the file: its name names the key")
    })
}

/// The names of a pair's files; a name must be one step of a path.
pub(super) fn pair_names(name: &str, dir: &Path) -> Result<Pair, Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if name.is_empty() || name.len() > NAME_MAX || name.starts_with('.') || !name.chars().all(plain) {
        return Err(Failure::unusable(
            "NAME",
            format!(
                "expected a name of 1 to {NAME_MAX} letters, digits, '-', '_', '.' or '@', not starting with '.', \
                 found {name:?}"
            ),
            "choose such a name: it also names the files",
        ));
    }
    Ok(Pair { private: dir.join(format!("{name}.key")), public: dir.join(format!("{name}.pub")) })
}

/// Bytes of an authority key's name; the manifest's own bound.
const NAME_MAX: usize = 64;

/// Reads a set's public keys; each is named after its file.
pub(super) fn set_from(paths: &[PathBuf], threshold: Option<u8>) -> Result<AuthoritySet, Failure> {
    let keys = paths.iter().map(|path| key_from(path)).collect::<Result<Vec<_>, Failure>>()?;
    set_of(keys, threshold)
}

/// A set of keys, k of which must sign.
pub(super) fn set_of(keys: Vec<AuthorityKey>, threshold: Option<u8>) -> Result<AuthoritySet, Failure> {
    let threshold = threshold_of(threshold, keys.len())?;
    AuthoritySet::new(threshold, keys).map_err(|error| {
        Failure::unusable("AUTHORITY", chain(&error), "give 1 to 32 different keys and names")
    })
}

/// How many of so many keys must sign; with more than one key nobody guesses.
pub(super) fn threshold_of(given: Option<u8>, keys: usize) -> Result<u8, Failure> {
    match (given, keys) {
        (Some(threshold), _) if threshold == 0 || usize::from(threshold) > keys => Err(Failure::unusable(
            "THRESHOLD",
            format!("expected a threshold of 1 to {keys}, found {threshold}"),
            "choose one that the keys can reach",
        )),
        (Some(threshold), _) => Ok(threshold),
        (None, 0 | 1) => Ok(1),
        (None, found) => Err(Failure::unusable(
            "THRESHOLD_NEEDED",
            format!("expected how many of {found} keys must sign, found no --threshold"),
            "give --threshold K; 2 of 3 survives the loss of one key and the theft of one",
        )),
    }
}
