//! What a Solana transaction pays to be taken: for its signatures, and for its place in the queue.

use solana_address::Address as Pubkey;

use super::DecodeError;
use super::message::malformed;

/// The program whose instructions set the budget.
pub(super) const PROGRAM: Pubkey = Pubkey::from_str_const("ComputeBudget111111111111111111111111111111");

/// What a signature costs.
const SIGNATURE_LAMPORTS: u128 = 5_000;
/// In what a compute unit's price is given.
const MICROLAMPORTS: u128 = 1_000_000;
/// The most compute units of a transaction; the runtime lowers a higher limit to this.
const UNITS_MAX: u64 = 1_400_000;
/// What the runtime allots for an instruction where the message sets no limit.
const PROGRAM_UNITS: u64 = 200_000;
/// What it then allots for an instruction of a built-in program, as the budget's is (SIMD-0170). Other built-in
/// programs get no more either, but which they are changes with the cluster, so they count as any other.
const BUDGET_UNITS: u64 = 3_000;

/// The budget as far as the message was read.
#[derive(Debug, Default)]
pub(super) struct Budget {
    heap_bytes: Option<u32>,
    units: Option<u32>,
    microlamports_per_unit: Option<u64>,
    account_bytes: Option<u32>,
    /// Units where no limit is set.
    units_default: u64,
}

impl Budget {
    /// Counts an instruction of any other program.
    pub(super) fn count_program(&mut self) {
        self.units_default += PROGRAM_UNITS;
    }

    /// Reads an instruction of the budget's program. The runtime takes bytes after it; here they are refused, as are
    /// unknown instructions and repeated ones, which the runtime refuses too: the fee must be known.
    pub(super) fn read(&mut self, data: &[u8]) -> Result<(), DecodeError> {
        self.units_default += BUDGET_UNITS;
        match *data {
            [1, a, b, c, d] => once(&mut self.heap_bytes, u32::from_le_bytes([a, b, c, d])),
            [2, a, b, c, d] => once(&mut self.units, u32::from_le_bytes([a, b, c, d])),
            [3, a, b, c, d, e, f, g, h] => {
                once(&mut self.microlamports_per_unit, u64::from_le_bytes([a, b, c, d, e, f, g, h]))
            }
            [4, a, b, c, d] => once(&mut self.account_bytes, u32::from_le_bytes([a, b, c, d])),
            _ => Err(malformed("a compute budget instruction that the runtime does not have")),
        }
    }

    /// The most lamports that the transaction pays with so many signatures.
    pub(super) fn fee(&self, signatures: u8) -> u128 {
        let units = self.units.map_or(self.units_default, u64::from).min(UNITS_MAX);
        let price = self.microlamports_per_unit.unwrap_or(0);
        let priority = (u128::from(price) * u128::from(units)).div_ceil(MICROLAMPORTS);
        u128::from(signatures) * SIGNATURE_LAMPORTS + priority
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), DecodeError> {
    if slot.replace(value).is_none() {
        return Ok(());
    }
    Err(malformed("one compute budget instruction twice"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(microlamports: u64) -> Vec<u8> {
        [&[3][..], &microlamports.to_le_bytes()].concat()
    }

    fn limit(units: u32) -> Vec<u8> {
        [&[2][..], &units.to_le_bytes()].concat()
    }

    fn fee(instructions: &[Vec<u8>], programs: usize) -> u128 {
        let mut budget = Budget::default();
        for data in instructions {
            budget.read(data).unwrap();
        }
        for _ in 0..programs {
            budget.count_program();
        }
        budget.fee(1)
    }

    #[test]
    fn a_fee_is_the_most_that_the_runtime_takes() {
        assert_eq!(fee(&[], 3), 5_000, "nothing for the queue");
        assert_eq!(fee(&[limit(300_000)], 1), 5_000, "a limit without a price");
        assert_eq!(fee(&[limit(300_000), price(10)], 1), 5_003);
        assert_eq!(fee(&[price(1), limit(1)], 1), 5_001, "rounded up");
        assert_eq!(fee(&[price(1_000_000)], 1), 5_000 + 203_000, "the default of both instructions");
        assert_eq!(fee(&[price(1_000_000)], 9), 5_000 + 1_400_000, "the most of a transaction");
        assert_eq!(fee(&[limit(u32::MAX), price(1_000_000)], 1), 5_000 + 1_400_000);
        assert_eq!(
            fee(&[limit(u32::MAX), price(u64::MAX)], 1),
            5_000 + (u128::from(u64::MAX) * 1_400_000).div_ceil(1_000_000)
        );
    }

    #[test]
    fn what_leaves_the_fee_open_is_refused() {
        let mut longer = price(1);
        longer.push(0);
        for bad in
            [&[][..], &[0], &[0, 1, 0, 0, 0, 1, 0, 0, 0], &[1], &[2, 0, 0, 0], &[5, 0, 0, 0, 0], &longer]
        {
            assert!(Budget::default().read(bad).is_err(), "{bad:?}");
        }
        for good in [vec![1, 0, 0, 4, 0], limit(1), price(1), vec![4, 1, 0, 0, 0]] {
            let mut budget = Budget::default();
            budget.read(&good).unwrap();
            assert!(budget.read(&good).is_err(), "{good:?} twice");
        }
    }
}
