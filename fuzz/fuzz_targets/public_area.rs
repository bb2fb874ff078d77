#![no_main]
//! Runs the target `public_area` under libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = sealstone_fuzz_targets::tpm::public_area(bytes);
});
