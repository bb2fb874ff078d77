#![no_main]
//! Runs the target `state_file` under libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = sealstone_fuzz_targets::enclave::state_file(bytes);
});
