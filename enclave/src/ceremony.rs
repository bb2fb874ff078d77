//! Provision, unlock and apply a manifest: what changes the seal.
//!
//! A re-seal survives a crash between any two steps: the blob for the next counter value is on disk, beside the
//! old one, before the counter rises, and the old one is dropped only after the risen counter was read back.
//! Whichever value the TPM holds afterwards, one of the two blobs belongs to it.

use sealstone_attestation::{
    AuthorityDigest, Manifest, ManifestError, Node, State as MachineState, VerifiedManifest,
};
use sealstone_wire::reply::{RefusalCode, Status};
use sealstone_wire::request::TpmHints;
use subtle::ConstantTimeEq;

use crate::core::{Enclave, Life, Unlocked, describe, ending, lock, no_randomness};
use crate::derive::Root;
use crate::notice::notice;
use crate::payload::SealPayload;
use crate::refuse::{Refuse, refuse};
use crate::report_key::{REPORT_SEED_LEN, ReportKey};
use crate::secret::{self, Secret};
use crate::state_file::{Slot, State};
use crate::tpm::{AuthValue, Ceremony, PcrState, Relay, SealPolicy, TpmError};

impl Enclave {
    /// Unprovisioned → unlocked: a root is born and sealed under the uploaded manifest.
    ///
    /// # Errors
    /// A manifest of a foreign authority or without this node, a TPM that is not the enrolled one or not in an
    /// approved state, a counter that already exists, and faults of TPM, relay and disk.
    pub fn provision(&self, node: &str, hints: &TpmHints, relay: &mut dyn Relay) -> Result<Status, Refuse> {
        let _ceremony = self.begin_ceremony()?;
        if !matches!(*self.life(), Life::Unprovisioned) {
            return Err(refuse(
                RefusalCode::AlreadyProvisioned,
                "this enclave has a root; apply manifests without provisioning",
            ));
        }
        let envelope = self.take_upload()?;
        let manifest =
            VerifiedManifest::first(&envelope, self.settings.authority).map_err(manifest_refused)?;
        demands_met(manifest.manifest())?;
        let enrolled = enrolled(manifest.manifest(), node)?;

        let mut tpm = Ceremony::open(relay, enrolled.ek(), hints.ek_handle).map_err(tpm_refused)?;
        let nv_index = self.settings.nv_index;
        // Before anything is made that would have to be cleaned up: is the machine in an approved state at all?
        tpm.require_state(&policy(manifest.manifest(), nv_index, 0)).map_err(tpm_refused)?;

        let (root, report_key) = born(&mut tpm)?;
        let counter_auth = self.credential.counter_auth();
        let mut state = State::provisioning(node, nv_index, manifest.manifest().issued_at());
        let resumed = self.file.load().map_err(|error| refuse(RefusalCode::StateFile, describe(&error)))?;
        let counter = match resumed {
            Some(sealed) if sealed.is_sealed() => {
                return Err(refuse(
                    RefusalCode::AlreadyProvisioned,
                    "the state file holds a sealed root; restart the enclave",
                ));
            }
            // A provisioning that ended after the counter was defined and before a root was sealed.
            Some(marker) if marker.nv_index == nv_index => match tpm.read_counter(nv_index, &counter_auth) {
                Ok(counter) => counter,
                Err(TpmError::CounterMissing { .. }) => {
                    tpm.define_counter(nv_index, &counter_auth).map_err(tpm_refused)?
                }
                Err(error) => return Err(tpm_refused(error)),
            },
            // None, or one for another index, where nothing was ever sealed.
            _ => self.first_counter(&mut tpm, &state, &counter_auth)?,
        };

        let auth = self.credential.seal_auth();
        let sealed_secret = SealPayload::encode(&root, manifest.manifest(), &report_key);
        let sealed = policy(manifest.manifest(), nv_index, counter);
        let blob = tpm.seal(&sealed, &auth, &sealed_secret).map_err(tpm_refused)?;
        // What cannot be opened again must not be relied on.
        let opened = tpm.unseal(&blob, &sealed, &auth, &counter_auth).map_err(tpm_refused)?;
        let same = secret::run(|inside| opened.expose(inside).ct_eq(sealed_secret.expose(inside)));
        if !bool::from(same) {
            return Err(refuse(RefusalCode::Internal, "the TPM unsealed something else than was sealed"));
        }
        state.check = Some(root.check_value());
        state.slots = vec![Slot { counter, blob, manifest: envelope_text(&manifest)? }];
        self.store(&state)?;
        // Once more, over the marker: should the record with the root be damaged, what is left must not read as a
        // provisioning under way, which would seal a second root.
        if let Err(refusal) = self.store(&state) {
            notice(format!(
                "the state file holds the root once, not twice, until the next unlock: {}",
                refusal.detail()
            ));
        }
        drop(tpm);
        self.enter(Life::Unlocked(Box::new(Unlocked::new(root, report_key, manifest, state, counter))))?;
        Ok(self.status())
    }

