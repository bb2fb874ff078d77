//! Two places in one file, written in turn: whatever is cut short, the record before it is whole.
//!
//! ```text
//! at 0                 record
//! at PLACE_LEN         record
//!
//! record = "sealstone-state-2\n" ‖ u64 sequence ‖ u32 length ‖ SHA-256(sequence ‖ body) ‖ body
//! ```
//!
//! Integers are big-endian. The record with the higher sequence counts, and the next one goes to the other place.
//! What follows a record in its place is left of longer ones before it and means nothing.

use std::io;
use std::os::unix::fs::FileExt;

use sealstone_wire::limits::MANIFEST_MAX;
use sha2::{Digest, Sha256};

/// Bytes of a place: two sealed blobs with their manifests, each manifest at most doubled by the escapes of a JSON
/// text, and 64 KiB for everything else. A multiple of 64 KiB, the largest block of a usual file system, so that no
/// write to one place touches the other's blocks.
pub const PLACE_LEN: u64 = 4 * MANIFEST_MAX as u64 + 64 * 1024;

/// Bytes of the whole file.
pub const FILE_LEN: u64 = 2 * PLACE_LEN;

/// What a person sees who looks into the file, and what every record begins with.
const MAGIC: &[u8; 18] = b"sealstone-state-2\n";

const DIGEST_LEN: usize = 32;

/// Bytes before the body.
const HEADER_LEN: usize = MAGIC.len() + size_of::<u64>() + size_of::<u32>() + DIGEST_LEN;

/// The first record's sequence.
const FIRST_SEQUENCE: u64 = 1;

/// Bytes that are read at once while a place is searched for anything but zeros.
const CHUNK: usize = 64 * 1024;

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    second: bool,
    sequence: u64,
}

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing was ever written.
    Nothing,
    /// The very first write was cut short: nothing was in force before it, and nobody was told that it is done.
    FirstTorn,
    /// The newest whole record.
    Record {
        /// Where it lies.
        position: Position,
        /// What it says.
        body: Vec<u8>,
        /// Whether the other place has bytes that are no whole record: a write that was cut short, or damage.
        other_torn: bool,
    },
    /// Bytes, but no record: where and why.
    Damaged(String),
}

/// Reads both places.
///
/// # Errors
/// Any error of the file system.
pub fn find(file: &impl FileExt) -> io::Result<Found> {
    if !read_up_to(file, FILE_LEN, 1)?.is_empty() {
        return Ok(Found::Damaged(format!("expected at most {FILE_LEN} bytes, found more")));
    }
    let record = |second, (sequence, body), other_torn| {
        let position = Position { second, sequence };
        Found::Record { position, body, other_torn }
    };
    Ok(match (Place::read(file, 0)?, Place::read(file, PLACE_LEN)?) {
        (Place::Empty, Place::Empty) => Found::Nothing,
        (Place::Whole(first), Place::Whole(second)) => match first.0.cmp(&second.0) {
            std::cmp::Ordering::Less => record(true, second, false),
            std::cmp::Ordering::Greater => record(false, first, false),
            std::cmp::Ordering::Equal => {
                Found::Damaged(format!("expected two different sequence numbers, found {} twice", first.0))
            }
        },
        (Place::Whole(first), other) => record(false, first, matches!(other, Place::Unusable(_))),
        (other, Place::Whole(second)) => record(true, second, matches!(other, Place::Unusable(_))),
        (Place::Unusable(_), Place::Empty) if first_torn(file)? => Found::FirstTorn,
        (Place::Unusable(reason), Place::Empty) | (Place::Empty, Place::Unusable(reason)) => {
            Found::Damaged(reason)
        }
        (Place::Unusable(first), Place::Unusable(second)) => {
            Found::Damaged(format!("first place: {first}; second place: {second}"))
        }
    })
}

/// The record that follows the one at `newest`, and where in the file its bytes go.
///
/// # Errors
/// A body that does not fit, and a sequence at its end.
pub fn next(newest: Option<Position>, body: &[u8]) -> io::Result<(Position, Vec<u8>)> {
    let position = match newest {
        None => Position { second: false, sequence: FIRST_SEQUENCE },
        Some(Position { second, sequence }) => {
            let sequence =
                sequence.checked_add(1).ok_or_else(|| io::Error::other("the sequence is at its end"))?;
            Position { second: !second, sequence }
        }
    };
    Ok((position, record(position.sequence, body)?))
}

