//! Stories of an auditor who reads the verdict as a page: what it shows, and what it does not let in.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

#[path = "../attestation/tests/event_log/builder.rs"]
mod builder;
mod support;

use builder::{LogBuilder, honest};
use sealstone_attestation::event_log::{EventType, Guid, LogAlgorithm};
use sealstone_attestation::{Base64Bytes, Evidence, PcrValues, Protection, Purpose};
use sha2::{Digest as _, Sha256};
use support::evidence::{NONCE, evidence_with, requoted};
use support::{Desk, FIRST, enrolment};

const BANK: [LogAlgorithm; 1] = [LogAlgorithm::Sha256];

const PCRS: [u32; 9] = [0, 1, 2, 3, 4, 5, 6, 7, 8];

/// Bytes of a page, whatever was handed in: what a browser opens at once and a mail takes.
const PAGE_MAX: usize = 2 * 1024 * 1024;

/// An auditor with a manifest that approves the honest boot.
struct Audit {
    desk: Desk,
}

impl Audit {
    fn new() -> Self {
        Self::of(&BANK, "sha256")
    }

    /// With a state in this bank, of a machine that has these.
    fn of(banks: &[LogAlgorithm], bank: &str) -> Self {
        let desk = Desk::with_node(&["alice"], 1);
        let mut read = enrolment(1, 0);
        read["pcrs"] = serde_json::to_value(honest(banks).quoted(&PCRS)).unwrap();
        desk.write("enrolment.json", read.to_string());
        desk.done(&format!("{FIRST} --pcrs {bank}:0,1,2,3,4,5,6,7,8"));
        desk.done("manifest sign v1 --key alice.key");
        Self { desk }
    }

    /// What the node shows after the boot of this log.
    fn evidence(&self, log: &LogBuilder, name: &str) -> Evidence {
        self.quoting(only(&log.quoted(&PCRS), &["sha256"]), log.bytes(), name)
    }

    /// What the node shows with these values and this log.
    fn quoting(&self, values: PcrValues, log: Vec<u8>, name: &str) -> Evidence {
        let evidence = evidence_with(&self.desk.read("v1"), 1, 0, Purpose::Evidence, |report| {
            report.node = name.to_owned();
            report.protections = vec![
                Protection { name: "memfd_secret".to_owned(), active: true, detail: "all slots".to_owned() },
                Protection { name: "yama".to_owned(), active: false, detail: "ptrace_scope = 1".to_owned() },
            ];
            Vec::new()
        });
        let mut evidence = requoted(evidence, 1, values);
        evidence.event_log = Some(Base64Bytes(log));
        evidence
    }

    /// The page of this evidence, which must come to this exit code, with and without it.
    fn page(&self, evidence: &Evidence, exit: i32, options: &str) -> String {
        self.desk.write("evidence.json", evidence.to_json());
        let line =
            format!("verify evidence.json --nonce {NONCE} --manifest v1 --at 2026-11-21T23:00:00Z {options}");
        let plain = self.desk.run(&line);
        let outcome = self.desk.run(&format!("{line} --html page.html"));
        assert_eq!((outcome.exit, plain.exit), (exit, exit), "{}", outcome.json);
        assert_eq!(outcome.json, plain.json, "the page changes no answer");
        let page = String::from_utf8(self.desk.read("page.html")).unwrap();
        harmless(&page);
        page
    }
}

fn only(values: &PcrValues, banks: &[&str]) -> PcrValues {
    let mut of_bank = PcrValues::new();
    for (bank, index, value) in values.iter().filter(|(bank, ..)| banks.contains(&bank.name())) {
        of_bank.insert(bank, index, value.to_vec()).unwrap();
    }
    of_bank
}

