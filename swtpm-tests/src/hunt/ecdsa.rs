//! Secrets of an ECDSA key and of its signatures, in the forms in which arithmetic holds them.

use hmac::{Hmac, KeyInit, Mac};
use p256::elliptic_curve::group::{Curve, GroupEncoding};
use p256::elliptic_curve::ops::Reduce;
use p256::elliptic_curve::{CurveArithmetic, Field, FieldBytes, Group, PrimeField, Scalar, bigint};
use sha2::Sha256;

use super::quarry::Signature;

/// Named secrets, big-endian.
pub type Named = Vec<(&'static str, [u8; 32])>;

/// What one signature reveals to whoever has its key's material.
#[derive(Debug)]
pub struct Values {
    /// Of the key.
    pub key: Named,
    /// Of the signature.
    pub nonce: Named,
    /// The last key of RFC 6979's generator, section 3.2.
    pub generator: [u8; 32],
}

/// The secrets behind a signature.
///
/// # Panics
/// When the material does not give the public key, or the nonce not the signature.
#[must_use]
pub fn values<C>(material: &[u8; 48], made: &Signature) -> Values
where
    C: CurveArithmetic<Uint = bigint::U256>,
    C::AffinePoint: GroupEncoding,
{
    let d = scalar_of::<C>(material);
    assert_eq!(
        point::<C>(&d),
        made.public_key,
        "the key derived here is not the one that signed: {:?}",
        made.path
    );

    let reduced =
        |bytes: &[u8]| <Scalar<C> as Reduce<bigint::U256>>::reduce(&bigint::U256::from_be_slice(bytes));
    let z = reduced(&made.digest);
    let (r, s) = (reduced(&made.signature[..32]), reduced(&made.signature[32..]));
    let k = (z + r * d) * inverted::<C>(&s);
    // SEC1: a tag, then the x coordinate.
    assert_eq!(reduced(&point::<C>(&k)[1..]), r, "the nonce computed here is not the signature's: {made:?}");

    let mut key = Named::new();
    forms::<C>(["scalar", "scalar in Montgomery form"], &d, &mut key);
    let mut nonce = Named::new();
    // A signer that makes S low by negation worked with the other sign.
    for k in [k, -k] {
        forms::<C>(["nonce", "nonce in Montgomery form"], &k, &mut nonce);
        let inverse = inverted::<C>(&k);
        forms::<C>(["inverse of a nonce", "inverse of a nonce in Montgomery form"], &inverse, &mut nonce);
    }
    let (x, h) = (bytes::<C>(&d), bytes::<C>(&z));
    let generated = rfc6979(&x, &h);
    let signs = [bytes::<C>(&k), bytes::<C>(&-k)];
    assert!(signs.contains(&generated.nonce), "the signature's nonce is not that of RFC 6979: {made:?}");
    nonce.extend(generated.steps);
    Values { key, nonce, generator: generated.key }
}

/// `d = (OS2IP(material) mod (n − 1)) + 1` (FIPS 186-5, A.2.1).
fn scalar_of<C>(material: &[u8; 48]) -> Scalar<C>
where
    C: CurveArithmetic<Uint = bigint::U256>,
{
    let modulus = C::ORDER.as_ref().wrapping_sub(&bigint::U256::ONE);
    let modulus = bigint::NonZero::new(modulus).expect("an order is above 1");
    let wide = bigint::U384::from_be_slice(material);
    let d = wide.rem(&modulus).wrapping_add(&bigint::U256::ONE);
    <Scalar<C> as Reduce<bigint::U256>>::reduce(&d)
}

fn forms<C>(names: [&'static str; 2], scalar: &Scalar<C>, out: &mut Named)
where
    C: CurveArithmetic,
{
    let mut montgomery = *scalar;
    // R = 2^256.
    for _ in 0..256 {
        montgomery = montgomery.double();
    }
    out.push((names[0], bytes::<C>(scalar)));
    out.push((names[1], bytes::<C>(&montgomery)));
}

fn inverted<C: CurveArithmetic>(scalar: &Scalar<C>) -> Scalar<C> {
    Option::from(Field::invert(scalar)).expect("no part of a signature is zero")
}

fn bytes<C: CurveArithmetic>(scalar: &Scalar<C>) -> [u8; 32] {
    let repr: FieldBytes<C> = scalar.to_repr();
    repr.as_slice().try_into().expect("both curves have 32 bytes")
}

/// SEC1 compressed.
fn point<C>(scalar: &Scalar<C>) -> Vec<u8>
where
    C: CurveArithmetic,
    C::AffinePoint: GroupEncoding,
{
    let point = C::ProjectivePoint::generator() * scalar;
    point.to_affine().to_bytes().as_ref().to_vec()
}

struct Generated {
    nonce: [u8; 32],
    key: [u8; 32],
    steps: Named,
}

/// RFC 6979, section 3.2, with SHA-256; the first candidate, which is in range but for chances of 2⁻³².
fn rfc6979(x: &[u8; 32], h: &[u8; 32]) -> Generated {
    let mut v = [1; 32];
    let mut key = [0; 32];
    let mut steps = Named::new();
    for separator in [0, 1] {
        key = hmac(&key, &[&v, &[separator], x, h]);
        v = hmac(&key, &[&v]);
        steps.push(("key of RFC 6979", key));
        steps.push(("state of RFC 6979", v));
    }
    Generated { nonce: hmac(&key, &[&v]), key, steps }
}

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// RFC 6979, appendix A.2.5: P-256, SHA-256, message "sample".
    #[test]
    fn the_nonce_is_that_of_the_rfc() {
        let bytes = |text: &str| -> [u8; 32] { hex::decode(text).unwrap().try_into().unwrap() };
        let x = bytes("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");
        let h = bytes("af2bdbe1aa9b6ec1e2ade1d694f41fc71a831d0268e9891562113d8a62add1bf");
        let k = bytes("a6e3c57dd01abe90086538398355dd4c3b17aa873382b0f24d6129493d8aad60");
        assert_eq!(rfc6979(&x, &h).nonce, k);
    }

    #[test]
    fn montgomery_form_is_the_scalar_times_two_to_the_256() {
        let mut out = Named::new();
        forms::<k256::Secp256k1>(["", ""], &k256::Scalar::ONE, &mut out);
        // 2^256 − n of secp256k1.
        assert_eq!(hex::encode(out[1].1), "000000000000000000000000000000014551231950b75fc4402da1732fc9bebf");
    }
}
