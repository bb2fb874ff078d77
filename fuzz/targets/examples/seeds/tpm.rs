//! What TPMs say: structures that swtpm made, and responses by the specification.

use std::fs;
use std::path::Path;

use sealstone_attestation::{PcrBank, PcrIndex, PublicArea, Quote, QuoteEvidence};
use serde::Deserialize;

use crate::fake::{self, Machine};
use crate::{framed, save};

pub(crate) fn save_all() {
    structures();
    responses();
}

/// A file of `attestation/tests/data/swtpm`.
#[derive(Deserialize)]
struct Swtpm {
    ek: PublicArea,
    ak: PublicArea,
    quote: QuoteEvidence,
}

/// swtpm's quotes, in the order in which `golden.rs` has them.
fn swtpm() -> Vec<(&'static str, Swtpm)> {
    ["ek_p256_ak_ecdsa", "ek_p384_ak_ecdsa", "ek_rsa_ak_ecdsa", "ek_rsa_ak_rsassa", "ek_rsa_ak_rsapss"]
        .into_iter()
        .map(|name| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../attestation/tests/data/swtpm");
            let json = fs::read(folder.join(format!("{name}.json"))).unwrap();
            (name, serde_json::from_slice(&json).unwrap())
        })
        .collect()
}

fn structures() {
    for (position, (name, Swtpm { ek, ak, quote })) in (0_u8..).zip(swtpm()) {
        save("tpm_signature", name, &quote.signature);
        save("public_area", &format!("{name}.ak"), ak.as_bytes());
        save("public_area", &format!("{name}.ek"), [&tpm2b_length(ek.as_bytes()), ek.as_bytes()].concat());
        if position == 0 {
            save("quote", name, &quote.attest);
        }
        let key = ak.key().to_spki_der().unwrap();
        save("spki", name, &key);
        let selection = Quote::parse(&quote.attest).unwrap();
        let values = quote.pcrs.to_tpm2_tools(selection.selection()).unwrap();
        let raw: Vec<u8> = quote.pcrs.iter().flat_map(|(_, _, value)| value.to_vec()).collect();
        if position == 0 {
            save("pcr_file", "tpm2_tools", &values);
            save("pcr_file", "values", &raw);
            save("pcr_file", "json", serde_json::to_vec(&quote.pcrs).unwrap());
        }
        let bare = |choice: u8, attest: &[u8], values: &[u8]| {
            [vec![choice | position], tpm2b(attest), tpm2b(&quote.signature), tpm2b(values)].concat()
        };
        save("bare_quote", name, bare(0, &quote.attest, &values));
        save("bare_quote", &format!("{name}.key"), bare(0x80, &tpm2b(&quote.attest), &raw));
        let appraised =
            |quote: &QuoteEvidence| [vec![position], postcard::to_stdvec(quote).unwrap()].concat();
        save("quote_appraisal", name, appraised(&quote));
        if position == 0 {
            let mut unsigned_value = quote;
            let index = PcrIndex::new(9).unwrap();
            unsigned_value.pcrs.insert(PcrBank::Sha256, index, vec![0; 32]).unwrap();
            save("quote_appraisal", "unsigned_value", appraised(&unsigned_value));
        }
    }
    let mut none_selected = Machine::new("node-1", 1).attest(&[0x5a; 32]);
    none_selected.selection.clear();
    save("quote", "none_selected", none_selected.bytes());
    save("quote", "two_banks", {
        let mut attest = Machine::new("node-1", 1).attest(&[0x5a; 16]);
        attest.selection.push((fake::SHA384, vec![0xff; 3]));
        attest.bytes()
    });
}

/// What a TPM with the enrolled key says until it must prove that it has it (TPM 2.0 Part 3).
fn responses() {
    for (position, (name, Swtpm { ek, .. })) in (0_u8..).zip(swtpm()).take(3) {
        let session = |number: u8| {
            let body = [&[2, 0, 0, number][..], &tpm2b(&[number; 32])].concat();
            response([0x80, 1], &body)
        };
        // A nonce, continueSession with encryption of the response, and an HMAC that nobody could compute.
        let authorisation = [tpm2b(&[3; 32]), vec![0x41], tpm2b(&[4; 32])].concat();
        let random = [&34_u32.to_be_bytes()[..], &tpm2b(&[5; 32]), &authorisation].concat();
        let proof = response([0x80, 2], &random);

        let public = [tpm2b(ek.as_bytes()), tpm2b(ek.name().as_bytes()), tpm2b(ek.name().as_bytes())];
        let found = response([0x80, 1], &public.concat());
        let transcript = framed(&[&found, &session(0), &session(1), &proof]);
        save("tpm_responses", &format!("{name}.persistent"), [vec![position], transcript].concat());

        let creation_data = [vec![0; 4], tpm2b(&[]), vec![1, 0, 0x10], vec![0; 6]].concat();
        let ticket = [&[0x80, 0x21, 0x40, 0, 0, 0x0b][..], &tpm2b(&[6; 32])].concat();
        let parts = [
            tpm2b(ek.as_bytes()),
            tpm2b(&creation_data),
            tpm2b(&[7; 32]),
            ticket,
            tpm2b(ek.name().as_bytes()),
        ];
        let parameters = parts.concat();
        let size = u32::try_from(parameters.len()).unwrap().to_be_bytes();
        let empty_password = [0, 0, 1, 0, 0];
        let created =
            response([0x80, 2], &[&[0x80, 0, 0, 0], &size[..], &parameters, &empty_password].concat());
        let flushed = response([0x80, 1], &[]);
        let transcript = framed(&[&created, &session(0), &session(1), &flushed, &proof, &flushed]);
        // The high bit hides the handle; the rest chooses the same key.
        let choice = 0x80 | (0..5).find(|low| (0x80_u8 + low) % 5 == position).unwrap();
        save("tpm_responses", &format!("{name}.created"), [vec![choice], transcript].concat());
    }
}

fn response(tag: [u8; 2], body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(10 + body.len()).unwrap().to_be_bytes();
    [&tag[..], &size, &[0; 4], body].concat()
}

fn tpm2b(bytes: &[u8]) -> Vec<u8> {
    [&tpm2b_length(bytes), bytes].concat()
}

fn tpm2b_length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap().to_be_bytes()
}
