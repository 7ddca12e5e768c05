//! Events, and their delivery to listeners: `GET /events`.
//!
//! Events are kept for a while, so that a client that was disconnected can continue where it was (`Last-Event-ID`).
//! Each listener has a queue of its own; if it does not keep up, its stream ends, which tells it so.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::{EventInfo, EventKind};
use tokio::sync::mpsc;

use crate::auth::caller::Caller;

pub mod measured;

/// How many events are kept for clients that come back.
const KEPT: usize = 512;
/// How many events may wait for one listener.
const QUEUE: usize = 64;
/// The most listeners at a time.
const MOST_LISTENERS: usize = 64;

/// All events of this server; clones refer to the same ones.
#[derive(Clone, Debug)]
pub struct Events(Arc<Mutex<Board>>);

#[derive(Debug)]
struct Board {
    /// Distinguishes events of this run of the server from those of other runs.
    run: String,
    next: u64,
    kept: VecDeque<(u64, Arc<EventInfo>)>,
    listeners: Vec<mpsc::Sender<Arc<EventInfo>>>,
    is_open: bool,
}

/// The events after a known one.
#[derive(Debug)]
pub struct Since {
    /// The events, oldest first.
    pub events: Vec<Arc<EventInfo>>,
    /// Whether there were earlier events that are no longer kept.
    pub missed: bool,
}

/// There are too many listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MOST_LISTENERS} clients are listening already; try again later")]
pub struct TooManyListeners;

impl Events {
    /// A board without events; `now` distinguishes this run of the server from others.
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Board {
            run: format!("{:x}", now.as_microsecond()),
            next: 1,
            kept: VecDeque::new(),
            listeners: Vec::new(),
            is_open: true,
        })))
    }

    /// Sends an event to all listeners. A listener that does not keep up is dropped.
    pub fn publish(&self, what: EventKind, at: Timestamp) {
        let mut board = self.board();
        let number = board.next;
        board.next += 1;
        let event = Arc::new(EventInfo { id: format!("{}-{number}", board.run), at, what });
        board.listeners.retain(|listener| listener.try_send(Arc::clone(&event)).is_ok());
        board.kept.push_back((number, event));
        if KEPT < board.kept.len() {
            board.kept.pop_front();
        }
    }

    /// The events after the one with this id, or all that are kept.
    pub fn since(&self, last: Option<&str>) -> Since {
        self.board().since(last)
    }

    /// The id of the newest event.
    pub fn last(&self) -> Option<String> {
        self.board().kept.back().map(|(_, event)| event.id.clone())
    }

    /// A queue of future events, and the events since the last known one.
    ///
    /// # Errors
    /// [`TooManyListeners`].
    pub fn listen(
        &self,
        last: Option<&str>,
    ) -> Result<(Since, mpsc::Receiver<Arc<EventInfo>>), TooManyListeners> {
        let mut board = self.board();
        board.listeners.retain(|listener| !listener.is_closed());
        if MOST_LISTENERS <= board.listeners.len() {
            return Err(TooManyListeners);
        }
        let since = match last {
            Some(_) => board.since(last),
            None => Since { events: Vec::new(), missed: false },
        };
        let (sender, receiver) = mpsc::channel(QUEUE);
        // If the server is shutting down, the stream ends at once.
        if board.is_open {
            board.listeners.push(sender);
        }
        Ok((since, receiver))
    }

    /// Ends all streams.
    pub fn close(&self) {
        let mut board = self.board();
        board.is_open = false;
        board.listeners.clear();
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        // Every critical section leaves the board consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    fn since(&self, last: Option<&str>) -> Since {
        let first_kept = self.kept.front().map_or(self.next, |(number, _)| *number);
        let known = last.and_then(|id| {
            let (run, number) = id.split_once('-')?;
            let number: u64 = number.parse().ok().filter(|_| run == self.run)?;
            (number < self.next).then_some(number)
        });
        let after = known.unwrap_or(0);
        let events = self.kept.iter().filter(|(number, _)| after < *number);
        Since {
            events: events.map(|(_, event)| Arc::clone(event)).collect(),
            // An id from another run says nothing about what was before this run.
            missed: after + 1 < first_kept || (last.is_some() && known.is_none()),
        }
    }
}

