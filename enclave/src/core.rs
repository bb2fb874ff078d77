//! The enclave's life: unprovisioned → locked → unlocked → attested session, and what each phase answers.
//!
//! Everything here is synchronous and answers at once; what needs the TPM is in [`ceremony`](crate::ceremony).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use sealstone_attestation::{
    Binding, BuildInfo, ClockInfo, Envelope, KeyId, PayloadKind, Purpose, Quote, QuoteEvidence, Report,
    ReportDigest, UnixTime, VerifiedManifest, appraise_quote, statement,
};
pub use sealstone_wire::chain as describe;
use sealstone_wire::channel::ChannelPublic;
use sealstone_wire::key_path::KeyPath;
use sealstone_wire::reply::{ManifestStatus, Phase, RefusalCode, Reply, Session, Signed, Status};
use sealstone_wire::request::SignRequest;

use crate::audit::{AuditLog, log_is_behind};
use crate::clock;
use crate::credential::Credential;
use crate::derive::Root;
use crate::permission::{
    check_session_request, key_mismatch, not_permitted, not_signed, payload_kind, permit_binding, permits,
};
use crate::receipts::{Entry, ReceiptChain};
use crate::refuse::{Refuse, refuse};
use crate::report_key::ReportKey;
use crate::sandbox::Protections;
use crate::secret;
use crate::session::{Challenge, OpenSession};
use crate::state_file::{State, StateFile};
use crate::upload::Upload;

/// The enclave, shared by all its threads.
#[allow(missing_debug_implementations, reason = "holds secrets")]
pub struct Enclave {
    pub(crate) settings: Settings,
    pub(crate) credential: Credential,
    pub(crate) file: StateFile,
    upload: Mutex<Upload>,
    /// Held for the whole of a ceremony: there is one TPM and one state file.
    pub(crate) ceremony: Mutex<()>,
    life: RwLock<Life>,
}

/// What is fixed at start.
#[derive(Debug)]
pub struct Settings {
    /// Who may approve the manifest that provisions.
    pub authority: sealstone_attestation::AuthorityDigest,
    /// Where a new counter goes.
    pub nv_index: u32,
    /// What runs.
    pub build: BuildInfo,
    /// Measures each protection, whenever somebody asks.
    pub protections: Arc<Protections>,
}

/// The phases. A session is part of the unlocked phase, because it ends by itself.
pub(crate) enum Life {
    Unprovisioned,
    Locked(Box<State>),
    Unlocked(Box<Unlocked>),
    /// Wiped for good: the process is ending.
    Ended,
}

/// An unlocked enclave.
pub(crate) struct Unlocked {
    pub(crate) root: Root,
    pub(crate) report_key: ReportKey,
    pub(crate) manifest: VerifiedManifest,
    pub(crate) state: Mutex<State>,
    era: u64,
    /// The newest era before this one in which something was signed.
    last_used_era: u64,
    /// Whether the state file says that this era was used; so that signing does not wait for whoever writes the file.
    era_used: AtomicBool,
    time_floor: UnixTime,
    challenge: Mutex<Option<Challenge>>,
    session: RwLock<Option<Arc<OpenSession>>>,
    /// Locked before the receipts, and they before the state.
    pub(crate) log: Mutex<AuditLog>,
    pub(crate) receipts: Mutex<ReceiptChain>,
}

impl Unlocked {
    pub(crate) fn new(
        root: Root,
        report_key: ReportKey,
        manifest: VerifiedManifest,
        state: State,
        era: u64,
    ) -> Self {
        Self {
            root,
            report_key,
            manifest,
            last_used_era: state.last_signed_era,
            era_used: AtomicBool::new(state.last_signed_era == era),
            time_floor: state.time_floor,
            log: Mutex::new(AuditLog::remembered(state.log_head)),
            state: Mutex::new(state),
            era,
            challenge: Mutex::new(None),
            session: RwLock::new(None),
            receipts: Mutex::new(ReceiptChain::begin(era)),
        }
    }

