#![no_main]
//! Runs the target `tpm_responses` under libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = sealstone_fuzz_targets::enclave::tpm_responses(bytes);
});
