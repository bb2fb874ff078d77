//! Connections: accepted, authenticated, served by plain threads, every one of them bounded.
//!
//! One thread accepts, one per connection reads, a fixed pool signs, and a ceremony has a thread of its own
//! while it waits for the TPM.

mod connection;
mod handshakes;
mod log;
mod pool;
mod relay;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use sealstone_wire::address::{Listener, Stream};
use sealstone_wire::channel::{ChannelKey, ChannelPublic};
use sealstone_wire::limits::CONNECTIONS_MAX;

use crate::core::Enclave;
use connection::Connection;
use handshakes::Handshakes;
use log::Log;
use pool::Pool;

/// How long the acceptor rests when the system has no descriptor or memory for another connection; without a
/// rest it would spin.
const ACCEPT_FAULT_REST: Duration = Duration::from_millis(50);

/// What all connections share.
#[allow(missing_debug_implementations, reason = "holds the channel's keys")]
pub struct Server {
    channel_keys: Vec<ChannelKey>,
    agent: Vec<ChannelPublic>,
    enclave: Arc<Enclave>,
    pool: Pool,
    handshakes: Handshakes,
    log: Log,
    /// Authenticated connections.
    connections: AtomicUsize,
}

impl Server {
    /// Starts the threads; they end with the process.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        listener: Listener,
        channel_keys: Vec<ChannelKey>,
        agent: Vec<ChannelPublic>,
        enclave: Arc<Enclave>,
        signing_threads: usize,
    ) -> io::Result<()> {
        let pool = Pool::start(Arc::clone(&enclave), signing_threads)?;
        let server = Arc::new(Self {
            channel_keys,
            agent,
            enclave,
            pool,
            handshakes: Handshakes::default(),
            log: Log::default(),
            connections: AtomicUsize::new(0),
        });
        thread::Builder::new().name("accept".to_owned()).spawn(move || accept(&listener, &server))?;
        Ok(())
    }

    /// One connection from its first byte to its last.
    fn serve(&self, stream: Stream, ticket: u64) {
        let authenticated = connection::authenticate(stream, &self.channel_keys, &self.agent);
        self.handshakes.leave(ticket);
        let (frames, channel, parties) = match authenticated {
            Ok(authenticated) => authenticated,
            Err(error) => {
                return self.log.say(&format!("connection refused: {}", crate::core::describe(&error)));
            }
        };
        let Some(_place) = Place::take(&self.connections) else {
            return self.log.say(&format!("connection refused: {CONNECTIONS_MAX} are open"));
        };
        match Connection::open(frames, channel, parties.own) {
            Ok((connection, reader)) => connection.serve(reader, &self.enclave, &self.pool),
            Err(error) => self.log.say(&format!("connection lost: {error}")),
        }
    }
}

/// One of the places for authenticated connections; given back when dropped, however its connection ended.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(taken: &'a AtomicUsize) -> Option<Self> {
        let place = Self(taken);
        (taken.fetch_add(1, Ordering::AcqRel) < CONNECTIONS_MAX).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn accept(listener: &Listener, server: &Arc<Server>) {
    loop {
        let stream = match listener.accept() {
            Ok(stream) => stream,
            Err(error) => {
                server.log.say(&format!("cannot accept: {error}"));
                thread::sleep(ACCEPT_FAULT_REST);
                continue;
            }
        };
        let Some(ticket) = server.handshakes.enter(&stream) else { continue };
        let shared = Arc::clone(server);
        let spawned =
            thread::Builder::new().name("connection".to_owned()).spawn(move || shared.serve(stream, ticket));
        if let Err(error) = spawned {
            server.handshakes.leave(ticket);
            server.log.say(&format!("no thread for a connection: {error}"));
        }
    }
}
