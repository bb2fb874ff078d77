//! `sealstone channel show`: both sides' keys.

use std::path::Path;

use sealstone_wire::channel::ChannelPublic;
use serde_json::{Value, json};

use super::Side;
use super::folder::Config;
use crate::failure::Failure;
use crate::output::{Answer, fields};

/// What one configuration says.
struct Found {
    key: Option<ChannelPublic>,
    next: Option<ChannelPublic>,
    peers: Vec<ChannelPublic>,
}

pub(super) fn run(dir: &Path) -> Result<Answer, Failure> {
    let [agent, enclave] = [found(dir, Side::Agent)?, found(dir, Side::Enclave)?];
    if agent.is_none() && enclave.is_none() {
        // Says which file is missing, and what to do.
        drop(Config::open(dir, Side::Agent)?);
    }
    let knows = |side: &Option<Found>, peer: &Option<Found>| match (side, peer) {
        (Some(side), Some(peer)) => {
            Some([side.key, side.next].iter().flatten().all(|key| peer.peers.contains(key)))
        }
        _ => None,
    };
    let (agent_known, enclave_known) = (knows(&agent, &enclave), knows(&enclave, &agent));
    let known = agent_known.unwrap_or(true) && enclave_known.unwrap_or(true);
    let mut rows = Vec::new();
    for (side, found, is_known) in
        [(Side::Agent, &agent, agent_known), (Side::Enclave, &enclave, enclave_known)]
    {
        rows.extend(found.iter().flat_map(|found| lines(side, found, is_known)));
    }
    let json = json!({"agent": object(&agent, agent_known), "enclave": object(&enclave, enclave_known)});
    Ok(Answer::verdict(known, json, fields(&rows)))
}

fn found(dir: &Path, side: Side) -> Result<Option<Found>, Failure> {
    let Some(config) = Config::find(dir, side)? else { return Ok(None) };
    // The files of the other side's user are that user's alone; what its configuration says can be shown all the same.
    let key = config.key().map(|key| key.public);
    let next = config.next().map(|next| next.map(|key| key.public));
    let peers = config.peers()?;
    Ok(Some(Found { key: key.ok(), next: next.ok().flatten(), peers }))
}

fn lines(side: Side, found: &Found, known: Option<bool>) -> Vec<(&'static str, String)> {
    let Found { key, next, peers } = found;
    let [own, coming, expects] = match side {
        Side::Agent => ["agent's key", "agent's next key", "agent expects"],
        Side::Enclave => ["enclave's key", "enclave's next key", "enclave expects"],
    };
    let mark = match known {
        Some(false) => " (NOT known to the other side: they would refuse each other)",
        Some(true) => " (known to the other side)",
        None => "",
    };
    let mut rows = vec![(
        own,
        key.map_or_else(|| "cannot be read by this user".to_owned(), |key| format!("{key}{mark}")),
    )];
    rows.extend(next.map(|key| (coming, key.to_string())));
    rows.extend(peers.iter().map(|key| (expects, key.to_string())));
    rows
}

fn object(found: &Option<Found>, known: Option<bool>) -> Value {
    found.as_ref().map_or(Value::Null, |Found { key, next, peers }| {
        json!({"key": key, "next_key": next, "expects": peers, "known_to_the_other": known})
    })
}
