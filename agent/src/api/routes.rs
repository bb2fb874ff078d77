//! Every route: its method, who may ask, how much at once, and what answers. Nothing is served that is not in this
//! table, and nothing in it to a client without the role.

mod operating;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use sealstone_attestation::Evidence;
use sealstone_wire::api::{
    ActivateAsk, Activated, Asset, Enrolment, NodeStatus, SessionPublicKey, SignAnswer, SignBody,
};
use sealstone_wire::limits::MANIFEST_MAX;
use sealstone_wire::reply::Status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::openapi::{self, Answer, Doc, Schemas};
use super::{Node, keys, node, sign, status};
use crate::access::{Client, Role, Share, Shares};
use crate::failure::{Code, Failure};

/// Requests for evidence at once: each has the TPM quote, and holds its logs in memory.
const EVIDENCE_AT_ONCE_MAX: usize = 4;

/// Requests for an enrolment at once: each has the TPM make keys and read every PCR, for which a session waits.
const ENROLMENT_AT_ONCE_MAX: usize = 2;

/// Manifests at once: each may be a ceremony of dozens of TPM commands, of which the enclave does one at a time.
const MANIFEST_AT_ONCE_MAX: usize = 2;

/// Session keys at once that are only looked at: each is derived in the enclave, which signs meanwhile.
const SESSION_KEYS_AT_ONCE_MAX: usize = 32;