/// The bytes of a record.
///
/// # Errors
/// A body that does not fit into a place.
pub fn record(sequence: u64, body: &[u8]) -> io::Result<Vec<u8>> {
    let too_long =
        || io::Error::other(format!("expected a record of at most {PLACE_LEN} bytes, found {}", body.len()));
    let length = u32::try_from(body.len()).map_err(|_| too_long())?;
    if place_len() - HEADER_LEN < body.len() {
        return Err(too_long());
    }
    let digest = digest(sequence, body);
    Ok([&MAGIC[..], &sequence.to_be_bytes(), &length.to_be_bytes(), &digest, body].concat())
}

impl Position {
    /// Where in the file.
    #[must_use]
    pub fn offset(self) -> u64 {
        if self.second { PLACE_LEN } else { 0 }
    }

    /// The record's number.
    #[must_use]
    pub fn sequence(self) -> u64 {
        self.sequence
    }
}

/// What one place holds.
enum Place {
    Empty,
    Whole((u64, Vec<u8>)),
    Unusable(String),
}

impl Place {
    fn read(file: &impl FileExt, offset: u64) -> io::Result<Self> {
        let header = read_up_to(file, offset, HEADER_LEN)?;
        if header.is_empty() {
            return Ok(Self::Empty);
        }
        if header.starts_with(b"{") {
            return Ok(Self::Unusable("this is the format before, which was never released".to_owned()));
        }
        let Some(rest) = header.strip_prefix(MAGIC) else {
            let magic = String::from_utf8_lossy(MAGIC.trim_ascii_end());
            return Ok(Self::Unusable(format!("expected a record that begins with {magic:?}, found none")));
        };
        let Some((sequence, length, expected)) = numbers(rest) else {
            return Ok(Self::Unusable("a record ends within its header".to_owned()));
        };
        if length > place_len() - HEADER_LEN {
            return Ok(Self::Unusable(format!(
                "expected a record that fits its place, found {length} bytes"
            )));
        }
        let body = read_up_to(file, offset + HEADER_LEN as u64, length)?;
        if body.len() < length {
            let reason = format!("expected a record of {length} bytes, found {}", body.len());
            return Ok(Self::Unusable(reason));
        }
        if digest(sequence, &body) != expected {
            return Ok(Self::Unusable("a record does not have its SHA-256 digest".to_owned()));
        }
        Ok(Self::Whole((sequence, body)))
    }
}

