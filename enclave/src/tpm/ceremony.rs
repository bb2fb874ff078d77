//! One conversation with the TPM: opened under the pinned endorsement key, closed by drop.

use sealstone_attestation::PublicArea;
use tpm2_protocol::TpmUnmarshal;
use tpm2_protocol::basic::TpmUint16;
use tpm2_protocol::data::{
    Tpm2bEccParameter, Tpm2bEncryptedSecret, Tpm2bNonce, Tpm2bPublic, Tpm2bPublicKeyRsa, TpmAlgId, TpmCc,
    TpmEccCurve, TpmRh, TpmSe, TpmaObject, TpmsEccPoint, TpmtPublic, TpmtSymDefObject, TpmuPublicId,
    TpmuPublicParms, TpmuSymKeyBits, TpmuSymMode,
};
use tpm2_protocol::frame::{TpmCreatePrimaryResponse, TpmReadPublicResponse, TpmStartAuthSessionResponse};

use super::command::{Command, Handle, malformed, parameters};
use super::counter::is_authorisation_failure;
use super::error::TpmError;
use super::link::Link;
use super::relay::Relay;
use super::salt::SaltKey;
use super::session::{NONCE_LEN, Session, Use, fresh_nonce};
use crate::secret::{self, Secret};

/// Bytes of randomness: what every TPM gives at once, the size of its smallest digest here.
pub const RANDOM_LEN: usize = 32;

/// A conversation with the enrolled TPM through an untrusted relay.
///
/// After an error other than [`TpmError::Rc`] and the ones that say "authenticated" its sessions may be unusable:
/// drop it and open another. What it loaded into the TPM is flushed on drop.
#[allow(missing_debug_implementations, reason = "holds session keys")]
pub struct Ceremony<'r> {
    pub(super) link: Link<'r>,
    /// Authorises, audits and encrypts.
    pub(super) hmac: Session,
    /// Unseals.
    pub(super) policy: Session,
}

impl<'r> Ceremony<'r> {
    /// Opens two sessions salted to `ek`, the endorsement key that the manifest pins, and has the TPM prove that
    /// it holds that key.
    ///
    /// `hint` is a persistent handle where the key may be. Without it, or when something else is there, the TPM
    /// makes the key anew from its template (TCG EK Credential Profile), which takes an empty endorsement auth.
    ///
    /// # Errors
    /// [`TpmError::NotEnrolled`] when the TPM has another endorsement key; faults of relay and TPM.
    pub fn open(relay: &'r mut dyn Relay, ek: &PublicArea, hint: Option<u32>) -> Result<Self, TpmError> {
        let mut link = Link::new(relay);
        let salt_key = SaltKey::new(ek)?;
        let key = EkHandle::find(&mut link, ek, hint)?;
        let hmac = start(&mut link, &salt_key, key.handle(), TpmSe::Hmac)?;
        let policy = start(&mut link, &salt_key, key.handle(), TpmSe::Policy)?;
        if let EkHandle::Transient(handle) = key {
            // Transient slots are few; the sessions live on without the key.
            link.flush(handle);
        }
        let mut ceremony = Self { link, hmac, policy };
        ceremony.prove()?;
        Ok(ceremony)
    }

    /// Secret bytes of the TPM's randomness. Authenticated, and encrypted on their way.
    ///
    /// # Errors
    /// Faults of relay and TPM.
    pub fn random(&mut self) -> Result<Secret<RANDOM_LEN>, TpmError> {
        let mut random = secret::run(|inside| Secret::<RANDOM_LEN>::filled(inside, |_| ()));
        let mut filled = 0;
        while filled < RANDOM_LEN {
            let wanted = RANDOM_LEN - filled;
            let count = u16::try_from(wanted).expect("32 bytes at most");
            let command = Command::new(TpmCc::GetRandom, Vec::new(), parameters(&[&TpmUint16::new(count)]));
            let response = self.link.authentic(&mut self.hmac, command, Use::encrypt_only())?;
            let given = response.sized_buffer_len()?;
            // A TPM may give fewer; each round brings one at least.
            if given == 0 || given > wanted {
                return Err(malformed(TpmCc::GetRandom, "one to as many bytes as were asked for"));
            }
            secret::run(|inside| {
                let bytes = response.sized_buffer(inside);
                random.change(inside, |random| random[filled..][..given].copy_from_slice(bytes));
            });
            filled += given;
        }
        Ok(random)
    }

    /// The first authenticated exchange. Only the holder of the endorsement key knows the salt, so nobody else
    /// accepts this command, or answers it with an HMAC that verifies.
    fn prove(&mut self) -> Result<(), TpmError> {
        self.random().map(drop).map_err(|error| match error {
            TpmError::NotAuthentic { .. } => TpmError::NotEnrolled {
                what: "the session is not with the holder of the pinned endorsement key",
            },
            TpmError::Rc { code, .. } if is_authorisation_failure(code) => TpmError::NotEnrolled {
                what: "the TPM does not know the salt sent to the pinned endorsement key",
            },
            error => error,
        })
    }
}

/// Where the endorsement key is, as the relay says: believed only once a session salted to it verifies.
enum EkHandle {
    Persistent(u32),
    Transient(u32),
}

impl EkHandle {
    fn handle(&self) -> u32 {
        match self {
            Self::Persistent(handle) | Self::Transient(handle) => *handle,
        }
    }

