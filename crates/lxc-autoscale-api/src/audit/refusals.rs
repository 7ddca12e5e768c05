//! Records refused requests for changes in the audit log, within limits: requests that were refused before they
//! became a change, because of who sent them, what they touched, how many there were, or because they need a
//! confirmation.
//!
//! Without limits, anyone who can send requests could fill the disk, or push the changes out of the log by rotation.
//! So each key and each known user has a number of records per hour, and all others share one such number. The next
//! record says how many were left out.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::clock::DefaultClock;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use jiff::Timestamp;
use lxc_autoscale_core::ErrorChain;

use super::{Attempt, AuditLog, Event, bounded};
use crate::exporter::Instruments;

/// Records per hour.
const AN_HOUR: NonZeroU32 = NonZeroU32::new(60).unwrap();
/// Records in a burst.
const AT_ONCE: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// Errors of requests that never became a change: because of who asks, from where, for which container, because there
/// are too many already, or because a removal needs a second request. Any other error belongs to a change that is in
/// the log.
const NEVER_A_CHANGE: [&str; 11] = [
    "confirmation_needed",
    "forbidden",
    "foreign_origin",
    "invalid_key",
    "out_of_scope",
    "protected_container",
    "shutting_down",
    "too_many_changes",
    "too_many_requests",
    "unknown_host",
    "wrong_role",
];

/// Who was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The holder of a key, or a trusted user.
    Known(String),
    /// Anyone else.
    Stranger(String),
}

/// How many more refusals may be recorded, for whom.
#[derive(Debug)]
pub struct Refusals {
    allowance: RateLimiter<Option<String>, HashMapStateStore<Option<String>>, DefaultClock>,
    left_out: AtomicU64,
}

impl Default for Refusals {
    fn default() -> Self {
        let quota = Quota::per_hour(AN_HOUR).allow_burst(AT_ONCE);
        Self { allowance: RateLimiter::hashmap(quota), left_out: AtomicU64::new(0) }
    }
}

impl Refusals {
    /// Whether an error is one that is recorded.
    pub fn concern(code: &str) -> bool {
        NEVER_A_CHANGE.contains(&code)
    }

    /// Records a refusal, if the limit allows it. The request is refused in any case.
    pub async fn record(
        &self,
        audit: Arc<AuditLog>,
        instruments: Arc<Instruments>,
        who: Refused,
        (action, address): (&str, Option<String>),
        (code, message): (&'static str, &str),
    ) {
        let (caller, known) = match who {
            Refused::Known(caller) => (caller.clone(), Some(caller)),
            Refused::Stranger(caller) => (caller, None),
        };
        if self.allowance.check_key(&known).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        let subject = Attempt { caller, address, action: bounded(action) };
        let event = Event::Refused { code, message: bounded(message), left_out };
        let written = tokio::task::spawn_blocking(move || audit.write(&subject, &event, Timestamp::now()));
        let is_written = match written.await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => {
                tracing::error!(error = %ErrorChain(&error), "cannot write a refusal to the audit log");
                false
            }
            Err(error) => {
                tracing::error!(%error, "writing to the audit log ended unexpectedly");
                false
            }
        };
        instruments.audited(is_written);
    }
}
