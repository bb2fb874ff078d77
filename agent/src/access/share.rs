//! How much of what all clients share one client may hold: so that none keeps the others out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::failure::{Code, Failure};

/// Seconds after which a client may try again that holds as much as it may: what it holds ends in milliseconds, and one
/// second is the least that `Retry-After` can say.
const RETRY_AFTER_S: u32 = 1;

/// Counts what each client holds. It knows those that hold something, and no others.
#[derive(Clone, Debug)]
pub struct Shares {
    of_one_max: usize,
    /// As a refusal names it.
    what: &'static str,
    held: Arc<Mutex<HashMap<String, usize>>>,
}

/// One of what a client holds; given back when dropped.
#[derive(Debug)]
pub struct Share {
    client: String,
    held: Arc<Mutex<HashMap<String, usize>>>,
}

impl Shares {
    /// Each client may hold so many of `what`, a plural.
    #[must_use]
    pub fn new(of_one_max: usize, what: &'static str) -> Self {
        Self { of_one_max, what, held: Arc::default() }
    }

    /// One more for a client, by its name in the configuration.
    ///
    /// # Errors
    /// [`Code::RateLimited`] if it holds as many as it may.
    pub fn take(&self, client: &str) -> Result<Share, Failure> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.get(client).copied().unwrap_or(0);
        if count >= self.of_one_max {
            return Err(Failure::new(
                Code::RateLimited { retry_after_s: RETRY_AFTER_S },
                format!(
                    "expected fewer than {} {} of one client, found as many of this one; wait for some to end",
                    self.of_one_max, self.what
                ),
            ));
        }
        held.insert(client.to_owned(), count + 1);
        Ok(Share { client: client.to_owned(), held: Arc::clone(&self.held) })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get_mut(&self.client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(held.remove(&self.client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_takes_its_share_and_leaves_the_others_theirs() {
        let shares = Shares::new(2, "things");
        let first = shares.take("a").unwrap();
        let second = shares.take("a").unwrap();
        let refused = shares.take("a").unwrap_err();
        assert_eq!(refused.code.status(), 429);
        assert!(refused.detail.contains("fewer than 2 things of one client"), "{refused}");
        let other = shares.take("b").unwrap();
        drop(first);
        let third = shares.take("a").unwrap();
        assert!(shares.take("a").is_err());
        drop((second, third, other));
        assert!(shares.held.lock().unwrap().is_empty(), "nobody is remembered who holds nothing");
    }
}
