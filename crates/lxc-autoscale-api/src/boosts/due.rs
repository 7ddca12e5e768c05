//! Ends boosts when their time is over, for as long as the server runs.

use std::time::Duration;

use jiff::Timestamp;
use lxc_autoscale_core::ErrorChain;

use super::{end_due, rows};
use crate::state::{AppState, Shared};
use crate::store::StoreError;

/// The longest time between two looks: the clock may be set, and a boost that failed half way ends at once.
const LONGEST: Duration = Duration::from_secs(2);
/// The shortest.
const SHORTEST: Duration = Duration::from_millis(10);

/// Ends each boost at its time.
pub async fn watch(state: AppState) {
    loop {
        let wait = match look(&state).await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::error!(error = %ErrorChain(&error), "cannot check boosts for their end");
                LONGEST
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Ends what is due; returns the time until the next look.
async fn look(state: &Shared) -> Result<Duration, StoreError> {
    end_due(state, Timestamp::now()).await?;
    let boosts = rows::read(state.store(), None).await?;
    let next = boosts.into_iter().map(|(_, next_try)| next_try).min();
    Ok(until(next, Timestamp::now()))
}

/// The time from `now` to the next end. Pure.
fn until(next: Option<Timestamp>, now: Timestamp) -> Duration {
    // One that is over already has no time left.
    let left = next.map_or(LONGEST, |next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
    left.clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_boost_is_ended_at_its_time() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let next = |ms: i64| until(Some(now + SignedDuration::from_millis(ms)), now);
        assert_eq!(next(300), Duration::from_millis(300));
        assert_eq!((next(60_000), until(None, now)), (LONGEST, LONGEST));
        assert_eq!((next(0), next(-5000)), (SHORTEST, SHORTEST));
    }
}
