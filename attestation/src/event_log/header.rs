//! The first event: a log in the crypto-agile format begins with a `TCG_EfiSpecIDEvent` that lists the algorithms of its
//! digests (TCG PC Client Platform Firmware Profile); a log without it is in the SHA-1 format.

use crate::event_log::{LogAlgorithm, cursor::Cursor, error::EventLogReason};

/// Begins the header of the crypto-agile format.
const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";

/// Algorithms of one log: a TPM has at most sixteen banks (TPM 2.0 Part 2, `HASH_COUNT`).
pub(super) const ALGORITHMS_MAX: usize = 16;

/// Bytes of a digest: twice the largest there is, for algorithms to come.
pub(super) const DIGEST_BYTES_MAX: usize = 128;

/// An algorithm of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) id: u16,
    pub(super) size: usize,
    /// `None` for one that cannot be replayed here.
    pub(super) algorithm: Option<LogAlgorithm>,
}

/// Reads the header from the data of the first event: `None` when it is not one of the crypto-agile format.
pub(super) fn parse(data: &[u8]) -> Option<Result<Vec<Listed>, EventLogReason>> {
    let fields = data.strip_prefix(SIGNATURE)?;
    Some(parse_fields(fields))
}

fn parse_fields(fields: &[u8]) -> Result<Vec<Listed>, EventLogReason> {
    let cut = |expected| EventLogReason::Header { expected, found: fields.len() };
    let mut cursor = Cursor::new(fields);
    // platformClass, specVersionMinor, specVersionMajor, specErrata, uintnSize: nothing depends on them.
    cursor.take(8).ok_or_else(|| cut("a class, a version and a size of 8 bytes"))?;
    let count = cursor.length32().ok_or_else(|| cut("the number of algorithms"))?;
    if !(1..=ALGORITHMS_MAX).contains(&count) {
        return Err(EventLogReason::AlgorithmCount { found: count });
    }
    let mut listed: Vec<Listed> = Vec::with_capacity(count);
    for _ in 0..count {
        let id = cursor.u16().ok_or_else(|| cut("an algorithm"))?;
        let size = usize::from(cursor.u16().ok_or_else(|| cut("the size of a digest"))?);
        if listed.iter().any(|other| other.id == id) {
            return Err(EventLogReason::AlgorithmTwice { id });
        }
        if !(1..=DIGEST_BYTES_MAX).contains(&size) {
            return Err(EventLogReason::DigestSize { found: size });
        }
        let algorithm = LogAlgorithm::from_id(id);
        if let Some(algorithm) = algorithm
            && algorithm.digest_len() != size
        {
            return Err(EventLogReason::AlgorithmSize { algorithm, found: size });
        }
        listed.push(Listed { id, size, algorithm });
    }
    let vendor = usize::from(cursor.u8().ok_or_else(|| cut("the size of the vendor's information"))?);
    if cursor.rest().len() != vendor {
        let expected = "vendor information of the size that is said, to the end of the event";
        return Err(EventLogReason::Header { expected, found: cursor.rest().len() });
    }
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(algorithms: &[(u16, u16)], rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0, 0, 0, 0, 0, 2, 0, 2]);
        bytes.extend(u32::try_from(algorithms.len()).unwrap().to_le_bytes());
        for (id, size) in algorithms {
            bytes.extend(id.to_le_bytes());
            bytes.extend(size.to_le_bytes());
        }
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn a_header_lists_its_algorithms() {
        let listed = parse(&header(&[(0xb, 32), (0x99, 7)], &[2, 1, 1])).unwrap().unwrap();
        let sha256 = Listed { id: 0xb, size: 32, algorithm: Some(LogAlgorithm::Sha256) };
        assert_eq!(listed, [sha256, Listed { id: 0x99, size: 7, algorithm: None }]);
        assert_eq!(parse(b"Spec ID Event02\0"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn a_header_that_does_not_hold_together_is_refused() {
        let refused = |bytes: &[u8]| parse(bytes).unwrap().unwrap_err();
        assert_eq!(refused(&header(&[], &[0])), EventLogReason::AlgorithmCount { found: 0 });
        let many: Vec<(u16, u16)> = (0x100..0x111).map(|id| (id, 9)).collect();
        assert_eq!(refused(&header(&many, &[0])), EventLogReason::AlgorithmCount { found: 17 });
        assert_eq!(
            refused(&header(&[(0xb, 32), (0xb, 32)], &[0])),
            EventLogReason::AlgorithmTwice { id: 0xb }
        );
        assert_eq!(refused(&header(&[(0x99, 0)], &[0])), EventLogReason::DigestSize { found: 0 });
        assert_eq!(refused(&header(&[(0x99, 129)], &[0])), EventLogReason::DigestSize { found: 129 });
        let short = EventLogReason::AlgorithmSize { algorithm: LogAlgorithm::Sha256, found: 31 };
        assert_eq!(refused(&header(&[(0xb, 31)], &[0])), short);
        for rest in [&[1][..], &[0, 0], &[3, 1, 1]] {
            assert!(matches!(refused(&header(&[(0xb, 32)], rest)), EventLogReason::Header { .. }));
        }
        let whole = header(&[(0xb, 32)], &[0]);
        for length in SIGNATURE.len()..whole.len() {
            assert!(parse(&whole[..length]).unwrap().is_err(), "{length}");
        }
    }
}
