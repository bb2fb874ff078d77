//! Endorsement keys by the templates of the TCG EK Credential Profile.

use sealstone_attestation::PublicArea;
use tpm2_protocol::basic::{TpmUint16, TpmUint32};
use tpm2_protocol::data::*;
use tpm2_protocol::frame::*;

use super::commands::{handle, marshal, password};
use super::swtpm::Swtpm;

/// Where an endorsement key is kept by convention.
pub const EK_HANDLE: u32 = 0x8101_0001;

/// PolicySecret(endorsement): the low range's policy.
const POLICY_A_SHA256: &str = "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa";
/// PolicyOR of PolicySecret(endorsement) and an NV policy, SHA-384: the high range's policy.
const POLICY_B_SHA384: &str =
    "b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12";
const LOW_RANGE: u32 = 0x0003_00b2;
const HIGH_RANGE: u32 = 0x0003_00f2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EkKind {
    /// Template L-1.
    Rsa2048,
    /// Template L-2.
    P256,
    /// Template H-3.
    P384,
}

impl EkKind {
    pub fn template(self) -> TpmtPublic {
        let zeros = Tpm2bEccParameter::try_from(&[0; 32][..]).unwrap();
        let (object_type, name_alg, attributes, policy) = match self {
            Self::Rsa2048 => (TpmAlgId::Rsa, TpmAlgId::Sha256, LOW_RANGE, POLICY_A_SHA256),
            Self::P256 => (TpmAlgId::Ecc, TpmAlgId::Sha256, LOW_RANGE, POLICY_A_SHA256),
            Self::P384 => (TpmAlgId::Ecc, TpmAlgId::Sha384, HIGH_RANGE, POLICY_B_SHA384),
        };
        let (parameters, unique) = match self {
            Self::Rsa2048 => (
                TpmuPublicParms::Rsa(TpmsRsaParms {
                    symmetric: aes_cfb(128),
                    key_bits: TpmUint16::new(2048),
                    exponent: TpmUint32::new(0),
                    ..Default::default()
                }),
                TpmuPublicId::Rsa(Tpm2bPublicKeyRsa::try_from(&[0; 256][..]).unwrap()),
            ),
            Self::P256 => (
                ecc(aes_cfb(128), TpmEccCurve::NistP256),
                TpmuPublicId::Ecc(TpmsEccPoint { x: zeros, y: zeros }),
            ),
            Self::P384 => {
                (ecc(aes_cfb(256), TpmEccCurve::NistP384), TpmuPublicId::Ecc(TpmsEccPoint::default()))
            }
        };
        TpmtPublic {
            object_type,
            name_alg,
            object_attributes: TpmaObject::from_bits_truncate(attributes),
            auth_policy: Tpm2bDigest::try_from(&hex::decode(policy).unwrap()[..]).unwrap(),
            parameters,
            unique,
        }
    }
}

impl Swtpm {
    /// The endorsement key's public area, as an enrolment would pin it. Nothing stays loaded.
    pub fn ek(&self, kind: EkKind) -> PublicArea {
        let (handle, public) = self.create_primary(TpmRh::Endorsement, kind.template());
        self.flush(handle);
        PublicArea::parse(&marshal(&public)).unwrap()
    }

    /// The same, and the key is kept at [`EK_HANDLE`], so that ceremonies need not make it.
    pub fn persistent_ek(&self, kind: EkKind) -> PublicArea {
        let (transient, public) = self.create_primary(TpmRh::Endorsement, kind.template());
        let command = TpmEvictControlCommand {
            handles: [handle(TpmRh::Owner.value()), handle(transient)],
            persistent_handle: handle(EK_HANDLE),
        };
        self.run::<_, TpmEvictControlResponse>(&command, &[password(&[])]).unwrap();
        self.flush(transient);
        PublicArea::parse(&marshal(&public)).unwrap()
    }
}

impl Swtpm {
    /// Removes a persistent key.
    pub fn evict(&self, persistent: u32) {
        let command = TpmEvictControlCommand {
            handles: [handle(TpmRh::Owner.value()), handle(persistent)],
            persistent_handle: handle(persistent),
        };
        self.run::<_, TpmEvictControlResponse>(&command, &[password(&[])]).unwrap();
    }
}

pub fn aes_cfb(bits: u16) -> TpmtSymDefObject {
    TpmtSymDefObject {
        algorithm: TpmAlgId::Aes,
        key_bits: TpmuSymKeyBits::Aes(TpmUint16::new(bits)),
        mode: TpmuSymMode::Aes(TpmAlgId::Cfb),
    }
}

/// The storage key's template.
pub fn storage_key() -> TpmtPublic {
    TpmtPublic {
        object_type: TpmAlgId::Ecc,
        name_alg: TpmAlgId::Sha256,
        object_attributes: TpmaObject::from_bits_truncate(0x0003_0472),
        auth_policy: Tpm2bDigest::default(),
        parameters: ecc(aes_cfb(128), TpmEccCurve::NistP256),
        unique: TpmuPublicId::Ecc(TpmsEccPoint::default()),
    }
}

/// The storage key's template with something in `unique`: another key of the same kind.
pub fn other_storage_key(seed: u8) -> TpmtPublic {
    let coordinate = Tpm2bEccParameter::try_from(&[seed; 32][..]).unwrap();
    TpmtPublic { unique: TpmuPublicId::Ecc(TpmsEccPoint { x: coordinate, y: coordinate }), ..storage_key() }
}

fn ecc(symmetric: TpmtSymDefObject, curve_id: TpmEccCurve) -> TpmuPublicParms {
    TpmuPublicParms::Ecc(TpmsEccParms {
        symmetric,
        scheme: TpmtEccScheme::default(),
        curve_id,
        kdf: TpmtKdfScheme::default(),
    })
}
