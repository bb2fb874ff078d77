//! Connections: accepted, authenticated, served by a fixed number of threads that are there from the start.
//!
//! One thread accepts, a thread for each connection that may be open reads, a pool signs, and one conducts the
//! ceremonies, which wait for the TPM. Work goes from one to the other through bounded queues.

mod ceremonies;
mod connection;
mod handshakes;
mod log;
mod pool;
mod relay;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use sealstone_wire::address::{Listener, Stream};
use sealstone_wire::channel::{ChannelKey, ChannelPublic};
use sealstone_wire::limits::{CONNECTIONS_MAX, HANDSHAKES_MAX};

use crate::core::Enclave;
use crate::sandbox::seccomp::Kind;
use crate::sandbox::{Crew, CrewError, survive};
use ceremonies::Ceremonies;
use connection::Connection;
use handshakes::Handshakes;
use log::Log;
use pool::Pool;

/// How long the acceptor rests when the system has no descriptor or memory for another connection; without a
/// rest it would spin.
const ACCEPT_FAULT_REST: Duration = Duration::from_millis(50);

/// Threads that serve connections: one for each that may be open.
const CONNECTION_THREADS: usize = HANDSHAKES_MAX + CONNECTIONS_MAX;

/// Bytes of a thread's stack. Frames and manifests are on the heap; the deepest that stories reach in an unoptimised
/// build, a ceremony, takes less than a quarter of this.
const STACK: usize = 512 * 1024;

/// A connection in its handshake, and its place among those.
type Arrival = (Stream, u64);

/// What all connections share.
#[allow(missing_debug_implementations, reason = "holds the channel's keys")]
pub struct Server {
    channel_keys: Vec<ChannelKey>,
    agent: Vec<ChannelPublic>,
    enclave: Arc<Enclave>,
    pool: Pool,
    ceremonies: Ceremonies,
    handshakes: Handshakes,
    log: Log,
    /// Authenticated connections.
    connections: AtomicUsize,
}

/// A server whose threads are there and whose door is shut.
#[derive(Debug)]
pub struct Shut(Sender<()>);

impl Shut {
    /// Accepts connections from now on.
    pub fn open(self) {
        // The acceptor is gone only if the process is.
        let _ = self.0.send(());
    }
}

impl Server {
    /// Starts the threads; they end with the process. Nothing is accepted yet.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        listener: Listener,
        channel_keys: Vec<ChannelKey>,
        agent: Vec<ChannelPublic>,
        enclave: Arc<Enclave>,
        signing_threads: usize,
        crew: &mut Crew,
    ) -> Result<Shut, CrewError> {
        let pool = Pool::start(&enclave, signing_threads, STACK, crew)?;
        let ceremonies = Ceremonies::start(Arc::clone(&enclave), STACK, crew)?;
        let server = Arc::new(Self {
            channel_keys,
            agent,
            enclave,
            pool,
            ceremonies,
            handshakes: Handshakes::default(),
            log: Log::default(),
            connections: AtomicUsize::new(0),
        });
        // As many as may be in their handshake: one that is crowded out while it waits here is soon taken, and
        // found closed.
        let (arrive, arrivals) = bounded::<Arrival>(HANDSHAKES_MAX);
        for number in 0..CONNECTION_THREADS {
            let (server, arrivals) = (Arc::clone(&server), arrivals.clone());
            crew.start(Kind::Connection, format!("connection-{number}"), STACK, move || {
                for (stream, ticket) in arrivals {
                    survive(|| server.serve(stream, ticket));
                    server.handshakes.leave(ticket);
                }
            })?;
        }
        let (open, opened) = bounded(1);
        crew.start(Kind::Accept, "accept".to_owned(), STACK, move || {
            accept(&listener, &server, &opened, &arrive);
        })?;
        Ok(Shut(open))
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
            Ok((connection, reader)) => connection.serve(reader, &self.enclave, &self.pool, &self.ceremonies),
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

fn accept(listener: &Listener, server: &Server, opened: &Receiver<()>, arrive: &Sender<Arrival>) {
    if opened.recv().is_err() {
        return;
    }
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
        // Whoever would wait here has crowded out somebody whose thread is about to notice.
        if arrive.send((stream, ticket)).is_err() {
            return;
        }
    }
}
