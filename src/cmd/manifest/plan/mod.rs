//! `sealstone manifest plan`: what a next manifest would unlock or strand, before anybody signs it.

mod assets;
mod bindings;
mod fates;
mod text;

use std::path::PathBuf;

use sealstone_attestation::{Envelope, Manifest, UnixTime};
use sealstone_wire::api::Asset;
use serde::Serialize;

use self::bindings::BindingPlan;
use self::fates::AssetPlan;
use super::super::{Context, now};
use super::Unverified;
use crate::agent::Bounds;
use crate::failure::{Failure, chain};
use crate::output::{Answer, json_of};

/// Show which keys and assets a next manifest would unlock or strand
///
/// A key is bound to the state in which its epoch began. It is stranded if no active state of the next manifest may use it.
/// With --agent or --assets every asset is looked at; exit code 1 if one would be stranded, or lose a permission to sign. Who
/// signed is not verified here.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
        sealstone manifest plan v2.envelope --current v1.envelope --agent\n  \
        sealstone asset list --json > assets.json; sealstone manifest plan v2.envelope --current v1.envelope --assets assets.json")]
pub(in crate::cmd) struct Args {
    /// The next manifest's envelope, signed or not
    next: PathBuf,
    /// The manifest in force [default: the agent's, with --agent; else nothing is compared]
    #[arg(long, value_name = "ENVELOPE")]
    current: Option<PathBuf>,
    /// Look at all assets of the running node
    #[arg(long, conflicts_with = "assets")]
    agent: bool,
    /// Look at the assets of this answer of `sealstone asset list --json`
    #[arg(long, value_name = "JSON")]
    assets: Option<PathBuf>,
    /// Judge graces as of this time [default: this machine's clock]
    #[arg(long, value_name = "RFC3339")]
    at: Option<UnixTime>,
}

pub(in crate::cmd) fn run(args: Args, context: &Context) -> Result<Answer, Failure> {
    let Args { next, current, agent, assets, at } = args;
    let now = at.map_or_else(now, Ok)?;
    let next = Unverified::read(&next)?.manifest;
    let agent = if agent { Some(context.agent()?) } else { None };
    let current = match (current, &agent) {
        (Some(path), _) => Some(Unverified::read(&path)?.manifest),
        (None, Some(agent)) => {
            Some(in_force(&agent.get_bytes("/v1/manifest".to_owned(), Bounds::Ordinary)?)?)
        }
        (None, None) => None,
    };
    if let Some(current) = &current {
        must_follow(current, &next)?;
    }
    let assets = match (&agent, &assets) {
        (Some(agent), _) => Some(assets::of_agent(agent)?),
        (None, Some(path)) => Some(assets::of_file(path)?),
        (None, None) => None,
    };
    let plan = Plan::of(current.as_ref(), &next, assets.as_deref(), now);
    Ok(Answer::verdict(!plan.strands && !plan.forbids, json_of(&plan), plan.text()))
}

/// What the next manifest changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Plan {
    current: Option<Named>,
    next: Named,
    at: UnixTime,
    bindings: Vec<BindingPlan>,
    seal: Seal,
    assets: Option<AssetPlan>,
    warnings: Vec<String>,
    /// What to do about what is stranded or forbidden.
    actions: Vec<String>,
    /// Whether any key that is usable now would be stranded.
    strands: bool,
    /// Whether any asset that is usable now would lose a permission to sign.
    forbids: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Named {
    version: u64,
    digest: String,
}

/// The states under which the sealed root opens, and in which keys for one use are derived, each with its own binding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Seal {
    states: Vec<String>,
    added: Vec<String>,
    dropped: Vec<String>,
}

impl Plan {
    fn of(current: Option<&Manifest>, next: &Manifest, assets: Option<&[Asset]>, now: UnixTime) -> Self {
        let named = |of: &Manifest| Named { version: of.version(), digest: of.digest().to_string() };
        let bindings = bindings::plans(current, next, now);
        let seal = Seal::of(current, next);
        let assets = assets.map(|assets| AssetPlan::of(assets, current, next, now));
        let strands = match &assets {
            Some(assets) => !assets.stranded.is_empty(),
            // Which assets are bound to it is not known.
            None => bindings.iter().any(|binding| binding.would_strand),
        };
        let forbids = assets.as_ref().is_some_and(|assets| match current {
            Some(_) => !assets.permission_lost.is_empty(),
            // What was permitted before is not known.
            None => !assets.not_permitted.is_empty(),
        });
        let mut warnings = warnings(current, next, &seal);
        warnings.extend(assets.iter().flat_map(|assets| of_earlier_epochs(&bindings, assets)));
        Self {
            current: current.map(named),
            next: named(next),
            at: now,
            warnings,
            actions: actions(assets.as_ref(), strands, forbids),
            bindings,
            seal,
            assets,
            strands,
            forbids,
        }
    }
}

