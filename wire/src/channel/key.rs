//! Static keys of the channel: where a private key lives, and the files of key pairs and public keys.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use crate::limits::CHANNEL_KEYS_MAX;

/// Starts the one line of a key file, so that no other 32 bytes are taken for one.
const FILE_LABEL: &str = "sealstone-channel-key-v1 ";

/// Bytes of a key file: the label, 64 hex digits, a newline.
const FILE_LENGTH: usize = FILE_LABEL.len() + 64 + 1;

/// Permission bits that a key file must not have: it is its owner's alone.
const FOREIGN_BITS: u32 = 0o077;

/// A static X25519 key whose secret stays where its holder keeps it, for example in memory that nothing else can
/// read.
pub trait StaticKey: Send + Sync {
    /// The public half.
    fn public(&self) -> ChannelPublic;

    /// X25519 (RFC 7748, section 5) of the secret and `peer`, into `shared`.
    fn agree(&self, peer: &[u8; 32], shared: &mut [u8; 32]);

    /// Runs an operation with the channel's secrets: this key, the keys of a handshake, or those of a session.
    ///
    /// Every such operation goes through here, so that a holder can have its temporaries where its secret is, and
    /// the keys that it makes as well. It must run `operation` once, before it returns.
    fn shelter(&self, operation: &mut dyn FnMut()) {
        operation();
    }
}

/// [`StaticKey::shelter`] with a result.
///
/// What comes out is a pointer to what the operation made: moved by itself, its padding would bring out whatever was
/// in that place before. Nothing is allocated for a result that is nothing.
pub(super) fn sheltered<T>(
    holder: &dyn StaticKey,
    operation: impl FnOnce() -> Result<T, snow::Error>,
) -> Result<Box<T>, snow::Error> {
    let (mut operation, mut made, mut failed) = (Some(operation), None, None);
    holder.shelter(&mut || match operation.take().map(|operation| operation()) {
        Some(Ok(result)) => made = Some(Box::new(result)),
        Some(Err(error)) => failed = Some(Box::new(error)),
        None => {}
    });
    match (made, failed) {
        (Some(made), _) => Ok(made),
        (None, Some(error)) => Err(*error),
        (None, None) => Err(snow::Error::Input),
    }
}

/// A static key pair of this side.
#[allow(missing_debug_implementations, reason = "a secret")]
pub struct ChannelKey {
    holder: Arc<dyn StaticKey>,
}

impl ChannelKey {
    /// A new key from the system's random bytes.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        Ok(Self::from_secret(&*random_secret()?))
    }

    /// A key whose secret somebody else keeps.
    #[must_use]
    pub fn held_by(holder: Arc<dyn StaticKey>) -> Self {
        Self { holder }
    }

    /// A key from its 32 secret bytes, of which it keeps a copy that is wiped in the end.
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        let secret = StaticSecret::from(*secret);
        let public = ChannelPublic(x25519_dalek::PublicKey::from(&secret).to_bytes());
        Self::held_by(Arc::new(HeapKey { secret, public }))
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`KeyError`] when it cannot be read, is open to others than its owner, or is no key file.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let mut secret = Zeroizing::new([0; 32]);
        read_secret(path, &mut secret)?;
        Ok(Self::from_secret(&secret))
    }

    /// Makes a new key and its file, mode 0600, durably. An existing file is left alone.
    ///
    /// # Errors
    /// [`KeyError::Random`] or [`KeyError::Create`].
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let mut secret = Zeroizing::new([0; 32]);
        create_secret(path, &mut secret)?;
        Ok(Self::from_secret(&secret))
    }

    /// Reads a key file, or makes one if there is none.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file) and [`create`](Self::create).
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        match Self::create(path) {
            Err(KeyError::Create { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {
                Self::from_file(path)
            }
            result => result,
        }
    }

    /// The public half, for the other side's configuration.
    #[must_use]
    pub fn public(&self) -> ChannelPublic {
        self.holder.public()
    }

    pub(super) fn holder(&self) -> &Arc<dyn StaticKey> {
        &self.holder
    }
}

/// A secret in ordinary memory, wiped when dropped.
struct HeapKey {
    secret: StaticSecret,
    public: ChannelPublic,
}

impl StaticKey for HeapKey {
    fn public(&self) -> ChannelPublic {
        self.public
    }

