#![no_main]
//! Runs the target `audit_record` under libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = sealstone_fuzz_targets::audit::record(bytes);
});
