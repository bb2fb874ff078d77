//! What a client is answered: always from what is recorded, so that the same request has the same answer.

use sealstone_attestation::Algorithm;
use sealstone_wire::api::{ReceiptName, SignAnswer};
use sealstone_wire::reply::{Session, Signed};

use super::SignCommand;
use crate::audit::SIGNER;
use crate::store::{Recorded, ReservedKey};

/// Bytes of the request digest that name a reservation to clients.
const REQUEST_ID_BYTES: usize = 16;

/// What is recorded of a signature.
pub(super) fn recorded(signed: &Signed, key: ReservedKey, session: &Session) -> Recorded {
    let receipt = &signed.receipt.receipt;
    // A session that was renewed meanwhile signed no later than it ended.
    let attested_until = if receipt.session == session.id { session.expires_at } else { receipt.time };
    Recorded {
        signature: signed.signature,
        public_key: signed.public_key,
        digest: signed.digest,
        recovery_id: signed.recovery_id,
        key_id: receipt.key_id,
        key,
        binding: receipt.binding,
        attested_until,
        era: receipt.era,
        sequence: receipt.sequence,
    }
}

/// The answer to a client, from the record and its request.
pub(super) fn answer(command: &SignCommand, recorded: &Recorded, unfunded: bool) -> SignAnswer {
    let algorithm = recorded.public_key.algorithm();
    let (epoch, hour) = match recorded.key {
        ReservedKey::Asset { epoch } => (Some(epoch), None),
        ReservedKey::Session { hour, .. } => (None, Some(hour)),
    };
    SignAnswer {
        signature: recorded.signature,
        der: (algorithm != Algorithm::EdDsa).then(|| hex::encode(der(recorded.signature.as_bytes()))),
        public_key: SignAnswer::public_key_hex(&recorded.public_key),
        key_id: recorded.key_id,
        algorithm,
        epoch,
        hour,
        binding: recorded.binding,
        digest: hex::encode(recorded.digest),
        recovery_id: recorded.recovery_id,
        signer: SIGNER.to_owned(),
        attested_until: recorded.attested_until,
        request_id: hex::encode(&command.request.as_bytes()[..REQUEST_ID_BYTES]),
        request_digest: command.request,
        receipt: ReceiptName { era: recorded.era, sequence: recorded.sequence },
        unfunded,
    }
}

/// An ECDSA signature as DER (`ECDSA-Sig-Value`, RFC 3279 section 2.2.3), from `r ‖ s`.
fn der(signature: &[u8; 64]) -> Vec<u8> {
    let (r, s) = signature.split_at(32);
    let mut body = Vec::with_capacity(72);
    integer(&mut body, r);
    integer(&mut body, s);
    let mut der = Vec::with_capacity(72);
    der.push(0x30);
    push_length(&mut der, body.len());
    der.extend_from_slice(&body);
    der
}

fn integer(out: &mut Vec<u8>, bytes: &[u8]) {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len() - 1);
    let magnitude = &bytes[zeros..];
    let negative = magnitude[0] & 0x80 != 0;
    out.push(0x02);
    push_length(out, magnitude.len() + usize::from(negative));
    if negative {
        out.push(0);
    }
    out.extend_from_slice(magnitude);
}

fn push_length(out: &mut Vec<u8>, length: usize) {
    out.push(u8::try_from(length).expect("two integers of 33 bytes are shorter than 128 bytes"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn der_has_no_needless_zero_and_no_negative_number() {
        let mut signature = [0; 64];
        signature[0] = 0x80;
        signature[31] = 1;
        signature[62] = 0x01;
        signature[63] = 0xff;
        let encoded = hex::encode(der(&signature));
        let r = format!("022100{}{}01", "80", "00".repeat(30));
        assert_eq!(encoded, format!("3027{r}020201ff"));
        assert_eq!(hex::encode(der(&[0; 64])), "3006020100020100");
    }
}
