//! Room for connections: bounded, and not to be taken up by those who send nothing.
//!
//! When all seats are taken, the connection that has kept us waiting longest for its request leaves, so that slow
//! clients cost others nothing, however many they are. One whose request is being worked on never has to. Whoever
//! is trusted does not give way to a stranger.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

/// The seats at one door.
#[derive(Clone, Debug)]
pub struct Seats {
    most: usize,
    room: Arc<Room>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Room {
    table: Mutex<Table>,
    /// Somebody left, or may be asked to.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    taken: HashMap<u64, Taken>,
}

#[derive(Debug)]
struct Taken {
    is_trusted: bool,
    state: State,
    leave: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The client is to send something, or to take its answer, since then.
    Waiting(Instant),
    /// Its request is being worked on.
    Busy,
    /// It was asked to leave.
    Leaving,
}

/// What came of looking for a seat.
#[derive(Debug)]
enum Attempt {
    Taken(Seat),
    /// One is about to be free, or will be.
    TooEarly,
    /// Those who have them do not give way to whoever asks.
    Hopeless,
}

/// One seat; free again when dropped.
#[derive(Debug)]
pub struct Seat {
    number: u64,
    room: Arc<Room>,
    leave: Arc<Notify>,
}

impl Seats {
    /// So many seats.
    pub fn new(most: usize) -> Self {
        Self { most, room: Arc::default(), turn: Arc::default() }
    }

    /// Takes a seat, waiting until there is one; `None` for a stranger where only those who are trusted could leave.
    ///
    /// One at a time, in the order in which they came.
    pub async fn take(&self, is_trusted: bool) -> Option<Seat> {
        let _turn = self.turn.lock().await;
        loop {
            match self.try_take(is_trusted) {
                Attempt::Taken(seat) => return Some(seat),
                Attempt::Hopeless => return None,
                Attempt::TooEarly => self.room.changed.notified().await,
            }
        }
    }

    fn try_take(&self, is_trusted: bool) -> Attempt {
        let mut table = self.room.table();
        if table.taken.len() < self.most {
            let (number, leave) = (table.next, Arc::<Notify>::default());
            table.next += 1;
            let state = State::Waiting(Instant::now());
            table.taken.insert(number, Taken { is_trusted, state, leave: Arc::clone(&leave) });
            return Attempt::Taken(Seat { number, room: Arc::clone(&self.room), leave });
        }
        if table.taken.values().any(|taken| taken.state == State::Leaving) {
            return Attempt::TooEarly;
        }
        let may_be_asked = |taken: &&mut Taken| is_trusted || !taken.is_trusted;
        let longest = table.taken.values_mut().filter(may_be_asked).filter_map(|taken| match taken.state {
            State::Waiting(since) => Some((taken.is_trusted, since, taken)),
            State::Busy | State::Leaving => None,
        });
        if let Some((_, _, taken)) = longest.min_by_key(|(is_trusted, since, _)| (*is_trusted, *since)) {
            taken.state = State::Leaving;
            taken.leave.notify_one();
            return Attempt::TooEarly;
        }
        let only_trusted = table.taken.values().all(|taken| taken.is_trusted);
        if !is_trusted && only_trusted { Attempt::Hopeless } else { Attempt::TooEarly }
    }
}

impl Seat {
    /// The request is complete and is being worked on; `false` when the connection was asked to leave before.
    pub fn busy(&self) -> bool {
        self.set(State::Busy)
    }

    /// It is the client's turn.
    pub fn waiting(&self) {
        if self.set(State::Waiting(Instant::now())) {
            self.room.changed.notify_one();
        }
    }

    /// Ends when the connection is to leave.
    pub async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }

    fn set(&self, state: State) -> bool {
        let mut table = self.room.table();
        match table.taken.get_mut(&self.number) {
            Some(taken) if taken.state != State::Leaving => {
                taken.state = state;
                true
            }
            _ => false,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.table().taken.remove(&self.number);
        self.room.changed.notify_one();
    }
}

impl Room {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Every critical section leaves the table whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRANGER: bool = false;
    const TRUSTED: bool = true;

    async fn left(seat: &Seat) -> bool {
        tokio::select! {
            biased;
            () = seat.asked_to_leave() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn who_keeps_us_waiting_longest_gives_way_and_who_is_served_does_not() {
        let seats = Seats::new(3);
        let [first, second, third] = [
            seats.take(STRANGER).await.unwrap(),
            seats.take(STRANGER).await.unwrap(),
            seats.take(STRANGER).await.unwrap(),
        ];
        assert!(first.busy());
        let newcomer = tokio::spawn({
            let seats = seats.clone();
            async move { seats.take(STRANGER).await.is_some() }
        });
        second.asked_to_leave().await;
        assert!(!second.busy(), "what it sends now comes too late");
        assert_eq!([left(&first).await, left(&third).await], [false, false]);
        drop(second);
        assert!(newcomer.await.unwrap());
    }

    #[tokio::test]
    async fn a_stranger_takes_no_seat_of_those_who_are_trusted() {
        let seats = Seats::new(1);
        let root = seats.take(TRUSTED).await.unwrap();
        assert!(seats.take(STRANGER).await.is_none());
        assert!(!left(&root).await);
        drop(root);
        let stranger = seats.take(STRANGER).await.unwrap();
        let root = tokio::spawn({
            let seats = seats.clone();
            async move { seats.take(TRUSTED).await.is_some() }
        });
        stranger.asked_to_leave().await;
        drop(stranger);
        assert!(root.await.unwrap());
    }

    #[tokio::test]
    async fn where_all_are_busy_the_next_waits_for_the_first_that_is_not() {
        let seats = Seats::new(1);
        let seat = seats.take(STRANGER).await.unwrap();
        assert!(seat.busy());
        let next = tokio::spawn({
            let seats = seats.clone();
            async move { seats.take(STRANGER).await.is_some() }
        });
        tokio::task::yield_now().await;
        assert!(!next.is_finished());
        seat.waiting();
        seat.asked_to_leave().await;
        drop(seat);
        assert!(next.await.unwrap());
    }
}