/// Nothing is run, loaded or hidden, and the style is the one that the policy names.
fn harmless(page: &str) {
    let lower = page.to_lowercase();
    for bad in [
        "<script",
        "<img",
        "<iframe",
        "<object",
        "<link",
        "<base",
        "<form",
        "<svg",
        "javascript:",
        "@import",
        "url(",
    ] {
        assert!(!lower.contains(bad), "{bad}");
    }
    for tag in lower.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap();
        let name = tag.split([' ', '/']).next().unwrap();
        assert!(!tag.contains(" on") || name == "meta" || !tag.contains('='), "an event handler: {tag}");
        assert!(!tag.contains(" style="), "a style that the policy does not name: {tag}");
    }
    assert!(!page.chars().any(|c| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c)));
    let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    use base64::Engine as _;
    let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(style));
    let policy = format!(
        "default-src &#39;none&#39;; style-src &#39;sha256-{digest}&#39;; img-src &#39;none&#39;; base-uri &#39;none&#39;; form-action &#39;none&#39;"
    );
    let policy = if page.contains(&policy) { policy } else { policy.replace("&#39;", "'") };
    assert!(
        page.contains(&format!("http-equiv=\"Content-Security-Policy\" content=\"{policy}\"")),
        "no such policy"
    );
    assert!(page.find("http-equiv").unwrap() < page.find("<style>").unwrap());
    assert!(page.len() < PAGE_MAX, "{} bytes", page.len());
}

/// The text of one section.
fn section<'p>(page: &'p str, id: &str) -> &'p str {
    let from = page.find(&format!("<section aria-labelledby=\"{id}\">")).unwrap();
    let to = page[from..].find("</section>").unwrap();
    &page[from..from + to]
}

/// The page's text without its tags.
fn text(html: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in html.chars() {
        match c {
            '<' => inside = true,
            '>' => inside = false,
            c if !inside => out.push(c),
            _ => {}
        }
    }
    out.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

#[test]
fn accepted_evidence_shows_levels_checks_facts_and_what_was_not_asked() {
    let audit = Audit::new();
    let page = audit.page(&audit.evidence(&honest(&BANK), "node-1"), 0, "");
    assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">"));
    assert!(page.contains("<title>Accepted: evidence of node-1</title>"));
    let verdict = text(section(&page, "verdict"));
    for level in ["Authentic✓ passed", "Fresh✓ passed", "State approved✓ passed", "Code measured? not shown"]
    {
        assert!(verdict.contains(level), "{level}: {verdict}");
    }
    assert!(verdict.contains("yama"), "its warnings: {verdict}");
    assert!(text(section(&page, "expected")).contains(NONCE));
    assert!(text(section(&page, "checks")).contains("signature.valid✓ passed"));
    let boot = text(section(&page, "boot"));
    for fact in [
        "✓ fact secure boot: on event 3",
        "✓ fact firmware version: \"1.0\"",
        "✓ fact command line: /vmlinuz-6.12 root=/dev/mapper/root ro lockdown=confidentiality",
        "; the log describes it as \\EFI\\debian\\shimx64.efi",
        // PCR 14 is not quoted, and nothing else holds the kernel's later measurements.
        "~ not proven shim: content with the sha256 digest",
        "? unknown code that ran:",
    ] {
        assert!(boot.contains(fact), "{fact}: {boot}");
    }
    let pcrs = text(section(&page, "pcrs"));
    assert!(pcrs.contains("every PCR of boot-1 is as approved") && !pcrs.contains("differs"), "{pcrs}");
    assert!(text(section(&page, "enclave")).contains("yama✗ not active"));
    assert!(text(section(&page, "audit-log")).contains("anchors no audit log"));
    let ask = text(section(&page, "ask"));
    assert!(ask.contains("– not asked code.measuredWhat shows which programs ran"), "{ask}");
    assert!(!ask.contains("✗ failed"), "{ask}");
}

#[test]
fn a_state_that_is_not_approved_is_marked_and_the_events_that_were_added_are_named() {
    let audit = Audit::new();
    let mut log = honest(&BANK);
    log.grub("kernel_cmdline: ", "/vmlinuz-6.13 init=/bin/sh");
    let page = audit.page(&audit.evidence(&log, "node-1"), 1, "");
    assert!(page.contains("<title>Refused: evidence of node-1</title>"));
    let verdict = text(section(&page, "verdict"));
    assert!(verdict.contains("Authentic✓ passed") && verdict.contains("State approved✗ failed"), "{verdict}");
    let pcrs = text(section(&page, "pcrs"));
    assert!(pcrs.contains("1 PCR differs from boot-1"), "{pcrs}");
    assert!(
        pcrs.contains("Why PCR 8 differs from boot-1The first 2 of its events lead to the approved value. These came after"),
        "{pcrs}"
    );
    assert!(pcrs.contains("init=/bin/sh") && pcrs.contains("✗ differs"), "{pcrs}");
    assert_eq!(section(&page, "pcrs").matches("<tr class=\"differs\">").count(), 1);
    let ask = text(section(&page, "ask"));
    assert!(ask.contains("✗ failed state.approvedWhat changed on the machine"), "{ask}");
}

