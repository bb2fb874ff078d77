//! Identical requests that are under way at once become one, with one outcome for all.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::Outcome;
use crate::failure::{Code, Failure};

/// A request's digest.
type Name = [u8; 32];

/// What is under way, by the request's digest.
#[derive(Debug, Default)]
pub(super) struct Flights(Arc<Mutex<HashMap<Name, watch::Receiver<Option<Outcome>>>>>);

impl Flights {
    /// The outcome of the request of this name: of the one that is under way, or of `work`, which then goes on to
    /// its end even if nobody waits for it any more.
    pub(super) async fn join_or_begin(
        &self,
        name: Name,
        work: impl Future<Output = Outcome> + Send + 'static,
    ) -> Outcome {
        let mut outcome = self.entry(name, work);
        let landed = match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        landed.unwrap_or_else(|| {
            Err(Failure::new(
                Code::OutcomeUnknown,
                "the signing task ended early; send the same request again",
            ))
        })
    }

    fn entry(
        &self,
        name: Name,
        work: impl Future<Output = Outcome> + Send + 'static,
    ) -> watch::Receiver<Option<Outcome>> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&name) {
            return flight.clone();
        }
        let (announce, outcome) = watch::channel(None);
        flights.insert(name, outcome.clone());
        let landing = Landing { flights: Self(Arc::clone(&self.0)), name };
        tokio::spawn(async move {
            let outcome = work.await;
            // Off the list first: whoever comes now finds the record in the store.
            drop(landing);
            announce.send_replace(Some(outcome));
        });
        outcome
    }
}

/// Takes a flight off the list when it ends, also by a panic, so that the next request begins anew.
struct Landing {
    flights: Flights,
    name: Name,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}
