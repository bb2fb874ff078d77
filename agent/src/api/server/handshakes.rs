//! TLS handshakes: who has not proved anything yet gets little time and no connection of those that clients have.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::access::tls::names;
use crate::access::{Proof, Rules};

/// How long a handshake may take: two round trips, on a network that loses packets.
const DEADLINE: Duration = Duration::from_secs(10);

/// Handshakes at once; one more ends the oldest, so that silent peers keep nobody out. Each takes some 20 KiB.
const AT_ONCE_MAX: usize = 64;

/// The handshakes under way, oldest first.
#[derive(Debug, Default)]
pub(super) struct Handshakes(VecDeque<oneshot::Sender<()>>);

/// One handshake's place; ends when it is given up.
#[derive(Debug)]
pub(super) struct Place(oneshot::Receiver<()>);

impl Handshakes {
    /// A place for one more, taken from the oldest if need be.
    pub(super) fn enter(&mut self) -> Place {
        self.0.retain(|place| !place.is_closed());
        if self.0.len() >= AT_ONCE_MAX {
            metrics::counter!("sealstone_tls_handshakes_failed_total", "reason" => "crowded").increment(1);
            self.0.pop_front();
        }
        let (hold, place) = oneshot::channel();
        self.0.push_back(hold);
        Place(place)
    }
}

impl Place {
    /// Shakes hands under these rules: the stream, and what the peer proved.
    pub(super) async fn shake(
        self,
        stream: TcpStream,
        rules: &Rules,
    ) -> Option<(TlsStream<TcpStream>, Proof)> {
        let tls = rules.tls()?;
        // Answers are small and waited for.
        let _ = stream.set_nodelay(true);
        let handshake = tokio::time::timeout(DEADLINE, TlsAcceptor::from(tls.server()).accept(stream));
        let outcome = tokio::select! {
            outcome = handshake => outcome,
            _ = self.0 => return None,
        };
        let reason = match outcome {
            Ok(Ok(stream)) => match proof(&stream) {
                Some(proof) => return Some((stream, proof)),
                None => "no_certificate",
            },
            Ok(Err(error)) => {
                tracing::info!(%error, "a TLS handshake failed");
                "refused"
            }
            Err(_) => "slow",
        };
        metrics::counter!("sealstone_tls_handshakes_failed_total", "reason" => reason).increment(1);
        None
    }
}

fn proof(stream: &TlsStream<TcpStream>) -> Option<Proof> {
    let (_, session) = stream.get_ref();
    let chain: Arc<[_]> = session.peer_certificates()?.iter().map(|one| one.clone().into_owned()).collect();
    let names = names(chain.first()?)
        .inspect_err(|failure| tracing::info!(detail = failure.detail, "a certificate is refused"))
        .ok()?;
    Some(Proof::Certificate { chain, names })
}
