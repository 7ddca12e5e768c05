//! How often somebody may ask: each key by itself, and whoever is refused by address.
//!
//! Root and the users that the configuration trusts are not limited: our own daemons are among them. A flood of wrong
//! keys from an address does not shut out a good key behind it.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::caller::{Caller, Identity};
use crate::error::ApiError;

/// Entries of a table from which those that have paid off are removed.
const MOST_ENTRIES: usize = 10_000;

type Keyed<K> = RateLimiter<K, HashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// Headers of draft-ietf-httpapi-ratelimit-headers.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What is left to somebody whose requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    most: NonZeroU32,
    left: u32,
}

impl Allowance {
    /// Tells it, in the form of draft-ietf-httpapi-ratelimit-headers: so many in a minute, so many left, and the
    /// seconds until all of them are there again.
    pub fn write(self, headers: &mut HeaderMap) {
        let most = self.most.get();
        let seconds = u64::from(most.saturating_sub(self.left)) * 60;
        let policy = format!("\"requests\";q={most};w=60");
        let limit = format!("\"requests\";r={};t={}", self.left, seconds.div_ceil(u64::from(most)));
        for (name, text) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, limit)] {
            // Digits and ASCII signs are always a header.
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        }
    }
}

/// The tables of who asked how often.
#[derive(Debug)]
pub struct RateLimits {
    most: NonZeroU32,
    keys: Keyed<String>,
    refusals: Keyed<IpAddr>,
    clock: DefaultClock,
}

impl RateLimits {
    /// So many requests a minute of each key, and so many refusals a minute of each address; all at once, too.
    pub fn new(requests_per_minute: NonZeroU32, refusals_per_minute: NonZeroU32) -> Self {
        Self {
            most: requests_per_minute,
            keys: RateLimiter::hashmap(Quota::per_minute(requests_per_minute)).with_middleware(),
            refusals: RateLimiter::hashmap(Quota::per_minute(refusals_per_minute)).with_middleware(),
            clock: DefaultClock::default(),
        }
    }

    /// Counts a request of somebody who is let in: what is left to it, where requests are counted, and 429 when it
    /// is one too many.
    pub fn admit(&self, caller: &Caller) -> (Option<Allowance>, Result<(), ApiError>) {
        match &caller.identity {
            Identity::User(_) | Identity::Server => (None, Ok(())),
            Identity::Key(name) => {
                let counted = self.count(&self.keys, name);
                let left = counted.as_ref().map_or(0, |left| *left);
                (Some(Allowance { most: self.most, left }), counted.map(drop))
            }
        }
    }

    /// Counts a refusal; returns what is to be answered: the refusal, or 429 when there were too many.
    pub fn refuse(&self, address: Option<IpAddr>, refused: ApiError) -> ApiError {
        address.and_then(|address| self.count(&self.refusals, &address).err()).unwrap_or(refused)
    }

    /// Counts one; returns how many are left.
    fn count<K: Clone + Eq + std::hash::Hash>(&self, table: &Keyed<K>, who: &K) -> Result<u32, ApiError> {
        if MOST_ENTRIES <= table.len() {
            table.retain_recent();
        }
        table.check_key(who).map(|state| state.remaining_burst_capacity()).map_err(|too_early| {
            let wait = too_early.wait_time_from(self.clock.now()).max(Duration::from_secs(1));
            let message = format!("too many requests; try again in {} s", wait.as_secs());
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message).retry_after(wait)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::caller::Role;

    fn key(name: &str) -> Caller {
        Caller {
            identity: Identity::Key(name.to_owned()),
            role: Role::Viewer,
            containers: None,
            purpose: None,
        }
    }

    #[test]
    fn each_key_and_each_address_has_its_own_allowance_and_root_has_none() {
        let few = NonZeroU32::new(3).unwrap();
        let limits = RateLimits::new(few, few);
        for _ in 0..3 {
            assert!(limits.admit(&key("a")).1.is_ok());
        }
        let (allowance, refused) = limits.admit(&key("a"));
        assert_eq!(allowance, Some(Allowance { most: few, left: 0 }));
        let refused = refused.unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.code), (429, "too_many_requests"));
        assert!(limits.admit(&key("b")).1.is_ok());
        for _ in 0..100 {
            assert!(matches!(limits.admit(&Caller::user(0)), (None, Ok(()))));
        }
        let address = |last: u8| Some(IpAddr::from([192, 168, 1, last]));
        let forbidden = || ApiError::forbidden("no");
        for _ in 0..3 {
            assert_eq!(limits.refuse(address(1), forbidden()).code, "forbidden");
        }
        assert_eq!(limits.refuse(address(1), forbidden()).code, "too_many_requests");
        assert_eq!(limits.refuse(address(2), forbidden()).code, "forbidden");
    }

    #[test]
    fn the_tables_are_bounded() {
        let many = NonZeroU32::new(60_000).unwrap();
        let limits = RateLimits::new(many, many);
        for number in 0..30_000_u32 {
            limits.refuse(Some(IpAddr::from(number.to_be_bytes())), ApiError::forbidden("no"));
        }
        // At a thousand a second an entry has paid off long before ten thousand others have come.
        assert!(limits.refusals.len() <= 2 * MOST_ENTRIES, "{}", limits.refusals.len());
    }
}
