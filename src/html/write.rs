//! The template. It formats a [`Page`] and decides nothing; `maud` escapes every value.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::boot::{Boot, EventShown, FactShown, Step};
use super::check::{LevelShown, Mark};
use super::node::{Enclave, Row, Section};
use super::page::Page;
use super::pcrs::{Account, Cell, Found, PcrRow, PcrTable, Value};
use super::questions::Question;
use super::style::{STYLE, policy};
use super::text::Shown;

/// The sections and their headings, in order.
const CONTENTS: [(&str, &str); 9] = [
    ("verdict", "Verdict"),
    ("expected", "What was expected"),
    ("checks", "Checks"),
    ("boot", "Boot"),
    ("pcrs", "PCRs"),
    ("enclave", "Enclave"),
    ("enrolment", "Enrolment"),
    ("audit-log", "Audit log"),
    ("ask", "What to ask next"),
];

/// The whole file.
pub(crate) fn write(page: &Page) -> String {
    // First, so that nothing which follows can be read as the verdict.
    let word = if page.accepted { "Accepted" } else { "Refused" };
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                meta name="color-scheme" content="light dark";
                title { (word) ": evidence of " (page.node) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a class="skip" href="#verdict" { "Skip to the verdict" }
                (banner(page, word))
                nav aria-label="Contents" {
                    ul { @for (id, title) in CONTENTS { li { a href={ "#" (id) } { (title) } } } }
                }
                main {
                    (verdict(page))
                    (section("expected", html! {
                        p { "What whoever appraised this had asked for, and what the evidence says of itself." }
                        div class="columns" {
                            div { h3 { "Asked for" } (rows(&page.expected)) }
                            div { h3 { "Said by the evidence" } (rows(&page.claimed)) }
                        }
                    }))
                    (section("checks", html! { @for level in &page.levels { (checks(level)) } }))
                    (section("boot", boot(&page.boot)))
                    (section("pcrs", pcrs(&page.pcrs)))
                    (section("enclave", enclave(&page.enclave)))
                    (section("enrolment", plain(&page.enrolment)))
                    (section("audit-log", plain(&page.audit_log)))
                    (section("ask", questions(&page.questions)))
                }
                footer {
                    p {
                        "Made by sealstone verify " (page.release) ". This page shows a verdict and is no proof of it: "
                        "appraise the evidence yourself to be sure."
                    }
                }
            }
        }
    };
    markup.into_string()
}

fn section(id: &str, content: Markup) -> Markup {
    let title = CONTENTS.iter().find(|(other, _)| *other == id).map_or(id, |(_, title)| *title);
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (title) }
            (content)
        }
    }
}

fn banner(page: &Page, word: &str) -> Markup {
    let (class, sign) = if page.accepted { ("banner good", "✓") } else { ("banner bad", "✗") };
    html! {
        header class=(class) {
            p class="kicker" { "Sealstone evidence" }
            h1 { span aria-hidden="true" { (sign) " " } (word) ": evidence of " bdi { (page.node) } }
            p { bdi { (page.summary) } }
            @if !page.questions.is_empty() {
                p { a href="#ask" { "What to ask next (" (page.questions.len()) ")" } }
            }
        }
    }
}

fn verdict(page: &Page) -> Markup {
    section(
        "verdict",
        html! {
            ol class="levels" {
                @for level in &page.levels {
                    li {
                        h3 { a href={ "#checks-" (level.id) } { (level.title) } }
                        p { (mark(level.result)) }
                        p class="question" { (level.question) }
                        p class="detail" { bdi { (level.detail) } }
                    }
                }
            }
            @if !page.warnings.is_empty() {
                h3 { "Warnings" }
                (list(&page.warnings, page.warnings_omitted))
            }
        },
    )
}

fn mark(mark: Mark) -> Markup {
    marked(mark.class(), mark.sign(), mark.word())
}

/// A word with a sign that a screen reader leaves out.
fn marked(class: &str, sign: &str, word: &str) -> Markup {
    html! { span class=(class) { span aria-hidden="true" { (sign) " " } (word) } }
}

fn good(word: &str) -> Markup {
    marked(Mark::Passed.class(), Mark::Passed.sign(), word)
}

fn bad(word: &str) -> Markup {
    marked(Mark::Failed.class(), Mark::Failed.sign(), word)
}

fn list(items: &[Shown], omitted: usize) -> Markup {
    html! {
        ul class="plain" {
            @for item in items { li { bdi { (item) } } }
            @if omitted > 0 { li { "and " (omitted) " more" } }
        }
    }
}

fn rows(rows: &[Row]) -> Markup {
    html! {
        dl {
            @for (name, value) in rows {
                div {
                    dt { (name) }
                    dd { bdi class=(if value.is_code() { "said" } else { "" }) { (value) } }
                }
            }
        }
    }
}

