//! A kernel that measures: it writes its list in both forms and extends its PCRs, by code of its own.

use sealstone_attestation::{PcrBank, PcrIndex, PcrValues};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// One measurement. Fields are as the kernel hashes them.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) pcr: u8,
    pub(crate) template: &'static str,
    pub(crate) fields: Vec<Vec<u8>>,
    pub(crate) violation: bool,
}

/// `ima-ng`, the usual one.
pub(crate) fn ng(algorithm: &str, digest: &[u8], name: &str) -> Measured {
    Measured {
        pcr: 10,
        template: "ima-ng",
        fields: vec![digest_ng(algorithm, digest), string(name)],
        violation: false,
    }
}

pub(crate) fn file(name: &str) -> Measured {
    ng("sha256", &hash(PcrBank::Sha256, &[name.as_bytes()]), name)
}

pub(crate) fn digest_ng(algorithm: &str, digest: &[u8]) -> Vec<u8> {
    [algorithm.as_bytes(), b":\0", digest].concat()
}

pub(crate) fn string(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

pub(crate) fn hash(bank: PcrBank, parts: &[&[u8]]) -> Vec<u8> {
    let bytes = parts.concat();
    match bank {
        PcrBank::Sha1 => Sha1::digest(bytes).to_vec(),
        PcrBank::Sha256 => Sha256::digest(bytes).to_vec(),
        PcrBank::Sha384 => Sha384::digest(bytes).to_vec(),
        PcrBank::Sha512 => Sha512::digest(bytes).to_vec(),
    }
}

fn sized(field: &[u8]) -> Vec<u8> {
    [&u32::try_from(field.len()).unwrap().to_le_bytes()[..], field].concat()
}

impl Measured {
    pub(crate) fn in_pcr(self, pcr: u8) -> Self {
        Self { pcr, ..self }
    }

    pub(crate) fn violated(self) -> Self {
        Self { violation: true, ..self }
    }

    /// What is hashed.
    fn hashed(&self) -> Vec<u8> {
        if self.template == "ima" {
            let mut name = self.fields[1].clone();
            name.resize(256, 0);
            return [self.fields[0].clone(), name].concat();
        }
        self.fields.iter().map(|field| sized(field)).collect::<Vec<_>>().concat()
    }

    pub(crate) fn digest(&self, bank: PcrBank) -> Vec<u8> {
        if self.violation { vec![0; bank.digest_len()] } else { hash(bank, &[&self.hashed()]) }
    }

    /// What a PCR is extended by; `padded` by kernels before 5.8.
    fn extended(&self, bank: PcrBank, padded: bool) -> Vec<u8> {
        let from = if padded { PcrBank::Sha1 } else { bank };
        let mut digest = if self.violation { vec![0xff; from.digest_len()] } else { self.digest(from) };
        digest.resize(bank.digest_len(), 0);
        digest
    }

    fn binary(&self, bank: PcrBank) -> Vec<u8> {
        let data = if self.template == "ima" {
            [self.fields[0].clone(), sized(&self.fields[1])].concat()
        } else {
            sized(&self.hashed())
        };
        let pcr = u32::from(self.pcr).to_le_bytes();
        [&pcr[..], &self.digest(bank), &sized(self.template.as_bytes()), &data].concat()
    }

    fn ascii(&self, bank: PcrBank) -> Vec<u8> {
        let digest = hex::encode(self.digest(bank));
        let mut line = format!("{:2} {digest} {}", self.pcr, self.template).into_bytes();
        let names = match self.template {
            "ima" => "d|n",
            "ima-ng" => "d-ng|n-ng",
            "ima-sig" => "d-ng|n-ng|sig",
            "ima-ngv2" => "d-ngv2|n-ng",
            "ima-sigv2" => "d-ngv2|n-ng|sig",
            "ima-buf" => "d-ng|n-ng|buf",
            "ima-modsig" => "d-ng|n-ng|sig|d-modsig|modsig",
            "evm-sig" => "d-ng|n-ng|evmsig|xattrnames|xattrlengths|xattrvalues|iuid|igid|imode",
            custom => custom,
        };
        for (name, field) in names.split('|').zip(&self.fields) {
            line.push(b' ');
            if field.is_empty() {
                continue;
            }
            match name {
                "n" => line.extend(field),
                "n-ng" | "xattrnames" => line.extend(&field[..field.len() - 1]),
                "iuid" | "igid" | "imode" => {
                    let mut number = field.clone();
                    number.resize(4, 0);
                    let number = u32::from_le_bytes(number.try_into().unwrap());
                    line.extend(number.to_string().into_bytes());
                }
                "d-ng" | "d-ngv2" | "d-modsig" => {
                    let end = field.windows(2).position(|pair| pair == b":\0").unwrap();
                    line.extend(&field[..=end]);
                    line.extend(hex::encode(&field[end + 2..]).into_bytes());
                }
                _ => line.extend(hex::encode(field).into_bytes()),
            }
        }
        line.push(b'\n');
        line
    }
}

pub(crate) fn binary(bank: PcrBank, entries: &[Measured]) -> Vec<u8> {
    entries.iter().map(|entry| entry.binary(bank)).collect::<Vec<_>>().concat()
}

pub(crate) fn ascii(bank: PcrBank, entries: &[Measured]) -> Vec<u8> {
    entries.iter().map(|entry| entry.ascii(bank)).collect::<Vec<_>>().concat()
}

/// The value of a PCR after these entries.
pub(crate) fn pcr(entries: &[Measured], pcr: u8, bank: PcrBank, padded: bool) -> Vec<u8> {
    let of_pcr = entries.iter().filter(|entry| entry.pcr == pcr);
    of_pcr
        .fold(vec![0; bank.digest_len()], |value, entry| hash(bank, &[&value, &entry.extended(bank, padded)]))
}

pub(crate) fn values(given: &[(PcrBank, u8, Vec<u8>)]) -> PcrValues {
    let mut values = PcrValues::new();
    for (bank, index, value) in given {
        values.insert(*bank, PcrIndex::new(*index).unwrap(), value.clone()).unwrap();
    }
    values
}

/// PCR 10 of the SHA-256 bank after these entries.
pub(crate) fn pcr10(entries: &[Measured]) -> PcrValues {
    values(&[(PcrBank::Sha256, 10, pcr(entries, 10, PcrBank::Sha256, false))])
}

/// One entry of each template.
pub(crate) fn one_of_each() -> Vec<Measured> {
    let (ng, named) = (digest_ng("sha256", &[0xd1; 32]), string("/usr/bin/bash"));
    let typed = |kind: &str| digest_ng(&format!("{kind}:sha512"), &[0xd2; 64]);
    let of = |template, fields: &[&[u8]]| Measured {
        pcr: 10,
        template,
        fields: fields.iter().map(|field| field.to_vec()).collect(),
        violation: false,
    };
    let (sig, none): (&[u8], &[u8]) = (&[3, 2, 4, 0xaa], &[]);
    let attributes = string("security.selinux|security.ima");
    let numbers = (1000_u32.to_le_bytes(), 0_u32.to_le_bytes(), 33_261_u16.to_le_bytes());
    vec![
        of("ima", &[&[0xd0; 20], b"boot_aggregate"]),
        of("ima-ng", &[&ng, &named]),
        of("ima-sig", &[&ng, &named, sig]),
        of("ima-sig", &[&ng, &named, none]),
        of("ima-ngv2", &[&typed("verity"), &named]),
        of("ima-sigv2", &[&typed("ima"), &named, sig]),
        of("ima-buf", &[&ng, &string("dm_table_load"), b"name=root,;"]),
        of("ima-modsig", &[&ng, &named, none, &digest_ng("sha1", &[0xd3; 20]), &[0x30, 0x82]]),
        of("ima-modsig", &[&ng, &named, sig, none, none]),
        of(
            "evm-sig",
            &[
                &ng,
                &named,
                sig,
                &attributes,
                &[8, 0, 0, 0, 4, 0, 0, 0],
                &[7; 12],
                &numbers.0,
                &numbers.1,
                &numbers.2,
            ],
        ),
        of("evm-sig", &[&ng, &named, none, none, none, none, &numbers.0, &numbers.1, &numbers.2]),
        of("d-ng|n-ng", &[&ng, &named]),
        of("n-ng|iuid|d", &[&named, &numbers.0, &[0xd4; 32]]),
    ]
}
