//! What runs on the thread that owns ESAPI: attempts, and what is tried between them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sealstone_attestation::{Credential, PcrValues, Quote, QuoteEvidence};
use sealstone_wire::api::Enrolment;
use sealstone_wire::request::TpmHints;
use tss_esapi::Context;
use tss_esapi::tcti_ldr::TctiNameConf;

use super::error::{CONNECT, During, Fault, Remedy, TpmError};
use super::keys::Keys;
use super::transport::Transport;
use super::{Health, Identity, Selection, pcrs};
use crate::config::tpm::{RelayAddress, Tcti, TpmConfig};

/// One piece of work for the thread.
pub(super) type Job = Box<dyn FnOnce(&mut Worker) + Send>;

/// Waits between attempts, and so their number: a restarted emulator is back within this, far inside any
/// caller's deadline.
const BACK_OFF: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(80),
    Duration::from_millis(320),
    Duration::from_millis(640),
];

/// How long flushing one stale handle may take; milliseconds on any TPM.
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);

/// The connection and what was learnt through it.
pub(super) struct Worker {
    config: TpmConfig,
    context: Option<Context>,
    keys: Option<Keys>,
    health: Arc<Mutex<Health>>,
}

impl Worker {
    pub(super) fn new(config: TpmConfig, health: Arc<Mutex<Health>>) -> Self {
        Self { config, context: None, keys: None, health }
    }

    pub(super) fn enrolment(&mut self) -> Result<Enrolment, TpmError> {
        self.with_keys(|context, keys| {
            let selection = pcrs::acceptable(context)?;
            // The firmware version as quotes name it, from a quote: some TPMs say otherwise in their properties.
            let quote = pcrs::quote(context, keys, &selection, [0; 32])?;
            let garbled = |detail| TpmError::Garbled { what: "quote", detail };
            let firmware =
                Quote::parse(&quote.attest).map_err(|error| garbled(error.to_string()))?.firmware_version();
            Ok(Enrolment {
                ek: keys.ek.clone(),
                ak: keys.ak.clone(),
                ek_certificate: keys.ek_certificate.as_ref().map(hex::encode),
                pcrs: quote.pcrs,
                firmware_version: firmware,
            })
        })
    }

    pub(super) fn activate(&mut self, credential: &Credential) -> Result<Vec<u8>, TpmError> {
        let config = self.config.clone();
        self.with_keys(|context, keys| keys.activate(context, &config, credential))
    }

    pub(super) fn identity(&mut self) -> Result<Identity, TpmError> {
        self.with_keys(|_, keys| {
            Ok(Identity {
                ek: keys.ek.clone(),
                ak: keys.ak.clone(),
                ek_certificate: keys.ek_certificate.clone(),
            })
        })
    }

    pub(super) fn hints(&mut self) -> Result<TpmHints, TpmError> {
        self.with_keys(|_, keys| Ok(TpmHints { ek_handle: keys.ek_handle }))
    }

    pub(super) fn quote(
        &mut self,
        selection: &Selection,
        qualifying: [u8; 32],
    ) -> Result<QuoteEvidence, TpmError> {
        self.with_keys(|context, keys| pcrs::quote(context, keys, selection, qualifying))
    }

    pub(super) fn pcrs(&mut self) -> Result<PcrValues, TpmError> {
        self.attempt(|context, _, _| {
            let selection = pcrs::acceptable(context)?;
            pcrs::read(context, &selection)
        })
    }

    pub(super) fn pcrs_of(&mut self, selection: &Selection) -> Result<PcrValues, TpmError> {
        self.attempt(|context, _, _| pcrs::read(context, selection))
    }

    fn with_keys<T>(
        &mut self,
        work: impl Fn(&mut Context, &Keys) -> Result<T, Fault>,
    ) -> Result<T, TpmError> {
        self.attempt(|context, keys, config| {
            let keys = match keys {
                Some(keys) => keys,
                None => keys.insert(Keys::prepare(context, config)?),
            };
            work(context, keys)
        })
    }

    /// Does `work` until it succeeds, cannot succeed, or was tried often enough.
    fn attempt<T>(
        &mut self,
        work: impl Fn(&mut Context, &mut Option<Keys>, &TpmConfig) -> Result<T, Fault>,
    ) -> Result<T, TpmError> {
        let mut waits = BACK_OFF.iter();
        loop {
            let result = connect(&mut self.context, &self.config.tcti)
                .and_then(|context| work(context, &mut self.keys, &self.config));
            let fault = match result {
                Ok(value) => {
                    self.note(true, None);
                    return Ok(value);
                }
                Err(fault) => fault,
            };
            // Dropping the context flushes whatever the attempt left loaded.
            self.context = None;
            let (remedy, answered) = (fault.remedy(), fault.was_answered());
            let wait = if remedy == Remedy::None { None } else { waits.next() };
            let Some(wait) = wait else {
                let error = fault.into_error(&self.config.tcti);
                self.note(answered, Some(error.to_string()));
                return Err(error);
            };
            tracing::debug!(?fault, ?remedy, "the TPM is asked again");
            match remedy {
                Remedy::None | Remedy::Wait => {}
                Remedy::ReloadKeys => self.keys = None,
                Remedy::FlushLeftBehind => self.flush_left_behind(),
            }
            std::thread::sleep(*wait);
        }
    }

    /// Makes room in a TPM that no resource manager looks after. Only the agent uses such a TPM, and this
    /// thread has it to itself, so whatever is loaded now was left by a process that is gone.
    fn flush_left_behind(&self) {
        let Tcti::Swtpm { host, port } = self.config.tcti.clone() else { return };
        tracing::warn!("the TPM is full: flushing objects and sessions that a predecessor left loaded");
        let flushed = Transport::open(&RelayAddress::Swtpm { host, port })
            .and_then(|mut transport| transport.flush_left_behind(&BTreeSet::new(), FLUSH_DEADLINE));
        if let Err(error) = flushed {
            tracing::warn!(%error, "nothing could be flushed");
        }
    }

    fn note(&self, reachable: bool, fault: Option<String>) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = Health { reachable, fault };
    }
}

fn connect<'c>(context: &'c mut Option<Context>, tcti: &Tcti) -> Result<&'c mut Context, Fault> {
    Ok(match context {
        Some(context) => context,
        None => {
            let name = tcti.to_string().parse::<TctiNameConf>().during(CONNECT)?;
            context.insert(Context::new(name).during(CONNECT)?)
        }
    })
}
