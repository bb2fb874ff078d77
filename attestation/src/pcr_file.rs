//! Files with values of PCRs: our JSON, and what tpm2-tools write (`tpm2_quote -o`, `tpm2_pcrread -o`).
//!
//! tpm2-tools' usual form is its memory, little-endian: a selection of 16 places, a count, and lists of 8 places for
//! digests. Its form `values` is the values alone, in the order of the selection.

use thiserror::Error;

use crate::{PcrBank, PcrError, PcrIndex, PcrSelection, PcrValues, SelectedBank};

/// Places of a selection (`TPM2_NUM_PCR_BANKS`).
const BANKS: usize = 16;

/// Bytes of one place: hash, count of octets, 4 octets, one of padding.
const BANK_LEN: usize = 8;

/// Octets of a selection's bitmap (`TPM2_PCR_SELECT_MAX`).
const OCTETS: usize = 4;

/// Digests of one list, as many as TPM2_PCR_Read returns.
const DIGESTS: usize = 8;

/// Bytes of the longest digest.
const DIGEST_LEN: usize = 64;

/// Bytes of one list: a count and its places, each a length and a digest.
const LIST_LEN: usize = 4 + DIGESTS * (2 + DIGEST_LEN);

/// Bytes before the lists: a selection with its count, and the count of lists.
const HEAD_LEN: usize = 4 + BANKS * BANK_LEN + 4;

/// Bytes of the longest file: 24 values of each of 4 banks, and room for JSON around them.
const BYTES_MAX: usize = 64 * 1024;

/// What a file says of PCRs; nothing of it is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PcrFile {
    /// Values that are named by bank and PCR.
    Named(PcrValues),
    /// Values alone, in the order of whatever selection was quoted.
    Unnamed(Vec<u8>),
}