/// One route.
pub(super) struct Route {
    /// Its method.
    pub(super) method: Method,
    /// Its path, as axum writes it.
    pub(super) path: &'static str,
    /// Who may ask.
    pub(super) needs: Needs,
    /// How many may ask at once, where that is bounded beyond the connections; one client may take half of them.
    at_once: Option<usize>,
    /// What the OpenAPI document says of it.
    pub(super) doc: Doc,
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
/// Who has transactions signed, and who approves them: the latter only ask what would happen (`dry_run`).
const SIGNERS: Needs = Needs::OneOf(&[Role::Signer, Role::Approver]);
const OPERATOR: Needs = Needs::OneOf(&[Role::Operator]);
const ADMIN: Needs = Needs::OneOf(&[Role::Admin]);

/// The table.
pub(super) fn routes() -> Vec<Route> {
    let tables = [
        signing_routes(),
        operating::asset_routes(),
        operating::reservation_routes(),
        operating::rule_routes(),
        operating::audit_routes(),
        machine_routes(),
    ];
    tables.into_iter().flatten().collect()
}

/// Keys and what they sign.
fn signing_routes() -> Vec<Route> {
    vec![
        Route {
            doc: Doc {
                idempotency_key: true,
                body: Some(Schemas::body::<SignBody>),
                answer: Answer::Json(Schemas::answer::<SignAnswer>),
                problems: &[404, 409, 413, 415, 422, 502, 507],
                repeat: "The same request again has the same answer.",
                ..doc("sign", "Sign one transaction")
            },
            ..route(Method::POST, "/v1/sign", SIGNERS, || post(sign::sign))
        },
        Route {
            at_once: Some(SESSION_KEYS_AT_ONCE_MAX),
            doc: Doc {
                query: Some(Schemas::body::<keys::SessionQuery>),
                answer: Answer::Json(Schemas::answer::<SessionPublicKey>),
                problems: &[409, 422, 502],
                ..doc("sessionKey", "The session key of this hour in this state")
            },
            ..route(Method::GET, "/v1/keys/session", READERS, || get(keys::session))
        },
        Route {
            doc: Doc {
                query: Some(Schemas::body::<keys::AtEpoch>),
                answer: Answer::Json(Schemas::answer::<Asset>),
                problems: &[404],
                ..doc("assetKey", "An asset and its public key")
            },
            ..route(Method::GET, "/v1/keys/{tenant}/{asset}", READERS, || get(keys::asset))
        },
    ]
}

/// The node itself.
fn machine_routes() -> Vec<Route> {
    vec![
        Route {
            at_once: Some(EVIDENCE_AT_ONCE_MAX),
            doc: Doc {
                query: Some(Schemas::body::<node::EvidenceQuery>),
                answer: Answer::Typed(Evidence::MEDIA_TYPE, Schemas::evidence),
                problems: &[422, 502],
                ..doc("evidence", "Fresh evidence over an auditor's nonce, for `sealstone verify`")
            },
            ..route(Method::GET, "/v1/evidence", Needs::AnyClient, || get(node::evidence))
        },
        Route {
            at_once: Some(ENROLMENT_AT_ONCE_MAX),
            doc: Doc {
                answer: Answer::Json(Schemas::answer::<Enrolment>),
                ..doc("enrolment", "What a manifest needs to know of this machine")
            },
            ..route(Method::GET, "/v1/enrolment", Needs::AnyClient, || get(node::enrolment))
        },
        Route {
            at_once: Some(ENROLMENT_AT_ONCE_MAX),
            doc: Doc {
                body: Some(Schemas::body::<ActivateAsk>),
                answer: Answer::Json(Schemas::answer::<Activated>),
                problems: &[413, 415, 422, 502],
                repeat: "The same credential opens again.",
                ..doc("activate", "Have the TPM open an enrolling authority's credential")
            },
            ..route(Method::POST, "/v1/enrolment/activate", OPERATOR, || post(node::activate))
        },
        Route {
            doc: Doc {
                answer: Answer::Json(Schemas::envelope),
                problems: &[422, 502],
                ..doc("manifest", "The envelope of the manifest in force")
            },
            ..route(Method::GET, "/v1/manifest", Needs::AnyClient, || get(node::manifest))
        },
        Route {
            at_once: Some(MANIFEST_AT_ONCE_MAX),
            doc: Doc {
                query: Some(Schemas::body::<node::ManifestQuery>),
                body: Some(Schemas::envelope),
                answer: Answer::Json(Schemas::answer::<Status>),
                problems: &[409, 413, 415, 422, 502, 507],
                repeat: "The same envelope again is fine.",
                ..doc("applyManifest", "Put a manifest in force, or have a root born under the first one")
            },
            ..route(Method::POST, "/v1/manifest", ADMIN, || {
                post(node::apply_manifest).layer(DefaultBodyLimit::max(MANIFEST_MAX))
            })
        },
        Route {
            doc: Doc {
                answer: Answer::Json(Schemas::answer::<node::Locked>),
                problems: &[409, 422, 502],
                repeat: "A node that is locked stays so.",
                ..doc("lock", "Have the enclave wipe root and keys, until the agent is restarted")
            },
            ..route(Method::POST, "/v1/lock", ADMIN, || post(node::lock))
        },
        Route {
            doc: Doc {
                answer: Answer::Json(Schemas::answer::<NodeStatus>),
                ..doc("status", "Whether the node would sign now, and if not, why not")
            },
            ..route(Method::GET, "/v1/status", Needs::AnyClient, || get(status::status))
        },
        Route {
            doc: Doc { answer: Answer::Json(Schemas::document), ..doc("openapi", "This document") },
            ..route(Method::GET, "/v1/openapi.json", Needs::AnyClient, || get(openapi::serve))
        },
        Route {
            doc: Doc {
                answer: Answer::Text("text/plain; charset=utf-8"),
                ..doc("health", "Whether the process serves")
            },
            ..route(Method::GET, "/healthz", Needs::AnyClient, || get(status::healthy))
        },
        Route {
            doc: Doc {
                answer: Answer::Text("text/plain; charset=utf-8"),
                problems: &[409, 422, 502, 507],
                ..doc("readiness", "Whether a signature would be made now")
            },
            ..route(Method::GET, "/readyz", Needs::AnyClient, || get(status::ready))
        },
        Route {
            doc: Doc {
                answer: Answer::Text("text/plain; version=0.0.4"),
                ..doc("metrics", "Counts, for Prometheus")
            },
            ..route(Method::GET, "/metrics", Needs::AnyClient, || get(status::metrics))
        },
    ]
}

fn route(
    method: Method,
    path: &'static str,
    needs: Needs,
    handler: fn() -> MethodRouter<Arc<Node>>,
) -> Route {
    Route { method, path, needs, at_once: None, doc: doc("", ""), handler }
}

/// What most routes have in common.
fn doc(id: &'static str, summary: &'static str) -> Doc {
    Doc {
        id,
        summary,
        query: None,
        idempotency_key: false,
        body: None,
        answer: Answer::Text("text/plain"),
        problems: &[],
        repeat: "",
    }
}

/// The routes as a router, each behind its guard.
pub(super) fn guarded() -> Router<Arc<Node>> {
    routes().into_iter().fold(Router::new(), |router, route| {
        let Route { method: _, path, needs, at_once, doc: _, handler } = route;
        let guard = Guard { needs, bound: at_once.map(Bound::new) };
        router.route(path, handler().route_layer(middleware::from_fn_with_state(guard, pass)))
    })
}

/// What stands before a handler.
#[derive(Clone)]
struct Guard {
    needs: Needs,
    bound: Option<Bound>,
}

/// How many requests of a route are under way at once, of all clients and of each.
#[derive(Clone)]
struct Bound {
    slots: Arc<Semaphore>,
    shares: Shares,
}

impl Bound {
    fn new(at_once: usize) -> Self {
        let shares = Shares::new(at_once.div_ceil(2), "such requests under way");
        Self { slots: Arc::new(Semaphore::new(at_once)), shares }
    }

