//! Addresses: read from text, and made from public keys.

use std::str::FromStr;

use alloy_primitives::Address as EvmAddress;
use k256::elliptic_curve::sec1::ToSec1Point;
use sealstone_attestation::{Algorithm, PublicKey};
use thiserror::Error;

use crate::facts::{Address, Format};

/// The address that signs under a public key.
///
/// # Errors
/// [`AddressError::NoAddresses`] for [`Format::Opaque`]; [`AddressError::Algorithm`] for a key with which the chain
/// does not sign.
pub fn address_of(format: Format, key: &PublicKey) -> Result<Address, AddressError> {
    let key_of = |expected| {
        let found = key.algorithm();
        if found == expected { Ok(key) } else { Err(AddressError::Algorithm { format, expected, found }) }
    };
    match format {
        Format::Opaque => Err(AddressError::NoAddresses),
        Format::Evm => {
            let point = k256::PublicKey::from_sec1_bytes(key_of(Algorithm::Es256k)?.as_bytes())
                .expect("a public key is a point of its curve")
                .to_sec1_point(false);
            // The first byte only says that both coordinates follow.
            Ok(Address::evm(EvmAddress::from_raw_public_key(&point.as_bytes()[1..]).as_ref()))
        }
        Format::Solana => {
            let bytes: &[u8; 32] =
                key_of(Algorithm::EdDsa)?.as_bytes().try_into().expect("an Ed25519 key is 32 bytes");
            Ok(Address::solana(bytes))
        }
    }
}

impl Address {
    /// A Solana address.
    #[must_use]
    pub fn solana(bytes: &[u8; 32]) -> Self {
        Self::canonical(solana_address::Address::from(*bytes).to_string())
    }

    /// Reads an address as people write it, and makes its text canonical.
    ///
    /// # Errors
    /// [`AddressError`] for another text, and for an Ethereum address of mixed case whose case is not its checksum
    /// (EIP-55).
    pub fn parse(format: Format, text: &str) -> Result<Self, AddressError> {
        match format {
            Format::Opaque => Err(AddressError::NoAddresses),
            Format::Evm => evm(text).map(|address| Self::evm(address.as_ref())),
            Format::Solana => solana(text).map(|address| Self::solana(address.as_array())),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Reads an address whose text says of which chain it is: those of Ethereum begin with `0x`, which is no base58.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(if text.starts_with("0x") { Format::Evm } else { Format::Solana }, text)
    }
}

/// Reads an Ethereum address.
pub(crate) fn evm(text: &str) -> Result<EvmAddress, AddressError> {
    let digits = text.strip_prefix("0x").ok_or(AddressError::Evm)?;
    let mut bytes = [0; 20];
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| AddressError::Evm)?;
    let address = EvmAddress::from(bytes);
    let has = |of: fn(&u8) -> bool| digits.as_bytes().iter().any(of);
    let mixed = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
    if mixed && address.to_checksum(None) != text {
        return Err(AddressError::Checksum);
    }
    Ok(address)
}

/// Reads a Solana address.
pub(crate) fn solana(text: &str) -> Result<solana_address::Address, AddressError> {
    let address: solana_address::Address = text.parse().map_err(|_| AddressError::Solana)?;
    // An address has one text.
    if address.to_string() == text { Ok(address) } else { Err(AddressError::Solana) }
}