#[test]
fn an_event_that_was_exchanged_is_not_guessed() {
    let audit = Audit::new();
    let mut log = LogBuilder::agile(&BANK);
    log.secure_boot(0).separators().image("\\EFI\\other.efi", b"other").exit_boot_services();
    let pcrs = text(section(&audit.page(&audit.evidence(&log, "node-1"), 1, ""), "pcrs"));
    assert!(pcrs.contains("Which, only a log of the approved boot can tell"), "{pcrs}");
    assert!(pcrs.contains("Why PCR 8 differs") && pcrs.contains("Unknown: the log does not lead"), "{pcrs}");
}

#[test]
fn what_is_not_vouched_for_is_no_fact() {
    let audit = Audit::new();
    let honest_log = honest(&BANK);
    let mut forged = audit.evidence(&honest_log, "node-1");
    forged.quote.signature[20] ^= 1;
    let page = audit.page(&forged, 1, "");
    assert!(!text(section(&page, "boot")).contains("✓ fact"), "a forged quote vouches for nothing");
    assert!(text(section(&page, "pcrs")).contains("Nothing shows that the TPM signed these values"));
    assert!(text(section(&page, "enclave")).contains("it is a claim"));

    // A log with findings, one of another boot, none, an empty one and no log at all.
    let mut lying = honest(&BANK);
    lying.measure(7, EventType::SEPARATOR, &[0; 4]);
    let page = audit.page(&audit.evidence(&lying, "node-1"), 1, "");
    assert!(text(section(&page, "boot")).contains("separator.repeated"));
    // What the quote itself says of the machine's starts stays a fact.
    assert!(!text(section(&page, "boot")).contains("✓ fact secure boot"));
    let mut other = audit.evidence(&honest_log, "node-1");
    for (log, said) in [
        (None, "holds no measured-boot log"),
        (Some(Base64Bytes(Vec::new())), "firmware hands over none"),
        (Some(Base64Bytes(vec![7; 100])), "cannot be read"),
    ] {
        let exit = i32::from(said == "cannot be read");
        other.event_log = log;
        let boot = audit.page(&other, exit, "");
        let boot = text(section(&boot, "boot"));
        assert!(boot.contains(said) && !boot.contains("secure boot"), "{said}: {boot}");
    }
}

#[test]
fn a_page_cannot_be_named_so_that_it_reads_as_accepted() {
    let audit = Audit::new();
    let title =
        |page: &str| page.split("<title>").nth(1).unwrap().split("</title>").next().unwrap().to_owned();
    let heading = |page: &str| text(page.split("<h1>").nth(1).unwrap().split("</h1>").next().unwrap());
    let name = "node-1: accepted. Accepted: evidence of node-1";
    let mut forged = audit.evidence(&honest(&BANK), name);
    // Nothing but a key that anybody can make vouches for this report: neither a quote, nor a TPM that is enrolled.
    let quoted = forged.quote.signature.clone();
    forged.quote.signature[20] ^= 1;
    let unsigned = audit.page(&forged, 1, "");
    forged.quote.signature = quoted;
    let stranger = {
        let values = forged.quote.pcrs.clone();
        let mut evidence = requoted(forged.clone(), 2, values);
        let other = evidence_with(&audit.desk.read("v1"), 2, 0, Purpose::Evidence, |_| Vec::new());
        (evidence.ak, evidence.ek) = (other.ak, other.ek);
        audit.page(&evidence, 1, "")
    };
    for page in [unsigned, stranger] {
        assert_eq!(title(&page), "Refused: evidence of an unproven node");
        assert_eq!(heading(&page), "✗ Refused: evidence of an unproven node");
        assert!(text(section(&page, "enclave")).contains("it is a claim"));
    }
    // An enclave that a quote vouches for may name itself; the verdict still comes first.
    let page = audit.page(&forged, 1, "--max-age 1");
    assert_eq!(title(&page), format!("Refused: evidence of {name}"));
    assert_eq!(heading(&page), format!("✗ Refused: evidence of {name}"));
}