    fn take(self, client: &str) -> Result<(OwnedSemaphorePermit, Share), Failure> {
        let share = self.shares.take(client)?;
        let slot = self.slots.try_acquire_owned().map_err(|_| {
            Failure::new(
                Code::Overloaded,
                "expected fewer such requests under way, found as many as may be; try again",
            )
        })?;
        Ok((slot, share))
    }
}

async fn pass(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let client = request.extensions().get::<Arc<Client>>();
    let slot = allowed(client.map(Arc::as_ref), guard.needs)
        .and_then(|client| guard.bound.map(|bound| bound.take(client.name())).transpose());
    match slot {
        Ok(_slot) => next.run(request).await,
        Err(failure) => failure.into_response(),
    }
}

/// The client, if it may ask.
fn allowed(client: Option<&Client>, needs: Needs) -> Result<&Client, Failure> {
    let client = client.ok_or_else(|| Failure::new(Code::Forbidden, "expected a client, found none"))?;
    match needs {
        Needs::AnyClient => {}
        Needs::OneOf(roles) => client.require(roles)?,
    }
    Ok(client)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::access::Rate;

    /// What `docs/api.md` says: each route, and which of signer, operator, approver, auditor, admin and a client
    /// without any role may ask.
    const EXPECTED: [(&str, &str, &str); 28] = [
        ("POST", "/v1/sign", "s-p---"),
        ("GET", "/v1/keys/session", "so-u--"),
        ("GET", "/v1/keys/{tenant}/{asset}", "so-u--"),
        ("GET", "/v1/assets", "so-u--"),
        ("POST", "/v1/assets", "-o----"),
        ("POST", "/v1/assets/{tenant}/{asset}/rotate", "-o----"),
        ("POST", "/v1/assets/{tenant}/{asset}/retire", "-o----"),
        ("GET", "/v1/assets/{tenant}/{asset}/epochs", "so-u--"),
        ("GET", "/v1/reservations", "-o-u--"),
        ("GET", "/v1/reservations/{id}", "-o-u--"),
        ("POST", "/v1/reservations/{id}/void", "-o----"),
        ("POST", "/v1/nonces/release", "-o----"),
        ("GET", "/v1/policy", "-o-ua-"),
        ("POST", "/v1/policy/reload", "----a-"),
        ("GET", "/v1/audit", "---u--"),
        ("GET", "/v1/audit/log/checkpoint", "---u--"),
        ("GET", "/v1/audit/log/tile/{*tile}", "---u--"),
        ("GET", "/v1/evidence", "sopua0"),
        ("GET", "/v1/enrolment", "sopua0"),
        ("POST", "/v1/enrolment/activate", "-o----"),
        ("GET", "/v1/manifest", "sopua0"),
        ("POST", "/v1/manifest", "----a-"),
        ("POST", "/v1/lock", "----a-"),
        ("GET", "/v1/status", "sopua0"),
        ("GET", "/v1/openapi.json", "sopua0"),
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

    #[test]
    fn a_client_takes_half_of_a_route_s_places_and_all_clients_no_more_than_there_are() {
        for at_once in [2_usize, 4, 16] {
            let bound = Bound::new(at_once);
            let take = |client: &str| bound.clone().take(client);
            let mut held: Vec<_> = (0..at_once / 2).map(|_| take("a").unwrap()).collect();
            assert_eq!(take("a").unwrap_err().code.status(), 429);
            held.extend((0..at_once / 2).map(|_| take("b").unwrap()));
            assert_eq!(take("c").unwrap_err().code, Code::Overloaded);
            held.clear();
            assert!(take("c").is_ok());
        }
    }

    #[test]
    fn what_works_the_tpm_or_reads_much_is_bounded() {
        let bounded: Vec<&str> =
            routes().iter().filter(|route| route.at_once.is_some()).map(|route| route.path).collect();
        for path in ["/v1/evidence", "/v1/enrolment", "/v1/manifest", "/v1/policy/reload", "/v1/audit"] {
            assert!(bounded.contains(&path), "{path}");
        }
    }
}