/// An event as the caller may see it; `None` if it is about containers outside their scope.
pub fn seen_by(event: &EventInfo, caller: &Caller) -> Option<EventInfo> {
    let may_see = |vmids: &[Vmid]| caller.may_touch(vmids).is_ok();
    let is_seen = match &event.what {
        EventKind::Snapshot(_) => true,
        EventKind::Change(entry) => may_see(&[entry.vm_id]),
        EventKind::Job(job) => may_see(&job.containers),
        EventKind::Boost(boost) => may_see(&[boost.boost.vm_id]),
        EventKind::Alert(alert) => alert.vm_id.is_none_or(|vmid| may_see(&[vmid])),
    };
    let mut event = is_seen.then(|| event.clone())?;
    if let EventKind::Snapshot(snapshot) = &mut event.what {
        snapshot.containers.retain(|vmid, _| may_see(&[*vmid]));
    }
    Some(event)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lxc_autoscale_core::RecordTime;
    use lxc_autoscale_core::api::SnapshotEvent;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn publish(events: &Events, second: i64) {
        let taken = RecordTime::utc(at(second));
        let snapshot = SnapshotEvent {
            taken,
            node_cpu_cores_used: None,
            node_memory_available_mb: None,
            containers: BTreeMap::new(),
        };
        events.publish(EventKind::Snapshot(snapshot), at(second));
    }

    fn seconds(since: &Since) -> Vec<i64> {
        since.events.iter().map(|event| event.at.as_second()).collect()
    }

    #[test]
    fn who_comes_back_goes_on_where_they_were() {
        let events = Events::new(at(0));
        for second in 1..=3 {
            publish(&events, second);
        }
        let id = |second: usize| events.since(None).events[second - 1].id.clone();
        assert_eq!((seconds(&events.since(None)), events.since(None).missed), (vec![1, 2, 3], false));
        for (last, expected) in [(id(1), vec![2, 3]), (id(3), vec![])] {
            let since = events.since(Some(&last));
            assert_eq!((seconds(&since), since.missed), (expected, false), "{last}");
        }
        for stranger in ["", "x", "1-1", "0-99", "0-0x1", &Events::new(at(9)).board().run] {
            assert!(events.since(Some(stranger)).missed, "{stranger}");
        }
        for second in 4..=600 {
            publish(&events, second);
        }
        let since = events.since(Some("0-1"));
        assert_eq!((since.events.len(), since.missed), (KEPT, true));
        assert!(!events.since(Some("0-500")).missed);
    }

    #[test]
    fn who_does_not_keep_up_is_left_behind_and_others_are_not() {
        let events = Events::new(at(0));
        let (_, mut slow) = events.listen(None).unwrap();
        let (_, mut quick) = events.listen(None).unwrap();
        for second in 0..=64 {
            publish(&events, second);
            assert!(quick.try_recv().is_ok());
        }
        let received = std::iter::from_fn(|| slow.try_recv().ok()).count();
        assert_eq!((received, slow.is_closed()), (QUEUE, true));
        publish(&events, 99);
        assert!(quick.try_recv().is_ok());
        events.close();
        assert!(quick.is_closed());
        assert!(events.listen(None).unwrap().1.is_closed());
    }

    #[test]
    fn listeners_are_bounded_and_those_who_left_do_not_count() {
        let events = Events::new(at(0));
        let listening: Vec<_> = (0..MOST_LISTENERS).map(|_| events.listen(None).unwrap()).collect();
        assert!(events.listen(None).is_err());
        drop(listening);
        assert!(events.listen(None).is_ok());
    }
}
