//! Rate limits: for each key its requests, for each address its refused requests.
//!
//! Root and the users trusted by the configuration are not limited, because our own daemons are among them. A flood
//! of wrong keys from an address does not lock out a good key from the same address.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::caller::{Caller, Identity};
use crate::error::{ApiError, whole_seconds};

/// Number of entries from which on a table is purged of entries that no longer limit anything.
const MOST_ENTRIES: usize = 10_000;

type Keyed<K, C> = RateLimiter<K, HashMapStateStore<K>, C, StateInformationMiddleware>;

/// Headers of draft-ietf-httpapi-ratelimit-headers.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What is left of a caller's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    most: NonZeroU32,
    left: u32,
}

impl Allowance {
    /// Writes the headers of draft-ietf-httpapi-ratelimit-headers: the requests per minute, those left, and the
    /// seconds until all are available again.
    pub fn write(self, headers: &mut HeaderMap) {
        let most = self.most.get();
        let seconds = u64::from(most.saturating_sub(self.left)) * 60;
        let policy = format!("\"requests\";q={most};w=60");
        let limit = format!("\"requests\";r={};t={}", self.left, seconds.div_ceil(u64::from(most)));
        for (name, text) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, limit)] {
            // Digits and ASCII signs are always a valid header value.
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        }
    }
}

/// The rate limits of all callers.
#[derive(Debug)]
pub struct RateLimits<C: Clock + Clone = DefaultClock> {
    most: NonZeroU32,
    keys: Keyed<String, C>,
    refusals: Keyed<IpAddr, C>,
    clock: C,
}

impl RateLimits {
    /// Limits for requests per minute of each key, and for refusals per minute of each address; each may also come in
    /// one burst.
    pub fn new(requests_per_minute: NonZeroU32, refusals_per_minute: NonZeroU32) -> Self {
        Self::by(&DefaultClock::default(), requests_per_minute, refusals_per_minute)
    }
}

impl<C: Clock + Clone> RateLimits<C> {
    /// As [`RateLimits::new`], by this clock.
    pub fn by(clock: &C, requests_per_minute: NonZeroU32, refusals_per_minute: NonZeroU32) -> Self {
        Self {
            most: requests_per_minute,
            keys: limiter(clock, requests_per_minute),
            refusals: limiter(clock, refusals_per_minute),
            clock: clock.clone(),
        }
    }

    /// Counts a request of a caller who was let in. Returns what is left, if requests are counted, and 429 if it is
    /// one too many.
    pub fn admit(&self, caller: &Caller) -> (Option<Allowance>, Result<(), ApiError>) {
        match &caller.identity {
            Identity::User(_) | Identity::Server => (None, Ok(())),
            Identity::Key { name, .. } => {
                let counted = self.count(&self.keys, name);
                let left = counted.as_ref().map_or(0, |left| *left);
                (Some(Allowance { most: self.most, left }), counted.map(drop))
            }
        }
    }

    /// Counts a refusal. Returns the error to answer with: the refusal itself, or 429 if there were too many.
    pub fn refuse(&self, address: Option<IpAddr>, refused: ApiError) -> ApiError {
        address.and_then(|address| self.count(&self.refusals, &counted(address)).err()).unwrap_or(refused)
    }

    /// Counts one; returns how many are left.
    fn count<K: Clone + Eq + Hash>(&self, table: &Keyed<K, C>, who: &K) -> Result<u32, ApiError> {
        if MOST_ENTRIES <= table.len() {
            table.retain_recent();
        }
        table.check_key(who).map(|state| state.remaining_burst_capacity()).map_err(|too_early| {
            let wait = too_early.wait_time_from(self.clock.now());
            let message = format!("too many requests; try again in {} s", whole_seconds(wait));
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message).retry_after(wait)
        })
    }
}

fn limiter<K: Clone + Eq + Hash, C: Clock + Clone>(clock: &C, per_minute: NonZeroU32) -> Keyed<K, C> {
    RateLimiter::new(Quota::per_minute(per_minute), HashMapStateStore::default(), clock.clone())
}

/// The address that refusals are counted under. For IPv6 it is that of the network (/64), because whoever has one of
/// its addresses has them all.
fn counted(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::header::RETRY_AFTER;
    use axum::response::IntoResponse;
    use governor::clock::FakeRelativeClock;
    use jiff::Timestamp;

    use super::*;
    use crate::auth::caller::Role;

    fn key(name: &str) -> Caller {
        Caller {
            identity: Identity::Key { name: name.to_owned(), made: Timestamp::UNIX_EPOCH },
            role: Role::Viewer,
            containers: None,
            purpose: None,
            origin: None,
            queue_timeout: None,
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

    /// Rounded down, the wait would be refused once more, and again if the client kept to it.
    #[test]
    fn who_comes_back_after_the_wait_that_it_was_told_is_served() {
        for most in [1, 7, 11, 45, 70, 600] {
            let most = NonZeroU32::new(most).unwrap();
            let clock = FakeRelativeClock::default();
            let limits = RateLimits::by(&clock, most, most);
            let address = Some(IpAddr::from([192, 168, 1, 1]));
            for _ in 0..most.get() {
                assert!(limits.admit(&key("a")).1.is_ok());
                assert_eq!(limits.refuse(address, ApiError::forbidden("no")).code, "forbidden");
            }
            for _ in 0..20 {
                // Some time has passed, as always.
                clock.advance(Duration::from_millis(137));
                let Err(refused) = limits.admit(&key("a")).1 else { continue };
                let message = refused.message.clone();
                let told = refused.into_response().headers()[RETRY_AFTER].to_str().unwrap().to_owned();
                assert!(message.ends_with(&format!("try again in {told} s")), "{message}");
                clock.advance(Duration::from_secs(told.parse().unwrap()));
                assert!(limits.admit(&key("a")).1.is_ok(), "{most} a minute, told {told} s");
                assert_eq!(limits.refuse(address, ApiError::forbidden("no")).code, "forbidden");
            }
        }
    }

    /// Whoever has one IPv6 address has the 2^64 of its network, too.
    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let few = NonZeroU32::new(2).unwrap();
        let limits = RateLimits::new(few, few);
        let refuse =
            |address: &str| limits.refuse(Some(address.parse().unwrap()), ApiError::forbidden("no")).code;
        assert_eq!((refuse("2001:db8:0:1::1"), refuse("2001:db8:0:1:ffff::2")), ("forbidden", "forbidden"));
        assert_eq!(refuse("2001:db8:0:1:1234:5678:9abc:def0"), "too_many_requests");
        assert_eq!(refuse("2001:db8:0:2::1"), "forbidden");
    }

    #[test]
    fn the_tables_are_bounded() {
        let many = NonZeroU32::new(60_000).unwrap();
        let limits = RateLimits::new(many, many);
        for number in 0..30_000_u32 {
            limits.refuse(Some(IpAddr::from(number.to_be_bytes())), ApiError::forbidden("no"));
        }
        // At a thousand a second, an entry stops limiting anything long before ten thousand others have come.
        assert!(limits.refusals.len() <= 2 * MOST_ENTRIES, "{}", limits.refusals.len());
    }
}
