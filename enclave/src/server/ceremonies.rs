//! The thread that conducts ceremonies, one at a time: there is one TPM and one state file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use sealstone_wire::reply::{RefusalCode, Reply};
use sealstone_wire::request::TpmHints;

use super::connection::Connection;
use super::relay::ConnectionRelay;
use crate::core::{Enclave, ceremony_under_way};
use crate::notice::notice;
use crate::refuse::{Refuse, refuse};
use crate::sandbox::{Crew, CrewError, seccomp, survive};

/// A ceremony that an agent asked for.
pub(super) struct Ceremony {
    pub(super) connection: Arc<Connection>,
    pub(super) id: u64,
    pub(super) tpm: TpmHints,
    pub(super) kind: Kind,
    pub(super) relay: ConnectionRelay,
}

/// Which ceremony.
pub(super) enum Kind {
    Provision(String),
    Unlock,
    Apply,
}

/// The way to the thread, and whether it has something to do.
pub(super) struct Ceremonies {
    queue: Sender<Ceremony>,
    taken: Arc<AtomicBool>,
}

impl Ceremonies {
    pub(super) fn start(enclave: Arc<Enclave>, stack: usize, crew: &mut Crew) -> Result<Self, CrewError> {
        // Whoever took the thread puts one ceremony here, which the thread may not yet be back to receive.
        let (queue, ceremonies) = bounded(1);
        let taken = Arc::new(AtomicBool::new(false));
        let given_back = Arc::clone(&taken);
        crew.start(seccomp::Kind::Ceremony, "ceremony".to_owned(), stack, move || {
            conduct(&enclave, &ceremonies, &given_back);
        })?;
        Ok(Self { queue, taken })
    }

    /// Begins a ceremony, unless another is under way.
    pub(super) fn submit(&self, ceremony: Ceremony) -> Result<(), Refuse> {
        if self.taken.swap(true, Ordering::AcqRel) {
            return Err(ceremony_under_way());
        }
        self.queue.try_send(ceremony).map_err(|_| ceremony_under_way())
    }
}

fn conduct(enclave: &Enclave, ceremonies: &Receiver<Ceremony>, taken: &AtomicBool) {
    for Ceremony { connection, id, tpm, kind, mut relay } in ceremonies {
        let mut done = Err(refuse(RefusalCode::Internal, "a fault of the enclave; its log says where"));
        survive(|| {
            done = match kind {
                Kind::Provision(node) => enclave.provision(&node, &tpm, &mut relay),
                Kind::Unlock => enclave.unlock(&tpm, &mut relay),
                Kind::Apply => enclave.apply_manifest(&tpm, &mut relay),
            };
        });
        connection.end_ceremony();
        // Before the answer: whoever has it may ask for the next one.
        taken.store(false, Ordering::Release);
        match &done {
            Ok(status) => notice(format!("ceremony done: {:?}, era {}", status.phase, status.era)),
            Err(refusal) => notice(format!("ceremony refused: {} {}", refusal.code(), refusal.detail())),
        }
        survive(|| connection.reply(id, done.map_or_else(Reply::from, Reply::Status)));
    }
}
