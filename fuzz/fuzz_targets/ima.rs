#![no_main]
//! Runs the target `ima` under libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = sealstone_fuzz_targets::ima::list(bytes);
});
