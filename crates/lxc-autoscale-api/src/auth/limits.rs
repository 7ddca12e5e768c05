//! How often somebody may ask: each key by itself, and whoever is refused by address.
//!
//! Root and the users that the configuration trusts are not limited: our own daemons are among them. A flood of wrong
//! keys from an address does not shut out a good key behind it.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use axum::http::StatusCode;
use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::caller::{Caller, Identity};
use crate::error::ApiError;

/// Entries of a table from which those that have paid off are removed.
const MOST_ENTRIES: usize = 10_000;

type Keyed<K> = RateLimiter<K, HashMapStateStore<K>, DefaultClock>;

/// The tables of who asked how often.
#[derive(Debug)]
pub struct RateLimits {
    keys: Keyed<String>,
    refusals: Keyed<IpAddr>,
    clock: DefaultClock,
}

impl RateLimits {
    /// So many requests a minute of each key, and so many refusals a minute of each address; all at once, too.
    pub fn new(requests_per_minute: NonZeroU32, refusals_per_minute: NonZeroU32) -> Self {
        Self {
            keys: RateLimiter::hashmap(Quota::per_minute(requests_per_minute)),
            refusals: RateLimiter::hashmap(Quota::per_minute(refusals_per_minute)),
            clock: DefaultClock::default(),
        }
    }

    /// Counts a request of somebody who is let in.
    ///
    /// # Errors
    /// 429 when it is one too many.
    pub fn admit(&self, caller: &Caller) -> Result<(), ApiError> {
        match &caller.identity {
            Identity::User(_) | Identity::Server => Ok(()),
            Identity::Key(name) => self.count(&self.keys, name),
        }
    }

    /// Counts a refusal; returns what is to be answered: the refusal, or 429 when there were too many.
    pub fn refuse(&self, address: Option<IpAddr>, refused: ApiError) -> ApiError {
        address.and_then(|address| self.count(&self.refusals, &address).err()).unwrap_or(refused)
    }

    fn count<K: Clone + Eq + std::hash::Hash>(&self, table: &Keyed<K>, who: &K) -> Result<(), ApiError> {
        if MOST_ENTRIES <= table.len() {
            table.retain_recent();
        }
        table.check_key(who).map_err(|too_early| {
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
        Caller { identity: Identity::Key(name.to_owned()), role: Role::Viewer, containers: None }
    }

    #[test]
    fn each_key_and_each_address_has_its_own_allowance_and_root_has_none() {
        let few = NonZeroU32::new(3).unwrap();
        let limits = RateLimits::new(few, few);
        for _ in 0..3 {
            assert!(limits.admit(&key("a")).is_ok());
        }
        let refused = limits.admit(&key("a")).unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.code), (429, "too_many_requests"));
        assert!(limits.admit(&key("b")).is_ok());
        for _ in 0..100 {
            assert!(limits.admit(&Caller::user(0)).is_ok());
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