    /// Defines the counter of an enclave that has no state, unless the TPM knows that there was one.
    fn first_counter(&self, tpm: &mut Ceremony<'_>, marker: &State, auth: &AuthValue) -> Result<u64, Refuse> {
        let index = marker.nv_index;
        match tpm.read_counter(index, auth) {
            Err(TpmError::CounterMissing { .. }) => {}
            Err(error) => return Err(tpm_refused(error)),
            Ok(counter) => {
                let detail = format!(
                    "the TPM holds this enclave's counter at {index:#010x} (value {counter}), so a root was sealed before, but the state file holds nothing; restore it, or undefine the index if that root is abandoned for good"
                );
                return Err(refuse(RefusalCode::SealRollback, detail));
            }
        }
        self.store(marker)?;
        // Whatever fails here, the marker stays: the counter may have been made although its answer was lost, and
        // the next attempt takes it up. It cannot take up somebody else's, which has another auth value.
        tpm.define_counter(index, auth).map_err(tpm_refused)
    }

    /// Locked → unlocked: unseals, and re-seals for the next counter value, which is the new era.
    ///
    /// # Errors
    /// A machine in another state, an older state file, a foreign counter or authority, and faults of TPM, relay
    /// and disk. The enclave stays locked.
    pub fn unlock(&self, hints: &TpmHints, relay: &mut dyn Relay) -> Result<Status, Refuse> {
        let _ceremony = self.begin_ceremony()?;
        let mut state = match &*self.life() {
            Life::Locked(state) => State::clone(state),
            Life::Unlocked(_) => return Err(refuse(RefusalCode::AlreadyUnlocked, "already unlocked")),
            Life::Unprovisioned => {
                return Err(refuse(RefusalCode::Unprovisioned, "no sealed root to unlock; provision first"));
            }
            Life::Ended => return Err(ending()),
        };

        // The newest slot's EK; both slots enrol this TPM, and what is believed is decided after unsealing.
        let newest = state
            .slots
            .last()
            .ok_or_else(|| refuse(RefusalCode::StateFile, "the state file holds no sealed blob"))?;
        let hint_of_ek =
            VerifiedManifest::danger_trust_as_given(newest.manifest.as_bytes()).map_err(manifest_refused)?;
        let ek = enrolled(hint_of_ek.manifest(), &state.node)?.ek();
        let mut tpm = Ceremony::open(relay, ek, hints.ek_handle).map_err(tpm_refused)?;

        let counter_auth = self.credential.counter_auth();
        let auth = self.credential.seal_auth();
        let counter = tpm.read_counter(state.nv_index, &counter_auth).map_err(tpm_refused)?;
        let slot = state.slots.iter().find(|slot| slot.counter == counter).ok_or_else(|| {
            let held: Vec<u64> = state.slots.iter().map(|slot| slot.counter).collect();
            let detail = format!("expected a sealed blob for the TPM counter's value {counter}, found {held:?}: the state file is older than the TPM; restore the newest one");
            refuse(RefusalCode::SealRollback, detail)
        })?;
        let as_given =
            VerifiedManifest::danger_trust_as_given(slot.manifest.as_bytes()).map_err(manifest_refused)?;
        let sealed = policy(as_given.manifest(), state.nv_index, counter);
        let secret = tpm.unseal(&slot.blob, &sealed, &auth, &counter_auth).map_err(tpm_refused)?;

        let payload = SealPayload::decode(&secret).ok_or_else(|| {
            refuse(RefusalCode::Internal, "what was unsealed is no payload of this version")
        })?;
        let manifest = believed(slot.manifest.as_bytes(), payload.authority, payload.least_version)?;
        demands_met(manifest.manifest())?;
        // Nothing seals the node's name. Under another node's, that machine's quotes would open sessions here.
        if enrolled(manifest.manifest(), &state.node)?.ek().name() != ek.name() {
            let detail = format!(
                "the manifest in force enrols node {:?} with another TPM than this one: the state file was changed",
                state.node
            );
            return Err(refuse(RefusalCode::NotEnrolled, detail));
        }
        if state.check.as_ref() != Some(&payload.root.check_value()) {
            return Err(refuse(
                RefusalCode::KeyMismatch,
                "the unsealed root is not the one of the state file's check value",
            ));
        }

        let era = reseal(
            &mut tpm,
            &manifest,
            &payload.root,
            &payload.report_key,
            &auth,
            &counter_auth,
            state.nv_index,
            &mut |change| {
                let mut next = state.clone();
                change(&mut next)?;
                self.store(&next)?;
                // If the rest fails, the next unlock must know both blobs: the counter may have risen.
                if let Life::Locked(held) = &mut *self.life_mut() {
                    **held = next.clone();
                }
                state = next;
                Ok(())
            },
        )?;
        drop(tpm);
        state.time_floor = state.time_floor.max(manifest.manifest().issued_at());
        let SealPayload { root, report_key, .. } = payload;
        self.enter(Life::Unlocked(Box::new(Unlocked::new(root, report_key, manifest, state, era))))?;
        Ok(self.status())
    }

