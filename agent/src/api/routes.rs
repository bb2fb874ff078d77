//! Every route: its method, who may ask, how much at once, and what answers. Nothing is served that is not in this
//! table, and nothing in it to a client without the role.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use sealstone_wire::limits::MANIFEST_MAX;
use tokio::sync::Semaphore;

use super::{Node, keys, node, sign, status};
use crate::access::{Client, Role};
use crate::failure::{Code, Failure};

/// Requests for evidence at once: each has the TPM quote, and holds its logs in memory.
const EVIDENCE_AT_ONCE_MAX: usize = 4;

/// One route.
pub(super) struct Route {
    /// Its method.
    #[cfg_attr(not(test), allow(dead_code, reason = "a test holds the table to the documentation"))]
    pub(super) method: Method,
    /// Its path, as axum writes it.
    pub(super) path: &'static str,
    /// Who may ask.
    pub(super) needs: Needs,
    /// How many may ask at once, where that is bounded beyond the connections.
    pub(super) at_once: Option<usize>,
    handler: fn() -> MethodRouter<Arc<Node>>,
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Every client that the configuration names.
    AnyClient,
    /// A client that holds one of these roles.
    OneOf(&'static [Role]),
}

/// Who reads keys and assets.
const READERS: Needs = Needs::OneOf(&[Role::Signer, Role::Operator, Role::Auditor]);
const SIGNER: Needs = Needs::OneOf(&[Role::Signer]);
const OPERATOR: Needs = Needs::OneOf(&[Role::Operator]);
const ADMIN: Needs = Needs::OneOf(&[Role::Admin]);

/// The table.
pub(super) fn routes() -> Vec<Route> {
    let route = |method, path, needs, handler| Route { method, path, needs, at_once: None, handler };
    vec![
        route(Method::POST, "/v1/sign", SIGNER, || post(sign::sign)),
        route(Method::GET, "/v1/assets", READERS, || get(keys::list)),
        route(Method::POST, "/v1/assets", OPERATOR, || post(keys::create)),
        route(Method::POST, "/v1/assets/{tenant}/{asset}/rotate", OPERATOR, || post(keys::rotate)),
        route(Method::GET, "/v1/keys/session", READERS, || get(keys::session)),
        route(Method::GET, "/v1/keys/{tenant}/{asset}", READERS, || get(keys::asset)),
        Route {
            at_once: Some(EVIDENCE_AT_ONCE_MAX),
            ..route(Method::GET, "/v1/evidence", Needs::AnyClient, || get(node::evidence))
        },
        route(Method::GET, "/v1/enrolment", Needs::AnyClient, || get(node::enrolment)),
        route(Method::GET, "/v1/manifest", Needs::AnyClient, || get(node::manifest)),
        route(Method::POST, "/v1/manifest", ADMIN, || {
            post(node::apply_manifest).layer(DefaultBodyLimit::max(MANIFEST_MAX))
        }),
        route(Method::POST, "/v1/lock", ADMIN, || post(node::lock)),
        route(Method::GET, "/v1/status", Needs::AnyClient, || get(status::status)),
        route(Method::GET, "/healthz", Needs::AnyClient, || get(status::healthy)),
        route(Method::GET, "/readyz", Needs::AnyClient, || get(status::ready)),
        route(Method::GET, "/metrics", Needs::AnyClient, || get(status::metrics)),
    ]
}

/// The routes as a router, each behind its guard.
pub(super) fn guarded() -> Router<Arc<Node>> {
    routes().into_iter().fold(Router::new(), |router, route| {
        let Route { method: _, path, needs, at_once, handler } = route;
        let guard = Guard { needs, slots: at_once.map(|at_once| Arc::new(Semaphore::new(at_once))) };
        router.route(path, handler().route_layer(middleware::from_fn_with_state(guard, pass)))
    })
}

/// What stands before a handler.
#[derive(Clone)]
struct Guard {
    needs: Needs,
    slots: Option<Arc<Semaphore>>,
}

async fn pass(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let client = request.extensions().get::<Arc<Client>>();
    if let Err(failure) = allowed(client.map(Arc::as_ref), guard.needs) {
        return failure.into_response();
    }
    let slot = guard.slots.map(Semaphore::try_acquire_owned).transpose();
    match slot {
        Ok(_slot) => next.run(request).await,
        Err(_) => Failure::new(
            Code::Overloaded,
            "expected fewer such requests under way, found as many as may be; try again",
        )
        .into_response(),
    }
}

/// Whether a client may ask.
fn allowed(client: Option<&Client>, needs: Needs) -> Result<(), Failure> {
    let client = client.ok_or_else(|| Failure::new(Code::Forbidden, "expected a client, found none"))?;
    match needs {
        Needs::AnyClient => Ok(()),
        Needs::OneOf(roles) => client.require(roles),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::access::Rate;

    /// What `docs/api.md` says: each route, and which of signer, operator, approver, auditor, admin and a client
    /// without any role may ask.
    const EXPECTED: [(&str, &str, &str); 15] = [
        ("POST", "/v1/sign", "s-----"),
        ("GET", "/v1/assets", "so-u--"),
        ("POST", "/v1/assets", "-o----"),
        ("POST", "/v1/assets/{tenant}/{asset}/rotate", "-o----"),
        ("GET", "/v1/keys/session", "so-u--"),
        ("GET", "/v1/keys/{tenant}/{asset}", "so-u--"),
        ("GET", "/v1/evidence", "sopua0"),
        ("GET", "/v1/enrolment", "sopua0"),
        ("GET", "/v1/manifest", "sopua0"),
        ("POST", "/v1/manifest", "----a-"),
        ("POST", "/v1/lock", "----a-"),
        ("GET", "/v1/status", "sopua0"),
        ("GET", "/healthz", "sopua0"),
        ("GET", "/readyz", "sopua0"),
        ("GET", "/metrics", "sopua0"),
    ];

    #[test]
    fn each_role_may_do_what_the_documentation_says_and_nothing_else() {
        let clients: Vec<Client> = Role::ALL
            .iter()
            .map(|role| BTreeSet::from([*role]))
            .chain([BTreeSet::new()])
            .map(|roles| Client::new("c".to_owned(), roles, None, Rate::default()))
            .collect();
        let found: Vec<(String, &str, String)> = routes()
            .iter()
            .map(|route| {
                let marks = clients.iter().zip("sopua0".chars()).map(|(client, mark)| {
                    if allowed(Some(client), route.needs).is_ok() { mark } else { '-' }
                });
                (route.method.to_string(), route.path, marks.collect())
            })
            .collect();
        let expected: Vec<(String, &str, String)> = EXPECTED
            .iter()
            .map(|(method, path, marks)| ((*method).to_owned(), *path, (*marks).to_owned()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_request_without_a_client_is_refused_everywhere() {
        for route in routes() {
            assert_eq!(allowed(None, route.needs).unwrap_err().code, Code::Forbidden, "{}", route.path);
        }
    }
}
