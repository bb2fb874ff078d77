//! One pass over bytes that compares every offset with every secret, in every encoding.

use std::collections::HashMap;

use super::encoding::{Encoding, encodings};
use super::quarry::{Holder, Quarry};

/// Bytes of a secret that are a hit: half of 32. 128 bits do not match by chance.
pub const PART: usize = 16;

/// Bits of the two filters. The first has 512 KiB and stays in the processor's cache; what passes it meets the second,
/// of 8 MiB, which a million patterns leave nearly empty.
const FILTER_BITS: [u32; 2] = [22, 26];

/// Knows all encodings of all parts of a quarry.
#[derive(Debug)]
pub struct Searcher {
    patterns: Vec<Pattern>,
    /// The patterns' bytes, one after the other.
    text: Vec<u8>,
    /// A bit for each hash of some pattern's first eight bytes.
    filters: [Vec<u64>; 2],
    /// A pattern that begins with these eight bytes; [`Pattern::next`] is another one.
    heads: HashMap<u64, usize>,
}

#[derive(Debug)]
struct Pattern {
    from: usize,
    to: usize,
    secret: usize,
    offset: usize,
    encoding: Encoding,
    next: Option<usize>,
}

/// A part of a secret that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Where in the bytes searched.
    pub at: usize,
    /// Which of the quarry's secrets.
    pub secret: usize,
    /// Which part of it, by its first byte.
    pub offset: usize,
    /// How it was written.
    pub encoding: Encoding,
}

impl Searcher {
    /// Looks for everything in the quarry that this process may not have.
    ///
    /// # Panics
    /// When a secret is shorter than a [`PART`].
    #[must_use]
    pub fn new(quarry: &Quarry, searched: Holder) -> Self {
        let filters = FILTER_BITS.map(|bits| vec![0; 1 << (bits - 6)]);
        let mut searcher = Self { patterns: Vec::new(), text: Vec::new(), filters, heads: HashMap::new() };
        for (number, secret) in quarry.secrets().iter().enumerate() {
            if searched == Holder::Agent && secret.holder == Holder::Agent {
                continue;
            }
            assert!(secret.bytes.len() >= PART, "{} is too short to be looked for", secret.kind);
            let last = secret.bytes.len() - PART;
            let mut offsets: Vec<usize> = (0..=last).step_by(PART).collect();
            if !last.is_multiple_of(PART) {
                offsets.push(last);
            }
            for offset in offsets {
                for (encoding, bytes) in encodings(&secret.bytes[offset..offset + PART]) {
                    searcher.add(&bytes, number, offset, encoding);
                }
            }
        }
        searcher
    }

    fn add(&mut self, bytes: &[u8], secret: usize, offset: usize, encoding: Encoding) {
        let word = word(bytes, 0);
        for (filter, bits) in self.filters.iter_mut().zip(FILTER_BITS) {
            let bit = hash(word, bits);
            filter[bit >> 6] |= 1 << (bit & 63);
        }
        let from = self.text.len();
        self.text.extend_from_slice(bytes);
        let next = self.heads.insert(word, self.patterns.len());
        self.patterns.push(Pattern { from, to: self.text.len(), secret, offset, encoding, next });
    }

    /// Every part of every secret in these bytes.
    pub fn search(&self, bytes: &[u8], mut found: impl FnMut(Match)) {
        let [first, second] = &self.filters;
        let passes = |filter: &[u64], bits, word| {
            let bit = hash(word, bits);
            filter[bit >> 6] & (1 << (bit & 63)) != 0
        };
        for at in 0..(bytes.len() + 1).saturating_sub(PART) {
            let word = word(bytes, at);
            if !passes(first, FILTER_BITS[0], word) || !passes(second, FILTER_BITS[1], word) {
                continue;
            }
            let mut next = self.heads.get(&word).copied();
            while let Some(number) = next {
                let pattern = &self.patterns[number];
                if bytes[at..].starts_with(&self.text[pattern.from..pattern.to]) {
                    let Pattern { secret, offset, encoding, .. } = *pattern;
                    found(Match { at, secret, offset, encoding });
                }
                next = pattern.next;
            }
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("the caller leaves a whole part after `at`"))
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "26 bits")]
fn hash(word: u64, bits: u32) -> usize {
    // Fibonacci hashing: the upper bits of the product depend on all bits of the word.
    (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits)) as usize
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn random(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        getrandom::fill(&mut bytes).unwrap();
        bytes
    }

    fn matches(searcher: &Searcher, bytes: &[u8]) -> Vec<Match> {
        let mut all = Vec::new();
        searcher.search(bytes, |one| all.push(one));
        all
    }

    #[test]
    fn each_half_of_a_planted_secret_is_found_in_every_encoding_at_every_offset() {
        let secrets: Vec<Vec<u8>> = [16, 32, 40, 48, 64].map(random).to_vec();
        let mut quarry = Quarry::default();
        for secret in &secrets {
            quarry.add("planted", "", secret);
        }
        let searcher = Searcher::new(&quarry, Holder::Enclave);
        for (number, secret) in secrets.iter().enumerate() {
            for offset in [0, secret.len() - PART] {
                for (encoding, text) in encodings(&secret[offset..offset + PART]) {
                    for at in [0, 1, 7, 8, 4095, 5000] {
                        let mut bytes = random(at + text.len());
                        bytes[at..].copy_from_slice(&text);
                        let found = matches(&searcher, &bytes);
                        assert!(
                            found.contains(&Match { at, secret: number, offset, encoding }),
                            "{} bytes from {offset} as {encoding} at {at}: {found:?}",
                            secret.len()
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn less_than_half_a_secret_random_bytes_and_nothing_are_no_hits() {
        let secret = random(32);
        let mut quarry = Quarry::default();
        quarry.add("planted", "", &secret);
        let searcher = Searcher::new(&quarry, Holder::Enclave);
        assert_eq!(matches(&searcher, &random(1 << 20)), []);
        assert_eq!(matches(&searcher, &vec![0; 1 << 16]), []);
        assert_eq!(matches(&searcher, &secret[..15]), []);
        assert_eq!(matches(&searcher, &[]), []);
        let mut damaged = secret.clone();
        damaged[5] ^= 1;
        damaged[20] ^= 0x80;
        assert_eq!(matches(&searcher, &damaged), []);
    }

    #[test]
    fn what_the_agent_shares_with_the_enclave_is_looked_for_in_the_enclave_only() {
        let shared = random(32);
        let mut quarry = Quarry::default();
        quarry.add_shared("the channel's", "", &shared);
        assert!(matches(&Searcher::new(&quarry, Holder::Agent), &shared).is_empty());
        assert!(!matches(&Searcher::new(&quarry, Holder::Enclave), &shared).is_empty());
    }
}
