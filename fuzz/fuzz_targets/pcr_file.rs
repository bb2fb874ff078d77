#![no_main]
//! Runs the target `pcr_file` under libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = sealstone_fuzz_targets::tpm::pcr_file(bytes);
});
