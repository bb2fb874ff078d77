//! The endorsement key and the attestation key under it.
//!
//! The endorsement key is a primary key: the TPM computes it again from the TCG template, or holds it at a
//! persistent handle. The attestation key is made once, as its child in the endorsement hierarchy, and kept
//! as two blobs that only this TPM can load: `ak.pub` (TPM2B_PUBLIC) and `ak.priv` (TPM2B_PRIVATE), as
//! tpm2-tools write them. Between quotes neither key stays loaded: a saved context is loaded in milliseconds,
//! and a TPM without a resource manager has three places, which the enclave's ceremonies need.

use std::io;
use std::path::{Path, PathBuf};

use sealstone_attestation::{Credential, PublicArea};
use tss_esapi::Context;
use tss_esapi::abstraction::{AsymmetricAlgorithmSelection, ek};
use tss_esapi::attributes::ObjectAttributesBuilder;
use tss_esapi::constants::response_code::Tss2ResponseCodeKind;
use tss_esapi::constants::{CapabilityType, SessionType};
use tss_esapi::handles::{AuthHandle, KeyHandle, ObjectHandle, SessionHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{
    CapabilityData, EccPoint, EccScheme, EncryptedSecret, HashScheme, IdObject, KeyDerivationFunctionScheme,
    Private, Public, PublicBuilder, PublicEccParametersBuilder, PublicKeyRsa, PublicRsaParametersBuilder,
    RsaExponent, RsaScheme, SymmetricDefinition, SymmetricDefinitionObject,
};
use tss_esapi::traits::{Marshall, UnMarshall};
use tss_esapi::utils::TpmsContext;

use super::certificate;
use super::error::{CONTEXT_LOAD, During, Fault, TpmError};
use crate::config::tpm::{AkKind, EkKind, TpmConfig};
use crate::files;

/// Where endorsement keys are kept if they are persistent (TCG TPM v2.0 Provisioning Guidance, section 7.8):
/// 0x81010000 to 0x8101ffff; asked for from the first.
const PERSISTENT_EKS: u32 = 0x8101_0000;
const PERSISTENT_EK_LAST: u32 = 0x8101_ffff;

/// Persistent handles that are looked at; vendors use one to four.
const PERSISTENT_MAX: u32 = 32;

/// Bytes of a key file: the largest of RSA-2048 or P-256 takes under 400.
const KEY_FILE_MAX: u64 = 4096;

/// Both keys, public parts and a way to load the attestation key quickly.
pub(super) struct Keys {
    pub(super) ek: PublicArea,
    pub(super) ak: PublicArea,
    /// Where the endorsement key is persistent, if it is.
    pub(super) ek_handle: Option<u32>,
    /// Its certificate, DER.
    pub(super) ek_certificate: Option<Vec<u8>>,
    /// Loads until the TPM is reset.
    ak_context: TpmsContext,
}

impl Keys {
    /// Finds or creates the endorsement key, loads or creates the attestation key, and leaves nothing loaded.
    pub(super) fn prepare(context: &mut Context, config: &TpmConfig) -> Result<Self, Fault> {
        let (ek_object, ek_public, ek_handle) = endorsement_key(context, config.ek)?;
        let ek_area = area("endorsement", &ek_public)?;
        ek_area.check_endorsement_key().map_err(|flaw| unsuitable("endorsement", flaw))?;

        let (ak_object, ak_public) = match AkFiles::read(&config.state_dir)? {
            Some(files) => (files.load(context, ek_object, &ek_public)?, files.public),
            None => create_attestation_key(context, ek_object, &ek_public, config)?,
        };
        let ak_area = area("attestation", &ak_public)?;
        ak_area.check_attestation_key().map_err(|flaw| unsuitable("attestation", flaw))?;
        if !is_of_kind(&ak_public, config.ak) {
            let detail = format!("expected {:?} as tpm.ak says, found another kind in ak.pub", config.ak);
            return Err(TpmError::UnsuitableKey { which: "attestation", detail }.into());
        }

        let ak_context = context.context_save(ak_object.into()).during("TPM2_ContextSave")?;
        context.flush_context(ak_object.into()).during("TPM2_FlushContext")?;
        if ek_handle.is_some() {
            context.tr_close(&mut ObjectHandle::from(ek_object)).during("closing the endorsement key")?;
        } else {
            context.flush_context(ek_object.into()).during("TPM2_FlushContext")?;
        }
        let ek_certificate = certificate::read(context, config.ek)?;
        Ok(Self { ek: ek_area, ak: ak_area, ek_handle, ek_certificate, ak_context })
    }

    /// Opens a credential that was made for this endorsement key and this attestation key. What is inside proves to its
    /// maker that both are in one TPM; it is nobody's secret here.
    pub(super) fn activate(
        &self,
        context: &mut Context,
        config: &TpmConfig,
        credential: &Credential,
    ) -> Result<Vec<u8>, Fault> {
        let garbled = |_| TpmError::Credential;
        let id_object = IdObject::try_from(credential.id_object.clone()).map_err(garbled)?;
        let seed = EncryptedSecret::try_from(credential.encrypted_seed.clone()).map_err(garbled)?;
        let (ek, ek_public, ek_handle) = endorsement_key(context, config.ek)?;
        let ak = self.load(context)?;
        let session = endorsement_session(context, &ek_public)?;
        let opened = context
            .execute_with_sessions((Some(AuthSession::Password), Some(session), None), |context| {
                context.activate_credential(ak, ek, id_object, seed).during("TPM2_ActivateCredential")
            });
        let secret = opened.map_err(|fault| {
            let not_ours = [
                Tss2ResponseCodeKind::Integrity,
                Tss2ResponseCodeKind::Value,
                Tss2ResponseCodeKind::Size,
                Tss2ResponseCodeKind::Insufficient,
                Tss2ResponseCodeKind::EccPoint,
            ];
            if not_ours.into_iter().any(|kind| fault.is(kind)) { TpmError::Credential.into() } else { fault }
        })?;
        end(context, session)?;
        context.flush_context(ak.into()).during("TPM2_FlushContext")?;
        if ek_handle.is_some() {
            context.tr_close(&mut ObjectHandle::from(ek)).during("closing the endorsement key")?;
        } else {
            context.flush_context(ek.into()).during("TPM2_FlushContext")?;
        }
        Ok(secret.to_vec())
    }

    /// Loads the attestation key; the caller flushes it.
    pub(super) fn load(&self, context: &mut Context) -> Result<KeyHandle, Fault> {
        context.context_load(self.ak_context.clone()).map(KeyHandle::from).during(CONTEXT_LOAD)
    }
}

fn area(which: &'static str, public: &Public) -> Result<PublicArea, Fault> {
    let bytes = public.marshall().during("encoding a public area")?;
    PublicArea::parse(&bytes).map_err(|error| unsuitable(which, error))
}

fn unsuitable(which: &'static str, detail: impl ToString) -> Fault {
    Fault::Own(TpmError::UnsuitableKey { which, detail: detail.to_string() })
}

/// The persistent endorsement key of this kind, or a primary key created anew.
fn endorsement_key(context: &mut Context, kind: EkKind) -> Result<(KeyHandle, Public, Option<u32>), Fault> {
    let selection = match kind {
        EkKind::Rsa2048 => AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa2048),
        EkKind::P256 => AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256),
        EkKind::P384 => AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP384),
    };
    let template = ek::create_ek_public_from_default_template_2(selection, None)
        .during("building the endorsement template")?;

    let (data, _) = context
        .execute_without_session(|context| {
            context.get_capability(CapabilityType::Handles, PERSISTENT_EKS, PERSISTENT_MAX)
        })
        .during("TPM2_GetCapability")?;
    let handles = if let CapabilityData::Handles(list) = data { list.into_inner() } else { Vec::new() };
    for handle in handles {
        let number = u32::from(handle);
        if !matches!(handle, TpmHandle::Persistent(_))
            || !(PERSISTENT_EKS..=PERSISTENT_EK_LAST).contains(&number)
        {
            continue;
        }
        let mut object = context
            .execute_without_session(|context| context.tr_from_tpm_public(handle))
            .during("TPM2_ReadPublic")?;
        let (public, _, _) = context
            .execute_without_session(|context| context.read_public(KeyHandle::from(object)))
            .during("TPM2_ReadPublic")?;
        if is_from_template(&public, &template) {
            return Ok((KeyHandle::from(object), public, Some(number)));
        }
        context.tr_close(&mut object).during("closing a persistent key")?;
    }

    let created = context
        .execute_with_session(Some(AuthSession::Password), |context| {
            context.create_primary(Hierarchy::Endorsement, template, None, None, None, None)
        })
        .during("TPM2_CreatePrimary")?;
    Ok((created.key_handle, created.out_public, None))
}

