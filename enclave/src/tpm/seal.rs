//! Sealing and unsealing.

use sealstone_attestation::HexBytes;
use serde::{Deserialize, Serialize};
use tpm2_protocol::TpmUnmarshal;
use tpm2_protocol::data::{
    Tpm2bDigest, Tpm2bMaxBuffer, Tpm2bPrivate, Tpm2bPublic, TpmAlgId, TpmCc, TpmEccCurve, TpmRh, TpmaObject,
    TpmlDigest, TpmsEccParms, TpmsEccPoint, TpmsKeyedhashParms, TpmtEccScheme, TpmtKdfScheme, TpmtPublic,
    TpmuPublicId, TpmuPublicParms,
};
use tpm2_protocol::frame::{TpmCreatePrimaryResponse, TpmCreateResponse, TpmLoadResponse};

use super::auth::AuthValue;
use super::ceremony::{Ceremony, aes_128_cfb, create_primary};
use super::command::{Command, Handle, SecretCommand, parameters};
use super::counter::written_name;
use super::error::TpmError;
use super::name::Name;
use super::policy::{COUNTER_OFFSET, COUNTER_OPERATION, Digest, SealPolicy};
use super::session::Use;
use crate::secret::{self, SecretBytes};

/// Bytes that a TPM seals at most (MAX_SYM_DATA, TPM 2.0 Part 2).
pub const SECRET_MAX: usize = 128;

/// A sealed secret: useless but in the TPM that sealed it, under the policy and the auth value that it was sealed for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedBlob {
    /// `TPMT_PUBLIC` of the sealed object.
    public: HexBytes,
    /// `TPM2B_PRIVATE.buffer`, encrypted by the TPM.
    private: HexBytes,
    /// The name of the storage key that it is sealed under.
    parent: HexBytes,
}

/// An object that is loaded for the moment.
struct Loaded {
    handle: u32,
    name: Name,
}

