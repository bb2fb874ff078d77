#![no_main]
//! Runs the target `event_log` under libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = sealstone_fuzz_targets::event_log::event_log(bytes);
});
