#![no_main]
//! Runs the target `seal_payload` under libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = sealstone_fuzz_targets::enclave::seal_payload(bytes);
});