/// A table that may be wider than the page: it scrolls by itself, by keyboard too.
fn table(caption: &Markup, label: &str, head: &Markup, body: &Markup) -> Markup {
    html! {
        div class="scroll" tabindex="0" role="region" aria-label=(label) {
            table { caption { (caption) } thead { tr { (head) } } tbody { (body) } }
        }
    }
}

fn checks(level: &LevelShown) -> Markup {
    let body = html! {
        @for check in &level.checks {
            tr class=(if check.result == Mark::Failed { "differs" } else { "" }) {
                th scope="row" { code { (check.name) } }
                td { (mark(check.result)) }
                td { bdi { (check.detail) } }
            }
        }
    };
    html! {
        h3 id={ "checks-" (level.id) } { (level.title) " " (mark(level.result)) }
        @if level.checks.is_empty() {
            p { "No check was made: " bdi { (level.detail) } }
        } @else {
            (table(
                &html! { (level.question) },
                &format!("checks: {}", level.title),
                &html! { th scope="col" { "Check" } th scope="col" { "Result" } th scope="col" { "What was found" } },
                &body,
            ))
        }
    }
}

fn boot(boot: &Boot) -> Markup {
    html! {
        p {
            "A " strong { "fact" } " is what hashes: a digest covers the text, and the log leads to a PCR value that the TPM "
            "signed. What a log only describes is said to be described. From PCR 8 on, what the running system extended later "
            "looks like the boot's own."
        }
        @if let Some(unknown) = &boot.unknown {
            p class="note" { strong { "Unknown: " } bdi { (unknown) } "." }
        }
        ol class="timeline" { @for step in &boot.steps { (timeline_step(step)) } }
        @if !boot.findings.is_empty() || !boot.warnings.is_empty() {
            @if !boot.findings.is_empty() { h3 { "Why the log is not believed" } (list(&boot.findings, 0)) }
            @if !boot.warnings.is_empty() { h3 { "Warnings about the log" } (list(&boot.warnings, 0)) }
            @if boot.remarks_omitted > 0 { p { "and " (boot.remarks_omitted) " more" } }
        }
        @if !boot.events.is_empty() {
            details {
                summary { "All events of the log, as it tells them" }
                (events(&boot.events, boot.events_omitted, "all events"))
            }
        }
    }
}

fn timeline_step(step: &Step) -> Markup {
    html! {
        li {
            h3 { (step.title) " " span class="where" { (step.measured) } }
            ul {
                @for fact in &step.facts { (timeline_fact(fact)) }
                @if step.omitted > 0 { li { "and " (step.omitted) " more" } }
            }
        }
    }
}

fn timeline_fact(fact: &FactShown) -> Markup {
    let FactShown { what, said, described, event, standing } = fact;
    html! {
        li {
            (marked(standing.class(), standing.sign(), standing.word()))
            " " strong { (what) ":" } " " bdi class="said" { (said) }
            @if let Some(described) = described {
                span class="described" { "; the log describes it as " bdi class="said" { (described) } }
            }
            @if let Some(event) = event { " " span class="where" { "event " (event) } }
        }
    }
}

fn events(events: &[EventShown], omitted: usize, label: &str) -> Markup {
    let digests = events.iter().any(|event| event.digest.is_some());
    let body = html! {
        @for event in events {
            tr {
                th scope="row" { (event.event) }
                td { @if let Some(pcr) = event.pcr { (pcr) } @else { "none" } }
                td { code { bdi { (event.kind) } } }
                td { (event.covered) }
                td { bdi class="said" { (event.description) } }
                @if digests {
                    td {
                        @if let Some((bank, digest)) = &event.digest { (bank) ": " code class="hex" { (digest) } } @else { "none" }
                    }
                }
            }
        }
    };
    let head = html! {
        th scope="col" { "Event" } th scope="col" { "PCR" } th scope="col" { "Type" }
        th scope="col" { "Does the digest cover it?" } th scope="col" { "What the log says" }
        @if digests { th scope="col" { "Digest" } }
    };
    html! {
        (table(&html! { (events.len()) @if events.len() == 1 { " event" } @else { " events" } }, label, &head, &body))
        @if omitted > 0 { p { "and " (omitted) " more events, which `sealstone eventlog` tells" } }
    }
}

