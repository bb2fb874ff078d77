#![no_main]
//! Runs the target `public_key` under libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = sealstone_fuzz_targets::values::public_key(bytes);
});
