//! What operators give the agent and the CLI: policies, sanctions lists, and the published files that those are made of.

use sealstone_attestation::{PolicyDigest, UnixTime};
use sealstone_policy::facts::Address;
use sealstone_policy::rules::Policy;
use sealstone_policy::sanctions::{Importer, SanctionsList};

/// When lists are made here.
const NOW: UnixTime = UnixTime::from_secs(1_795_230_000);

/// Bytes of a refusal: it repeats names and texts cut, each digit of them perhaps escaped.
const REFUSAL_MAX: usize = 4096;

/// A policy.
#[must_use]
pub fn policy(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let policy = match Policy::parse(text) {
        Ok(policy) => policy,
        Err(error) => {
            one_line(&error.to_string());
            return false;
        }
    };
    assert_eq!(policy.digest(), PolicyDigest::of(bytes));
    assert!(policy.price_authority().is_none() || policy.reference().is_some(), "prices are in a currency");
    for id in policy.currencies().values() {
        let (chain, of) = id.as_str().rsplit_once(':').expect("a currency names its chain");
        assert!(chain == "solana" || chain.starts_with("evm:"));
        let canonical = of.parse::<Address>().is_ok_and(|address| address.as_str() == of);
        assert!(of == "native" || canonical, "{of}");
    }
    true
}

/// A sanctions list as the agent reads it.
#[must_use]
pub fn sanctions_list(bytes: &[u8]) -> bool {
    match SanctionsList::parse(bytes) {
        Ok(list) => {
            assert!(list.count() > 0, "a list of nobody lets everybody pass");
            assert_eq!(list.to_bytes(), bytes, "a list has one spelling");
            true
        }
        Err(error) => {
            one_line(&error.to_string());
            false
        }
    }
}

/// A published file.
#[must_use]
pub fn sanctions_csv(bytes: &[u8]) -> bool {
    let mut importer = Importer::new();
    let mut read = 0;
    let outcome = importer.read(bytes, |progress| {
        assert!(progress.bytes >= read, "progress goes on");
        read = progress.bytes;
    });
    match outcome.and_then(|()| importer.finish(NOW)) {
        Ok(list) => {
            assert_eq!(SanctionsList::parse(&list.to_bytes()).as_ref(), Ok(&list));
            assert!(list.count() <= bytes.len() / 20, "an address has 20 characters at least");
            true
        }
        Err(error) => {
            one_line(&error.to_string());
            false
        }
    }
}

fn one_line(error: &str) {
    assert!(error.len() <= REFUSAL_MAX, "{} bytes", error.len());
    assert!(!error.contains(char::is_control), "{error:?}");
}