impl Seal {
    fn of(current: Option<&Manifest>, next: &Manifest) -> Self {
        let (before, after) = (current.map(active), active(next));
        let lacks = |these: &[(String, _)], those: &[(String, _)]| {
            let missing =
                these.iter().filter(|(_, binding)| !those.iter().any(|(_, other)| other == binding));
            missing.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let (added, dropped) = match &before {
            Some(before) => (lacks(&after, before), lacks(before, &after)),
            None => (Vec::new(), Vec::new()),
        };
        Self { states: after.into_iter().map(|(name, _)| name).collect(), added, dropped }
    }
}

fn active(of: &Manifest) -> Vec<(String, sealstone_attestation::Binding)> {
    of.active_states().map(|state| (state.name().to_owned(), state.binding())).collect()
}

fn warnings(current: Option<&Manifest>, next: &Manifest, seal: &Seal) -> Vec<String> {
    let mut warnings = Vec::new();
    let Some(current) = current else {
        warnings.push(
            "nothing is compared with the manifest in force: give it with --current or --agent".to_owned(),
        );
        return warnings;
    };
    for name in &seal.dropped {
        warnings.push(format!(
            "a node in state {name:?} neither attests nor unlocks under the next manifest: boot it into {} after the \
             manifest was applied",
            seal.states.join(" or ")
        ));
    }
    let gone = current.nodes().iter().filter(|node| next.node_by_ak(node.ak().name()).is_none());
    for node in gone {
        warnings.push(format!("the node {:?} is no longer enrolled with its attestation key", node.name()));
    }
    warnings
}

/// Keys of bindings that no current epoch has. A request can name an earlier epoch, where the policy lets it, and the list of
/// assets does not show those.
fn of_earlier_epochs(bindings: &[BindingPlan], assets: &AssetPlan) -> Vec<String> {
    let unseen = bindings.iter().filter(|plan| plan.would_strand && !assets.in_use.contains(&plan.binding));
    let warning = |plan: &BindingPlan| {
        format!(
            "keys bound to {:?} would be stranded: no asset's current epoch has one, but earlier epochs may, which sign where \
             the policy permits an epoch by name; see `sealstone asset epochs`",
            plan.state
        )
    };
    unseen.map(warning).collect()
}

fn actions(assets: Option<&AssetPlan>, strands: bool, forbids: bool) -> Vec<String> {
    let mut actions = Vec::new();
    if strands {
        actions.push(
            "let an active state use the keys: propose the manifest again with --replaces STATE, a --grace that has not \
             ended, and without --retire"
                .to_owned(),
        );
        actions.push(match assets {
            Some(_) => {
                "or rotate first, in an attested state that the next manifest keeps: `sealstone asset rotate \
                        --tenant TENANT --asset ASSET` for each; that changes their keys and addresses"
                    .to_owned()
            }
            None => "find out which assets are bound to them: --agent or --assets".to_owned(),
        });
    }
    if forbids {
        actions.push(
            "permit what the assets sign: propose the manifest again with the permissions that they have now, or retire \
             the assets first"
                .to_owned(),
        );
    }
    actions
}

/// The manifest that the agent has, whose signatures the node has checked.
fn in_force(envelope: &[u8]) -> Result<Manifest, Failure> {
    let unusable = |found: &str| {
        Failure::unusable(
            "AGENT_ANSWER",
            format!("expected the manifest in force, found: {found}"),
            "use the command line and the agent of the same release",
        )
    };
    let envelope = Envelope::parse(envelope).map_err(|error| unusable(&chain(&error)))?;
    Manifest::from_payload(&envelope.payload).map_err(|error| unusable(&chain(&error)))
}

fn must_follow(current: &Manifest, next: &Manifest) -> Result<(), Failure> {
    if next.previous() == Some(current.digest()) && next.deployment() == current.deployment() {
        return Ok(());
    }
    let before = next.previous().map_or_else(|| "none".to_owned(), |digest| digest.to_string());
    Err(Failure::refused(
        "PREVIOUS_DIFFERS",
        format!(
            "expected the manifest after {} (version {}), found one after {before}",
            current.digest(),
            current.version()
        ),
        "plan the manifest that was proposed from the one in force",
    ))
}
