//! Whether a command line has the kernel refuse files that are not as they were labelled, and what its list says of the enclave.

use super::command_line::CommandLine;
use crate::{
    PcrIndex, Sha256Digest,
    appraisal::ima::{Lead, TiedList},
    ima::TemplateHash,
};

/// Built-in policies (`ima_policy=`). Only `appraise_tcb` appraises what is executed; `secure_boot` does modules, firmware,
/// the next kernel and policies alone.
const POLICIES: [&str; 5] = ["tcb", "appraise_tcb", "secure_boot", "fail_securely", "critical_data"];

/// Finds that files of root are appraised, and that what does not pass is refused.
pub(super) fn check_enforced(line: &CommandLine<'_>) -> Result<(), String> {
    let mut modes = line.values("ima-appraise")?.peekable();
    if modes.peek().is_none() {
        return Err("expected ima_appraise=enforce on the command line, found none".to_owned());
    }
    if let Some(other) = modes.find(|mode| *mode != Some("enforce")) {
        return Err(format!("expected ima_appraise=enforce alone, found {:?}", other.unwrap_or_default()));
    }
    if line.anywhere("evm").any(|mode| mode == Some("fix")) {
        return Err("expected labels that are kept, found evm=fix, which renews them".to_owned());
    }
    // A kernel before 6.8 starts IMA only if the list of security modules has its part.
    for modules in line.anywhere("lsm") {
        if !modules.unwrap_or_default().split(',').any(|module| module == "integrity") {
            return Err("expected \"integrity\" among the security modules of lsm=, found none".to_owned());
        }
    }
    let mut appraised = line.values("ima-appraise-tcb")?.next().is_some();
    for policies in line.values("ima-policy")? {
        for policy in policies.unwrap_or_default().split([' ', '|', '\n']).filter(|policy| !policy.is_empty())
        {
            if !POLICIES.contains(&policy) {
                return Err(format!("expected a policy that is built into the kernel, found {policy:?}"));
            }
            appraised |= policy == "appraise_tcb";
        }
    }
    if appraised {
        return Ok(());
    }
    Err("expected a policy that appraises what is executed (ima_policy=appraise_tcb), found none".to_owned())
}

/// What a list that is tied to the quote says of the enclave. Only entries that a quoted PCR 10 vouches for count.
pub(super) fn enclave_measured(tied: &TiedList<'_>, binary: Option<&Sha256Digest>) -> Result<String, String> {
    let TiedList { log: list, leads } = tied;
    if list.violations() > 0 {
        let violations = list.violations();
        return Err(format!("expected a measurement list without violations, found {violations}"));
    }
    if list.entries().iter().any(|entry| entry.is_intact() != Some(true)) {
        return Err(
            "expected a measurement list of known templates, found entries that cannot be hashed".to_owned()
        );
    }
    let vouched = vouched_entries(leads)?;
    let Some(binary) = binary else {
        return Ok("the enclave does not say which binary it is".to_owned());
    };
    let of_pcr = list.entries().iter().filter(|entry| entry.pcr() == PcrIndex::IMA).take(vouched);
    let measured = of_pcr.filter(|entry| {
        entry
            .file_digest()
            .is_some_and(|found| found.algorithm == "sha256" && found.digest == binary.as_bytes())
    });
    match measured
        .filter_map(|entry| entry.name().map(String::from_utf8_lossy).map(|name| name.into_owned()))
        .next()
    {
        Some(name) => Ok(format!("the enclave's binary {binary} is in the list, as {name:?}")),
        None => Ok(format!("the enclave's binary {binary} is not in the list")),
    }
}

/// How many entries of PCR 10 every quoted bank vouches for, each by the bank's own hash.
fn vouched_entries(leads: &[Lead<'_>]) -> Result<usize, String> {
    let mut vouched: Option<usize> = None;
    for lead in leads.iter().filter(|lead| lead.bank.is_acceptable()) {
        let bank = lead.bank;
        let Some(prefix) = lead.vouched() else {
            return Err(format!("expected a list that leads to PCR 10 of bank {bank}, found another"));
        };
        if prefix.hash == TemplateHash::PaddedSha1 {
            return Err(format!(
                "expected PCR 10 of bank {bank} to rest on SHA-2, found SHA-1 with zeros behind it"
            ));
        }
        vouched = Some(vouched.map_or(prefix.entries, |entries| entries.min(prefix.entries)));
    }
    match vouched {
        None => Err("expected a quote over PCR 10, found none".to_owned()),
        Some(0) => Err("expected a kernel that measures, found an empty list".to_owned()),
        Some(entries) => Ok(entries),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enforced(line: &str) -> bool {
        check_enforced(&CommandLine::parse(line).unwrap()).is_ok()
    }

    #[test]
    fn only_an_enforced_policy_over_executables_counts() {
        for line in [
            "ima_appraise=enforce ima_policy=appraise_tcb",
            "ima_appraise=enforce ima_policy=tcb|appraise_tcb",
            "ima_appraise=enforce ima_policy=\"tcb appraise_tcb secure_boot\"",
            "ima_appraise=enforce ima_policy=tcb ima_policy=appraise_tcb",
            "ima-appraise=enforce ima_appraise_tcb",
            "ima_appraise=enforce ima_policy=appraise_tcb lsm=lockdown,integrity",
        ] {
            assert!(enforced(line), "{line}");
        }
        for line in [
            "ro",
            "ima_policy=appraise_tcb",
            "ima_appraise=enforce",
            "ima_appraise",
            "ima_appraise=log ima_policy=appraise_tcb",
            "ima_appraise=fix ima_policy=appraise_tcb",
            "ima_appraise=off ima_policy=appraise_tcb",
            "ima_appraise=log ima_appraise=enforce ima_policy=appraise_tcb",
            "ima_appraise=enforce ima_appraise=off ima_policy=appraise_tcb",
            "ima_appraise=enforce ima_policy=tcb",
            "ima_appraise=enforce ima_policy=secure_boot",
            "ima_appraise=enforce ima_policy=appraise_tcb,tcb",
            "ima_appraise=enforce ima_policy=appraise_tcb2",
            "ima_appraise=enforcex ima_policy=appraise_tcb",
            "ima_appraise=enforce ima_policy=appraise_tcb evm=fix",
            "ima_appraise=enforce ima_policy=appraise_tcb rd.evm=fix",
            // The kernel ignores what begins so.
            "rd.ima_appraise=enforce ima_policy=appraise_tcb",
            "ima_appraise=enforce rd.ima_appraise=enforce ima_policy=appraise_tcb",
            "ima_appraise=enforce rd.ima_policy=appraise_tcb",
            "ima_appraise=enforce rd.ima_appraise_tcb",
            "ima_appraise=enforce ima_policy=appraise_tcb lsm=lockdown",
            "ima_appraise=enforce ima_policy=appraise_tcb lsm",
        ] {
            assert!(!enforced(line), "{line}");
        }
    }
}
