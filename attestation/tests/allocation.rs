//! No parser of untrusted bytes takes more memory than a small multiple of its input, whatever the input says of its own
//! lengths. One test alone, because what it counts is the whole process's.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use peak_alloc::PeakAlloc;
use sealstone_attestation::endorsement::{EkCertificate, PinnedCertificates};
use sealstone_attestation::event_log::EventLog;
use sealstone_attestation::ima::ImaList;
use sealstone_attestation::{
    Envelope, Evidence, Manifest, PcrFile, PublicArea, Quote, TpmKey, TpmSignature, VerifiedReport,
};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Bytes that any parser may take besides: errors' texts, tables, and the smallest vectors of each kind.
const CONSTANT: usize = 16 * 1024;

/// A parser, what its memory may be a multiple of, and the folder of its seeds below `fuzz/corpus`.
struct Parser {
    name: &'static str,
    multiple: usize,
    seeds: &'static str,
    parse: fn(&[u8]) -> bool,
}

const PARSERS: [Parser; 13] = [
    // An event of 32 bytes becomes one of 150, in a vector that doubles.
    parser("event log", 16, "event_log", |bytes| EventLog::parse(bytes).is_ok()),
    // The shortest entry takes 40 bytes, and is read into 150.
    parser("measurement list", 16, "ima", |bytes| ImaList::parse(bytes).is_ok()),
    parser("quote", 8, "quote", |bytes| Quote::parse(bytes).is_ok()),
    parser("signature", 8, "tpm_signature", |bytes| TpmSignature::parse(bytes).is_ok()),
    parser("public area", 8, "public_area", |bytes| PublicArea::parse(bytes).is_ok()),
    parser("public key", 8, "spki", |bytes| TpmKey::from_spki_der(bytes).is_ok()),
    // The shortest member of a list takes 3 bytes of JSON, `"",`, and 24 of memory, in a vector that doubles.
    parser("evidence", 32, "evidence", |bytes| Evidence::parse(bytes).is_ok()),
    parser("envelope", 16, "envelope", |bytes| Envelope::parse(bytes).is_ok()),
    parser("report", 16, "report", |bytes| VerifiedReport::parse(bytes).is_ok()),
    parser("manifest", 16, "manifest", |bytes| Manifest::from_payload(bytes).is_ok()),
    parser("PCR values", 16, "pcr_file", |bytes| PcrFile::parse(bytes).is_ok()),
    // The shortest part of a name takes 9 bytes, and is read into 350, twice; the input has 8,192 at most.
    parser("EK certificate", 96, "ek_certificate", |bytes| EkCertificate::parse(bytes).is_ok()),
    parser("vendors' certificates", 96, "ek_certificate", |bytes| {
        PinnedCertificates::new().add_intermediates(bytes).is_ok()
    }),
];

const fn parser(
    name: &'static str,
    multiple: usize,
    seeds: &'static str,
    parse: fn(&[u8]) -> bool,
) -> Parser {
    Parser { name, multiple, seeds, parse }
}

impl Parser {
    /// Parses, and says what fraction of its bound was taken, in percent.
    fn check(&self, what: &str, bytes: &[u8]) -> usize {
        let before = ALLOCATED.current_usage();
        ALLOCATED.reset_peak_usage();
        let _ = (self.parse)(bytes);
        let taken = ALLOCATED.peak_usage().saturating_sub(before);
        let bound = self.multiple * bytes.len() + CONSTANT;
        assert!(
            taken <= bound,
            "{}, {what}: expected at most {} times {} bytes and {CONSTANT}, found {taken}",
            self.name,
            self.multiple,
            bytes.len()
        );
        100 * taken / bound
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
}

#[test]
fn memory_is_bounded_by_the_input() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // What libraries make once, they make now.
    for Parser { seeds, parse, .. } in &PARSERS {
        files(&here.join("../fuzz/corpus").join(seeds)).iter().for_each(|path| {
            let _ = parse(&fs::read(path).unwrap());
        });
    }
    for parser in &PARSERS {
        let mut most = (0, String::new());
        let mut check = |what: &str, bytes: &[u8]| {
            let taken = parser.check(what, bytes);
            if taken > most.0 {
                most = (taken, what.to_owned());
            }
        };
        for path in files(&here.join("../fuzz/corpus").join(parser.seeds)) {
            let bytes = fs::read(&path).unwrap();
            check(&path.display().to_string(), &bytes);
            // Every length, count and tag of the shorter ones, as large as it can be.
            for at in 0..bytes.len().min(LIES_MAX) {
                for width in [1, 2, 4] {
                    let mut lying = bytes.clone();
                    lying.iter_mut().skip(at).take(width).for_each(|byte| *byte = 0xff);
                    check("a lying count", &lying);
                }
            }
        }
        for (what, bytes) in hostile() {
            check(what, &bytes);
        }
        println!("{}: {} % of its bound at most, by {}", parser.name, most.0, most.1);
    }
    genuine();
}

/// Places of a seed that are made to lie.
const LIES_MAX: usize = 300;

