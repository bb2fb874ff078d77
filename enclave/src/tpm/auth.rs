//! Auth values: what the enclave knows and the relay does not.

use crate::secret::{Inside, Secret};

/// Bytes of an auth value: the digest size of SHA-256, the most that an object with that name algorithm takes.
pub const AUTH_LEN: usize = 32;

/// The secret that a TPM entity is used with. Wiped on drop, never printed.
#[allow(missing_debug_implementations, reason = "a secret is never printed")]
pub struct AuthValue(Secret<AUTH_LEN>);

impl AuthValue {
    /// An auth value that `fill` writes in place, from zeros.
    #[must_use]
    pub fn filled(inside: &Inside, fill: impl FnOnce(&mut [u8; AUTH_LEN])) -> Self {
        Self(Secret::filled(inside, fill))
    }

    /// The bytes as the TPM uses them: it strips trailing zeros before it stores an auth value or makes it part of
    /// a key (TPM 2.0 Part 1, 19, authorization values).
    pub(super) fn trimmed<'a>(&'a self, inside: &'a Inside) -> &'a [u8] {
        let bytes = self.0.expose(inside);
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        &bytes[..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret;

    #[test]
    fn trailing_zeros_are_not_part_of_an_auth_value_and_others_are() {
        let mut bytes = [0; AUTH_LEN];
        secret::run(|inside| {
            let mut trimmed_len = |position: usize, value| {
                bytes[position] = value;
                AuthValue::filled(inside, |auth| *auth = bytes).trimmed(inside).len()
            };
            assert_eq!(trimmed_len(0, 0), 0);
            assert_eq!(trimmed_len(3, 7), 4);
            assert_eq!(trimmed_len(AUTH_LEN - 1, 1), AUTH_LEN);
        });
    }
}
