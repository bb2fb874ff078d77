#![no_main]
//! Runs the target `ek_certificate` under libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = sealstone_fuzz_targets::endorsement::ek_certificate(bytes);
});
