#![no_main]
//! Runs the target `bare_quote` under libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = sealstone_fuzz_targets::appraisal::bare_quote(bytes);
});
