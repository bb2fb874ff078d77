//! The routes of operators, admins and auditors: assets, reservations, rules, the audit log.

use axum::http::Method;
use axum::routing::{get, post};
use sealstone_wire::api::{
    Asset, AssetBody, AssetList, AuditPage, EpochList, PolicyStatus, ReleaseBody, Released, Reloaded,
    ReservationBody, ReservationList, VoidBody,
};

use super::super::openapi::{Answer, Doc, Schemas};
use super::super::{assets, audit, policy, reservations};
use super::{ADMIN, Needs, OPERATOR, READERS, Route, doc, route};
use crate::access::Role;

const AUDITOR: Needs = Needs::OneOf(&[Role::Auditor]);

/// Who reads what operators act on.
const OVERSEERS: Needs = Needs::OneOf(&[Role::Operator, Role::Auditor]);

/// Who reads what the node obeys.
const RULE_READERS: Needs = Needs::OneOf(&[Role::Operator, Role::Auditor, Role::Admin]);

/// Searches of the audit log or the reservations at once: each may read many rows of the store, which signing waits for.
const SEARCHES_AT_ONCE_MAX: usize = 16;

/// Parts of the log's tree at once: one copy of the log asks for one after the other, and reads up to 4 MiB each time.
const TILES_AT_ONCE_MAX: usize = 16;

/// Reloads of the rules at once: one is under way, and holds a whole sanctions list in memory; another may wait.
const RELOADS_AT_ONCE_MAX: usize = 2;

/// What becomes of most acts when they are asked for again.
const SAME: &str = "The same request again has the same answer.";

pub(super) fn asset_routes() -> Vec<Route> {
    vec![
        Route {
            doc: Doc {
                query: Some(Schemas::body::<assets::AssetsQuery>),
                answer: Answer::Json(Schemas::answer::<AssetList>),
                ..doc("listAssets", "List the assets of the client's tenants, each in its newest epoch")
            },
            ..route(Method::GET, "/v1/assets", READERS, || get(assets::list))
        },
        Route {
            doc: Doc {
                body: Some(Schemas::body::<AssetBody>),
                answer: Answer::Json(Schemas::answer::<Asset>),
                problems: &[409, 413, 415, 422, 502, 507],
                repeat: SAME,
                ..doc("createAsset", "Create an asset, bound to the state that is attested now")
            },
            ..route(Method::POST, "/v1/assets", OPERATOR, || post(assets::create))
        },
        Route {
            doc: Doc {
                answer: Answer::Json(Schemas::answer::<Asset>),
                problems: &[404, 409, 422, 502, 507],
                repeat: "Not repeatable: after a lost answer read the asset first.",
                ..doc("rotateAsset", "Begin an asset's next epoch, bound to the state that is attested now")
            },
            ..route(Method::POST, "/v1/assets/{tenant}/{asset}/rotate", OPERATOR, || post(assets::rotate))
        },
        Route {
            doc: Doc {
                answer: Answer::Json(Schemas::answer::<Asset>),
                problems: &[404, 507],
                repeat: SAME,
                ..doc("retireAsset", "End what an asset signs; its keys stay readable")
            },
            ..route(Method::POST, "/v1/assets/{tenant}/{asset}/retire", OPERATOR, || post(assets::retire))
        },
        Route {
            doc: Doc {
                query: Some(Schemas::body::<assets::EpochsQuery>),
                answer: Answer::Json(Schemas::answer::<EpochList>),
                problems: &[404],
                ..doc("listEpochs", "An asset in each of its epochs, with their public keys")
            },
            ..route(Method::GET, "/v1/assets/{tenant}/{asset}/epochs", READERS, || get(assets::epochs))
        },
    ]
}

pub(super) fn reservation_routes() -> Vec<Route> {
    vec![
        Route {
            at_once: Some(SEARCHES_AT_ONCE_MAX),
            doc: Doc {
                query: Some(Schemas::body::<reservations::ReservationsQuery>),
                answer: Answer::Json(Schemas::answer::<ReservationList>),
                ..doc(
                    "listReservations",
                    "List the nonces that were given to requests of the client's tenants",
                )
            },
            ..route(Method::GET, "/v1/reservations", OVERSEERS, || get(reservations::list))
        },
        Route {
            doc: Doc {
                answer: Answer::Json(Schemas::answer::<ReservationBody>),
                problems: &[404],
                ..doc("reservation", "One nonce that was given to a request")
            },
            ..route(Method::GET, "/v1/reservations/{id}", OVERSEERS, || get(reservations::show))
        },
        Route {
            doc: Doc {
                body: Some(Schemas::body::<VoidBody>),
                answer: Answer::Json(Schemas::answer::<ReservationBody>),
                problems: &[404, 409, 413, 415, 507],
                repeat: SAME,
                ..doc("voidReservation", "Burn the nonce of an open reservation: it is never signed")
            },
            ..route(Method::POST, "/v1/reservations/{id}/void", OPERATOR, || post(reservations::void))
        },
        Route {
            doc: Doc {
                body: Some(Schemas::body::<ReleaseBody>),
                answer: Answer::Json(Schemas::answer::<Released>),
                problems: &[409, 413, 415, 422, 502, 507],
                repeat: "Again it releases what took the nonces since: after a lost answer list the reservations first.",
                ..doc("releaseNonces", "Free nonces that a chain's re-organisation took back")
            },
            ..route(Method::POST, "/v1/nonces/release", OPERATOR, || post(reservations::release))
        },
    ]
}

pub(super) fn rule_routes() -> Vec<Route> {
    vec![
        Route {
            doc: Doc {
                answer: Answer::Json(Schemas::answer::<PolicyStatus>),
                ..doc("policy", "The rules in force")
            },
            ..route(Method::GET, "/v1/policy", RULE_READERS, || get(policy::show))
        },
        Route {
            at_once: Some(RELOADS_AT_ONCE_MAX),
            doc: Doc {
                answer: Answer::Json(Schemas::answer::<Reloaded>),
                problems: &[422, 507],
                repeat: "Files that did not change change nothing.",
                ..doc("reloadPolicy", "Read the files of the rules anew, and put them in force")
            },
            ..route(Method::POST, "/v1/policy/reload", ADMIN, || post(policy::reload))
        },
    ]
}

pub(super) fn audit_routes() -> Vec<Route> {
    vec![
        Route {
            at_once: Some(SEARCHES_AT_ONCE_MAX),
            doc: Doc {
                query: Some(Schemas::body::<audit::RecordsQuery>),
                answer: Answer::Json(Schemas::answer::<AuditPage>),
                ..doc("auditRecords", "Search the audit log of the client's tenants")
            },
            ..route(Method::GET, "/v1/audit", AUDITOR, || get(audit::query))
        },
        Route {
            doc: Doc {
                answer: Answer::Text("text/plain; charset=utf-8"),
                problems: &[404],
                ..doc(
                    "auditCheckpoint",
                    "The newest signed head of this node's log (c2sp.org/tlog-checkpoint)",
                )
            },
            ..route(Method::GET, "/v1/audit/log/checkpoint", AUDITOR, || get(audit::checkpoint))
        },
        Route {
            at_once: Some(TILES_AT_ONCE_MAX),
            doc: Doc {
                answer: Answer::Text(audit::OCTETS),
                problems: &[404],
                ..doc("auditTile", "A tile or a bundle of entries of this node's log (c2sp.org/tlog-tiles)")
            },
            ..route(Method::GET, "/v1/audit/log/tile/{*tile}", AUDITOR, || get(audit::tile))
        },
    ]
}