/// Sequence, length and digest, behind the magic.
fn numbers(rest: &[u8]) -> Option<(u64, usize, [u8; DIGEST_LEN])> {
    let (sequence, rest) = rest.split_first_chunk()?;
    let (length, digest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    Some((u64::from_be_bytes(*sequence), length, digest.try_into().ok()?))
}

/// Whether the first place, which holds no whole record, is what a first write leaves that was cut short: the
/// beginning of a record with the first sequence, or as far as its blocks never reached the disk, zeros.
fn first_torn(file: &impl FileExt) -> io::Result<bool> {
    let expected = [&MAGIC[..], &FIRST_SEQUENCE.to_be_bytes()].concat();
    let found = read_up_to(file, 0, expected.len())?;
    let same = found.iter().zip(&expected).take_while(|(found, expected)| found == expected).count();
    if same == expected.len() {
        return Ok(true);
    }
    let mut offset = same as u64;
    // At most a place's length in chunks: nothing is behind it.
    while offset < PLACE_LEN {
        let chunk = read_up_to(file, offset, CHUNK)?;
        if chunk.is_empty() {
            break;
        }
        if chunk.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        offset += chunk.len() as u64;
    }
    Ok(true)
}

fn digest(sequence: u64, body: &[u8]) -> [u8; DIGEST_LEN] {
    Sha256::new().chain_update(sequence.to_be_bytes()).chain_update(body).finalize().into()
}

fn place_len() -> usize {
    usize::try_from(PLACE_LEN).expect("a place is a few MiB")
}

/// Bytes from here, fewer if the file ends before.
fn read_up_to(file: &impl FileExt, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    // Each turn reads at least one byte, ends, or was interrupted by one of the few signals of this process.
    while filled < length {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What a disk writes whole or not at all.
    const SECTOR: usize = 512;

    /// A file in memory whose next write may be cut short.
    #[derive(Default)]
    struct Disk {
        bytes: RefCell<Vec<u8>>,
        room: Cell<Option<usize>>,
    }

    /// At once, which millions of pushes of an unoptimised build are not.
    fn grow(bytes: &mut Vec<u8>, end: usize) {
        if bytes.len() < end {
            let mut grown = vec![0; end];
            grown[..bytes.len()].copy_from_slice(bytes);
            *bytes = grown;
        }
    }

    impl FileExt for Disk {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let bytes = self.bytes.borrow();
            let rest = bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
            // Never more than this at once: who reads has to go on.
            let length = rest.len().min(buffer.len()).min(50_000);
            buffer[..length].copy_from_slice(&rest[..length]);
            Ok(length)
        }

        fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize> {
            let length = self.room.get().unwrap_or(buffer.len()).min(buffer.len());
            self.room.set(self.room.get().map(|room| room - length));
            if length == 0 {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            let mut bytes = self.bytes.borrow_mut();
            let offset = usize::try_from(offset).unwrap();
            grow(&mut bytes, offset + length);
            bytes[offset..offset + length].copy_from_slice(&buffer[..length]);
            Ok(length)
        }
    }

    impl Disk {
        fn store(&self, newest: &mut Option<Position>, body: &[u8]) -> io::Result<()> {
            let (position, record) = next(*newest, body)?;
            self.write_all_at(&record, position.offset())?;
            *newest = Some(position);
            Ok(())
        }

        fn holding(bodies: &[Vec<u8>]) -> (Self, Option<Position>) {
            let (disk, mut newest) = (Self::default(), None);
            for body in bodies {
                disk.store(&mut newest, body).unwrap();
            }
            (disk, newest)
        }

        fn body(&self) -> Option<Vec<u8>> {
            match find(self).unwrap() {
                Found::Record { body, .. } => Some(body),
                Found::Nothing | Found::FirstTorn => None,
                Found::Damaged(reason) => panic!("damaged: {reason}"),
            }
        }
    }

    fn bodies() -> impl Strategy<Value = Vec<Vec<u8>>> {
        vec(vec(any::<u8>(), 0..1500), 0..6)
    }

    proptest! {
        #[test]
        fn a_write_that_is_cut_at_any_byte_leaves_the_newest_or_the_one_before(
            bodies in bodies(), last in vec(any::<u8>(), 0..1500), cut in any::<prop::sample::Index>(),
        ) {
            let (disk, mut newest) = Disk::holding(&bodies);
            let length = HEADER_LEN + last.len();
            let cut = cut.index(length + 1);
            disk.room.set(Some(cut));
            let stored = disk.store(&mut newest, &last);
            prop_assert_eq!(stored.is_ok(), cut == length);
            // Only what was left of an equal record, in its place, can complete a record that was cut short.
            let before = bodies.last();
            let found = disk.body();
            prop_assert!(found.as_ref() == before || found.as_ref() == Some(&last));
            if stored.is_ok() {
                prop_assert_eq!(found.as_ref(), Some(&last));
            }
            // And the next one is not in its way.
            disk.room.set(None);
            disk.store(&mut newest, b"next").unwrap();
            prop_assert_eq!(disk.body(), Some(b"next".to_vec()));
        }

        #[test]
        fn a_write_of_which_any_sectors_are_lost_leaves_the_newest_or_the_one_before(
            bodies in vec(vec(any::<u8>(), 0..1500), 1..6), last in vec(any::<u8>(), 0..1500),
            kept in vec(any::<bool>(), 4),
        ) {
            let (disk, newest) = Disk::holding(&bodies);
            let (position, record) = next(newest, &last).unwrap();
            let offset = usize::try_from(position.offset()).unwrap();
            {
                let mut bytes = disk.bytes.borrow_mut();
                // The length was written before the data, as some file systems do.
                grow(&mut bytes, offset + record.len());
                for (at, sector) in record.chunks(SECTOR).enumerate().filter(|(at, _)| kept[*at]) {
                    let at = offset + at * SECTOR;
                    bytes[at..at + sector.len()].copy_from_slice(sector);
                }
            }
            let found = disk.body();
            prop_assert!(found.as_ref() == bodies.last() || found.as_ref() == Some(&last));
        }

        #[test]
        fn a_changed_bit_never_makes_another_record(
            bodies in vec(vec(any::<u8>(), 0..300), 1..4), at in any::<prop::sample::Index>(), bit in 0..8_u32,
        ) {
            let (disk, newest) = Disk::holding(&bodies);
            let newest = newest.unwrap();
            let last = bodies.last().unwrap();
            let at = usize::try_from(newest.offset()).unwrap() + at.index(HEADER_LEN + last.len());
            disk.bytes.borrow_mut()[at] ^= 1_u8 << bit;
            match find(&disk).unwrap() {
                Found::Record { body, other_torn, position } => {
                    prop_assert!(other_torn && position != newest);
                    prop_assert_eq!(Some(&body), bodies.len().checked_sub(2).map(|before| &bodies[before]));
                }
                Found::FirstTorn | Found::Damaged(_) => prop_assert_eq!(bodies.len(), 1),
                Found::Nothing => prop_assert!(false, "there are bytes"),
            }
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in vec(any::<u8>(), 1..300), magic: bool) {
            let bytes = if magic { [&MAGIC[..], &bytes].concat() } else { bytes };
            let disk = Disk { bytes: RefCell::new(bytes), room: Cell::new(None) };
            let found = find(&disk).unwrap();
            prop_assert!(matches!(found, Found::FirstTorn | Found::Damaged(_)), "not a record");
        }
    }

    #[test]
    fn places_are_written_in_turn_and_a_failed_write_is_repeated_in_the_same_one() {
        let (disk, mut newest) = Disk::holding(&[]);
        let mut offsets = Vec::new();
        for body in [b"one", b"two", b"six"] {
            disk.store(&mut newest, body).unwrap();
            offsets.push(newest.unwrap().offset());
        }
        assert_eq!(offsets, [0, PLACE_LEN, 0]);
        for room in [0, 10, 70] {
            disk.room.set(Some(room));
            assert!(disk.store(&mut newest, &[7; 100]).is_err());
            assert_eq!(disk.body().unwrap(), b"six", "after {room} bytes of the other place");
        }
    }

    #[test]
    fn only_what_a_first_write_can_leave_is_taken_for_one_that_was_cut_short() {
        let whole = record(1, b"body").unwrap();
        let cut = |length: usize| whole[..length].to_vec();
        let with = |bytes: &[u8], zeros: usize| [bytes, &vec![0; zeros]].concat();
        let place = place_len();
        for torn in
            [cut(1), cut(20), cut(40), cut(whole.len() - 1), vec![0; 4096], vec![0; place], with(&cut(9), 99)]
        {
            let disk = Disk { bytes: RefCell::new(torn.clone()), room: Cell::new(None) };
            assert_eq!(find(&disk).unwrap(), Found::FirstTorn, "{} bytes", torn.len());
        }
        let second = |bytes: &[u8]| [&vec![0; place][..], bytes].concat();
        let mut later = record(2, b"body").unwrap();
        later.pop();
        for damaged in [
            later,
            vec![0xff; 4096],
            with(b"x", 10),
            [&vec![0; 600][..], b"x"].concat(),
            with(b"", place + 1),
            second(b"x"),
            second(&cut(40)),
            b"{\"format\": 1}".to_vec(),
            with(&whole, 2 * place),
        ] {
            let disk = Disk { bytes: RefCell::new(damaged.clone()), room: Cell::new(None) };
            let found = find(&disk).unwrap();
            assert!(matches!(found, Found::Damaged(_)), "{} bytes: {found:?}", damaged.len());
        }
    }

    #[test]
    fn two_records_of_one_number_are_damage_and_the_last_number_has_no_next() {
        let (disk, _) = Disk::holding(&[b"one".to_vec(), b"two".to_vec()]);
        disk.write_all_at(&record(2, b"six").unwrap(), 0).unwrap();
        assert!(matches!(find(&disk).unwrap(), Found::Damaged(reason) if reason.contains("2 twice")));
        disk.write_all_at(&record(u64::MAX, b"end").unwrap(), 0).unwrap();
        let Found::Record { position, body, .. } = find(&disk).unwrap() else { panic!("no record") };
        assert_eq!(body, b"end");
        assert!(next(Some(position), b"after it").is_err());
    }

    #[test]
    fn a_body_that_does_not_fit_its_place_is_never_written() {
        let largest = place_len() - HEADER_LEN;
        let (disk, newest) = Disk::holding(&[vec![b'a'; largest], vec![b'b'; largest]]);
        assert_eq!(disk.bytes.borrow().len() as u64, FILE_LEN);
        assert_eq!(disk.body().unwrap(), vec![b'b'; largest]);
        assert!(next(newest, &vec![b'c'; largest + 1]).is_err());
        // And one that says that it is longer than its place is not read.
        let mut lies = record(9, b"").unwrap();
        lies[MAGIC.len() + 8..][..4].copy_from_slice(&u32::MAX.to_be_bytes());
        disk.write_all_at(&lies, 0).unwrap();
        assert_eq!(disk.body().unwrap(), vec![b'b'; largest]);
    }
}
