//! One change per container at a time.
//!
//! A change waits here until it has all its containers to itself. Several containers are entered in the order of
//! their ids, so that two clones in opposite directions cannot deadlock. The gate has an entry only for containers
//! that a change has or waits for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lxc_autoscale_core::Vmid;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::{Instant, timeout_at};

type Entries = Mutex<HashMap<Vmid, Arc<AsyncMutex<()>>>>;

/// Lets only one change of a container run at a time.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    entries: Arc<Entries>,
}

/// The previous change of the same container took longer than this one could wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another change of container {vmid} {}", under_way(*.waited))]
pub struct Occupied {
    /// The container.
    pub vmid: Vmid,
    /// How long this change waited.
    pub waited: Duration,
}

fn under_way(waited: Duration) -> String {
    if waited.is_zero() {
        return "is under way".to_owned();
    }
    format!("has been under way for longer than {waited:?}")
}

/// The right to change a container; released when dropped.
#[derive(Debug)]
pub struct Ticket {
    // Dropped before `place`, which then sees whether anyone else wants the container.
    _guard: OwnedMutexGuard<()>,
    _place: Place,
}

/// A place in the queue of one container.
#[derive(Debug)]
struct Place {
    vmid: Vmid,
    entries: Arc<Entries>,
    lock: Option<Arc<AsyncMutex<()>>>,
}

impl Gate {
    /// Waits until all of `vmids` are free, and takes them.
    ///
    /// # Errors
    /// [`Occupied`] if that takes longer than `patience`; then no container is taken.
    pub async fn enter(&self, vmids: &[Vmid], patience: Duration) -> Result<Vec<Ticket>, Occupied> {
        let deadline = Instant::now() + patience;
        let mut ordered = vmids.to_vec();
        ordered.sort_unstable();
        ordered.dedup();
        let mut tickets = Vec::with_capacity(ordered.len());
        for vmid in ordered {
            let (place, lock) = self.queue(vmid);
            let guard = timeout_at(deadline, lock.lock_owned()).await;
            let guard = guard.map_err(|_| Occupied { vmid, waited: patience })?;
            tickets.push(Ticket { _guard: guard, _place: place });
        }
        Ok(tickets)
    }

    fn queue(&self, vmid: Vmid) -> (Place, Arc<AsyncMutex<()>>) {
        let lock = Arc::clone(locked(&self.entries).entry(vmid).or_default());
        let place = Place { vmid, entries: Arc::clone(&self.entries), lock: Some(Arc::clone(&lock)) };
        (place, lock)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut entries = locked(&self.entries);
        self.lock = None;
        // Only the table itself still refers to the lock: nobody holds it or waits for it.
        if entries.get(&self.vmid).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            entries.remove(&self.vmid);
        }
    }
}

fn locked(entries: &Entries) -> MutexGuard<'_, HashMap<Vmid, Arc<AsyncMutex<()>>>> {
    // Every critical section is a single map operation, so a panic leaves nothing half done.
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_hours(1);

    fn id(number: u32) -> Vmid {
        Vmid::try_from(number).unwrap()
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    #[test]
    fn the_second_waits_for_the_first_and_other_containers_do_not() {
        runtime().block_on(async {
            let gate = Gate::default();
            let first = gate.enter(&[id(104)], LONG).await.unwrap();
            let occupied = gate.enter(&[id(105), id(104)], Duration::ZERO).await.unwrap_err();
            assert_eq!(occupied.vmid, id(104));
            gate.enter(&[id(105)], Duration::ZERO).await.unwrap();
            let second = tokio::spawn({
                let gate = gate.clone();
                async move { gate.enter(&[id(104)], LONG).await.is_ok() }
            });
            tokio::task::yield_now().await;
            assert!(!second.is_finished());
            drop(first);
            assert!(second.await.unwrap());
        });
    }

    #[test]
    fn nothing_is_kept_of_those_who_left_or_gave_up() {
        runtime().block_on(async {
            let gate = Gate::default();
            let tickets = gate.enter(&[id(105), id(104), id(104)], LONG).await.unwrap();
            assert_eq!(tickets.len(), 2);
            assert!(gate.enter(&[id(104)], Duration::ZERO).await.is_err());
            let waiting = tokio::spawn({
                let gate = gate.clone();
                async move { gate.enter(&[id(104)], LONG).await.is_ok() }
            });
            tokio::task::yield_now().await;
            waiting.abort();
            assert!(waiting.await.unwrap_err().is_cancelled());
            assert_eq!(locked(&gate.entries).len(), 2);
            drop(tickets);
            assert_eq!(locked(&gate.entries).len(), 0);
        });
    }
}