/// What costs most memory for its length, in each format; every parser is given all of it.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    const MANY: usize = 20_000;
    let json = |text: String| text.into_bytes();
    let evidence = String::from_utf8(fs::read(seed("evidence/accepted.json")).unwrap()).unwrap();
    let certificates = |list: String| {
        let (before, rest) = evidence.split_once("\"ek_certificates\":[").unwrap();
        let (_, after) = rest.split_once(']').unwrap();
        json(format!("{before}\"ek_certificates\":[{list}]{after}"))
    };
    let signatures = "{\"keyid\":\"\",\"sig\":\"\"},".repeat(MANY);
    let event = |size: u32, data: &[u8]| {
        [&[0; 4], &4_u32.to_le_bytes()[..], &[0; 20], &size.to_le_bytes(), data].concat()
    };
    let ima = |name: &[u8], data: &[u8]| {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
        [&10_u32.to_le_bytes()[..], &[0; 20], &length(name), name, &length(data), data].concat()
    };
    vec![
        ("nothing", Vec::new()),
        ("nested lists", vec![b'['; 200_000]),
        ("nested objects", b"{\"a\":".repeat(40_000)),
        ("many empty certificates", certificates(vec!["\"\""; MANY].join(","))),
        (
            "many signatures",
            json(format!("{{\"payloadType\":\"\",\"payload\":\"\",\"signatures\":[{}", signatures)),
        ),
        ("a long string", json(format!("{{\"payloadType\":\"{}\"", "\\u0041".repeat(MANY)))),
        ("a long unknown field", json(format!("{{\"{}\":1}}", "x".repeat(MANY)))),
        ("many PCR values", json(format!("{{\"sha256\":{{{}", "\"0\":\"\",".repeat(5000)))),
        ("events of nothing", event(0, &[]).repeat(MANY)),
        ("an event that ends nowhere", event(u32::MAX, &[0; 100])),
        ("a header with too many algorithms", {
            let mut data = b"Spec ID Event03\0".to_vec();
            data.extend([0, 0, 0, 0, 0, 2, 0, 2]);
            data.extend(u32::MAX.to_le_bytes());
            let mut header = event(u32::try_from(data.len()).unwrap(), &data);
            header[4] = 3;
            header
        }),
        ("measurements of nothing", ima(b"ima", &[0; 20]).repeat(MANY)),
        ("measurements of many empty fields", ima(b"ima-ng", &[0; 4].repeat(MANY))),
        (
            "lines of measurements",
            format!("10 {} ima-ng sha1:{} /\n", "0".repeat(40), "0".repeat(40)).repeat(2000).into_bytes(),
        ),
        ("empty lines", vec![b'\n'; 200_000]),
        ("numbers", vec![0xff; 60_000]),
        ("a certificate with names of many parts", many_names()),
        ("many beginnings", b"-----BEGIN CERTIFICATE-----".repeat(300)),
        (
            "many empty certificates in text",
            b"-----BEGIN CERTIFICATE----------END CERTIFICATE-----".repeat(4000),
        ),
    ]
}

/// A certificate as large as one may be, most of it names of the shortest parts.
fn many_names() -> Vec<u8> {
    // SET { SEQUENCE { OID, NULL } }
    let name = tlv(0x30, &[0x31, 7, 0x30, 5, 0x06, 1, 0x2a, 0x05, 0].repeat(400));
    let algorithm = [0x30, 10, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let time = [&[0x17, 13][..], b"200101000000Z"].concat();
    let validity = [&[0x30, 30][..], &time, &time].concat();
    let key = fs::read(seed("spki/ek_p256_ak_ecdsa")).unwrap();
    let version_and_serial = [0xa0, 3, 0x02, 1, 2, 0x02, 1, 1];
    let body = [&version_and_serial[..], &algorithm, &name, &validity, &name, &key].concat();
    let certificate = tlv(0x30, &[&tlv(0x30, &body)[..], &algorithm, &[0x03, 2, 0, 0]].concat());
    assert!(EkCertificate::parse(&certificate).is_ok(), "{:?}", EkCertificate::parse(&certificate));
    certificate
}

/// One DER structure.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag, 0x82], &u16::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat()
}

fn seed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name)
}

/// Logs, lists and certificates of real machines, which stay out of this repository: read from the folder that
/// `SEALSTONE_CORPORA` names (default: `../shared/corpora` beside the workspace) when it is there.
fn genuine() {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora");
    let corpora = std::env::var_os("SEALSTONE_CORPORA").map_or_else(beside, PathBuf::from);
    if !corpora.is_dir() {
        println!("{} is not there: real machines' data were not read", corpora.display());
        return;
    }
    let mut read = 0;
    for folder in [
        "google+go-tpm-tools/internal/test/eventlogs",
        "google+go-tpm-tools/internal/test/attestations",
        "google+go-tpm-tools/internal/test/certificates",
        "google+go-tpm-tools/server/ca-certs",
        "keylime+keylime/ek_certs",
        "keylime+keylime/tpm_cert_store",
        "keylime+rust-keylime/keylime-agent/test-data/ima",
    ] {
        for path in files(&corpora.join(folder)) {
            let bytes = fs::read(&path).unwrap();
            for parser in &PARSERS {
                parser.check(&path.display().to_string(), &bytes);
            }
            read += 1;
        }
    }
    assert!(read > 50, "expected whole folders, found {read} files");
}