    fn find(link: &mut Link<'_>, ek: &PublicArea, hint: Option<u32>) -> Result<Self, TpmError> {
        if let Some(handle) = hint
            && is_at(link, ek, handle)?
        {
            return Ok(Self::Persistent(handle));
        }
        let (public, rest) = TpmtPublic::unmarshal(ek.as_bytes())
            .map_err(|_| TpmError::UnusableKey { what: "expected a TPMT_PUBLIC" })?;
        if !rest.is_empty() {
            return Err(TpmError::UnusableKey { what: "expected a TPMT_PUBLIC and nothing after it" });
        }
        for template in templates(&public) {
            let response = link.empty_password(&create_primary(TpmRh::Endorsement, &template))?;
            let handle = response.handle()?;
            link.loaded(handle);
            let made: TpmCreatePrimaryResponse = response.parse()?;
            if parameters(&[&made.out_public.inner])[..] == *ek.as_bytes() {
                return Ok(Self::Transient(handle));
            }
            link.flush(handle);
        }
        Err(TpmError::NotEnrolled { what: "the TPM makes another endorsement key than the pinned one" })
    }
}

/// Whether the key seems to be at this handle. The relay can lie: that costs it the session.
fn is_at(link: &mut Link<'_>, ek: &PublicArea, handle: u32) -> Result<bool, TpmError> {
    let command = Command::new(TpmCc::ReadPublic, vec![Handle::plain(handle)], parameters(&[]));
    match link.bare(&command) {
        Ok(response) => {
            let found: TpmReadPublicResponse = response.parse()?;
            Ok(parameters(&[&found.out_public.inner])[..] == *ek.as_bytes())
        }
        Err(TpmError::Rc { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The templates that the key may have been made from: its public area, with `unique` as the TCG's templates have
/// it. Those of the low range fill it with zeros, those of the high range (which set userWithAuth) leave it empty.
fn templates(public: &TpmtPublic) -> [TpmtPublic; 2] {
    let with = |unique| TpmtPublic { unique, ..public.clone() };
    let (zeros, empty) = match &public.parameters {
        TpmuPublicParms::Rsa(parameters) => {
            let zeros = vec![0; usize::from(parameters.key_bits.value() / 8)];
            // A key too long for this buffer was not parsed in the first place.
            let zeros = Tpm2bPublicKeyRsa::try_from(&zeros[..]).unwrap_or_default();
            (TpmuPublicId::Rsa(zeros), TpmuPublicId::Rsa(Tpm2bPublicKeyRsa::default()))
        }
        TpmuPublicParms::Ecc(parameters) => {
            let width = if parameters.curve_id == TpmEccCurve::NistP384 { 48 } else { 32 };
            let zeros =
                Tpm2bEccParameter::try_from(&[0; 48][..width]).expect("a coordinate is at most 66 bytes");
            (
                TpmuPublicId::Ecc(TpmsEccPoint { x: zeros, y: zeros }),
                TpmuPublicId::Ecc(TpmsEccPoint::default()),
            )
        }
        _ => (public.unique.clone(), public.unique.clone()),
    };
    if public.object_attributes.contains(TpmaObject::USER_WITH_AUTH) {
        [with(empty), with(zeros)]
    } else {
        [with(zeros), with(empty)]
    }
}

/// TPM2_CreatePrimary of a key without auth value, without data, bound to no PCR.
pub(super) fn create_primary(hierarchy: TpmRh, template: &TpmtPublic) -> Command {
    const EMPTY_SENSITIVE: [u8; 6] = [0, 4, 0, 0, 0, 0];
    const NO_OUTSIDE_INFO_NO_PCRS: [u8; 6] = [0; 6];
    let public = parameters(&[&Tpm2bPublic { inner: template.clone() }]);
    let bytes = [&EMPTY_SENSITIVE[..], &public, &NO_OUTSIDE_INFO_NO_PCRS].concat();
    Command::new(TpmCc::CreatePrimary, vec![Handle::plain(hierarchy.value())], bytes)
}

/// AES-128-CFB, which every TPM of the PC Client profile has, for sessions and storage keys.
pub(super) fn aes_128_cfb() -> TpmtSymDefObject {
    TpmtSymDefObject {
        algorithm: TpmAlgId::Aes,
        key_bits: TpmuSymKeyBits::Aes(TpmUint16::new(128)),
        mode: TpmuSymMode::Aes(TpmAlgId::Cfb),
    }
}

/// TPM2_StartAuthSession, salted, not bound. Nothing in the response is authentic: a wrong nonce or handle shows
/// when the first HMAC fails.
fn start(link: &mut Link<'_>, salt_key: &SaltKey, key: u32, kind: TpmSe) -> Result<Session, TpmError> {
    let salt = salt_key.salt()?;
    let nonce_caller = fresh_nonce()?;
    let nonce = Tpm2bNonce::try_from(&nonce_caller[..]).expect("a nonce is 32 bytes");
    let encrypted = Tpm2bEncryptedSecret::try_from(&salt.encrypted[..])
        .map_err(|_| TpmError::UnusableKey { what: "expected an RSA key of at most 4,096 bits" })?;
    let handles = vec![Handle::plain(key), Handle::plain(TpmRh::Null.value())];
    let definition = parameters(&[&nonce, &encrypted, &kind, &aes_128_cfb(), &TpmAlgId::Sha256]);
    let response = link.bare(&Command::new(TpmCc::StartAuthSession, handles, definition))?;
    let handle = response.handle()?;
    link.loaded(handle);
    let started: TpmStartAuthSessionResponse = response.parse()?;
    let nonce_tpm = <[u8; NONCE_LEN]>::try_from(&started.nonce_tpm[..])
        .map_err(|_| malformed(TpmCc::StartAuthSession, "a nonce of 32 bytes"))?;
    Ok(Session::new(handle, &salt, &nonce_caller, nonce_tpm))
}
