//! The open challenge, and the attested session that answers it.

use std::time::Duration;

use sealstone_attestation::{Attested, Binding, ReportDigest, SessionId, State, UnixTime};
use sealstone_wire::limits::CHALLENGE_TTL;
use sealstone_wire::reply;

use crate::clock::{self, Uptime};

/// Bytes of a challenge's nonce.
pub const NONCE_LEN: usize = 32;

/// Fresh bytes that one quote must bind, together with the report that was current when they were drawn.
#[derive(Debug)]
pub struct Challenge {
    /// Drawn from the operating system.
    pub nonce: [u8; NONCE_LEN],
    /// What the statement must hold.
    pub report: ReportDigest,
    /// Leaves of the newest checkpoint of the audit log by then: the one that the statement holds may be newer, because
    /// the TPM takes its time, but not older.
    pub log_size: u64,
    drawn: Uptime,
}

impl Challenge {
    /// Draws a challenge.
    ///
    /// # Errors
    /// The operating system has no randomness.
    pub fn draw(report: ReportDigest, log_size: u64) -> Result<Self, getrandom::Error> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce)?;
        Ok(Self { nonce, report, log_size, drawn: Uptime::now() })
    }

    /// Whether it may still be answered.
    #[must_use]
    pub fn is_open(&self) -> bool {
        Uptime::now().since(self.drawn) < CHALLENGE_TTL
    }
}

/// A session: the machine proved this state not longer ago than the manifest allows.
#[derive(Debug)]
pub struct OpenSession {
    /// Random, for receipts.
    pub id: SessionId,
    /// The state that was attested.
    pub state: State,
    /// Its binding.
    pub binding: Binding,
    /// When it ends by wall time, as told to the agent.
    pub expires_at: UnixTime,
    warnings: Vec<String>,
    opened: Uptime,
    ttl: Duration,
}

impl OpenSession {
    /// Opens a session on an accepted quote.
    ///
    /// # Errors
    /// The operating system has no randomness.
    pub fn open(
        attested: &Attested,
        warnings: Vec<String>,
        ttl: Duration,
        now: UnixTime,
    ) -> Result<Self, getrandom::Error> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        let state = attested.state.clone();
        Ok(Self {
            id: SessionId::from_bytes(id),
            binding: state.binding(),
            state,
            expires_at: UnixTime::from_secs(now.as_secs().saturating_add(ttl.as_secs())),
            warnings,
            opened: Uptime::now(),
            ttl,
        })
    }

    /// Whether it still holds. Both clocks must agree: wall time that is set back does not prolong it, and
    /// neither does a suspend.
    #[must_use]
    pub fn is_open(&self) -> bool {
        Uptime::now().since(self.opened) < self.ttl && clock::unix_ms() / 1000 < self.expires_at.as_secs()
    }

    /// As the agent sees it.
    #[must_use]
    pub fn describe(&self) -> reply::Session {
        reply::Session {
            id: self.id,
            state: self.state.name().to_owned(),
            binding: self.binding,
            expires_at: self.expires_at,
            warnings: self.warnings.clone(),
        }
    }
}
