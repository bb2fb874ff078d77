#![no_main]
//! Runs the target `solana_payload` under libFuzzer.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = sealstone_fuzz_targets::payload::solana(bytes);
});