fn pcrs(pcrs: &PcrTable) -> Markup {
    let head = html! {
        th scope="col" { "PCR" } th scope="col" { "Quoted" }
        @for state in &pcrs.states { th scope="col" { "Approved: " bdi { (state.name) } } }
    };
    let body = html! { @for row in &pcrs.rows { (pcr(row)) } };
    html! {
        @if !pcrs.vouched {
            p class="note" { "Nothing shows that the TPM signed these values: they are what somebody wrote beside the quote." }
        }
        @if pcrs.states.is_empty() {
            p class="note" { "No manifest is trusted, so no value is approved." }
        }
        @for (name, status) in &pcrs.former {
            p class="note" { "These are the values of " bdi { (name) } ", which the manifest names as " (status) "." }
        }
        @if pcrs.rows.is_empty() {
            p { "No PCR was quoted." }
        } @else {
            (table(&html! { (caption(pcrs)) }, "PCR values", &head, &body))
        }
        @for one in &pcrs.accounts { (account(one)) }
    }
}

fn caption(pcrs: &PcrTable) -> String {
    let mut parts: Vec<String> = Vec::new();
    for state in &pcrs.states {
        parts.push(match state.differs {
            0 => format!("every PCR of {} is as approved", state.name.as_str()),
            1 => format!("1 PCR differs from {}", state.name.as_str()),
            count => format!("{count} PCRs differ from {}", state.name.as_str()),
        });
    }
    if pcrs.states_omitted > 0 {
        parts.push(format!("{} approved states that differ more have no column", pcrs.states_omitted));
    }
    parts.join("; ")
}

fn pcr(row: &PcrRow) -> Markup {
    html! {
        tr class=(if row.differs() { "differs" } else { "" }) {
            th scope="row" { (row.bank) ":" (row.pcr) span class="holds" { (row.holds) } }
            td { @if let Some(quoted) = &row.quoted { (hex(quoted)) } @else { "not quoted" } }
            @for cell in &row.cells {
                td {
                    @match cell {
                        Cell::Same => (good("same")),
                        Cell::Differs(value) => { (bad("differs")) (hex(value)) },
                        Cell::NotQuoted(value) => { (bad("not quoted")) (hex(value)) },
                        Cell::NotNamed => span class="mark none" { "not part of the state" },
                    }
                }
            }
        }
    }
}

fn hex(value: &Value) -> Markup {
    html! { code class="hex" { @for piece in &value.0 { (piece) wbr; } } }
}

fn account(account: &Account) -> Markup {
    let Account { pcr, state, found } = account;
    html! {
        h3 { "Why PCR " (pcr) " differs from " bdi { (state) } }
        @match found {
            Found::Unknown(why) => p { strong { "Unknown: " } (why) "." },
            Found::Added { before, events: these, omitted } => {
                p {
                    @match before {
                        0 => "The approved value is that of a PCR into which nothing was measured.",
                        1 => "The first of its events leads to the approved value.",
                        _ => { "The first " (before) " of its events lead to the approved value." },
                    }
                    " These came after, and account for the difference:"
                }
                (events(these, *omitted, &format!("events added to PCR {pcr}")))
            },
            Found::Changed { events: these, omitted } => {
                p {
                    "Its events lead to the quoted value and pass the approved one at no point, so at least one of them is "
                    "another than when the state was approved. Which, only a log of the approved boot can tell."
                }
                (events(these, *omitted, &format!("events of PCR {pcr}")))
            },
        }
    }
}

fn enclave(enclave: &Enclave) -> Markup {
    let body = html! {
        @for one in &enclave.protections {
            tr class=(if one.active { "" } else { "differs" }) {
                th scope="row" { bdi { (one.name) } }
                td { (if one.active { good("active") } else { bad("not active") }) }
                td { bdi { (one.detail) } }
            }
        }
    };
    html! {
        @if let Some(doubt) = &enclave.doubt { p class="note" { bdi { (doubt) } "." } }
        p { "What the enclave says of itself. Only measured code makes it more than a claim." }
        @if !enclave.rows.is_empty() { (rows(&enclave.rows)) }
        @if !enclave.protections.is_empty() {
            (table(
                &html! { "Protections of the process, as it measured them" },
                "protections",
                &html! { th scope="col" { "Protection" } th scope="col" { "In force" } th scope="col" { "What was found" } },
                &body,
            ))
        }
        @if enclave.omitted > 0 { p { "and " (enclave.omitted) " more" } }
    }
}

fn plain(section: &Section) -> Markup {
    html! {
        @if let Some(doubt) = &section.doubt { p class="note" { bdi { (doubt) } "." } }
        @if !section.rows.is_empty() { (rows(&section.rows)) }
    }
}

fn questions(questions: &[Question]) -> Markup {
    html! {
        @if questions.is_empty() {
            p { "Every check passed. Ask again with a new nonce before you rely on it later." }
        } @else {
            p { "What failed comes first, then what was not asked or not shown." }
            ol class="questions" {
                @for question in questions {
                    li {
                        p { (mark(question.result)) " " code { (question.check) } }
                        p { strong { (question.ask) } }
                        p class="detail" { "Found: " bdi { (question.found) } }
                    }
                }
            }
        }
    }
}
