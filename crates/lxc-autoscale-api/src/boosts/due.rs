//! Ends boosts when their time is over, for as long as the server runs.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use lxc_autoscale_core::{ErrorChain, Vmid};
use tokio::task::{AbortHandle, JoinSet};

use super::{Clock, END_PATIENCE, due_at, end_each, rows};
use crate::auth::caller::Caller;
use crate::state::AppState;
use crate::store::StoreError;

/// The longest time between two looks: the clock may be set, and a boost that failed half way ends at once.
const LONGEST: Duration = Duration::from_secs(2);
/// The shortest.
const SHORTEST: Duration = Duration::from_millis(10);

/// Ends each boost at its time.
pub async fn watch(state: AppState) {
    let mut ends = Ends::default();
    loop {
        let wait = match ends.look(&state).await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::error!(error = %ErrorChain(&error), "cannot check boosts for their end");
                LONGEST
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// The ends that are in progress, each container's in a task of its own: one whose call hangs holds up no other
/// container's. Dropping this drops what has not begun as a change; a change that has begun goes on to its end.
#[derive(Debug, Default)]
pub struct Ends {
    containers: BTreeMap<Vmid, AbortHandle>,
    tasks: JoinSet<()>,
}

impl Ends {
    /// Begins to end what is due; returns the time until the next look.
    async fn look(&mut self, state: &AppState) -> Result<Duration, StoreError> {
        self.begin(state, Timestamp::now()).await?;
        let boosts = rows::read(state.store(), None).await?;
        // What is in progress is looked at again after the longest wait.
        let next = boosts.into_iter().filter(|(boost, _)| !self.is_in_progress(boost.vm_id));
        Ok(until(next.map(|(_, next_try)| next_try).min(), Timestamp::now()))
    }

    /// Begins to end the boosts whose time is over at `now`, except of containers with an end in progress.
    ///
    /// # Errors
    /// [`StoreError`] if the boosts cannot be read.
    pub async fn begin(&mut self, state: &AppState, now: Timestamp) -> Result<(), StoreError> {
        while let Some(ended) = self.tasks.try_join_next() {
            told(ended);
        }
        self.containers.retain(|_, task| !task.is_finished());
        for (vmid, due) in due_at(state, None, now).await? {
            if self.is_in_progress(vmid) {
                continue;
            }
            let (state, clock) = (AppState::clone(state), Clock::at(now));
            let task = self.tasks.spawn(async move {
                let own = Caller { queue_timeout: Some(END_PATIENCE), ..Caller::server() };
                if let Err(error) = end_each(&state, &own, due, clock).await {
                    tracing::error!(%vmid, error = %ErrorChain(&error), "cannot end a boost");
                    // Its time is over already, so the next look would begin it again at once.
                    tokio::time::sleep(LONGEST).await;
                }
            });
            self.containers.insert(vmid, task);
        }
        Ok(())
    }

    /// Whether boosts of a container are being ended.
    pub fn is_in_progress(&self, vmid: Vmid) -> bool {
        self.containers.get(&vmid).is_some_and(|task| !task.is_finished())
    }

    /// Waits until no end is in progress.
    pub async fn all(mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            told(ended);
        }
    }
}

/// Logs an end that crashed.
fn told(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "ending a boost ended unexpectedly");
    }
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