    fn agree(&self, peer: &[u8; 32], shared: &mut [u8; 32]) {
        *shared = *self.secret.diffie_hellman(&x25519_dalek::PublicKey::from(*peer)).as_bytes();
    }
}

fn random_secret() -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *secret).map_err(|_| KeyError::Random)?;
    Ok(secret)
}

/// Makes a new secret where the caller keeps it, and its key file, as [`ChannelKey::create`].
///
/// # Errors
/// As [`ChannelKey::create`]; `secret` then holds what no file does.
pub fn create_secret(path: &Path, secret: &mut [u8; 32]) -> Result<(), KeyError> {
    getrandom::fill(secret).map_err(|_| KeyError::Random)?;
    write_secret(path, secret).map_err(|source| KeyError::Create { path: path.to_owned(), source })
}

/// Reads the secret of a key file to where the caller keeps it.
///
/// # Errors
/// As [`ChannelKey::from_file`]; `secret` may then hold a part.
pub fn read_secret(path: &Path, secret: &mut [u8; 32]) -> Result<(), KeyError> {
    let failed = |source| KeyError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.mode() & FOREIGN_BITS != 0 {
        return Err(KeyError::Permissions { path: path.to_owned(), found: metadata.mode() & 0o777 });
    }
    // One byte more than a key file has shows that it is none.
    let mut text = Zeroizing::new([0; FILE_LENGTH + 1]);
    let mut found = 0;
    while found < text.len() {
        match (&file).read(&mut text[found..]) {
            Ok(0) => break,
            Ok(count) => found += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let format = || KeyError::Format { path: path.to_owned() };
    let digits = text[..found]
        .strip_prefix(FILE_LABEL.as_bytes())
        .and_then(|rest| rest.strip_suffix(b"\n"))
        .filter(|digits| digits.len() == 64)
        .ok_or_else(format)?;
    hex::decode_to_slice(digits, secret).map_err(|_| format())
}

fn write_secret(path: &Path, secret: &[u8; 32]) -> io::Result<()> {
    let mut text = Zeroizing::new([0; FILE_LENGTH]);
    let (label, rest) = text.split_at_mut(FILE_LABEL.len());
    label.copy_from_slice(FILE_LABEL.as_bytes());
    let (digits, newline) = rest.split_at_mut(64);
    hex::encode_to_slice(secret, digits).expect("64 digits for 32 bytes");
    newline.copy_from_slice(b"\n");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&*text)?;
    file.sync_all()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// A public key of the channel. Reads and writes as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChannelPublic([u8; 32]);

impl ChannelPublic {
    /// Takes the bytes as they are (RFC 7748).
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes (RFC 7748).
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ChannelPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ChannelPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelPublic({self})")
    }
}

impl FromStr for ChannelPublic {
    type Err = PublicError;

    fn from_str(text: &str) -> Result<Self, PublicError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| PublicError { found: text.len() })?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for ChannelPublic {
    type Error = PublicError;

    fn try_from(text: String) -> Result<Self, PublicError> {
        text.parse()
    }
}

impl From<ChannelPublic> for String {
    fn from(public: ChannelPublic) -> Self {
        public.to_string()
    }
}

/// The public keys of one side of the channel: one, or two while it is replaced.
///
/// # Errors
/// [`PublicKeysError`].
pub fn public_keys<T: AsRef<str>>(texts: &[T]) -> Result<Vec<ChannelPublic>, PublicKeysError> {
    if !(1..=CHANNEL_KEYS_MAX).contains(&texts.len()) {
        return Err(PublicKeysError::Count { found: texts.len() });
    }
    let keys: Vec<ChannelPublic> =
        texts.iter().map(|text| text.as_ref().parse()).collect::<Result<_, _>>()?;
    let mut different = keys.clone();
    different.sort_unstable();
    different.dedup();
    if different.len() < keys.len() { Err(PublicKeysError::Twice) } else { Ok(keys) }
}

/// A list that is not one side's public keys.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PublicKeysError {
    /// None, or more than one side has.
    #[error("expected 1 to {CHANNEL_KEYS_MAX} public keys, found {found}")]
    Count {
        /// How many.
        found: usize,
    },
    /// One of them is none.
    #[error(transparent)]
    Public(#[from] PublicError),
    /// The same one again.
    #[error("expected different public keys, found one twice")]
    Twice,
}

/// A text that is no public key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected a public key of 64 hex digits, found {found} characters that are none")]
pub struct PublicError {
    /// Bytes of the text.
    pub found: usize,
}

/// Why there is no key.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The system gives no random bytes.
    #[error("the operating system gives no random bytes")]
    Random,
    /// The file cannot be read.
    #[error("cannot read key file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file cannot be made, or is there already.
    #[error("cannot create key file {}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others than the owner may use the file.
    #[error("expected key file {} to have mode 0600, found {found:04o}; use chmod", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        found: u32,
    },
    /// Not a key file, or one that was cut short.
    #[error("expected {} to hold `{FILE_LABEL}` and 64 hex digits in one line, found something else", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_made_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.key");
        let made = ChannelKey::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let read = ChannelKey::load_or_create(&path).unwrap();
        assert_eq!(read.public(), made.public());
        assert_eq!(ChannelKey::from_file(&path).unwrap().public(), made.public());
        assert_eq!(fs::metadata(&path).unwrap().len(), u64::try_from(FILE_LENGTH).unwrap());
        assert_ne!(ChannelKey::generate().unwrap().public(), made.public());
    }

    #[test]
    fn an_existing_file_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.key");
        fs::write(&path, "precious").unwrap();
        let error = ChannelKey::create(&path).err().unwrap();
        assert!(matches!(error, KeyError::Create { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_file_that_others_may_use_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.key");
        ChannelKey::create(&path).unwrap();
        for mode in [0o640, 0o604, 0o660, 0o601] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = ChannelKey::from_file(&path).err().unwrap();
            assert!(matches!(error, KeyError::Permissions { found, .. } if found == mode), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_no_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.key");
        ChannelKey::create(&path).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let digits = good.trim_end().rsplit(' ').next().unwrap();
        let with = |text: String| {
            fs::write(&path, text).unwrap();
            ChannelKey::from_file(&path).err()
        };
        assert!(with(good.clone()).is_none());
        for bad in [
            String::new(),
            digits.to_owned(),
            good.trim_end().to_owned(),
            good[..good.len() - 2].to_owned() + "\n",
            good.clone() + "\n",
            good.clone() + &"x".repeat(100_000),
            good.replace("v1", "v2"),
            good.replace(digits, &"g".repeat(64)),
            good.replace(digits, &"é".repeat(32)),
        ] {
            let error = with(bad.clone());
            assert!(matches!(error, Some(KeyError::Format { .. })), "{bad:?}");
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(ChannelKey::from_file(&path).err(), Some(KeyError::Read { .. })));
        let nowhere = folder.path().join("no/such/folder/key");
        assert!(matches!(ChannelKey::load_or_create(&nowhere).err(), Some(KeyError::Create { .. })));
    }

    #[test]
    fn a_public_key_reads_as_it_is_written() {
        let public = ChannelKey::generate().unwrap().public();
        let text = public.to_string();
        assert_eq!(text.parse(), Ok(public));
        assert_eq!(serde_json::to_string(&public).unwrap(), format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<ChannelPublic>(&format!("\"{text}\"")).unwrap(), public);
        for bad in
            [String::new(), text[1..].to_owned(), format!("{text}0"), format!("0x{text}"), "zz".repeat(32)]
        {
            assert_eq!(bad.parse::<ChannelPublic>(), Err(PublicError { found: bad.len() }));
            assert!(serde_json::from_str::<ChannelPublic>(&format!("\"{bad}\"")).is_err());
        }
    }

    #[test]
    fn a_side_has_one_key_or_two_that_differ() {
        let [one, two, three] = [1, 2, 3].map(|byte| ChannelPublic::from_bytes([byte; 32]));
        let texts = |keys: &[ChannelPublic]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(public_keys(&texts(&[one])), Ok(vec![one]));
        assert_eq!(public_keys(&texts(&[two, one])), Ok(vec![two, one]), "in the order given");
        assert_eq!(public_keys::<&str>(&[]), Err(PublicKeysError::Count { found: 0 }));
        assert_eq!(public_keys(&texts(&[one, two, three])), Err(PublicKeysError::Count { found: 3 }));
        assert_eq!(public_keys(&texts(&[one, one])), Err(PublicKeysError::Twice));
        assert!(matches!(public_keys(&[one.to_string().as_str(), "00"]), Err(PublicKeysError::Public(_))));
    }
}
