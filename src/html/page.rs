//! Everything that the page shows, decided before it is formatted.

use sealstone_attestation::{Evidence, Manifest, Nonce, Outcome, UnixTime, Verdict};

use super::boot::{self, Boot};
use super::check::{LevelShown, levels};
use super::node::{self, Enclave, Row, Section};
use super::pcrs::PcrTable;
use super::questions::{self, Question};
use super::text::Shown;

/// Warnings that are listed.
const WARNINGS_SHOWN: usize = 60;

/// What whoever appraises had asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// The nonce that was given.
    pub(crate) nonce: Option<&'a Nonce>,
    /// Whether somebody was named who must have chosen the nonce.
    pub(crate) challenger: bool,
    /// The node that was demanded.
    pub(crate) node: Option<&'a str>,
    /// The greatest age, in seconds.
    pub(crate) max_age: Option<u64>,
    /// Where trust in the manifest comes from.
    pub(crate) trust: &'a str,
    /// Whether vendors' certificates were pinned.
    pub(crate) roots: bool,
    /// As of when it was judged.
    pub(crate) now: UnixTime,
}

/// The page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) accepted: bool,
    /// Which node the evidence names, if a quote vouches for its report.
    pub(crate) node: Shown,
    pub(crate) summary: Shown,
    pub(crate) levels: Vec<LevelShown>,
    pub(crate) warnings: Vec<Shown>,
    pub(crate) warnings_omitted: usize,
    pub(crate) questions: Vec<Question>,
    pub(crate) expected: Vec<Row>,
    pub(crate) claimed: Vec<Row>,
    pub(crate) boot: Boot,
    pub(crate) pcrs: PcrTable,
    pub(crate) enclave: Enclave,
    pub(crate) enrolment: Section,
    pub(crate) audit_log: Section,
    /// Made by this release.
    pub(crate) release: &'static str,
}

impl Page {
    /// Of evidence and the verdict on it; `manifest` is the one that was trusted, if any was.
    pub(crate) fn of(
        evidence: &Evidence,
        manifest: Option<&Manifest>,
        verdict: &Verdict,
        asked: &Asked<'_>,
    ) -> Self {
        let log = boot::read(evidence);
        let enclave = Enclave::of(evidence, verdict);
        // Anybody can sign a report with some key and any name in it.
        let node = enclave.rows.iter().find(|(name, _)| *name == "node" && enclave.doubt.is_none());
        Self {
            accepted: verdict.accepted(),
            node: node.map_or_else(|| Shown::of("an unproven node"), |(_, node)| node.clone()),
            summary: summary(verdict),
            levels: levels(verdict),
            warnings: verdict.warnings().iter().take(WARNINGS_SHOWN).map(Shown::of).collect(),
            warnings_omitted: verdict.warnings().len().saturating_sub(WARNINGS_SHOWN),
            questions: questions::open(verdict),
            expected: expected(manifest, asked),
            claimed: claimed(evidence),
            boot: Boot::of(evidence, verdict, log.as_ref()),
            pcrs: PcrTable::of(evidence, manifest, verdict, log.as_ref().ok()),
            enclave,
            enrolment: node::enrolment(evidence, manifest, verdict),
            audit_log: node::audit_log(verdict),
            release: env!("CARGO_PKG_VERSION"),
        }
    }
}

fn summary(verdict: &Verdict) -> Shown {
    match verdict.first_failure() {
        Some(check) => Shown::of(format!("{}: {}", check.name, check.detail)),
        None if verdict.accepted() => {
            let of = |result| verdict.checks().iter().filter(|check| check.result == result).count();
            let (passed, not_asked) = (of(Outcome::Passed), of(Outcome::NotApplicable));
            Shown::of(format!("{passed} checks passed, none failed, {not_asked} were not asked"))
        }
        None => Shown::of("nothing was checked"),
    }
}

fn expected(manifest: Option<&Manifest>, asked: &Asked<'_>) -> Vec<Row> {
    let Asked { nonce, challenger, node, max_age, trust, roots, now } = asked;
    let mut rows = vec![
        ("nonce", nonce.map_or_else(|| Shown::of("the challenger's"), Shown::of)),
        ("challenger", Shown::of(if *challenger { "the reader named a key" } else { "none was named" })),
        ("node", Shown::of(node.unwrap_or("any that is enrolled"))),
        (
            "greatest age",
            max_age.map_or_else(|| Shown::of("none was asked"), |age| Shown::of(format!("{age} s"))),
        ),
        ("judged as of", Shown::of(now)),
        ("trust starts from", Shown::of(trust)),
        (
            "vendors' certificates",
            Shown::of(if *roots { "pinned by the reader" } else { "none were pinned" }),
        ),
    ];
    match manifest {
        Some(manifest) => rows.extend([
            ("manifest", Shown::of(format!("version {}, {}", manifest.version(), manifest.digest()))),
            ("deployment", Shown::of(manifest.deployment())),
            ("issued at", Shown::of(manifest.issued_at())),
        ]),
        None => rows.push(("manifest", Shown::of("none that is trusted"))),
    }
    rows
}

fn claimed(evidence: &Evidence) -> Vec<Row> {
    vec![
        ("nonce", Shown::of(&evidence.nonce)),
        ("purpose", Shown::of(evidence.purpose)),
        ("taken at, by the agent's clock", Shown::of(evidence.taken_at)),
    ]
}