impl Ceremony<'_> {
    /// Seals `secret`, at most [`SECRET_MAX`] bytes, under the policy and `auth`. Both go to the TPM encrypted, and
    /// the blob comes from the TPM for certain; that it opens again is only known after [`unseal`](Self::unseal).
    ///
    /// # Errors
    /// Faults of policy, secret, relay and TPM.
    pub fn seal(
        &mut self,
        policy: &SealPolicy,
        auth: &AuthValue,
        secret: &SecretBytes,
    ) -> Result<SealedBlob, TpmError> {
        if secret.len() > SECRET_MAX {
            return Err(TpmError::SecretTooLong { max: SECRET_MAX, found: secret.len() });
        }
        let policy = policy.digest()?;
        let sealed = self.create(&policy, auth, secret);
        self.link.flush_objects();
        sealed
    }

    /// TPM2_Create under the storage key.
    fn create(
        &mut self,
        policy: &Digest,
        auth: &AuthValue,
        secret: &SecretBytes,
    ) -> Result<SealedBlob, TpmError> {
        let template = sealed_template(policy);
        let parent = self.storage_key()?;
        let command = SecretCommand {
            code: TpmCc::Create,
            handles: vec![Handle::named(parent.handle, &parent.name)],
            parameters: creation(auth, secret, &template),
        };
        let usage = Use::authorise_empty().encrypt_response();
        let created: TpmCreateResponse =
            self.link.authentic_secret(&mut self.hmac, command, usage)?.parse()?;
        let public = created.out_public.inner;
        if without_unique(&public) != template {
            return Err(TpmError::NotAuthentic {
                command: TpmCc::Create,
                what: "the object's public area is not the template's",
            });
        }
        Ok(SealedBlob {
            public: HexBytes(parameters(&[&public])),
            private: HexBytes(created.out_private.to_vec()),
            parent: HexBytes(parent.name.as_bytes().to_vec()),
        })
    }

    /// Unseals what was sealed under this policy and `auth`, if the machine is in one of its states and the
    /// counter has its value. Authenticated, and encrypted on its way.
    ///
    /// # Errors
    /// [`TpmError::OtherPolicy`] for a blob of another policy, [`TpmError::PcrMismatch`],
    /// [`TpmError::CounterMismatch`], [`TpmError::CounterMissing`] and [`TpmError::OtherParent`], all authenticated;
    /// faults of relay and TPM.
    pub fn unseal(
        &mut self,
        blob: &SealedBlob,
        policy: &SealPolicy,
        auth: &AuthValue,
        counter_auth: &AuthValue,
    ) -> Result<SecretBytes, TpmError> {
        let public = blob.public_for(&policy.digest()?)?;
        let state = self.require_state(policy)?;
        let unsealed = self.load(blob, public).and_then(|object| {
            self.satisfy(policy, state, counter_auth)?;
            self.open_object(&object, auth)
        });
        self.link.flush_objects();
        unsealed
    }

    /// TPM2_Unseal, authorised by the policy session and the object's auth value.
    fn open_object(&mut self, object: &Loaded, auth: &AuthValue) -> Result<SecretBytes, TpmError> {
        let handles = vec![Handle::named(object.handle, &object.name)];
        let usage = Use::authorise(auth).encrypt_response();
        let command = Command::new(TpmCc::Unseal, handles, parameters(&[]));
        let response = self.link.authentic(&mut self.policy, command, usage)?;
        secret::run(|inside| Ok(SecretBytes::new(inside, response.sized_buffer(inside)?.to_vec())))
    }

    /// Makes the storage key that sealed objects are children of. Authenticated.
    fn storage_key(&mut self) -> Result<Loaded, TpmError> {
        let template = storage_template();
        let command = create_primary(TpmRh::Owner, &template);
        let usage = Use::authorise_empty().encrypt_command().encrypt_response();
        let response = self.link.authentic(&mut self.hmac, command, usage)?;
        let handle = response.handle()?;
        self.link.loaded(handle);
        let made: TpmCreatePrimaryResponse = response.parse()?;
        let public = made.out_public.inner;
        if without_unique(&public) != template {
            return Err(TpmError::NotAuthentic {
                command: TpmCc::CreatePrimary,
                what: "the storage key's public area is not the template's",
            });
        }
        Ok(Loaded { handle, name: Name::of_public(&parameters(&[&public])) })
    }

    /// Loads a blob whose public area was checked. Authenticated, except for the handle.
    fn load(&mut self, blob: &SealedBlob, public: TpmtPublic) -> Result<Loaded, TpmError> {
        let parent = self.storage_key()?;
        if parent.name.as_bytes() != blob.parent.0 {
            return Err(TpmError::OtherParent);
        }
        let name = Name::of_public(&blob.public.0);
        let private = Tpm2bPrivate::try_from(&blob.private.0[..]).map_err(|_| TpmError::OtherPolicy)?;
        let object = parameters(&[&private, &Tpm2bPublic { inner: public }]);
        let command = Command::new(TpmCc::Load, vec![Handle::named(parent.handle, &parent.name)], object);
        let usage = Use::authorise_empty().encrypt_command().encrypt_response();
        let response = self.link.authentic(&mut self.hmac, command, usage)?;
        let handle = response.handle()?;
        self.link.loaded(handle);
        let loaded: TpmLoadResponse = response.parse()?;
        if loaded.name[..] != *name.as_bytes() {
            return Err(TpmError::NotAuthentic {
                command: TpmCc::Load,
                what: "the loaded object has another name",
            });
        }
        Ok(Loaded { handle, name })
    }

    /// Brings the policy session to the policy's digest. What the relay changes here the TPM refuses at Unseal.
    fn satisfy(
        &mut self,
        policy: &SealPolicy,
        state: usize,
        counter_auth: &AuthValue,
    ) -> Result<(), TpmError> {
        let session = Handle::plain(self.policy.handle());
        let step = |code, parameters| Command::new(code, vec![session.clone()], parameters);
        self.link.bare(&step(TpmCc::PolicyRestart, parameters(&[])))?;

        let tree = policy.tree()?;
        let current = &policy.states[state];
        let expected = digest_buffer(&current.value_digest());
        self.link.bare(&step(TpmCc::PolicyPcr, parameters(&[&expected, &current.selection()])))?;
        for branches in tree.path(state) {
            let mut list = TpmlDigest::new();
            for branch in branches {
                list.try_push(digest_buffer(branch)).expect("a PolicyOR has at most eight branches");
            }
            self.link.bare(&step(TpmCc::PolicyOr, parameters(&[&list])))?;
        }
        self.satisfy_counter(policy, session.clone(), counter_auth)?;
        self.link.bare(&step(TpmCc::PolicyAuthValue, parameters(&[])))?;
        Ok(())
    }

    /// TPM2_PolicyNV, authorised by the counter's auth value in the other session.
    fn satisfy_counter(
        &mut self,
        policy: &SealPolicy,
        session: Handle,
        counter_auth: &AuthValue,
    ) -> Result<(), TpmError> {
        let SealPolicy { counter_index: index, counter_value: expected, .. } = *policy;
        let name = written_name(index);
        let operand =
            Tpm2bMaxBuffer::try_from(&expected.to_be_bytes()[..]).expect("a counter is eight bytes");
        let command = Command::new(
            TpmCc::PolicyNv,
            vec![Handle::named(index, &name), Handle::named(index, &name), session],
            parameters(&[&operand, &COUNTER_OFFSET, &COUNTER_OPERATION]),
        );
        let usage = Use::authorise(counter_auth).encrypt_command();
        match self.link.authentic(&mut self.hmac, command, usage) {
            Ok(response) => response.empty(),
            Err(TpmError::Rc { command, code }) => {
                // The error is the relay's word; the counter's value is the TPM's.
                let found = self.read_counter(index, counter_auth)?;
                if found == expected {
                    Err(TpmError::Rc { command, code })
                } else {
                    Err(TpmError::CounterMismatch { expected, found })
                }
            }
            Err(error) => Err(error),
        }
    }
}

