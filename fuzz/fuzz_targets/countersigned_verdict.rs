#![no_main]
//! Runs the target `countersigned_verdict` under libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = sealstone_fuzz_targets::countersign::countersigned_verdict(bytes);
});
