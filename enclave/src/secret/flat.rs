//! What may leave a secret operation.

use subtle::Choice;

use super::{Secret, SecretBytes};

/// A value of whose bytes each was written: no padding, no unused part of an enum.
///
/// To return a value is to copy its bytes, those that nobody wrote as well. On a secret stack such bytes are what an
/// earlier temporary left there: a key, for example. So an operation returns nothing with room for them. Errors are
/// told by a number or a flag, and made outside.
///
/// Implement it only for a type whose layout has been looked at.
pub trait Flat {}

impl Flat for () {}
impl Flat for bool {}
impl Flat for u8 {}
impl Flat for u64 {}
impl Flat for usize {}
impl Flat for Choice {}
impl<const N: usize> Flat for [u8; N] {}
/// An algorithm's number, and bytes.
impl Flat for sealstone_attestation::PublicKey {}
/// A pointer, a number, a pointer.
impl<const N: usize> Flat for Secret<N> {}
/// As a vector.
impl Flat for SecretBytes {}
/// A pointer, a length, a capacity; the bytes that it points to are in the secret heap.
impl Flat for Vec<u8> {}
