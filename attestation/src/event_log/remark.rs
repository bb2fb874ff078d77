//! What is remarkable about a log: findings, for which it is not believed, and warnings, for people.

use serde::Serialize;

use crate::PcrIndex;

/// Remarks of one kind that are kept; a log that breaks rules more often is not better understood by more of them.
const REMARKS_MAX: usize = 256;

/// One remark. Its code is stable, for programs; its detail is for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Remark {
    /// What it is about, such as `separator.repeated`.
    pub code: &'static str,
    /// The number of the event.
    pub event: Option<usize>,
    /// The PCR.
    pub pcr: Option<PcrIndex>,
    /// What was expected and what was found.
    pub detail: String,
}

/// Findings and warnings in the making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Remarks {
    pub(super) findings: Vec<Remark>,
    pub(super) warnings: Vec<Remark>,
}

/// What a remark is about.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct About {
    pub(super) event: Option<usize>,
    pub(super) pcr: Option<PcrIndex>,
}

impl About {
    pub(super) const fn event(event: usize, pcr: Option<PcrIndex>) -> Self {
        Self { event: Some(event), pcr }
    }

    pub(super) const fn pcr(pcr: PcrIndex) -> Self {
        Self { event: None, pcr: Some(pcr) }
    }
}

impl Remarks {
    pub(super) fn finding(&mut self, code: &'static str, about: About, detail: String) {
        add(&mut self.findings, code, about, detail);
    }

    pub(super) fn warning(&mut self, code: &'static str, about: About, detail: String) {
        add(&mut self.warnings, code, about, detail);
    }
}

fn add(to: &mut Vec<Remark>, code: &'static str, About { event, pcr }: About, detail: String) {
    if to.len() < REMARKS_MAX {
        to.push(Remark { code, event, pcr, detail });
    } else if to.len() == REMARKS_MAX {
        let detail = format!("more than {REMARKS_MAX} remarks; the others are left out");
        to.push(Remark { code: "remarks.more", event: None, pcr: None, detail });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_have_an_end() {
        let mut remarks = Remarks::default();
        for event in 0..1000 {
            remarks.finding("a.b", About::event(event, None), String::new());
        }
        assert_eq!(remarks.findings.len(), REMARKS_MAX + 1);
        assert_eq!(remarks.findings[REMARKS_MAX].code, "remarks.more");
        assert!(remarks.warnings.is_empty());
    }
}
