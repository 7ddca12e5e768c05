//! Seats for connections: limited in number, and not to be blocked by clients that send nothing.
//!
//! If all seats are taken, the connection that has kept the server waiting longest for its request is closed, so that
//! slow clients do not affect others, however many they are. A connection whose request is being worked on is never
//! closed, and a trusted caller does not give way to a stranger.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

/// The seats of one listener.
#[derive(Clone, Debug)]
pub struct Seats {
    most: usize,
    room: Arc<Room>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Room {
    table: Mutex<Table>,
    /// A connection was closed, or can be closed now.
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
    /// The client has been expected to send something, or to read its answer, since then.
    Waiting(Instant),
    /// Its request is being worked on.
    Busy,
    /// It was asked to close.
    Leaving,
}

/// The result of looking for a seat.
#[derive(Debug)]
enum Attempt {
    Taken(Seat),
    /// A seat is about to become free, or will be.
    TooEarly,
    /// The connections that have the seats do not give way to this caller.
    Hopeless,
}

/// One seat; released when dropped.
#[derive(Debug)]
pub struct Seat {
    number: u64,
    room: Arc<Room>,
    leave: Arc<Notify>,
}

impl Seats {
    /// This many seats.
    pub fn new(most: usize) -> Self {
        Self { most, room: Arc::default(), turn: Arc::default() }
    }

    /// Takes a seat, waiting for one if necessary; `None` for a stranger if only trusted callers could give way.
    ///
    /// Callers are served one at a time, in the order of their arrival.
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
    /// Marks the request as complete and being worked on; `false` if the connection was asked to close before that.
    pub fn busy(&self) -> bool {
        self.set(State::Busy)
    }

    /// Marks the client as the one to act next.
    pub fn waiting(&self) {
        if self.set(State::Waiting(Instant::now())) {
            self.room.changed.notify_one();
        }
    }

    /// Returns when the connection must close.
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
        // Every critical section leaves the table consistent.
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
