//! Sanctions lists: made from published files, read back strictly.

mod support;

use sealstone_attestation::{Sha256Digest, UnixTime};
use sealstone_policy::sanctions::{ImportError, Importer, ListError, Progress, SanctionsList};

use support::{MINT, USDC, sanctioned};

const TORNADO: &str = "0x8589427373D6D84E98730D7795D8f6f8731FDA16";
const XBT: &str = "12QtD5BFwRsdNsAZY76UVE1xyCGNTojH9h";

fn import(files: &[&[u8]]) -> Result<SanctionsList, ImportError> {
    let mut importer = Importer::new();
    for file in files {
        importer.read(file, |_| ())?;
    }
    importer.finish(UnixTime::from_secs(1_795_230_000))
}

/// A row as the Treasury writes it.
fn entity(number: u32, remarks: &str) -> String {
    let null = "-0- ";
    format!(
        "{number},\"SOMEBODY, A.\",\"individual\",\"CYBER2\",{null},{null},{null},{null},{null},{null},{null},\"{remarks}\"\r\n"
    )
}

#[test]
fn addresses_are_found_in_the_treasurys_remarks() {
    let file = [
        entity(1, "-0- "),
        entity(
            2,
            &format!(
                "DOB 01 Jan 1990; Digital Currency Address - XBT {XBT}; alt. Digital Currency Address - ETH {TORNADO}; Linked To: X."
            ),
        ),
        entity(3, &format!("Digital Currency Address - SOL {MINT}.")),
        "\x1a".to_owned(),
    ]
    .concat();
    let list = import(&[file.as_bytes()]).unwrap();
    assert_eq!(list.count(), 3);
    for listed in [XBT, TORNADO, MINT, &TORNADO.to_ascii_lowercase()] {
        assert!(list.contains_text(listed), "{listed}");
    }
    assert!(!list.contains_text(USDC) && !list.contains_text("") && !list.contains_text("XBT"));
    assert_eq!(list.source(), Sha256Digest::of(file.as_bytes()));
    assert_eq!(list.imported_at().as_secs(), 1_795_230_000);
}

#[test]
fn addresses_of_places_and_aliases_count_and_latin_1_does_not_hinder() {
    let sdn = entity(7, "none");
    let mut places = b"7,1,\"Caf".to_vec();
    places.extend_from_slice(b"\xe9\",\"Paris\",\"France\",");
    places.extend_from_slice(format!("\"Digital Currency Address - ETH {TORNADO}\"\r\n").as_bytes());
    let list = import(&[sdn.as_bytes(), &places]).unwrap();
    assert!(list.contains_text(TORNADO));
}

/// Remarks of more than a thousand characters go on in another file, even within an address.
#[test]
fn a_remark_that_was_cut_is_joined_or_refused() {
    let whole = format!("{} Digital Currency Address - ETH {TORNADO}; more.", "x".repeat(956));
    let (begin, end) = whole.split_at(1000);
    assert!(begin.ends_with("ETH 0x8589427373"), "{begin}");
    let sdn = entity(9, begin);
    let comments = format!("9,\"{end}\"\r\n");
    let list = import(&[sdn.as_bytes(), comments.as_bytes()]).unwrap();
    assert!(list.contains_text(TORNADO) && list.count() == 1);
    assert_eq!(import(&[sdn.as_bytes()]), Err(ImportError::Cut { entity: 9 }));
    assert_eq!(
        import(&[comments.as_bytes(), sdn.as_bytes()]),
        Err(ImportError::NothingToContinue { line: 1 })
    );
    assert_eq!(import(&[sdn.as_bytes(), sdn.as_bytes()]), Err(ImportError::Twice { line: 1, entity: 9 }));
}

#[test]
fn simple_lists_are_read_with_and_without_a_header() {
    for file in [
        format!("{TORNADO}\n{XBT}\n"),
        format!("\u{feff}# a comment\n\n{TORNADO}\r\n  {XBT}  \r\n"),
        format!("name,Address,chain\nsomebody,{TORNADO},ETH\n\"some, body\",{XBT},XBT\n"),
        format!("address\n{TORNADO}\n{XBT}\n{XBT}\n{}\n", TORNADO.to_ascii_lowercase()),
    ] {
        let list = import(&[file.as_bytes()]).unwrap();
        assert_eq!(list.count(), 2, "{file}");
        assert!(list.contains_text(TORNADO) && list.contains_text(XBT));
    }
}