#[test]
fn refusals_have_a_page_too() {
    let audit = Audit::new();
    let evidence = audit.evidence(&honest(&BANK), "node-1");
    let page = audit.page(&evidence, 1, "--node node-9 --max-age 1");
    assert!(text(section(&page, "ask")).contains("evidence.age"));
    // Not approved by who is trusted: nothing to judge by.
    let page = audit.page(&evidence, 1, &format!("--authority {}", "ab".repeat(32)));
    assert!(page.contains("manifest.approved"));
    assert!(text(section(&page, "pcrs")).contains("No manifest is trusted"));
    assert!(text(section(&page, "ask")).contains("Who approves manifests"));
    // No verdict, no page.
    audit.desk.write("bad.json", "{}");
    let line = format!("verify bad.json --nonce {NONCE} --manifest v1 --html none.html");
    audit.desk.fails(&line, 2, "EVIDENCE");
    assert!(!audit.desk.at("none.html").exists());
}

#[test]
fn hostile_strings_stay_text() {
    let audit = Audit::new();
    let hostile = "</style></code><script>alert(1)</script><img src=x onerror=alert(2)>\" onload=\"x' \u{202e}\u{0}\u{1b}[2J\n&lt;";
    let mut log = honest(&BANK);
    log.grub("kernel_cmdline: ", hostile)
        .grub("kernel_cmdline: ", &"A".repeat(200_000))
        .grub("kernel_cmdline: ", &"\u{202e}\u{2066}".repeat(10_000))
        .image("\\<b>\"'\u{202e}", b"x")
        .event(1, EventType::EFI_VARIABLE_BOOT2, b"x", b"<script>");
    let mut evidence = audit.evidence(&log, hostile);
    evidence.ek_certificates.clear();
    let page = audit.page(&evidence, 1, "--node <script>alert(3)</script>");
    assert!(text(&page).contains("<script>alert(1)</script>"), "shown, as text");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(page.contains("more characters)"));
}

#[test]
fn ten_thousand_events_make_a_bounded_page() {
    let audit = Audit::new();
    let mut log = honest(&BANK);
    for number in 0..8_000 {
        log.grub("kernel_cmdline: ", &format!("{number} <\"&'> {}", "é\u{202e}".repeat(200)));
    }
    for number in 0..2_000 {
        log.variable(1, EventType::EFI_VARIABLE_BOOT2, Guid::GLOBAL_VARIABLE, &longest_name(number), b"x");
    }
    let page = audit.page(&audit.evidence(&log, "node-1"), 1, "");
    assert!(text(section(&page, "boot")).contains("more events, which"));
    assert!(text(section(&page, "pcrs")).contains("more events, which"));
}

/// The longest name of a variable, of characters that take most room on a page: spelled out each is eight bytes or more.
fn longest_name(number: usize) -> String {
    let units = 1024 - 5;
    let most =
        ["\u{202e}".repeat(units), "\"".repeat(units), "\u{e0041}".repeat(units / 2), "&".repeat(units)];
    format!("{number:05}{}", most[number % most.len()])
}

#[test]
fn the_page_is_bounded_if_every_list_is_full_of_the_longest_names() {
    let banks = [LogAlgorithm::Sha256, LogAlgorithm::Sha512];
    let audit = Audit::of(&banks, "sha512");
    let mut log = LogBuilder::agile(&banks);
    log.secure_boot(1);
    for number in 0..1_800 {
        let pcr = [0, 1, 2, 3, 4, 5, 6, 8][number % 8];
        let kind = EventType::EFI_VARIABLE_BOOT2;
        log.variable(pcr, kind, Guid::GLOBAL_VARIABLE, &longest_name(number), b"x");
    }
    log.separators();
    for number in 0..100 {
        log.image(&format!("\\{}", "\u{202e}".repeat(1_000)), &[number])
            .grub("kernel_cmdline: ", &"\"&".repeat(1_000));
    }
    log.exit_boot_services();
    let values = only(&log.quoted(&PCRS), &["sha256", "sha512"]);
    let page = audit.page(&audit.quoting(values, log.bytes(), &"\"".repeat(300)), 1, "");
    let boot = text(section(&page, "boot"));
    assert!(
        boot.contains("✓ fact setting")
            && boot.contains("✓ fact boot loader")
            && boot.contains("✓ fact kernel")
    );
    let pcrs = section(&page, "pcrs");
    assert_eq!(pcrs.matches("Why PCR").count(), 9);
    // Of each its part of the events that are listed.
    assert_eq!(pcrs.matches("<code class=\"hex\">").count(), pcrs.matches("sha512: <code").count() + 9 * 3);
    let listed = pcrs.matches("sha512: <code").count();
    assert!((150..=200).contains(&listed), "{listed}");
}