impl PcrFile {
    /// Reads any of the forms.
    ///
    /// # Errors
    /// [`PcrFileError`] says why it is none of them.
    pub fn parse(bytes: &[u8]) -> Result<Self, PcrFileError> {
        if bytes.is_empty() || bytes.len() > BYTES_MAX {
            return Err(PcrFileError::Length { found: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.trim_start().starts_with('{'));
        if let Some(text) = text {
            let values = serde_json::from_str(text);
            return values.map(Self::Named).map_err(|error| PcrFileError::Json(error.to_string()));
        }
        if let Some(values) = serialized(bytes)? {
            return Ok(Self::Named(values));
        }
        // The shortest values have 20 bytes; all lengths are multiples of 4.
        if bytes.len().is_multiple_of(4) && bytes.len() >= PcrBank::Sha1.digest_len() {
            Ok(Self::Unnamed(bytes.to_vec()))
        } else {
            Err(PcrFileError::Unknown)
        }
    }

    /// The values by bank and PCR, where unnamed ones are those of a quote's selection.
    ///
    /// # Errors
    /// [`PcrFileError`] when unnamed values are not exactly as long as the selection's.
    pub fn values(self, selection: &PcrSelection) -> Result<PcrValues, PcrFileError> {
        match self {
            Self::Named(values) => Ok(values),
            Self::Unnamed(bytes) => named_by(selection.banks(), &bytes),
        }
    }
}

impl PcrValues {
    /// The file that tpm2-tools read beside a quote of this selection (`tpm2_checkquote -f`).
    ///
    /// # Errors
    /// [`PcrFileError`] when a selected value is missing, or there are more banks than tpm2-tools have places for.
    pub fn to_tpm2_tools(&self, selection: &PcrSelection) -> Result<Vec<u8>, PcrFileError> {
        selection.check_values(self).map_err(|_| PcrFileError::NotSelected)?;
        if selection.banks().len() > BANKS {
            return Err(PcrFileError::NotSelected);
        }
        let count = u32::try_from(selection.banks().len()).expect("at most 16");
        let mut bytes = count.to_le_bytes().to_vec();
        let mut values: Vec<&[u8]> = Vec::new();
        for entry in selection.banks() {
            bytes.extend(entry.algorithm.to_le_bytes());
            let mut octets = [0_u8; OCTETS];
            for index in &entry.pcrs {
                octets[usize::from(index.get() / 8)] |= 1 << (index.get() % 8);
                let bank = entry.bank().expect("its values were just found");
                values.push(self.get(bank, *index).expect("its values were just found"));
            }
            // A PC has 24 PCRs: 3 octets count.
            bytes.push(3);
            bytes.extend(octets);
            bytes.push(0);
        }
        bytes.resize(HEAD_LEN - 4, 0);
        let lists = values.chunks(DIGESTS);
        bytes.extend(u32::try_from(lists.len()).expect("at most 12").to_le_bytes());
        for list in lists {
            let end = bytes.len() + LIST_LEN;
            bytes.extend(u32::try_from(list.len()).expect("at most 8").to_le_bytes());
            for value in list {
                let place = bytes.len() + 2 + DIGEST_LEN;
                bytes.extend(u16::try_from(value.len()).expect("at most 64").to_le_bytes());
                bytes.extend_from_slice(value);
                bytes.resize(place, 0);
            }
            bytes.resize(end, 0);
        }
        Ok(bytes)
    }
}

/// tpm2-tools' usual form; `None` if the length is of another one.
fn serialized(bytes: &[u8]) -> Result<Option<PcrValues>, PcrFileError> {
    let Some((head, lists)) = bytes.split_at_checked(HEAD_LEN) else { return Ok(None) };
    let count = |at: usize| -> usize {
        let bytes: [u8; 4] = head[at..at + 4].try_into().expect("four bytes were taken");
        usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX)
    };
    if !lists.len().is_multiple_of(LIST_LEN)
        || count(0) > BANKS
        || count(HEAD_LEN - 4) != lists.len() / LIST_LEN
    {
        return Ok(None);
    }
    let banks: Result<Vec<SelectedBank>, PcrFileError> =
        head[4..].chunks_exact(BANK_LEN).take(count(0)).map(selected).collect();
    let mut values = Vec::new();
    for list in lists.chunks_exact(LIST_LEN) {
        let (digests, places) = list.split_at(4);
        let digests = u32::from_le_bytes(digests.try_into().expect("four bytes were taken"));
        let digests = usize::try_from(digests).unwrap_or(usize::MAX);
        if digests > DIGESTS {
            return Err(PcrFileError::Serialized);
        }
        for place in places.chunks_exact(2 + DIGEST_LEN).take(digests) {
            let length = usize::from(u16::from_le_bytes([place[0], place[1]]));
            values.extend_from_slice(place[2..].get(..length).ok_or(PcrFileError::Serialized)?);
        }
    }
    named_by(&banks?, &values).map(Some)
}

fn selected(place: &[u8]) -> Result<SelectedBank, PcrFileError> {
    let algorithm = u16::from_le_bytes([place[0], place[1]]);
    let octets = place[3..].get(..usize::from(place[2])).filter(|octets| octets.len() <= OCTETS);
    let octets = octets.ok_or(PcrFileError::Serialized)?;
    let bits = (0_u8..).zip(octets).flat_map(|(at, octet)| {
        (0..8_u8).filter(move |bit| octet & (1 << bit) != 0).map(move |bit| at * 8 + bit)
    });
    let pcrs = bits.map(PcrIndex::new).collect::<Option<_>>().ok_or(PcrFileError::Serialized)?;
    Ok(SelectedBank { algorithm, pcrs })
}

/// Gives values to the PCRs of a selection, in order, with none left over.
fn named_by(banks: &[SelectedBank], bytes: &[u8]) -> Result<PcrValues, PcrFileError> {
    let known = |entry: &SelectedBank| entry.bank().ok_or(PcrFileError::Bank { found: entry.algorithm });
    let mut values = PcrValues::new();
    let mut rest = bytes;
    let mut expected = 0;
    for entry in banks.iter().filter(|entry| !entry.pcrs.is_empty()) {
        let bank = known(entry)?;
        expected += entry.pcrs.len() * bank.digest_len();
        for &index in &entry.pcrs {
            let Some((value, behind)) = rest.split_at_checked(bank.digest_len()) else { continue };
            values.insert(bank, index, value.to_vec())?;
            rest = behind;
        }
    }
    if bytes.len() == expected {
        Ok(values)
    } else {
        Err(PcrFileError::Values { expected, found: bytes.len() })
    }
}

/// Why a file tells no values.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PcrFileError {
    /// Nothing, or more than all PCRs.
    #[error("expected PCR values of 1 to {BYTES_MAX} bytes, found {found}")]
    Length {
        /// Bytes given.
        found: usize,
    },
    /// Text that is not our JSON.
    #[error("expected JSON such as {{\"sha256\": {{\"0\": \"HEX\"}}}}: {0}")]
    Json(String),
    /// None of the forms.
    #[error("expected PCR values as JSON or as tpm2-tools write them, found something else")]
    Unknown,
    /// tpm2-tools' form, with numbers that it never writes.
    #[error("expected PCR values as tpm2-tools write them, found a count, length or PCR that none has")]
    Serialized,
    /// A bank that is not known here.
    #[error("expected the banks sha1, sha256, sha384 and sha512, found algorithm {found:#06x}")]
    Bank {
        /// `TPM_ALG_ID`.
        found: u16,
    },
    /// Not as many values as PCRs.
    #[error("expected {expected} bytes of values for the selected PCRs, found {found}")]
    Values {
        /// Bytes of the selection's values.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// Values that are not those of the selection.
    #[error("expected a value for each selected PCR and no other, found others")]
    NotSelected,
    /// A PCR twice.
    #[error(transparent)]
    Value(#[from] PcrError),
}