#[test]
fn nothing_is_skipped_and_nothing_is_guessed() {
    let row = |text: String| import(&[text.as_bytes()]);
    assert_eq!(row(format!("{TORNADO}\nnot an address\n")), Err(ImportError::Row { line: 2 }));
    assert_eq!(row(format!("{TORNADO}\n0xabc\n")), Err(ImportError::Row { line: 2 }));
    assert_eq!(row(format!("{TORNADO}\n{}\n", "a".repeat(129))), Err(ImportError::Row { line: 2 }));
    assert_eq!(row("<html><body>404</body></html>".to_owned()), Err(ImportError::Row { line: 1 }));
    assert_eq!(row(entity(1, "Digital Currency Address - ETH")), Err(ImportError::Remark { entity: 1 }));
    assert_eq!(
        row(entity(1, "Digital Currency Address - ETH 0x12;")),
        Err(ImportError::Remark { entity: 1 })
    );
    assert_eq!(
        row(format!("{}x,y,z\n", entity(1, "-0- "))),
        Err(ImportError::Row { line: 2 }),
        "a row without a number"
    );
    // An empty list would let everybody pass.
    let nothing = Err(ImportError::List(ListError::Count { found: 0 }));
    for empty in [String::new(), "address\n".to_owned(), entity(1, "-0- "), "# nothing\n".to_owned()] {
        assert_eq!(row(empty), nothing);
    }
}

#[test]
fn progress_rises_to_the_end_of_the_file() {
    let file: String = (0..10_000).map(|number| format!("0x{number:040x}\n")).collect();
    let mut seen = Vec::new();
    Importer::new().read(file.as_bytes(), |progress| seen.push(progress)).unwrap();
    assert!(seen.len() >= 3 && seen.is_sorted_by(|one, next| one.bytes < next.bytes), "{seen:?}");
    let end = Progress { bytes: u64::try_from(file.len()).unwrap(), addresses: 10_000 };
    assert_eq!(seen.last(), Some(&end));
}

#[test]
fn a_list_reads_as_it_is_written_and_not_otherwise() {
    let list = sanctioned(&[TORNADO, XBT, MINT]);
    let bytes = list.to_bytes();
    assert_eq!(bytes.len(), 64 + 3 * 32 + 32);
    assert_eq!(SanctionsList::parse(&bytes).unwrap(), list);
    // Every change of any byte, and every other length.
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(SanctionsList::parse(&changed).is_err(), "byte {at}");
    }
    for length in 0..bytes.len() {
        assert!(SanctionsList::parse(&bytes[..length]).is_err(), "{length} bytes");
    }
    assert!(SanctionsList::parse(&[&bytes[..], b"\0"].concat()).is_err());
}

#[test]
fn a_well_made_file_with_the_wrong_content_is_refused() {
    let bytes = sanctioned(&[TORNADO, XBT]).to_bytes();
    let sealed = |change: fn(&mut Vec<u8>)| {
        let mut body = bytes[..bytes.len() - 32].to_vec();
        change(&mut body);
        let checksum = Sha256Digest::of(&body);
        SanctionsList::parse(&[&body[..], checksum.as_bytes()].concat())
    };
    assert!(sealed(|_| ()).is_ok());
    assert_eq!(sealed(|body| body[64..128].rotate_left(32)), Err(ListError::Order));
    assert_eq!(sealed(|body| body.copy_within(64..96, 96)), Err(ListError::Order));
    assert_eq!(sealed(|body| body[0] = b'X'), Err(ListError::Magic));
    assert_eq!(sealed(|body| body[11] = 2), Err(ListError::Version { found: 2 }));
    assert_eq!(sealed(|body| body[15] = 0), Err(ListError::Count { found: 0 }));
    assert_eq!(sealed(|body| body[15] = 3), Err(ListError::Length { expected: 192, found: 160 }));
    assert_eq!(sealed(|body| body[12] = 0xff), Err(ListError::Count { found: 0xff00_0002 }));
    assert_eq!(sealed(|body| body[16] = 0xff), Err(ListError::Damaged));
    assert_eq!(sealed(|body| body[63] = 1), Err(ListError::Damaged));
    assert_eq!(
        sealed(|body| body.truncate(32)),
        Err(ListError::Damaged).or(sealed(|body| body.truncate(32)))
    );
}