/// The same in everything but the key itself.
fn is_from_template(public: &Public, template: &Public) -> bool {
    match (public, template) {
        (
            Public::Rsa { object_attributes, name_hashing_algorithm, auth_policy, parameters, unique: _ },
            Public::Rsa {
                object_attributes: attributes,
                name_hashing_algorithm: name_hash,
                auth_policy: policy,
                parameters: wanted,
                unique: _,
            },
        ) => {
            (object_attributes, name_hashing_algorithm, auth_policy, parameters)
                == (attributes, name_hash, policy, wanted)
        }
        (
            Public::Ecc { object_attributes, name_hashing_algorithm, auth_policy, parameters, unique: _ },
            Public::Ecc {
                object_attributes: attributes,
                name_hashing_algorithm: name_hash,
                auth_policy: policy,
                parameters: wanted,
                unique: _,
            },
        ) => {
            (object_attributes, name_hashing_algorithm, auth_policy, parameters)
                == (attributes, name_hash, policy, wanted)
        }
        _ => false,
    }
}

fn create_attestation_key(
    context: &mut Context,
    ek: KeyHandle,
    ek_public: &Public,
    config: &TpmConfig,
) -> Result<(KeyHandle, Public), Fault> {
    let template = attestation_template(config.ak).during("building the attestation template")?;
    let created = with_endorsement(context, ek_public, |context| {
        context.create(ek, template, None, None, None, None).during("TPM2_Create")
    })?;
    let files = AkFiles::new(&config.state_dir, created.out_public, created.out_private);
    files.write()?;
    tracing::info!(directory = %config.state_dir.display(), "created the attestation key");
    Ok((files.load(context, ek, ek_public)?, files.public))
}

