//! Lists of real machines. Data of other projects stay out of this repository: they are read from the folder that
//! `SEALSTONE_CORPORA` names (default: `../shared/corpora` beside the workspace). Without it the test says so.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sealstone_attestation::{
    PcrBank, PcrIndex,
    ima::{ImaList, TemplateHash},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Indexed {
    path: String,
    parse: String,
    #[serde(default)]
    format: String,
    #[serde(default)]
    entries: usize,
    #[serde(default)]
    templates: BTreeMap<String, usize>,
    #[serde(default)]
    template_digest_mismatches: usize,
    #[serde(default)]
    violations: usize,
    #[serde(default)]
    pcr10_sha1: String,
    #[serde(default)]
    pcr10_sha256_padded_sha1: String,
    #[serde(default)]
    pcr10_sha256_rehashed: String,
}

#[test]
fn lists_of_real_machines_read_and_replay_as_an_independent_parser_says() {
    let folder = std::env::var_os("SEALSTONE_CORPORA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"),
        PathBuf::from,
    );
    let Ok(index) = std::fs::read(folder.join("ima_index.json")) else {
        println!("no corpora at {}: lists of real machines are not checked", folder.display());
        return;
    };
    let index: Vec<Indexed> = serde_json::from_slice(&index).unwrap();
    assert!(!index.is_empty());
    for expected in &index {
        let bytes = std::fs::read(folder.join(&expected.path)).unwrap();
        let parsed = ImaList::parse(&bytes);
        if expected.parse != "ok" {
            let error = parsed.expect_err(&expected.path).to_string();
            assert!(error.starts_with("at line 1: expected "), "{}: {error}", expected.path);
            continue;
        }
        let list = parsed.unwrap_or_else(|error| panic!("{}: {error}", expected.path));
        assert_eq!(list.encoding().name(), expected.format);
        assert_eq!(list.entries().len(), expected.entries);
        assert_eq!(list.violations(), expected.violations);
        assert_eq!(list.mismatches().count(), expected.template_digest_mismatches);
        let templates: BTreeMap<String, usize> =
            list.templates().into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        assert_eq!(templates, expected.templates);
        let pcr10 = |bank, hash| hex::encode(list.replay(PcrIndex::new(10).unwrap(), bank, hash).unwrap());
        assert_eq!(pcr10(PcrBank::Sha1, TemplateHash::PerBank), expected.pcr10_sha1);
        assert_eq!(pcr10(PcrBank::Sha256, TemplateHash::PaddedSha1), expected.pcr10_sha256_padded_sha1);
        assert_eq!(pcr10(PcrBank::Sha256, TemplateHash::PerBank), expected.pcr10_sha256_rehashed);
    }
    println!("{} lists checked", index.len());
}
