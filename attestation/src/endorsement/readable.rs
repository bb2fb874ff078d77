//! A certificate whose serial number is no DER integer, in the form that libraries read: some genuine ones put a zero too many
//! before it. Everything else is as it was signed, and the signature is verified over what was signed.

use x509_cert::der::{Any, Encode, Reader, Result, SliceReader, Tag, Tagged, asn1::AnyRef};

/// A certificate as it was signed, and as it is read.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Readable {
    pub(super) signed: Vec<u8>,
    mended: Option<Mended>,
}

/// The same with a shortest serial number.
#[derive(Clone, PartialEq, Eq)]
struct Mended {
    der: Vec<u8>,
    /// What a signature of the mended certificate would be over, and what it is over.
    body: Vec<u8>,
    signed_body: Vec<u8>,
}

impl Readable {
    /// Takes the outer two structures of a certificate apart.
    pub(super) fn of(der: &[u8]) -> Result<Self> {
        let (signed_body, behind) = first(content(der)?)?;
        let (version, rest) = first(content(signed_body)?)?;
        // Version 1 has no version.
        let (version, serial, rest) = match AnyRef::try_from(version)?.tag() {
            Tag::Integer => (&[][..], version, rest),
            _ => {
                let (serial, rest) = first(rest)?;
                (version, serial, rest)
            }
        };
        let digits = AnyRef::try_from(serial)?;
        let shortest = shortest(digits.value());
        let mended = if digits.tag() == Tag::Integer && shortest.len() < digits.value().len() {
            let serial = Any::new(Tag::Integer, shortest)?.to_der()?;
            let body = Any::new(Tag::Sequence, [version, &serial, rest].concat())?.to_der()?;
            let der = Any::new(Tag::Sequence, [&body, behind].concat())?.to_der()?;
            Some(Mended { der, body, signed_body: signed_body.to_vec() })
        } else {
            None
        };
        Ok(Self { signed: der.to_vec(), mended })
    }

    /// What libraries read.
    pub(super) fn der(&self) -> &[u8] {
        self.mended.as_ref().map_or(&self.signed, |mended| &mended.der)
    }

    /// What was signed, where a library would verify a signature over `body`.
    pub(super) fn signed_body<'b>(&'b self, body: &'b [u8]) -> &'b [u8] {
        match &self.mended {
            Some(mended) if mended.body == body => &mended.signed_body,
            _ => body,
        }
    }
}

/// What is inside a structure.
fn content(der: &[u8]) -> Result<&[u8]> {
    Ok(AnyRef::try_from(der)?.value())
}

/// The first structure, and what is behind it.
fn first(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(bytes)?;
    let first = reader.tlv_bytes()?;
    Ok((first, &bytes[first.len()..]))
}

/// The same integer without octets that say nothing (X.690, section 8.3.2).
fn shortest(mut digits: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = digits
        && let [next, ..] = rest
        && ((*first == 0 && next & 0x80 == 0) || (*first == 0xff && next & 0x80 != 0))
    {
        digits = rest;
    }
    digits
}
