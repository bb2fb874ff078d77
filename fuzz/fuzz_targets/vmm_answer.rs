#![no_main]
//! Runs the target `vmm_answer` under libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = sealstone_fuzz_targets::stream::vmm_answer(bytes);
});
