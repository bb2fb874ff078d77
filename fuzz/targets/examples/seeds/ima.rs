//! Measurement lists, written by the kernel of the tests.

#[path = "../../../../attestation/tests/ima/kernel.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod kernel;

use kernel::{ascii, binary, file, one_of_each};
use sealstone_attestation::PcrBank;

use crate::save;

pub(crate) fn save_all() {
    let entries = one_of_each();
    save("ima", "templates.bin", binary(PcrBank::Sha1, &entries));
    save("ima", "templates.txt", ascii(PcrBank::Sha1, &entries));
    save("ima", "sha256.bin", binary(PcrBank::Sha256, &entries[..4]));
    save("ima", "sha512.txt", ascii(PcrBank::Sha512, &entries[..3]));
    let mixed = [file("/a"), file("/open").violated(), file("/policy").in_pcr(11), file("/b")];
    save("ima", "violation.bin", binary(PcrBank::Sha1, &mixed));
    save("ima", "violation.txt", ascii(PcrBank::Sha1, &mixed));
    save("ima", "empty", []);
}
