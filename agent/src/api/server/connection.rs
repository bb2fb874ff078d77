//! One connection: requests under the client that the peer is, for as long as it is one.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;

use super::super::exchange::{dressed, new_request_id};
use super::Slot;
use super::paced::Paced;
use crate::access::{Access, Client, Proof};
use crate::failure::Failure;
use crate::shutdown::Shutdown;

/// How long a refused connection may take to ask and be refused.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(5);

/// How long a client may take for a request's head, and how long a connection may be idle between requests.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);

/// How often it is asked anew whether a peer is a client still: certificates and revocation lists end by themselves.
const RECHECK_EVERY: Duration = Duration::from_secs(60);

/// Bytes of a request's head, and of a connection's buffer.
const HEAD_MAX: usize = 16 * 1024;

/// Header fields of a request.
const HEADERS_MAX: usize = 64;

/// The client of a connection, or why it is none any more.
type Standing = Arc<Mutex<Result<Arc<Client>, Failure>>>;

/// Serves a client until it leaves, ceases to be one, or the agent ends.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    router: Router,
    (client, proof): (Arc<Client>, Proof),
    access: Access,
    ending: Shutdown,
    _slot: Slot,
) {
    metrics::gauge!("sealstone_http_connections").increment(1);
    let name = client.name().to_owned();
    let standing: Standing = Arc::new(Mutex::new(Ok(client)));
    let service = service(router, Arc::clone(&standing));
    let mut connection = pin!(builder().serve_connection(TokioIo::new(Paced::new(stream)), service));
    let mut changes = access.changes();
    let mut recheck = tokio::time::interval(RECHECK_EVERY);
    let mut ending = pin!(ending.ended());
    // No request is taken from the stream between a change of the rules and the look at who the peer is under them.
    let ended = loop {
        tokio::select! {
            biased;
            () = &mut ending => break None,
            changed = changes.changed() => if changed.is_err() { break None },
            _ = recheck.tick() => {}
            ended = connection.as_mut() => break Some(ended),
        }
        let found = changes.borrow_and_update().client(&proof);
        let refused = found.as_ref().err().cloned();
        *standing.lock().unwrap_or_else(PoisonError::into_inner) = found;
        if let Some(failure) = refused {
            tracing::info!(
                client = name,
                detail = failure.detail,
                "a connection is closed: its client is none any more"
            );
            break None;
        }
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, client = name, "a connection ended early");
    }
    metrics::gauge!("sealstone_http_connections").decrement(1);
}

fn service(
    router: Router,
    standing: Standing,
) -> impl hyper::service::HttpService<Incoming, ResBody = axum::body::Body, Error = Infallible, Future: Send>
{
    let routes = TowerToHyperService::new(router);
    service_fn(move |mut request: hyper::Request<Incoming>| {
        let client = standing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = client.map(|client| {
            request.extensions_mut().insert(client);
            routes.call(request)
        });
        async move {
            match answer {
                Ok(answer) => answer.await,
                Err(failure) => Ok(refusal(failure)),
            }
        }
    })
}

/// Answers whatever is asked with one failure, and closes.
pub(super) async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    failure: Failure,
    _slot: OwnedSemaphorePermit,
) {
    let service = service_fn(move |_request: hyper::Request<Incoming>| {
        let response = refusal(failure.clone());
        async move { Ok::<_, Infallible>(response) }
    });
    let mut builder = builder();
    builder.keep_alive(false);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    // Nothing is owed to a client that does not even ask.
    let _ = tokio::time::timeout(REFUSAL_DEADLINE, connection).await;
}

fn refusal(failure: Failure) -> Response {
    dressed(failure.into_response(), &new_request_id()).0
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX);
    builder
}