    /// A new manifest is in force: the session was attested under the old one and ends, and the open challenge is
    /// void, because its report names the old one.
    pub(crate) fn replace_manifest(&mut self, manifest: VerifiedManifest) {
        self.manifest = manifest;
        *lock(&self.challenge) = None;
        self.end_session();
    }

    pub(crate) fn now(&self) -> UnixTime {
        clock::unix_time(self.manifest.manifest().issued_at().max(self.time_floor))
    }

    fn session(&self) -> Result<Arc<OpenSession>, Refuse> {
        let session = self.session.read().unwrap_or_else(PoisonError::into_inner).clone();
        match session {
            Some(session) if session.is_open() => Ok(session),
            Some(_) => Err(refuse(RefusalCode::NoSession, "the attested session has ended; attest anew")),
            None => {
                Err(refuse(RefusalCode::NoSession, "no attested session; ask for a challenge and attest"))
            }
        }
    }

    fn end_session(&self) {
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Enclave {
    /// An enclave with what its state file says.
    #[must_use]
    pub fn new(settings: Settings, credential: Credential, file: StateFile, state: Option<State>) -> Self {
        let life = match state {
            Some(state) if state.is_sealed() => Life::Locked(Box::new(state)),
            _ => Life::Unprovisioned,
        };
        Self {
            settings,
            credential,
            file,
            upload: Mutex::new(Upload::default()),
            ceremony: Mutex::new(()),
            life: RwLock::new(life),
        }
    }

    pub(crate) fn life(&self) -> RwLockReadGuard<'_, Life> {
        // A panic while a guard was held is a bug; the data are still whole, and refusing for ever is worse.
        self.life.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn life_mut(&self) -> RwLockWriteGuard<'_, Life> {
        self.life.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters the phase that a ceremony led to, unless the enclave was told to end meanwhile: what was wiped for
    /// good stays wiped.
    pub(crate) fn enter(&self, next: Life) -> Result<(), Refuse> {
        let mut life = self.life_mut();
        if let Life::Ended = *life {
            return Err(ending());
        }
        *life = next;
        Ok(())
    }

    /// How the enclave is.
    #[must_use]
    pub fn status(&self) -> Status {
        let life = self.life();
        let mut status = Status {
            phase: Phase::Unprovisioned,
            version: self.settings.build.version.clone(),
            deployment: None,
            node: None,
            manifest: None,
            era: 0,
            last_used_era: 0,
            sequence: 0,
            session: None,
            unfunded: true,
            protections: self.settings.protections.measured(),
        };
        match &*life {
            Life::Unprovisioned | Life::Ended => {}
            Life::Locked(state) => {
                status.phase = Phase::Locked;
                status.node = Some(state.node.clone());
                status.last_used_era = state.last_signed_era;
            }
            Life::Unlocked(unlocked) => {
                let manifest = unlocked.manifest.manifest();
                let session = unlocked.session().ok();
                status.phase = if session.is_some() { Phase::Attested } else { Phase::Unlocked };
                status.deployment = Some(manifest.deployment());
                status.node = Some(lock(&unlocked.state).node.clone());
                status.manifest = Some(ManifestStatus {
                    version: manifest.version(),
                    digest: unlocked.manifest.digest(),
                    authority: manifest.authority().digest(),
                });
                status.era = unlocked.era;
                status.last_used_era = unlocked.last_used_era;
                status.sequence = lock(&unlocked.receipts).sequence();
                status.session = session.map(|session| session.describe());
            }
        }
        status
    }

    /// Takes one piece of a manifest's envelope; a ceremony then takes the whole.
    ///
    /// # Errors
    /// As [`Upload::push`].
    pub fn upload(&self, offset: u32, piece: &[u8]) -> Result<(), Refuse> {
        lock(&self.upload).push(offset, piece)
    }

    /// The envelope that was uploaded, which is then forgotten here.
    pub(crate) fn take_upload(&self) -> Result<Vec<u8>, Refuse> {
        lock(&self.upload).take()
    }

    /// A fresh report, signed.
    ///
    /// It names the channel's key under which it is asked for.
    ///
    /// # Errors
    /// Refused while locked: the report key is under the seal.
    pub fn report(&self, channel_key: ChannelPublic) -> Result<Vec<u8>, Refuse> {
        let life = self.life();
        let unlocked = life.unlocked()?;
        Ok(self.sign_report(unlocked, channel_key)?.to_json())
    }

    fn sign_report(&self, unlocked: &Unlocked, channel_key: ChannelPublic) -> Result<Envelope, Refuse> {
        let manifest = unlocked.manifest.manifest();
        let (sequence, receipt_head) = {
            let receipts = lock(&unlocked.receipts);
            (receipts.sequence(), receipts.head())
        };
        let node = lock(&unlocked.state).node.clone();
        let report = Report {
            format: 1,
            deployment: manifest.deployment(),
            node,
            manifest: unlocked.manifest.digest(),
            manifest_version: manifest.version(),
            authority: manifest.authority().digest(),
            channel_key: *channel_key.as_bytes(),
            report_key: unlocked.report_key.public(),
            build: self.settings.build.clone(),
            protections: self.settings.protections.measured(),
            era: unlocked.era,
            last_used_era: unlocked.last_used_era,
            sequence,
            receipt_head,
            unfunded: true,
            time: unlocked.now(),
        };
        report
            .sign(|labelled| unlocked.report_key.sign(labelled))
            .map_err(|error| refuse(RefusalCode::Internal, describe(&error)))
    }

    /// Draws a challenge; the one before it is void.
    ///
    /// # Errors
    /// Refused while locked.
    pub fn challenge(&self, channel_key: ChannelPublic) -> Result<Reply, Refuse> {
        let life = self.life();
        let unlocked = life.unlocked()?;
        let report = self.sign_report(unlocked, channel_key)?;
        let log_size = lock(&unlocked.log).newest().size;
        let challenge =
            Challenge::draw(ReportDigest::of(&report.payload), log_size).map_err(no_randomness)?;
        let nonce = challenge.nonce;
        *lock(&unlocked.challenge) = Some(challenge);
        Ok(Reply::Challenge { nonce, report: report.to_json() })
    }

    /// Appraises the answer to the newest challenge and opens a session; a quote that fails ends the session
    /// that is open.
    ///
    /// # Errors
    /// `NO_CHALLENGE`, `ATTESTATION_FAILED` with the check that failed.
    pub fn attest(&self, quote: &QuoteEvidence, checkpoint: &[u8]) -> Result<Session, Refuse> {
        let life = self.life();
        let unlocked = life.unlocked()?;
        let challenge = lock(&unlocked.challenge).take();
        let challenge = challenge.filter(Challenge::is_open).ok_or_else(|| {
            refuse(
                RefusalCode::NoChallenge,
                "no open challenge: it was never asked for, was used, or is older than 30 s",
            )
        })?;
        if !checkpoint.is_empty() {
            unlocked.expect_own_checkpoint(checkpoint, challenge.log_size)?;
        }
        let manifest = unlocked.manifest.manifest();
        let name = lock(&unlocked.state).node.clone();
        let node = manifest.node_by_name(&name).ok_or_else(|| {
            refuse(RefusalCode::NotEnrolled, format!("the manifest in force does not enrol node {name:?}"))
        })?;
        let expect = |purpose| {
            statement(purpose, &challenge.nonce, challenge.report, unlocked.manifest.digest(), checkpoint)
        };
        let expected = expect(Purpose::Session)
            .map_err(|error| refuse(RefusalCode::Malformed, format!("checkpoint: {error}")))?;
        let previous: Option<ClockInfo> = lock(&unlocked.state).clock;
        let appraisal = appraise_quote(quote, node, manifest, expected, previous.as_ref());
        let Some(attested) = &appraisal.attested else {
            unlocked.end_session();
            let mut failure = appraisal.verdict.first_failure().map_or_else(
                || "the verdict is incomplete".to_owned(),
                |check| format!("{}: {}", check.name, check.detail),
            );
            let as_evidence = expect(Purpose::Evidence).ok();
            if let Ok(made) = Quote::parse(&quote.attest)
                && as_evidence.is_some_and(|statement| made.extra_data() == statement.as_bytes())
            {
                failure
                    .push_str("; the quote was made for the purpose \"evidence\", a session needs its own");
            }
            return Err(refuse(RefusalCode::AttestationFailed, failure));
        };
        let warnings = appraisal.verdict.warnings().to_vec();
        let session = OpenSession::open(attested, warnings, manifest.session_ttl(), unlocked.now())
            .map_err(no_randomness)?;
        let described = session.describe();
        lock(&unlocked.state).clock = Some(attested.clock);
        *unlocked.session.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(session));
        Ok(described)
    }

    /// The public key of a path.
    ///
    /// # Errors
    /// Refused without a session, and for a path or binding that the manifest does not permit.
    pub fn public_key(&self, path: &KeyPath, binding: Option<Binding>) -> Result<Reply, Refuse> {
        let life = self.life();
        let unlocked = life.unlocked()?;
        let session = unlocked.session()?;
        let binding = binding.unwrap_or(session.binding);
        permit_binding(unlocked, &session, binding)?;
        let permitted =
            [PayloadKind::Message, PayloadKind::Digest].into_iter().any(|kind| permits(unlocked, path, kind));
        if !permitted {
            return Err(not_permitted(path, None));
        }
        let info = path.info();
        let public_key = secret::run(|inside| {
            unlocked.root.derive(inside, &binding, path.algorithm(), &info).public_key()
        });
        Ok(Reply::PublicKey { public_key, binding })
    }

    /// One signature with its receipt.
    ///
    /// # Errors
    /// Refused without a session, without permission, for a binding that this state may not use, a key that is
    /// not the recorded one, a session key of another hour, and a payload that does not suit the algorithm.
    pub fn sign(&self, request: &SignRequest) -> Result<Signed, Refuse> {
        let life = self.life();
        let unlocked = life.unlocked()?;
        let session = unlocked.session()?;
        let now = unlocked.now();
        let SignRequest { path, binding, key_id, payload, request: request_digest, issued_at_ms } = request;
        let kind = payload_kind(payload)?;
        if !permits(unlocked, path, kind) {
            return Err(not_permitted(path, Some(kind)));
        }
        permit_binding(unlocked, &session, *binding)?;
        if lock(&unlocked.receipts).uncovered().is_full() {
            return Err(log_is_behind());
        }
        match path {
            KeyPath::Asset { .. } => {
                if key_id.is_none() {
                    return Err(refuse(
                        RefusalCode::Malformed,
                        "an asset key is signed with under its recorded key id",
                    ));
                }
            }
            KeyPath::Session { hour, .. } => check_session_request(&session, *binding, *hour, *issued_at_ms)?,
        }

        let verify = unlocked.manifest.manifest().enclave().verify_signatures;
        let info = path.info();
        let (public_key, derived_id, made) = secret::run(|inside| {
            let key = unlocked.root.derive(inside, binding, path.algorithm(), &info);
            let may_sign = |derived: &KeyId| key_id.is_none_or(|recorded| recorded == *derived);
            key.sign_if(inside, may_sign, payload, verify)
        })
        .parts();
        let made = made.ok_or_else(|| key_mismatch(*key_id, derived_id))?.map_err(not_signed)?;
        self.mark_era_used(unlocked)?;
        // Last of all: the session may have run out meanwhile, or a quote that failed may have ended it. One that
        // was renewed in the same state still vouches for this signature.
        if unlocked.session()?.binding != session.binding {
            return Err(refuse(
                RefusalCode::NoSession,
                "the machine went into another state before the signature was made",
            ));
        }
        let entry = Entry {
            request: *request_digest,
            key_id: derived_id,
            epoch: path.receipt_epoch(),
            binding: *binding,
            session: session.id,
            time: now,
        };
        lock(&unlocked.receipts)
            .record(entry, made, public_key, &unlocked.report_key)
            .ok_or_else(log_is_behind)
    }

    /// Before the first signature of an era leaves, the state file says that the era was used, so that a store
    /// that never heard of it is found out (`STORE_ROLLED_BACK`).
    fn mark_era_used(&self, unlocked: &Unlocked) -> Result<(), Refuse> {
        if unlocked.era_used.load(Ordering::Acquire) {
            return Ok(());
        }
        self.change_state(unlocked, |state| state.last_signed_era = unlocked.era)?;
        unlocked.era_used.store(true, Ordering::Release);
        Ok(())
    }

    /// Changes what must not be forgotten: on disk when it returns. Whoever else has the state waits.
    pub(crate) fn change_state(
        &self,
        unlocked: &Unlocked,
        change: impl FnOnce(&mut State),
    ) -> Result<(), Refuse> {
        let mut state = lock(&unlocked.state);
        let mut next = state.clone();
        change(&mut next);
        self.file.store(&next).map_err(|error| refuse(RefusalCode::StateFile, describe(&error)))?;
        *state = next;
        Ok(())
    }

    /// Kept receipts of this era.
    ///
    /// # Errors
    /// Refused while locked.
    pub fn receipts(&self, from: u64) -> Result<Vec<Signed>, Refuse> {
        let life = self.life();
        Ok(lock(&life.unlocked()?.receipts).from(from))
    }

    /// Wipes root, report key and session; waits for signatures in flight.
    ///
    /// # Errors
    /// Refused if nothing is unlocked, and while a ceremony is under way.
    pub fn lock(&self) -> Result<(), Refuse> {
        let _ceremony = self.begin_ceremony()?;
        let mut life = self.life_mut();
        let state = {
            let unlocked = life.unlocked()?;
            lock(&unlocked.state).clone()
        };
        *life = Life::Locked(Box::new(state));
        Ok(())
    }

    /// Wipes everything for good.
    pub fn end(&self) {
        *self.life_mut() = Life::Ended;
    }

    pub(crate) fn begin_ceremony(&self) -> Result<MutexGuard<'_, ()>, Refuse> {
        match self.ceremony.try_lock() {
            Ok(guard) => Ok(guard),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => Err(ceremony_under_way()),
        }
    }
}

impl Life {
    pub(crate) fn unlocked(&self) -> Result<&Unlocked, Refuse> {
        match self {
            Self::Unlocked(unlocked) => Ok(unlocked),
            Self::Unprovisioned => Err(refuse(
                RefusalCode::Unprovisioned,
                "no root yet; apply a signed manifest with provisioning",
            )),
            Self::Locked(_) => Err(refuse(RefusalCode::Locked, "the root is sealed; unlock first")),
            Self::Ended => Err(ending()),
        }
    }
}

pub(crate) fn ending() -> Refuse {
    refuse(RefusalCode::ShuttingDown, "the enclave has wiped itself and is ending")
}

pub(crate) fn ceremony_under_way() -> Refuse {
    refuse(
        RefusalCode::Busy,
        "another provisioning, unlock or manifest change is under way; try again when it is done",
    )
}

pub(crate) fn no_randomness(error: getrandom::Error) -> Refuse {
    refuse(RefusalCode::Internal, format!("the operating system has no randomness: {error}"))
}

/// A panic while a guard was held is a bug, but what the mutex guards is still whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
