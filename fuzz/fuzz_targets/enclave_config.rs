#![no_main]
//! Runs the target `enclave_config` under libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = sealstone_fuzz_targets::enclave::config(bytes);
});
