//! The Unix socket: who may connect, how many at once, how they end.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::exchange::{dressed, new_request_id};
use crate::config::api::ApiConfig;
use crate::failure::{Code, Failure};
use crate::shutdown::Shutdown;

/// Connections at once. Each may hold one body.
const CONNECTIONS_MAX: usize = 256;

/// Refused connections that are told so at once; more are closed without a word.
const REFUSALS_MAX: usize = 8;

/// How long a refused connection may take to ask and be refused.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(5);

/// How long a client may take for a request's head, and how long a connection may be idle between requests.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);

/// Bytes of a request's head, and of a connection's buffer.
const HEAD_MAX: usize = 16 * 1024;

/// Header fields of a request.
const HEADERS_MAX: usize = 64;

/// How long requests under way may take to end at shutdown.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// Wait after a failed accept, as when descriptors run out: trying at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Group members may connect as far as the file system is concerned; the list of users decides.
const SOCKET_MODE: u32 = 0o660;

/// Who is at the other end, as the kernel says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The user that connected.
    pub(crate) uid: u32,
}

/// The listening socket.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    allowed: BTreeSet<u32>,
}

impl Server {
    /// Makes the socket. One left behind by an agent that died is replaced; a live one is not.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(config: &ApiConfig) -> Result<Self, BindError> {
        let path = config.socket.clone();
        let failed = |source| BindError::Io { path: path.clone(), source };
        remove_stale(&path)?;
        let listener = UnixListener::bind(&path).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
        Ok(Self { listener, path, allowed: config.allowed_uids.clone() })
    }

    /// Serves until `shutdown` is done, then accepts nothing more, lets what is under way end, within bounds, and
    /// removes the socket.
    pub async fn run(self, router: Router, shutdown: impl Future<Output = ()>) {
        let Self { listener, path, allowed } = self;
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
        let (end, ending) = Shutdown::new();
        let mut tasks = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                Some(_) = tasks.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            match admit(&stream, &allowed, &connections) {
                Ok((peer, slot)) => {
                    tasks.spawn(serve(stream, router.clone(), peer, ending.clone(), slot));
                }
                Err(failure) => {
                    metrics::counter!("sealstone_http_connections_refused_total", "code" => failure.code.name())
                        .increment(1);
                    tracing::info!(code = %failure.code, detail = failure.detail, "a connection is refused");
                    if let Ok(slot) = Arc::clone(&refusals).try_acquire_owned() {
                        tasks.spawn(refuse(stream, failure, slot));
                    }
                }
            }
        }
        drop(listener);
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(%error, path = %path.display(), "the socket could not be removed");
        }
        end.end();
        let all_ended = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_DEADLINE, all_ended).await.is_err() {
            tracing::warn!("some connections did not end in time and are closed");
        }
    }
}

fn admit(
    stream: &UnixStream,
    allowed: &BTreeSet<u32>,
    connections: &Arc<Semaphore>,
) -> Result<(Peer, OwnedSemaphorePermit), Failure> {
    let uid = stream
        .peer_cred()
        .map_err(|error| {
            Failure::new(Code::Forbidden, format!("expected to learn who connects, found: {error}"))
        })?
        .uid();
    if !allowed.contains(&uid) {
        return Err(Failure::new(
            Code::Forbidden,
            format!(
                "expected a user of api.allowed_uids, found user {uid}; have it added to the agent's configuration"
            ),
        ));
    }
    let slot = Arc::clone(connections).try_acquire_owned().map_err(|_| {
        Failure::new(
            Code::Overloaded,
            format!("expected fewer than {CONNECTIONS_MAX} connections, found as many; keep connections and reuse them"),
        )
    })?;
    Ok((Peer { uid }, slot))
}

async fn serve(
    stream: UnixStream,
    router: Router,
    peer: Peer,
    ending: Shutdown,
    _slot: OwnedSemaphorePermit,
) {
    metrics::gauge!("sealstone_http_connections").increment(1);
    let routes = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        routes.call(request)
    });
    let connection = builder().serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = ending.ended() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, uid = peer.uid, "a connection ended early");
    }
    metrics::gauge!("sealstone_http_connections").decrement(1);
}

/// Answers whatever is asked with one failure, and closes.
async fn refuse(stream: UnixStream, failure: Failure, _slot: OwnedSemaphorePermit) {
    let service = service_fn(move |_request: hyper::Request<Incoming>| {
        let (response, _): (Response, _) = dressed(failure.clone().into_response(), &new_request_id());
        async move { Ok::<_, Infallible>(response) }
    });
    let mut builder = builder();
    builder.keep_alive(false);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    // Nothing is owed to a client that does not even ask.
    let _ = tokio::time::timeout(REFUSAL_DEADLINE, connection).await;
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

fn remove_stale(path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Io { path: path.to_owned(), source };
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !kind.is_socket() {
        return Err(BindError::NotASocket { path: path.to_owned() });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Ok(_) => Err(BindError::InUse { path: path.to_owned() }),
        Err(error) => Err(failed(error)),
    }
}

/// Why the socket cannot be made.
#[derive(Debug, Error)]
pub enum BindError {
    /// Somebody serves there.
    #[error("expected no server on {path:?}, found a live one; stop the other agent")]
    InUse {
        /// The configured path.
        path: PathBuf,
    },
    /// Something else is there, and it is left alone.
    #[error("expected nothing or a stale socket at {path:?}, found a file of another kind")]
    NotASocket {
        /// The configured path.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("cannot make the socket {path:?}; its folder must exist and be writable by the agent")]
    Io {
        /// The configured path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
