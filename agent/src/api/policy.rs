//! The rules in force, and having them read anew.

use std::sync::Arc;

use axum::extract::State;
use sealstone_wire::api::{PolicyStatus, Reloaded};

use super::Node;
use super::body::{Caller, Json};
use crate::failure::{Code, Failure};

pub(super) async fn show(State(node): State<Arc<Node>>) -> Json<PolicyStatus> {
    Json(node.rules.in_force())
}

pub(super) async fn reload(State(node): State<Arc<Node>>, caller: Caller) -> Result<Json<Reloaded>, Failure> {
    let client = caller.client.name().to_owned();
    // Goes on to its end if the client goes away: what was recorded takes effect.
    let task = tokio::spawn(async move {
        let replaced = node.rules.reload(Some(&caller.actor())).await?;
        Ok::<_, Failure>(Reloaded { replaced, policy: node.rules.in_force() })
    });
    let reloaded = task.await.map_err(|_| {
        Failure::new(Code::OutcomeUnknown, "the task ended early; ask which rules are in force")
    })??;
    let parts = reloaded.replaced.len();
    tracing::info!(client, parts, policy = %reloaded.policy.digest, "rules were read anew");
    Ok(Json(reloaded))
}
