#![no_main]
//! Runs the target `address` under libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = sealstone_fuzz_targets::values::address(bytes);
});