#[test]
fn digests_are_of_a_bank_that_was_quoted() {
    // The TPM quotes SHA-384 alone, which leaves the log's SHA-256 digests to whoever hands it over.
    let banks = [LogAlgorithm::Sha256, LogAlgorithm::Sha384];
    let audit = Audit::of(&banks, "sha384");
    let real = LogAlgorithm::Sha384.digest(&[b"shim"]);
    let known = LogAlgorithm::Sha256.digest(&[b"the shim of everybody"]);
    let (real_hex, known_hex) = (hex::encode(&real), hex::encode(&known));
    let honest_log = honest(&banks);
    let mut bytes = honest_log.bytes();
    let shim = LogAlgorithm::Sha256.digest(&[b"shim"]);
    let mokl = LogAlgorithm::Sha256.digest(&[b"keys of the machine's owner"]);
    for digest in [shim, mokl] {
        let at = bytes.windows(digest.len()).position(|window| window == digest).unwrap();
        bytes[at..at + digest.len()].copy_from_slice(&known);
    }
    let evidence = audit.quoting(only(&honest_log.quoted(&PCRS), &["sha384"]), bytes.clone(), "node-1");
    let page = audit.page(&evidence, 0, "");
    let boot = text(section(&page, "boot"));
    assert!(
        boot.contains(&format!("✓ fact boot loader: content with the sha384 digest {real_hex}")),
        "{boot}"
    );
    assert!(
        boot.contains(&format!("~ not proven shim: content with the sha256 digest {known_hex}")),
        "{boot}"
    );
    assert_eq!(boot.matches(&known_hex).count(), 1, "only as what is not proven: {boot}");

    // With both banks quoted the SHA-256 values contradict the log, and with them what it says in SHA-384.
    let both = only(&honest_log.quoted(&PCRS), &["sha256", "sha384"]);
    let page = audit.page(&audit.quoting(both, bytes.clone(), "node-1"), 0, "");
    let boot = text(section(&page, "boot"));
    assert!(boot.contains("~ not proven boot loader") && boot.contains("✓ fact secure boot"), "{boot}");

    // The events that account for a difference are told by the digests of the state's bank.
    let mut added = honest(&banks);
    let digest = LogAlgorithm::Sha384.digest(&[b"evil"]);
    let (sha256, sha384) = (LogAlgorithm::Sha256.id(), LogAlgorithm::Sha384.id());
    added.raw(
        4,
        EventType::EFI_BOOT_SERVICES_DRIVER.code(),
        &[(sha256, known), (sha384, digest.clone())],
        b"x",
    );
    let values = only(&added.quoted(&PCRS), &["sha384"]);
    let page = audit.page(&audit.quoting(values, added.bytes(), "node-1"), 1, "");
    let pcrs = text(section(&page, "pcrs"));
    assert!(
        pcrs.contains(&format!("sha384: {}", hex::encode(digest))) && !pcrs.contains(&known_hex),
        "{pcrs}"
    );

    // So does the command line: what it compares with is what it names.
    audit.desk.write("boot.log", &bytes);
    audit
        .desk
        .write("pcrs.json", serde_json::to_string(&only(&honest_log.quoted(&PCRS), &["sha384"])).unwrap());
    let outcome = audit.desk.run("eventlog boot.log --pcrs pcrs.json");
    assert_eq!((outcome.exit, &outcome.json["not_compared"]), (0, &serde_json::json!(["sha256"])));
}

#[test]
fn landmarks_headings_and_tables_can_be_heard() {
    let audit = Audit::new();
    let page = audit.page(&audit.evidence(&honest(&BANK), "node-1"), 0, "");
    for one in ["<main>", "<header", "<nav aria-label", "<footer>", "<h1>"] {
        assert_eq!(page.matches(one).count(), 1, "{one}");
    }
    let headers = page.matches("<th ").count();
    assert_eq!(headers, page.matches("<th scope=").count());
    assert_eq!(page.matches("<table>").count(), page.matches("<caption>").count());
    // Every link within the page has its target.
    for link in page.split("href=\"#").skip(1) {
        let id = link.split('"').next().unwrap();
        assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
    }
}
