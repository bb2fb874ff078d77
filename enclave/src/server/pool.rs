//! The signing threads, which also follow the audit log: a fixed number behind a bounded queue. A full queue is
//! answered at once.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use sealstone_attestation::{Binding, audit::TreeHash};
use sealstone_wire::KeyPath;
use sealstone_wire::limits::QUEUE_MAX;
use sealstone_wire::reply::{RefusalCode, Reply};
use sealstone_wire::request::SignRequest;

use super::connection::Connection;
use crate::core::Enclave;
use crate::refuse::refuse;
use crate::sandbox::seccomp::Kind;
use crate::sandbox::{Crew, CrewError, survive};
use crate::state_file::LogHead;

/// Work for a signing thread, and where the answer goes.
pub(super) struct Job {
    pub(super) connection: Arc<Connection>,
    pub(super) id: u64,
    pub(super) work: Work,
}

/// What derives a key, and what else takes long: leaves are hashed, and a checkpoint waits for the disk.
pub(super) enum Work {
    Sign(Box<SignRequest>),
    PublicKey(KeyPath, Option<Binding>),
    Audit(Audit),
}

/// What is asked about the audit log.
pub(super) enum Audit {
    Begin,
    Leaves(u64, Vec<u8>),
    Sign(LogHead),
    Resume(Vec<u8>, Vec<TreeHash>),
    BeginAnew,
}

/// The queue to the threads.
pub(super) struct Pool(Sender<Job>);

impl Pool {
    pub(super) fn start(
        enclave: &Arc<Enclave>,
        threads: usize,
        stack: usize,
        crew: &mut Crew,
    ) -> Result<Self, CrewError> {
        let (sender, receiver) = bounded(QUEUE_MAX);
        for number in 0..threads {
            let enclave = Arc::clone(enclave);
            let receiver = receiver.clone();
            crew.start(Kind::Sign, format!("sign-{number}"), stack, move || work(&enclave, &receiver))?;
        }
        Ok(Self(sender))
    }

    /// Queues a job, or answers that the queue is full.
    pub(super) fn submit(&self, job: Job) {
        if let Err(full) = self.0.try_send(job) {
            let Job { connection, id, .. } = full.into_inner();
            let detail = format!("{QUEUE_MAX} requests wait already; try again");
            connection.reply(id, refuse(RefusalCode::Overloaded, detail).into());
        }
    }
}

fn work(enclave: &Enclave, jobs: &Receiver<Job>) {
    for Job { connection, id, work } in jobs {
        let mut reply = Err(refuse(RefusalCode::Internal, "a fault of the enclave; its log says where"));
        survive(|| {
            reply = match work {
                Work::Sign(request) => enclave.sign(&request).map(|signed| Reply::Signed(Box::new(signed))),
                Work::PublicKey(path, binding) => enclave.public_key(&path, binding),
                Work::Audit(audit) => match audit {
                    Audit::Begin => enclave.checkpoint_begin(),
                    Audit::Leaves(index, leaves) => {
                        enclave.audit_leaves(index, &leaves).map(|()| Reply::Done)
                    }
                    Audit::Sign(head) => enclave.checkpoint_sign(head).map(Reply::Checkpoint),
                    Audit::Resume(checkpoint, frontier) => {
                        enclave.audit_resume(&checkpoint, frontier).map(Reply::Checkpoint)
                    }
                    Audit::BeginAnew => enclave.audit_begin_anew(),
                },
            };
        });
        survive(|| connection.reply(id, reply.unwrap_or_else(Reply::from)));
    }
}
