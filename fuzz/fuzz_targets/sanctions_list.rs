#![no_main]
//! Runs the target `sanctions_list` under libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = sealstone_fuzz_targets::rules::sanctions_list(bytes);
});
