//! Damage to bytes that is the same in every run: flips, cuts, lying lengths, splices.

/// Numbers that lengths and counters go wrong at.
const EDGES: [u32; 8] = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff];

/// Bytes of the longest damaged input: beyond what one frame carries.
const LENGTH_MAX: usize = 70_000;

/// A fixed sequence of damages.
pub(crate) struct Damage(u64);

impl Damage {
    /// The sequence of this name.
    pub(crate) fn seeded(name: &str) -> Self {
        // FNV-1a; never zero, where the generator would stay.
        let mix = |state: u64, byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, mix) | 1)
    }

    /// A number below `end`, or 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let end = u64::try_from(end.max(1)).unwrap();
        usize::try_from((self.0 >> 11) % end).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    /// The bytes with one to four damages.
    pub(crate) fn of(&mut self, bytes: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            self.apply(&mut bytes, other);
        }
        bytes.truncate(LENGTH_MAX);
        bytes
    }

    fn apply(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len());
        let to = at + self.below(bytes.len() - at);
        match self.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = self.byte(),
            2 => bytes.truncate(at),
            3 => {
                let byte = self.byte();
                bytes.extend(std::iter::repeat_n(byte, 1 + at % 40));
            }
            4 => self.lie_about_a_length(bytes, at),
            5 => drop(bytes.drain(at..to)),
            6 => bytes.splice(at..at, bytes[at..to].to_vec()).for_each(drop),
            7 => {
                let from = self.below(other.len());
                bytes.splice(at.., other[from..].iter().copied()).for_each(drop);
            }
            // A digit of JSON or hex stays one, so that what is damaged is the value.
            _ => {
                if let Some(digit) = bytes[at..].iter_mut().find(|byte| byte.is_ascii_digit()) {
                    *digit = b'0' + self.byte() % 10;
                }
            }
        }
    }

    /// Overwrites a big-endian u16 or u32, or puts a postcard number.
    fn lie_about_a_length(&mut self, bytes: &mut Vec<u8>, at: usize) {
        let edge = match self.below(3) {
            0 => u32::try_from(bytes.len()).unwrap().wrapping_add(u32::from(self.byte() % 3)),
            _ => EDGES[self.below(EDGES.len())],
        };
        let number = edge.to_be_bytes();
        let (number, over) = match self.below(3) {
            0 => (number[2..].to_vec(), 2),
            1 => (number.to_vec(), 4),
            _ => (postcard::to_stdvec(&edge).unwrap(), 1),
        };
        let end = bytes.len().min(at + over);
        bytes.splice(at..end, number).for_each(drop);
    }
}
