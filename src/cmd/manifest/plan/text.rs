//! A plan for people.

use super::Plan;
use super::bindings::{BindingPlan, Fate, Use, Verdict};
use super::fates::{AssetFate, AssetPlan};
use crate::output::{json_of, shown};

/// Assets of one kind that are told in the text; `--json` has all.
const ASSETS_TOLD: usize = 50;

impl Plan {
    /// The whole plan.
    pub(super) fn text(&self) -> String {
        let mut text = match &self.current {
            Some(current) => format!("from version {} ({})\n", current.version, current.digest),
            None => String::new(),
        };
        text.push_str(&format!("to version {} ({})\n", self.next.version, self.next.digest));
        for binding in &self.bindings {
            push_binding(&mut text, binding);
        }
        let names = |names: &[String]| names.iter().map(|name| shown(name)).collect::<Vec<_>>().join(", ");
        text.push_str(&format!("the sealed root opens in: {}", names(&self.seal.states)));
        if !self.seal.added.is_empty() {
            text.push_str(&format!("; new: {}", names(&self.seal.added)));
        }
        if !self.seal.dropped.is_empty() {
            text.push_str(&format!("; no longer: {}", names(&self.seal.dropped)));
        }
        text.push_str("\nkeys for one use are derived in these states too, each with its own binding\n");
        match &self.assets {
            Some(assets) => push_assets(&mut text, assets),
            None => text.push_str("no asset was looked at: --agent or --assets\n"),
        }
        for warning in &self.warnings {
            text.push_str(&format!("warning: {}\n", shown(warning)));
        }
        for action in &self.actions {
            text.push_str(&format!("what to do: {action}\n"));
        }
        text.push_str(match (self.strands, self.forbids) {
            (false, false) => "nothing would be stranded\n",
            (true, false) => "keys would be stranded\n",
            (false, true) => "assets would lose a permission to sign\n",
            (true, true) => "keys would be stranded, and assets would lose a permission to sign\n",
        });
        text
    }
}

fn push_binding(text: &mut String, plan: &BindingPlan) {
    let BindingPlan { state, binding, status, was, fate, uses, would_strand: _ } = plan;
    let word = |status: &Option<_>, none: &str| match status {
        Some(status) => json_of(status).as_str().unwrap_or_default().to_owned(),
        None => none.to_owned(),
    };
    let before = if was == status { String::new() } else { format!(", before: {}", word(was, "not there")) };
    text.push_str(&format!(
        "keys bound to {} ({}{before}): {}\n  binding {binding}\n",
        shown(state),
        word(status, "not in it"),
        fate_line(fate)
    ));
    for one in uses {
        text.push_str(&format!("  in {}: {}\n", shown(&one.under), use_line(one)));
    }
}

fn fate_line(fate: &Fate) -> String {
    match fate {
        Fate::Usable => "usable".to_owned(),
        Fate::Until { until } => format!("usable until {until}"),
        Fate::Stranded => "STRANDED, no active state may use them".to_owned(),
    }
}

fn use_line(one: &Use) -> String {
    match &one.verdict {
        Verdict::Own => "its own".to_owned(),
        Verdict::Forever => "usable forever".to_owned(),
        Verdict::Until { until } => format!("usable until {until}"),
        Verdict::Refused { reason } => format!("refused: {}", shown(reason)),
    }
}

fn push_assets(text: &mut String, plan: &AssetPlan) {
    let AssetPlan {
        read,
        retired,
        usable,
        stranded,
        unusable_already,
        permission_lost,
        until,
        unlocked,
        refused_under_some,
        not_permitted,
        in_use: _,
    } = plan;
    text.push_str(&format!(
        "{read} assets: {usable} stay usable, {} until a grace ends, {} stranded, {} unusable already, {retired} retired; \
         {} lose a permission\n",
        until.len(),
        stranded.len(),
        unusable_already.len(),
        permission_lost.len()
    ));
    let all: [(&str, &[AssetFate]); 7] = [
        ("STRANDED", stranded),
        ("PERMISSION LOST", permission_lost),
        ("unusable already", unusable_already),
        ("until a grace ends", until),
        ("unlocked", unlocked),
        ("not in every active state", refused_under_some),
        ("without a permission to sign", not_permitted),
    ];
    for (kind, list) in all {
        for fate in list.iter().take(ASSETS_TOLD) {
            text.push_str(&asset_line(kind, fate));
        }
        if list.len() > ASSETS_TOLD {
            text.push_str(&format!("{kind}: and {} more, see --json\n", list.len() - ASSETS_TOLD));
        }
    }
}

fn asset_line(kind: &str, fate: &AssetFate) -> String {
    let bound_to = fate.bound_to.as_deref().map_or_else(|| "no known state".to_owned(), shown);
    let uses: Vec<String> =
        fate.uses.iter().map(|one| format!("{}: {}", shown(&one.under), use_line(one))).collect();
    let lost: Vec<String> = fate.no_longer_permitted.iter().map(ToString::to_string).collect();
    let lost = match lost.is_empty() {
        true => String::new(),
        false => format!("  may no longer sign: {}", lost.join(", ")),
    };
    format!(
        "{kind}: {}/{}  epoch {}  {}  bound to {bound_to}  [{}]{lost}\n",
        shown(fate.tenant.as_str()),
        shown(fate.asset.as_str()),
        fate.epoch,
        fate.key_id,
        uses.join("; ")
    )
}
