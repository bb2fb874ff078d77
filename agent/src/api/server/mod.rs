//! Where clients connect: the Unix socket and the TLS listener; how many at once, how they end.

mod connection;
mod handshakes;
mod paced;
mod socket;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

pub use socket::BindError;

use self::connection::{refuse, serve};
use self::handshakes::Handshakes;
use crate::access::{Access, Client, Proof, Share, Shares};
use crate::config::api::ApiConfig;
use crate::failure::{Code, Failure};
use crate::shutdown::Shutdown;

/// Connections of clients at once, on both listeners together. Each may hold one body.
const CONNECTIONS_MAX: usize = 256;

/// Connections of one client at once. Far more than a client needs that keeps its connections; half, so that one that
/// runs wild leaves the others theirs.
const CONNECTIONS_OF_ONE_MAX: usize = CONNECTIONS_MAX / 2;

/// Refused connections that are told so at once; more are closed without a word.
const REFUSALS_MAX: usize = 8;

/// How long requests under way may take to end at shutdown.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// Wait after a failed accept, as when descriptors run out: trying at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The listeners.
#[derive(Debug)]
pub struct Server {
    unix: UnixListener,
    path: PathBuf,
    tls: Option<TcpListener>,
    access: Access,
}

/// A connection's place, among all and among its client's.
struct Slot {
    _permit: OwnedSemaphorePermit,
    _share: Share,
}

/// What every connection is served with.
#[derive(Clone)]
struct Shared {
    router: Router,
    access: Access,
    connections: Arc<Semaphore>,
    shares: Shares,
    refusals: Arc<Semaphore>,
    ending: Shutdown,
}

impl Server {
    /// Listens. A socket left behind by an agent that died is replaced; a live one is not.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn bind(config: &ApiConfig, access: Access) -> Result<Self, BindError> {
        let unix = socket::bind(&config.socket)?;
        let tls = match &config.tls {
            None => None,
            Some(tls) => Some(
                TcpListener::bind(tls.listen)
                    .await
                    .map_err(|source| BindError::Listen { address: tls.listen, source })?,
            ),
        };
        Ok(Self { unix, path: config.socket.clone(), tls, access })
    }

    /// Where clients on the network connect, if they may at all.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn tls_address(&self) -> io::Result<Option<SocketAddr>> {
        self.tls.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Serves until `shutdown` is done, then accepts nothing more, lets what is under way end, within bounds, and
    /// removes the socket.
    pub async fn run(self, router: Router, shutdown: impl Future<Output = ()>) {
        let Self { unix, path, tls, access } = self;
        let (end, ending) = Shutdown::new();
        let shared = Shared {
            router,
            access,
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            shares: Shares::new(CONNECTIONS_OF_ONE_MAX, "connections"),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            ending,
        };
        let mut handshakes = Handshakes::default();
        let mut tasks = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                Some(_) = tasks.join_next() => continue,
                accepted = unix.accept() => accepted.map(|(stream, _)| Accepted::Unix(stream)),
                accepted = accept(tls.as_ref()) => accepted.map(Accepted::Tls),
            };
            match accepted {
                Ok(Accepted::Unix(stream)) => {
                    tasks.spawn(on_socket(stream, shared.clone()));
                }
                Ok(Accepted::Tls(stream)) => {
                    tasks.spawn(on_network(stream, handshakes.enter(), shared.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop((unix, tls, handshakes));
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

enum Accepted {
    Unix(UnixStream),
    Tls(TcpStream),
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

async fn on_socket(stream: UnixStream, shared: Shared) {
    match stream.peer_cred() {
        Ok(credentials) => admit(stream, Proof::User(credentials.uid()), shared).await,
        Err(error) => {
            tracing::warn!(%error, "the kernel does not say who connects; the connection is closed")
        }
    }
}

async fn on_network(stream: TcpStream, place: handshakes::Place, shared: Shared) {
    let rules = shared.access.rules();
    let mut ending = pin!(shared.ending.clone().ended());
    let shaken = tokio::select! {
        () = &mut ending => None,
        shaken = place.shake(stream, &rules) => shaken,
    };
    drop(rules);
    if let Some((stream, proof)) = shaken {
        admit(stream, proof, shared).await;
    }
}

/// Serves a peer that is a client while there is room; tells anybody else why not.
async fn admit<S: AsyncRead + AsyncWrite + Unpin>(stream: S, proof: Proof, shared: Shared) {
    let Shared { router, access, connections, shares, refusals, ending } = shared;
    let failure = match entry(&access, &proof, &connections, &shares) {
        Ok((client, slot)) => return serve(stream, router, (client, proof), access, ending, slot).await,
        Err(failure) => failure,
    };
    metrics::counter!("sealstone_http_connections_refused_total", "code" => failure.code.name()).increment(1);
    tracing::info!(code = %failure.code, detail = failure.detail, "a connection is refused");
    if let Ok(slot) = refusals.try_acquire_owned() {
        refuse(stream, failure, slot).await;
    }
}

fn entry(
    access: &Access,
    proof: &Proof,
    connections: &Arc<Semaphore>,
    shares: &Shares,
) -> Result<(Arc<Client>, Slot), Failure> {
    let client = access.rules().client(proof)?;
    let share = shares.take(client.name())?;
    let permit = Arc::clone(connections).try_acquire_owned().map_err(|_| {
        Failure::new(
            Code::Overloaded,
            format!("expected fewer than {CONNECTIONS_MAX} connections, found as many; keep connections and reuse them"),
        )
    })?;
    Ok((client, Slot { _permit: permit, _share: share }))
}
