//! What the fuzz targets run: one function for each parser that meets untrusted bytes.
//!
//! A target takes any bytes, says whether they were taken for what the target reads, and panics where a promise is
//! broken: a parser that panics, a value that does not read as it was written, an appraisal that accepts what no
//! machine made. `cargo fuzz` calls them through `fuzz/fuzz_targets/`; the test of this crate runs them on stable
//! over the seeds in `fuzz/corpus/`.
#![forbid(unsafe_code)]

pub mod appraisal;
pub mod approval;
pub mod audit;
pub mod countersign;
pub mod enclave;
pub mod endorsement;
pub mod event_log;
mod golden;
pub mod ima;
pub mod messages;
pub mod payload;
mod round_trip;
pub mod rules;
pub mod stream;
pub mod tpm;
pub mod values;

/// One target: whether the bytes were taken.
pub type Target = fn(&[u8]) -> bool;

/// Every target, by the name of its folder of seeds and of its file for `cargo fuzz`.
pub const TARGETS: &[(&str, Target)] = &[
    ("address", values::address),
    ("api_body", messages::api_body),
    ("audit_entries", audit::entries),
    ("audit_note", audit::note),
    ("audit_proof", audit::proof),
    ("audit_record", audit::record),
    ("bare_quote", appraisal::bare_quote),
    ("channel", stream::channel),
    ("countersigned_verdict", countersign::countersigned_verdict),
    ("ek_certificate", endorsement::ek_certificate),
    ("enclave_config", enclave::config),
    ("envelope", approval::envelope),
    ("event_log", event_log::event_log),
    ("evidence", appraisal::evidence),
    ("evm_payload", payload::evm),
    ("frames", stream::frames),
    ("handshake", stream::handshake),
    ("ima", ima::list),
    ("key_path", messages::key_path),
    ("manifest", approval::manifest),
    ("manifest_approval", approval::manifest_approval),
    ("pcr_file", tpm::pcr_file),
    ("policy", rules::policy),
    ("public_area", tpm::public_area),
    ("public_key", values::public_key),
    ("quote", tpm::quote),
    ("quote_appraisal", appraisal::quote),
    ("receipts", values::receipts),
    ("reply", messages::reply),
    ("report", approval::report),
    ("request", messages::request),
    ("sanctions_csv", rules::sanctions_csv),
    ("sanctions_list", rules::sanctions_list),
    ("seal_payload", enclave::seal_payload),
    ("solana_payload", payload::solana),
    ("spki", tpm::spki),
    ("state_file", enclave::state_file),
    ("text", values::text),
    ("tpm_responses", enclave::tpm_responses),
    ("tpm_signature", tpm::signature),
    ("upload", enclave::upload),
    ("vmm_answer", stream::vmm_answer),
];