impl SealedBlob {
    /// The public area, if it is that of an object sealed under this policy.
    fn public_for(&self, policy: &Digest) -> Result<TpmtPublic, TpmError> {
        let (public, rest) = TpmtPublic::unmarshal(&self.public.0).map_err(|_| TpmError::OtherPolicy)?;
        if rest.is_empty() && without_unique(&public) == sealed_template(policy) {
            Ok(public)
        } else {
            Err(TpmError::OtherPolicy)
        }
    }
}

/// `inSensitive`, `inPublic`, no outside information, no creation PCRs of TPM2_Create.
fn creation(auth: &AuthValue, secret: &SecretBytes, template: &TpmtPublic) -> SecretBytes {
    const NO_OUTSIDE_INFO_NO_PCRS: [u8; 6] = [0; 6];
    const SIZES_LEN: usize = 2 + 2;
    let size =
        |len: usize| u16::try_from(len).expect("auth value and secret are at most 160 bytes").to_be_bytes();
    let public = parameters(&[&Tpm2bPublic { inner: template.clone() }]);
    secret::run(|inside| {
        let (auth, secret) = (auth.trimmed(inside), secret.expose(inside));
        let sizes = [size(SIZES_LEN + auth.len() + secret.len()), size(auth.len()), size(secret.len())];
        let bytes =
            [&sizes[0][..], &sizes[1], auth, &sizes[2], secret, &public, &NO_OUTSIDE_INFO_NO_PCRS].concat();
        SecretBytes::new(inside, bytes)
    })
}

/// A sealed object: opened by its policy alone (userWithAuth clear), in this TPM and under this parent alone.
/// Guesses do not lock the TPM: the auth value is 32 secret bytes, and the relay could lock it at will.
fn sealed_template(policy: &Digest) -> TpmtPublic {
    TpmtPublic {
        object_type: TpmAlgId::KeyedHash,
        name_alg: TpmAlgId::Sha256,
        object_attributes: TpmaObject::FIXED_TPM
            | TpmaObject::FIXED_PARENT
            | TpmaObject::ADMIN_WITH_POLICY
            | TpmaObject::NO_DA,
        auth_policy: digest_buffer(policy),
        parameters: TpmuPublicParms::KeyedHash(TpmsKeyedhashParms::default()),
        unique: TpmuPublicId::KeyedHash(Tpm2bDigest::default()),
    }
}

/// The TCG's storage primary key, ECC P-256 (TCG TPM v2.0 Provisioning Guidance, 7.5.1).
fn storage_template() -> TpmtPublic {
    TpmtPublic {
        object_type: TpmAlgId::Ecc,
        name_alg: TpmAlgId::Sha256,
        object_attributes: TpmaObject::FIXED_TPM
            | TpmaObject::FIXED_PARENT
            | TpmaObject::SENSITIVE_DATA_ORIGIN
            | TpmaObject::USER_WITH_AUTH
            | TpmaObject::NO_DA
            | TpmaObject::RESTRICTED
            | TpmaObject::DECRYPT,
        auth_policy: Tpm2bDigest::default(),
        parameters: TpmuPublicParms::Ecc(TpmsEccParms {
            symmetric: aes_128_cfb(),
            scheme: TpmtEccScheme::default(),
            curve_id: TpmEccCurve::NistP256,
            kdf: TpmtKdfScheme::default(),
        }),
        unique: TpmuPublicId::Ecc(TpmsEccPoint::default()),
    }
}

/// A public area as its template has it.
fn without_unique(public: &TpmtPublic) -> TpmtPublic {
    let unique = match public.unique {
        TpmuPublicId::KeyedHash(_) => TpmuPublicId::KeyedHash(Tpm2bDigest::default()),
        TpmuPublicId::Ecc(_) => TpmuPublicId::Ecc(TpmsEccPoint::default()),
        ref other => other.clone(),
    };
    TpmtPublic { unique, ..public.clone() }
}

fn digest_buffer(digest: &Digest) -> Tpm2bDigest {
    Tpm2bDigest::try_from(&digest[..]).expect("a policy digest is 32 bytes")
}
