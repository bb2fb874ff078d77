//! Work that is under way once for all who ask for it, with one outcome for all.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::Outcome;
use crate::failure::{Code, Failure};

/// What is under way, by its name.
type UnderWay<K> = Mutex<HashMap<K, watch::Receiver<Option<Outcome>>>>;

/// What is under way. Whoever names the same waits for the same outcome: a name holds everything that the outcome
/// may depend on.
#[derive(Debug)]
pub(super) struct Flights<K: Clone + Eq + Hash>(Arc<UnderWay<K>>);

impl<K: Clone + Eq + Hash> Default for Flights<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Clone + Eq + Hash + Send + 'static> Flights<K> {
    /// The outcome of what has this name: of what is under way, or of `work`, which then goes on to its end even if
    /// nobody waits for it any more.
    pub(super) async fn join_or_begin(
        &self,
        name: K,
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
        name: K,
        work: impl Future<Output = Outcome> + Send + 'static,
    ) -> watch::Receiver<Option<Outcome>> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&name) {
            return flight.clone();
        }
        let (announce, outcome) = watch::channel(None);
        flights.insert(name.clone(), outcome.clone());
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
struct Landing<K: Clone + Eq + Hash> {
    flights: Flights<K>,
    name: K,
}

impl<K: Clone + Eq + Hash> Drop for Landing<K> {
    fn drop(&mut self) {
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}