    /// Unlocked: verifies the uploaded manifest as the successor of the one in force and re-seals under it.
    ///
    /// # Errors
    /// A manifest that is not the successor, that no longer enrols this node's TPM, and faults of TPM, relay and
    /// disk; the manifest in force stays.
    pub fn apply_manifest(&self, hints: &TpmHints, relay: &mut dyn Relay) -> Result<Status, Refuse> {
        let _ceremony = self.begin_ceremony()?;
        let envelope = self.take_upload()?;
        let (next, node_ek, nv_index) = {
            let life = self.life();
            let unlocked = life.unlocked()?;
            let next = unlocked.manifest.succeed(&envelope).map_err(manifest_refused)?;
            demands_met(next.manifest())?;
            if next.digest() == unlocked.manifest.digest() {
                drop(life);
                return Ok(self.status());
            }
            let state = lock(&unlocked.state);
            let before = enrolled(unlocked.manifest.manifest(), &state.node)?.ek().clone();
            let after = enrolled(next.manifest(), &state.node)?.ek();
            if before.name() != after.name() {
                let detail = format!(
                    "the manifest gives node {:?} another TPM; a root does not move by manifest",
                    state.node
                );
                return Err(refuse(RefusalCode::NotEnrolled, detail));
            }
            (next, before, state.nv_index)
        };

        let auth = self.credential.seal_auth();
        let counter_auth = self.credential.counter_auth();
        let mut tpm = Ceremony::open(relay, &node_ek, hints.ek_handle).map_err(tpm_refused)?;
        // The root is copied out so that a wipe need not wait for the TPM; the copies wipe themselves.
        let (root, report_key) = {
            let life = self.life();
            let unlocked = life.unlocked()?;
            (unlocked.root.danger_copy(), unlocked.report_key.danger_copy())
        };
        reseal(&mut tpm, &next, &root, &report_key, &auth, &counter_auth, nv_index, &mut |change| {
            let life = self.life();
            let mut state = lock(&life.unlocked()?.state);
            let mut changed = state.clone();
            change(&mut changed)?;
            self.store(&changed)?;
            *state = changed;
            Ok(())
        })?;
        drop(tpm);
        if let Life::Unlocked(unlocked) = &mut *self.life_mut() {
            unlocked.replace_manifest(next);
        }
        Ok(self.status())
    }

    fn store(&self, state: &State) -> Result<(), Refuse> {
        self.file.store(state).map_err(|error| refuse(RefusalCode::StateFile, describe(&error)))
    }
}

/// Saves a change of the state: on disk when it returns.
type Save<'a> = dyn FnMut(&mut dyn FnMut(&mut State) -> Result<(), Refuse>) -> Result<(), Refuse> + 'a;

/// Seals for the next counter value beside the blob in force, raises the counter, confirms, drops the old blob.
/// Returns the counter's new value.
#[allow(clippy::too_many_arguments, reason = "every argument is a different part of one atomic step")]
fn reseal(
    tpm: &mut Ceremony<'_>,
    manifest: &VerifiedManifest,
    root: &Root,
    report_key: &ReportKey,
    auth: &AuthValue,
    counter_auth: &AuthValue,
    nv_index: u32,
    save: &mut Save<'_>,
) -> Result<u64, Refuse> {
    let counter = tpm.read_counter(nv_index, counter_auth).map_err(tpm_refused)?;
    let next = counter
        .checked_add(1)
        .ok_or_else(|| refuse(RefusalCode::TpmError, "the TPM's counter is at its end"))?;
    let secret = SealPayload::encode(root, manifest.manifest(), report_key);
    let blob = tpm.seal(&policy(manifest.manifest(), nv_index, next), auth, &secret).map_err(tpm_refused)?;
    drop(secret);
    let slot = Slot { counter: next, blob, manifest: envelope_text(manifest)? };
    save(&mut |state| {
        // A blob for another value is what an interrupted re-seal left; it never came into force.
        state.slots.retain(|slot| slot.counter == counter);
        if state.slots.is_empty() {
            // Something else raised the counter: the blob in force is in another file, and must not be lost.
            let detail = format!(
                "expected a sealed blob for the TPM counter's value {counter}, found none: does another enclave use this TPM's counter?"
            );
            return Err(refuse(RefusalCode::SealRollback, detail));
        }
        state.slots.push(slot.clone());
        Ok(())
    })?;
    let risen = tpm.increment_counter(nv_index, counter_auth).map_err(tpm_refused)?;
    if risen != next {
        let detail = format!(
            "expected the TPM counter at {next} after the increment, found {risen}: something else increments it"
        );
        return Err(refuse(RefusalCode::SealRollback, detail));
    }
    let dropped = save(&mut |state| {
        state.slots.retain(|slot| slot.counter == next);
        Ok(())
    });
    if let Err(refusal) = dropped {
        // The TPM holds the new value and the disk both blobs: the new one is in force, the old one only lies there.
        notice(format!("the old sealed blob stays until the next re-seal: {}", refusal.detail()));
    }
    Ok(next)
}