/// Restricted to what the TPM itself made, bound to this TPM, and without lockout: its empty auth is no secret.
fn attestation_template(kind: AkKind) -> tss_esapi::Result<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(true)
        .with_sign_encrypt(true)
        .build()?;
    let builder = PublicBuilder::new()
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes);
    let sha256 = HashScheme::new(HashingAlgorithm::Sha256);
    match kind {
        AkKind::P256 => builder
            .with_public_algorithm(PublicAlgorithm::Ecc)
            .with_ecc_parameters(
                PublicEccParametersBuilder::new()
                    .with_symmetric(SymmetricDefinitionObject::Null)
                    .with_ecc_scheme(EccScheme::EcDsa(sha256))
                    .with_curve(EccCurve::NistP256)
                    .with_key_derivation_function_scheme(KeyDerivationFunctionScheme::Null)
                    .with_is_signing_key(true)
                    .with_restricted(true)
                    .build()?,
            )
            .with_ecc_unique_identifier(EccPoint::default()),
        AkKind::Rsa2048 => builder
            .with_public_algorithm(PublicAlgorithm::Rsa)
            .with_rsa_parameters(
                PublicRsaParametersBuilder::new()
                    .with_symmetric(SymmetricDefinitionObject::Null)
                    .with_scheme(RsaScheme::RsaSsa(sha256))
                    .with_key_bits(RsaKeyBits::Rsa2048)
                    .with_exponent(RsaExponent::default())
                    .with_is_signing_key(true)
                    .with_restricted(true)
                    .build()?,
            )
            .with_rsa_unique_identifier(PublicKeyRsa::default()),
    }
    .build()
}

fn is_of_kind(public: &Public, kind: AkKind) -> bool {
    match kind {
        AkKind::P256 => {
            matches!(public, Public::Ecc { parameters, .. } if parameters.ecc_curve() == EccCurve::NistP256)
        }
        AkKind::Rsa2048 => {
            matches!(public, Public::Rsa { parameters, .. } if parameters.key_bits() == RsaKeyBits::Rsa2048)
        }
    }
}

/// Runs `action` authorised to use the endorsement key.
fn with_endorsement<T>(
    context: &mut Context,
    ek: &Public,
    action: impl FnOnce(&mut Context) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let session = endorsement_session(context, ek)?;
    let done = context.execute_with_session(Some(session), action)?;
    end(context, session)?;
    Ok(done)
}