/// No address. The caller is at fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Nobody reads opaque payloads, so they have no senders or recipients.
    #[error("expected a format that has addresses (evm, solana), found opaque")]
    NoAddresses,
    /// The chain signs with another algorithm.
    #[error("expected a key of {expected}, with which {format} signs, found one of {found}")]
    Algorithm {
        /// Of which chain.
        format: Format,
        /// What it signs with.
        expected: Algorithm,
        /// What the key is for.
        found: Algorithm,
    },
    /// No Ethereum address.
    #[error("expected an Ethereum address: 0x and 40 hex digits")]
    Evm,
    /// A mistyped Ethereum address.
    #[error(
        "expected an Ethereum address whose case is its checksum (EIP-55); copy it again, or write it in one case"
    )]
    Checksum,
    /// No Solana address.
    #[error("expected a Solana address: base58 of 32 bytes")]
    Solana,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(algorithm: Algorithm, text: &str) -> PublicKey {
        PublicKey::from_bytes(algorithm, &hex::decode(text).unwrap()).unwrap()
    }

    /// The generator of secp256k1: the public key of the private key 1.
    const SECP256K1: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
    /// The public key of RFC 8032, section 7.1, test 1.
    const ED25519: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    #[test]
    fn a_key_has_one_address_on_its_chain() {
        assert_eq!(
            address_of(Format::Evm, &key(Algorithm::Es256k, SECP256K1)).unwrap().as_str(),
            "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf",
            "the well-known address of the private key 1"
        );
        assert_eq!(
            address_of(Format::Solana, &key(Algorithm::EdDsa, ED25519)).unwrap().as_str(),
            "FVen3X669xLzsi6N2V91DoiyzHzg1uAgqiT8jZ9nS96Z",
        );
    }

    #[test]
    fn a_key_with_which_a_chain_does_not_sign_has_no_address_there() {
        let (k256, ed25519) = (key(Algorithm::Es256k, SECP256K1), key(Algorithm::EdDsa, ED25519));
        let p256 =
            key(Algorithm::Es256, "036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296");
        for (format, key) in
            [(Format::Evm, &ed25519), (Format::Evm, &p256), (Format::Solana, &k256), (Format::Solana, &p256)]
        {
            let refused = address_of(format, key).unwrap_err();
            assert!(matches!(refused, AddressError::Algorithm { .. }), "{refused}");
        }
        let refused = address_of(Format::Evm, &ed25519).unwrap_err().to_string();
        assert_eq!(refused, "expected a key of ES256K, with which evm signs, found one of EdDSA");
        assert_eq!(address_of(Format::Opaque, &k256), Err(AddressError::NoAddresses));
    }

    #[test]
    fn an_ethereum_address_is_taken_in_one_case_or_with_its_checksum() {
        // EIP-55's own examples.
        for checksummed in [
            "0x52908400098527886E0F7030069857D2E4169EE7",
            "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
            "0xde709f2102306220921060314715629080e2fb77",
            "0x27b1fdb04752bbc536007a920d24acb045561c26",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ] {
            let canonical = checksummed.to_lowercase();
            let upper = format!("0x{}", checksummed[2..].to_uppercase());
            for text in [checksummed, &canonical, &upper] {
                assert_eq!(Address::parse(Format::Evm, text).unwrap().as_str(), canonical);
            }
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let good = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
        assert_eq!(
            Address::parse(Format::Evm, &good.replace("5aA", "5aa")),
            Err(AddressError::Checksum),
            "one letter's case"
        );
        let spaced = format!("{good} ");
        for bad in
            ["", "0x", &good[2..], &good[..41], &spaced, &good.replace("0x", "0X"), &good.replace('d', "g")]
        {
            assert_eq!(Address::parse(Format::Evm, bad), Err(AddressError::Evm), "{bad:?}");
        }
        let good = "FVen3X669xLzsi6N2V91DoiyzHzg1uAgqiT8jZ9nS96Z";
        assert_eq!(Address::parse(Format::Solana, good).unwrap().as_str(), good);
        let system = "1".repeat(32);
        assert_eq!(Address::parse(Format::Solana, &system).unwrap().as_str(), system);
        let (longer, ones) = (format!("1{good}"), "1".repeat(33));
        for bad in ["", &good[2..], &longer, &ones, &good.replace('F', "0"), &good.replace('V', "l"), " "] {
            assert_eq!(Address::parse(Format::Solana, bad), Err(AddressError::Solana), "{bad:?}");
        }
        assert_eq!(Address::parse(Format::Opaque, good), Err(AddressError::NoAddresses));
    }
}
