//! TPM firmware that is known to be bad.
//!
//! A version says nothing without its manufacturer, and a quote names only the version: the manufacturer comes from the
//! endorsement key's certificate. What is not listed is not thereby good.

use serde::Serialize;

/// What is wrong with a TPM's firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FirmwareFlaw {
    /// The vulnerability.
    pub cve: &'static str,
    /// What it does, for people.
    pub effect: &'static str,
}

/// CVE-2017-15361. The endorsement key's own fingerprint is tested apart; this also covers keys made later.
const ROCA: FirmwareFlaw =
    FirmwareFlaw { cve: "CVE-2017-15361", effect: "makes RSA keys that can be factored (ROCA)" };

/// CVE-2019-16863.
const TPM_FAIL_ST: FirmwareFlaw = FirmwareFlaw {
    cve: "CVE-2019-16863",
    effect: "leaks ECDSA keys by the time it takes to sign (TPM-Fail)",
};

/// CVE-2019-11090.
const TPM_FAIL_INTEL: FirmwareFlaw = FirmwareFlaw {
    cve: "CVE-2019-11090",
    effect: "leaks ECDSA keys by the time it takes to sign (TPM-Fail)",
};

/// Manufacturers (TCG TPM Vendor ID Registry), as certificates spell them.
const INFINEON: &str = "id:49465800";
const ST: &str = "id:53544D20";
const INTEL: &str = "id:494E5443";

/// Infineon's advisory and Microsoft's ADV170012: major version, and the first and last minor version affected.
const ROCA_VERSIONS: [(u16, u16, u16); 6] =
    [(4, 0, 33), (4, 40, 42), (5, 0, 61), (6, 0, 42), (7, 0, 61), (133, 0, 32)];

/// ST's advisory on firmware updates for ECDSA signature generation: exactly these versions.
const TPM_FAIL_ST_VERSIONS: [(u16, u16); 14] = [
    (71, 0),
    (71, 4),
    (71, 12),
    (73, 0),
    (73, 4),
    (73, 5),
    (73, 8),
    (73, 9),
    (74, 0),
    (74, 4),
    (74, 5),
    (74, 8),
    (74, 9),
    (74, 16),
];

/// INTEL-SA-00241, Platform Trust Technology and Trusted Execution Engine: major version, the branches up to and with which
/// minor version, and the first hotfix of that branch that is fixed; all of the earlier ones are affected.
const TPM_FAIL_INTEL_FIXED: [(u16, u16, u16, u16); 7] = [
    (3, 0, 1, 70),
    (4, 0, 0, 20),
    (11, 0, 8, 70),
    (11, 9, 12, 70),
    (11, 13, 22, 70),
    (12, 0, 0, 45),
    (14, 0, 0, 10),
];

/// What is known against this firmware (`TPMS_ATTEST.firmwareVersion`: major, minor, then two more numbers of 16 bits).
#[must_use]
pub fn known_flaw(manufacturer: &str, firmware_version: u64) -> Option<FirmwareFlaw> {
    let part = |shift: u32| u16::try_from(firmware_version >> shift & 0xffff).expect("masked to 16 bits");
    let (major, minor, hotfix) = (part(48), part(32), part(16));
    let is = |known: &str| manufacturer.eq_ignore_ascii_case(known);
    if is(INFINEON) {
        let affected = |&(of, first, last): &(u16, u16, u16)| of == major && (first..=last).contains(&minor);
        return ROCA_VERSIONS.iter().any(affected).then_some(ROCA);
    }
    if is(ST) {
        return TPM_FAIL_ST_VERSIONS.contains(&(major, minor)).then_some(TPM_FAIL_ST);
    }
    if is(INTEL) {
        let affected = |&(of, first, last, fixed): &(u16, u16, u16, u16)| {
            of == major && (first..=last).contains(&minor) && (minor, hotfix) < (last, fixed)
        };
        return TPM_FAIL_INTEL_FIXED.iter().any(affected).then_some(TPM_FAIL_INTEL);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(parts: [u16; 4]) -> u64 {
        parts.into_iter().fold(0, |sum, part| sum << 16 | u64::from(part))
    }

    #[test]
    fn versions_are_judged_by_their_own_manufacturer_and_branch() {
        for (manufacturer, parts, expected) in [
            ("id:49465800", [7, 61, 2785, 0], Some(ROCA)),
            ("id:49465800", [7, 62, 12, 13824], None),
            ("id:49465800", [5, 61, 2785, 0], Some(ROCA)),
            ("id:49465800", [5, 62, 3126, 0], None),
            ("id:49465800", [4, 34, 0, 0], None),
            ("id:49465800", [4, 41, 0, 0], Some(ROCA)),
            ("id:49465800", [4, 43, 0, 0], None),
            ("id:49465800", [133, 33, 0, 0], None),
            ("id:49465800", [15, 23, 0, 0], None),
            ("id:53544d20", [73, 4, 0, 0], Some(TPM_FAIL_ST)),
            ("id:53544D20", [73, 20, 0, 0], None),
            ("id:53544D20", [73, 64, 0, 0], None),
            ("id:53544D20", [7, 61, 0, 0], None),
            ("id:494E5443", [11, 8, 69, 3399], Some(TPM_FAIL_INTEL)),
            ("id:494E5443", [11, 8, 70, 3626], None),
            ("id:494E5443", [12, 0, 35, 1427], Some(TPM_FAIL_INTEL)),
            ("id:494E5443", [12, 0, 45, 0], None),
            ("id:494E5443", [11, 0, 18, 1002], Some(TPM_FAIL_INTEL)),
            ("id:494E5443", [11, 6, 99, 0], Some(TPM_FAIL_INTEL)),
            ("id:494E5443", [11, 12, 69, 0], Some(TPM_FAIL_INTEL)),
            ("id:494E5443", [11, 12, 70, 0], None),
            ("id:494E5443", [11, 21, 80, 0], Some(TPM_FAIL_INTEL)),
            ("id:494E5443", [11, 22, 70, 0], None),
            ("id:494E5443", [3, 1, 69, 0], Some(TPM_FAIL_INTEL)),
            ("id:494E5443", [4, 0, 20, 0], None),
            ("id:494E5443", [14, 0, 9, 0], Some(TPM_FAIL_INTEL)),
            ("id:494E5443", [15, 0, 0, 0], None),
            ("id:494E5443", [600, 7, 1, 1], None),
            ("id:414D4400", [7, 61, 0, 0], None),
            ("", [7, 61, 0, 0], None),
        ] {
            assert_eq!(known_flaw(manufacturer, version(parts)), expected, "{manufacturer} {parts:?}");
        }
    }
}
