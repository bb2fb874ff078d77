#![no_main]
//! Runs the target `api_body` under libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = sealstone_fuzz_targets::messages::api_body(bytes);
});
