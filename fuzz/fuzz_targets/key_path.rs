#![no_main]
//! Runs the target `key_path` under libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = sealstone_fuzz_targets::messages::key_path(bytes);
});
