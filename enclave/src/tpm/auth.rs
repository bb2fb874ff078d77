//! Auth values: what the enclave knows and the relay does not.

use zeroize::Zeroizing;

/// Bytes of an auth value: the digest size of SHA-256, the most that an object with that name algorithm takes.
pub const AUTH_LEN: usize = 32;

/// The secret that a TPM entity is used with. Wiped on drop, never printed.
#[allow(missing_debug_implementations, reason = "a secret is never printed")]
pub struct AuthValue(Zeroizing<[u8; AUTH_LEN]>);

impl AuthValue {
    /// An auth value of these bytes.
    #[must_use]
    pub fn new(bytes: &[u8; AUTH_LEN]) -> Self {
        let mut copy = Zeroizing::new([0; AUTH_LEN]);
        copy.copy_from_slice(bytes);
        Self(copy)
    }

    /// The bytes as the TPM uses them: it strips trailing zeros before it stores an auth value or makes it part of
    /// a key (TPM 2.0 Part 1, 19, authorization values).
    pub(super) fn trimmed(&self) -> &[u8] {
        let end = self.0.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        &self.0[..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_zeros_are_not_part_of_an_auth_value_and_others_are() {
        let mut bytes = [0; AUTH_LEN];
        assert!(AuthValue::new(&bytes).trimmed().is_empty());
        bytes[3] = 7;
        assert_eq!(AuthValue::new(&bytes).trimmed(), [0, 0, 0, 7]);
        bytes[AUTH_LEN - 1] = 1;
        assert_eq!(AuthValue::new(&bytes).trimmed().len(), AUTH_LEN);
    }
}
