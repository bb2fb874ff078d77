//! Public areas: both of their forms, whole, and only of keys that something here can use.
#![allow(clippy::unwrap_used)]

mod fake;

use fake::{AK_ATTRIBUTES, ECDSA, Key, SHA256, Secret};
use sealstone_attestation::{KeyScheme, PublicArea};

#[test]
fn a_public_area_reads_in_both_of_its_forms_and_only_whole() {
    for key in [
        Key::ak(Secret::p256(9), ECDSA, SHA256),
        Key::ak(Secret::p384(9), ECDSA, SHA256),
        Key::ek(Secret::rsa2048()),
    ] {
        let bytes = key.public_bytes();
        let public = PublicArea::parse(&bytes).unwrap();
        assert_eq!(public.as_bytes(), bytes);
        assert_eq!(public.name().as_bytes(), key.name());
        assert_eq!(public.attributes(), key.attributes);
        let sized = [u16::try_from(bytes.len()).unwrap().to_be_bytes().as_slice(), &bytes].concat();
        assert_eq!(PublicArea::parse(&sized).unwrap(), public);
        let json = serde_json::to_string(&public).unwrap();
        assert_eq!(json, format!("\"{}\"", hex::encode(&bytes)));
        assert_eq!(serde_json::from_str::<PublicArea>(&json).unwrap(), public);
        let compact = postcard::to_stdvec(&public).unwrap();
        assert_eq!(postcard::from_bytes::<PublicArea>(&compact).unwrap(), public);
        for length in 0..bytes.len() {
            assert!(PublicArea::parse(&bytes[..length]).is_err(), "cut to {length} bytes");
        }
        assert!(PublicArea::parse(&[bytes.as_slice(), &[0]].concat()).is_err());
        assert!(PublicArea::parse(&[sized.as_slice(), &[0]].concat()).is_err());
    }
}

#[test]
fn a_public_area_of_something_unusable_is_refused() {
    let good = Key::ak(Secret::p256(9), ECDSA, SHA256).public_bytes();
    let with = |position: usize, bytes: &[u8]| {
        let mut edited = good.clone();
        edited[position..position + bytes.len()].copy_from_slice(bytes);
        PublicArea::parse(&edited)
    };
    assert!(with(0, &[0x00, 0x23]).is_ok());
    // Key types, name algorithms and curves that nothing here can use.
    assert!(with(0, &[0x00, 0x08]).is_err());
    assert!(with(0, &[0x00, 0x25]).is_err());
    assert!(with(2, &[0x00, 0x04]).is_err());
    assert!(with(2, &[0x00, 0x10]).is_err());
    assert!(with(2, &[0x00, 0x12]).is_err());
    let curve = good.len() - 32 - 32 - 2 - 2 - 4;
    assert_eq!(good[curve..curve + 2], [0x00, 0x03]);
    assert!(with(curve, &[0x00, 0x04]).is_err());
    assert!(with(curve, &[0x00, 0x05]).is_err());
    assert!(with(curve, &[0x00, 0x20]).is_err());
    // A point beside the curve, and the point at infinity.
    assert!(with(good.len() - 1, &[good[good.len() - 1] ^ 1]).is_err());
    assert!(with(good.len() - 66, &[0; 32]).is_err());
    let scheme = curve - 4;
    // ECDAA: a key may have that scheme, but neither attests nor is it an endorsement key.
    assert_eq!(with(scheme, &[0x00, 0x1a]).unwrap().scheme(), KeyScheme::Other);
    assert_eq!(with(4, &AK_ATTRIBUTES.to_be_bytes()).unwrap().attributes(), AK_ATTRIBUTES);
    assert!(matches!(with(4, &[0; 4]).unwrap().scheme(), KeyScheme::Signature(_)));
    assert!(PublicArea::parse(&vec![0; 5000]).is_err());
}

#[test]
fn an_rsa_modulus_that_is_not_what_it_says_is_refused() {
    let good = Key::ek(Secret::rsa2048()).public_bytes();
    let first = good.len() - 256;
    let mut short = good.clone();
    short[first] &= 0x7f;
    assert!(PublicArea::parse(&short).is_err());
    let mut even = good.clone();
    *even.last_mut().unwrap() &= 0xfe;
    assert!(PublicArea::parse(&even).is_err());
    let mut bits = good;
    bits[first - 8..first - 6].copy_from_slice(&4096_u16.to_be_bytes());
    assert!(PublicArea::parse(&bits).is_err());
}
