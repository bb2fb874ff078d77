//! One client: its name, what it may do, for whom, and how often.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use sealstone_wire::PathText;

use super::Role;
use crate::failure::{Code, Failure};

/// How much a client may ask: a bucket of `burst` tokens, refilled with `requests_per_second`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub requests_per_second: NonZeroU32,
    /// At once.
    pub burst: NonZeroU32,
}

/// Above what one node signs, so that only a client that runs wild meets it.
impl Default for Rate {
    fn default() -> Self {
        let count = |count| NonZeroU32::new(count).expect("not zero");
        Self { requests_per_second: count(5_000), burst: count(10_000) }
    }
}

/// A client that the configuration names. Handlers get it as an extension of their request: there is no request
/// without one.
#[derive(Debug)]
pub struct Client {
    name: String,
    roles: BTreeSet<Role>,
    tenants: Option<BTreeSet<PathText>>,
    bucket: DefaultDirectRateLimiter,
}

impl Client {
    /// Of this name, with these roles, for these tenants (all if `None`).
    #[must_use]
    pub fn new(name: String, roles: BTreeSet<Role>, tenants: Option<BTreeSet<PathText>>, rate: Rate) -> Self {
        let quota = Quota::per_second(rate.requests_per_second).allow_burst(rate.burst);
        Self { name, roles, tenants, bucket: RateLimiter::direct(quota) }
    }

    /// Names it in logs, records and idempotency keys.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it was given this role.
    #[must_use]
    pub fn holds(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// That it holds one of `roles`.
    ///
    /// # Errors
    /// [`Code::Forbidden`], naming what is missing and nothing else.
    pub fn require(&self, roles: &[Role]) -> Result<(), Failure> {
        if roles.iter().any(|role| self.holds(*role)) {
            return Ok(());
        }
        let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
        Err(Failure::new(
            Code::Forbidden,
            format!("expected a client with the role {}, found none of it", names.join(" or ")),
        ))
    }

    /// The tenants that alone are its business; all if `None`.
    #[must_use]
    pub fn tenants(&self) -> Option<&BTreeSet<PathText>> {
        self.tenants.as_ref()
    }

    /// That every tenant is its business.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub fn require_all_tenants(&self) -> Result<(), Failure> {
        if self.tenants.is_none() {
            return Ok(());
        }
        Err(Failure::new(Code::Forbidden, "expected a client of all tenants, found one of some"))
    }

    /// Whether what belongs to this tenant is its business.
    #[must_use]
    pub fn serves(&self, tenant: &PathText) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant))
    }

    /// That this tenant is its business. Says the same whether the tenant has something or not.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub fn require_tenant(&self, tenant: &PathText) -> Result<(), Failure> {
        if self.serves(tenant) {
            return Ok(());
        }
        Err(Failure::new(Code::Forbidden, "expected a tenant that this client serves, found another"))
    }

    /// Takes one token.
    ///
    /// # Errors
    /// [`Code::RateLimited`] with the time until there is one.
    pub fn take_token(&self) -> Result<(), Failure> {
        self.bucket.check().map_err(|early| {
            let wait = early.wait_time_from(DefaultClock::default().now());
            let seconds = whole_seconds(wait);
            Failure::new(
                Code::RateLimited { retry_after_s: seconds },
                format!(
                    "expected no more requests than this client's rate, found more; try again in {seconds} s"
                ),
            )
        })
    }
}

/// Rounded up: who comes after that time finds a token.
fn whole_seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_secs()).unwrap_or(u32::MAX - 1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(roles: &[Role], tenants: Option<&[&str]>, rate: Rate) -> Client {
        let tenants =
            tenants.map(|names| names.iter().map(|name| PathText::try_from(*name).unwrap()).collect());
        Client::new("c".to_owned(), roles.iter().copied().collect(), tenants, rate)
    }

    #[test]
    fn a_role_is_held_or_it_is_not() {
        for held in Role::ALL {
            let client = client(&[held], None, Rate::default());
            for asked in Role::ALL {
                assert_eq!(client.require(&[asked]).is_ok(), asked == held, "{held} {asked}");
            }
            assert!(client.require(&[]).is_err(), "nothing is nobody's");
        }
        let failure = client(&[Role::Admin], None, Rate::default())
            .require(&[Role::Signer, Role::Auditor])
            .unwrap_err();
        assert_eq!(failure.code, Code::Forbidden);
        assert!(failure.detail.contains("signer or auditor") && !failure.detail.contains("admin"));
    }

    #[test]
    fn a_tenant_is_compared_as_bytes() {
        let client = client(&[], Some(&["acme"]), Rate::default());
        for (tenant, expected) in [("acme", true), ("Acme", false), ("acme ", false), ("acm", false)] {
            let tenant = PathText::try_from(tenant).unwrap();
            assert_eq!(client.require_tenant(&tenant).is_ok(), expected, "{tenant}");
        }
    }

    #[test]
    fn an_empty_bucket_says_when_there_is_something_in_it() {
        let two = NonZeroU32::new(2).unwrap();
        let one = NonZeroU32::new(1).unwrap();
        let client = client(&[], None, Rate { requests_per_second: one, burst: two });
        assert!(client.take_token().is_ok() && client.take_token().is_ok());
        let failure = client.take_token().unwrap_err();
        assert!(matches!(failure.code, Code::RateLimited { retry_after_s: 1..=2 }), "{failure}");
        assert_eq!(failure.code.status(), 429);
    }

    #[test]
    fn a_wait_is_never_rounded_down() {
        assert_eq!(whole_seconds(Duration::ZERO), 1);
        assert_eq!(whole_seconds(Duration::from_millis(999)), 1);
        assert_eq!(whole_seconds(Duration::from_millis(1_001)), 2);
        assert_eq!(whole_seconds(Duration::MAX), u32::MAX);
    }
}