/// A root from the operating system's and the TPM's randomness, so that neither alone decides it, and a report key.
fn born(tpm: &mut Ceremony<'_>) -> Result<(Root, ReportKey), Refuse> {
    let chip = tpm.random().map_err(tpm_refused)?;
    let host = Secret::<32>::drawn().map_err(no_randomness)?;
    let seed = Secret::<REPORT_SEED_LEN>::drawn().map_err(no_randomness)?;
    let root = secret::run(|inside| Root::combine(inside, &mut [("os", &host), ("tpm", &chip)]));
    #[cfg(feature = "danger-given-root")]
    let root = crate::danger_given_root::given().unwrap_or(root);
    Ok((root, ReportKey::from_seed(seed)))
}

/// The manifest, held to what the seal says.
fn believed(
    envelope: &[u8],
    authority: AuthorityDigest,
    least_version: u64,
) -> Result<VerifiedManifest, Refuse> {
    let manifest = VerifiedManifest::first(envelope, authority).map_err(manifest_refused)?;
    let version = manifest.manifest().version();
    if version < least_version {
        let detail = format!("expected manifest version {least_version} or newer, found {version}");
        return Err(refuse(RefusalCode::ManifestRollback, detail));
    }
    Ok(manifest)
}

/// What the manifest demands of the enclave's process.
fn demands_met(manifest: &Manifest) -> Result<(), Refuse> {
    if manifest.enclave().require_secret_memory && secret::kind() != secret::Kind::MemfdSecret {
        let detail =
            "the manifest demands secret memory, and this enclave runs without: boot with secretmem.enable=1";
        return Err(refuse(RefusalCode::ManifestRefused, detail));
    }
    Ok(())
}

fn enrolled<'m>(manifest: &'m Manifest, node: &str) -> Result<&'m Node, Refuse> {
    manifest.node_by_name(node).ok_or_else(|| {
        refuse(RefusalCode::NotEnrolled, format!("the manifest does not enrol a node named {node:?}"))
    })
}

/// PCRs of any active state ∧ counter ∧ auth value.
fn policy(manifest: &Manifest, counter_index: u32, counter_value: u64) -> SealPolicy {
    let pcrs_of = |state: &MachineState| PcrState { bank: state.bank(), pcrs: state.pcrs().clone() };
    SealPolicy { states: manifest.active_states().map(pcrs_of).collect(), counter_index, counter_value }
}

fn envelope_text(manifest: &VerifiedManifest) -> Result<String, Refuse> {
    String::from_utf8(manifest.envelope().to_vec())
        .map_err(|_| refuse(RefusalCode::ManifestRefused, "the envelope is not UTF-8"))
}

fn manifest_refused(error: ManifestError) -> Refuse {
    let code = match &error {
        ManifestError::ForeignAuthority { .. } => RefusalCode::ForeignAuthority,
        ManifestError::OtherDeployment { .. } => RefusalCode::OtherDeployment,
        ManifestError::OlderVersion { .. } => RefusalCode::ManifestRollback,
        ManifestError::SameVersionOtherDigest { .. } => RefusalCode::ManifestConflict,
        _ => RefusalCode::ManifestRefused,
    };
    refuse(code, describe(&error))
}

fn tpm_refused(error: TpmError) -> Refuse {
    let code = match &error {
        TpmError::Unreachable { .. } => RefusalCode::TpmUnreachable,
        TpmError::NotEnrolled { .. } => RefusalCode::TpmNotEnrolled,
        TpmError::NotAuthentic { .. } | TpmError::Malformed { .. } => RefusalCode::TpmNotAuthentic,
        TpmError::PcrMismatch { .. } => RefusalCode::SealStateMismatch,
        TpmError::CounterMismatch { .. }
        | TpmError::CounterMissing { .. }
        | TpmError::CounterExists { .. } => RefusalCode::SealRollback,
        TpmError::OtherParent => RefusalCode::TpmNotEnrolled,
        TpmError::OtherPolicy => RefusalCode::StateFile,
        _ => RefusalCode::TpmError,
    };
    refuse(code, describe(&error))
}
