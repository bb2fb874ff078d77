#![no_main]
//! Runs the target `quote` under libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = sealstone_fuzz_targets::tpm::quote(bytes);
});