/// What authorises the use of the endorsement key: its empty auth where the template allows that (the high-range ones), else
/// the policy of all low-range ones, which is the endorsement hierarchy's auth.
fn endorsement_session(context: &mut Context, ek: &Public) -> Result<AuthSession, Fault> {
    if ek.object_attributes().user_with_auth() {
        return Ok(AuthSession::Password);
    }
    let session = context
        .execute_without_session(|context| {
            context.start_auth_session(
                None,
                None,
                None,
                SessionType::Policy,
                SymmetricDefinition::AES_128_CFB,
                ek.name_hashing_algorithm(),
            )
        })
        .during("TPM2_StartAuthSession")?
        .ok_or_else(|| unsuitable("endorsement", "the TPM opened no session"))?;
    let policy = PolicySession::try_from(session).during("TPM2_StartAuthSession")?;
    context
        .execute_with_session(Some(AuthSession::Password), |context| {
            let (empty, no_hash, no_ref) = Default::default();
            context.policy_secret(policy, AuthHandle::Endorsement, empty, no_hash, no_ref, None)
        })
        .during("TPM2_PolicySecret")?;
    Ok(session)
}

/// Closes a session that the TPM keeps.
fn end(context: &mut Context, session: AuthSession) -> Result<(), Fault> {
    if session == AuthSession::Password {
        return Ok(());
    }
    context.flush_context(SessionHandle::from(session).into()).during("TPM2_FlushContext")
}

/// The attestation key as it is kept.
struct AkFiles {
    public: Public,
    private: Private,
    public_path: PathBuf,
    private_path: PathBuf,
}

impl AkFiles {
    fn new(directory: &Path, public: Public, private: Private) -> Self {
        Self {
            public,
            private,
            public_path: directory.join("ak.pub"),
            private_path: directory.join("ak.priv"),
        }
    }

    /// `None` if no key was ever given out: the public part is written last.
    fn read(directory: &Path) -> Result<Option<Self>, TpmError> {
        let (public_path, private_path) = (directory.join("ak.pub"), directory.join("ak.priv"));
        let broken = |path: &Path, source: io::Error| TpmError::KeyFile { path: path.to_owned(), source };
        let public = match files::read_capped(&public_path, KEY_FILE_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| broken(&public_path, error))?,
        };
        let private =
            files::read_capped(&private_path, KEY_FILE_MAX).map_err(|error| broken(&private_path, error))?;
        let parse = |bytes: &[u8]| -> Option<Vec<u8>> {
            let (size, content) = bytes.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*size)) == content.len()).then(|| content.to_vec())
        };
        let garbled =
            || io::Error::new(io::ErrorKind::InvalidData, "not the TPM2B structure that was written");
        let public = parse(&public)
            .and_then(|bytes| Public::unmarshall(&bytes).ok())
            .ok_or_else(|| broken(&public_path, garbled()))?;
        let private = parse(&private)
            .and_then(|bytes| Private::try_from(bytes).ok())
            .ok_or_else(|| broken(&private_path, garbled()))?;
        Ok(Some(Self { public, private, public_path, private_path }))
    }

    /// The private part first, so that a public part is never given out without it.
    fn write(&self) -> Result<(), Fault> {
        let public = self.public.marshall().during("encoding the attestation key")?;
        for (path, content) in [(&self.private_path, self.private.value()), (&self.public_path, &public)] {
            let size = u16::try_from(content.len())
                .map_err(|_| unsuitable("attestation", "the TPM returned more than 65,535 bytes"))?;
            let bytes = [&size.to_be_bytes(), content].concat();
            files::write_durably(path, &bytes)
                .map_err(|source| TpmError::KeyFile { path: path.clone(), source })?;
        }
        Ok(())
    }

    fn load(&self, context: &mut Context, ek: KeyHandle, ek_public: &Public) -> Result<KeyHandle, Fault> {
        with_endorsement(context, ek_public, |context| {
            context.load(ek, self.private.clone(), self.public.clone()).during("TPM2_Load")
        })
        .map_err(|fault| {
            let foreign = [Tss2ResponseCodeKind::Integrity, Tss2ResponseCodeKind::Binding];
            if foreign.into_iter().any(|kind| fault.is(kind)) {
                return TpmError::ForeignKey { path: self.private_path.clone() }.into();
            }
            fault
        })
    }
}
