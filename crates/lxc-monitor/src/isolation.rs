//! Runs reads that may hang where their hanging harms nobody.
//!
//! Reads run on threads apart and are given up after their time. A thread cannot be taken back from a read that hangs
//! in the kernel, so the same read is not begun again before it has ended, and the number of hanging reads
//! is bounded. When one comes back to life, its container is measured again by itself.
//!
//! Many reads share one thread ([`Isolation::run_all`]), because waking a thread costs as much as a dozen files: the
//! next thread is started only when the first stays at one read for longer than reads take. For the same reason whoever asks
//! waits on its own thread, without a runtime between the two.

mod batch;
mod threads;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use threads::Threads;

/// Why a read gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It was given up.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// It was given up in an earlier cycle and hangs to this day.
    #[error("still no answer to an earlier read")]
    StillHanging,
    /// Too many others hang.
    #[error("not read, because {0} other reads hang")]
    TooManyHanging(usize),
    /// It ended without a result.
    #[error("the read failed inside the monitor")]
    Failed,
}

/// A place for reads that may hang, told apart by `K`.
#[derive(Debug)]
pub struct Isolation<K> {
    shared: Arc<Shared<K>>,
}

#[derive(Debug)]
struct Shared<K> {
    threads: Arc<Threads>,
    /// A list, because there are few, and it is changed for each read.
    in_flight: Mutex<Vec<K>>,
    n_turns: usize,
    max_in_flight: usize,
}

impl<K> Clone for Isolation<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K: Ord + Copy + Send + 'static> Isolation<K> {
    /// Lets `turns` reads run at once while `max_hanging` more may hang; takes that many threads at most.
    pub fn new(threads: &Arc<Threads>, turns: usize, max_hanging: usize) -> Self {
        let shared = Shared {
            threads: Arc::clone(threads),
            in_flight: Mutex::new(Vec::new()),
            n_turns: turns,
            max_in_flight: turns + max_hanging,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Runs `read` on another thread and waits for it at most `limit`.
    ///
    /// # Errors
    /// [`NoAnswer`]; the read may still be running then.
    pub fn run<T: Send + 'static>(
        &self,
        key: K,
        limit: Duration,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let answer = self.run_all([(key, read)], limit, |_, read| read()).pop();
        answer.map_or(Err(NoAnswer::Failed), |(_, answer)| answer)
    }
}

/// Keeps the key of a read until the read ends, however it ends.
struct InFlight<K: Ord> {
    shared: Arc<Shared<K>>,
    key: K,
}

impl<K: Ord + Copy> InFlight<K> {
    fn enter(shared: &Arc<Shared<K>>, key: K) -> Result<Self, NoAnswer> {
        let mut in_flight = shared.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if in_flight.contains(&key) {
            return Err(NoAnswer::StillHanging);
        }
        if shared.max_in_flight <= in_flight.len() {
            return Err(NoAnswer::TooManyHanging(in_flight.len()));
        }
        in_flight.push(key);
        Ok(Self { shared: Arc::clone(shared), key })
    }
}

impl<K: Ord> Drop for InFlight<K> {
    fn drop(&mut self) {
        let mut in_flight = self.shared.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = in_flight.iter().position(|key| *key == self.key) {
            in_flight.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SHORT: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn a_hanging_read_is_given_up_not_repeated_and_taken_up_again_when_it_ends() {
        let isolation = Isolation::new(&Threads::new(1), 1, 1);
        let (release, hang) = mpsc::channel::<()>();
        let (ended, has_ended) = mpsc::channel();
        let hanging = move || {
            let _ = hang.recv();
            let _ = ended.send(());
        };
        assert_eq!(isolation.run(104, SHORT, hanging), Err(NoAnswer::TimedOut(SHORT)));
        assert_eq!(isolation.run(104, LONG, || ()), Err(NoAnswer::StillHanging));
        assert_eq!(isolation.run(105, LONG, || 7), Ok(7), "others are not held up");
        drop(release);
        has_ended.recv().unwrap();
        // The key goes a moment after the closure has ended.
        while isolation.run(104, LONG, || ()) == Err(NoAnswer::StillHanging) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_number_of_hanging_reads_is_bounded() {
        let isolation = Isolation::new(&Threads::new(1), 1, 1);
        let mut releases = Vec::new();
        for key in [1, 2] {
            let (release, hang) = mpsc::channel::<()>();
            releases.push(release);
            let hanging = move || {
                let _ = hang.recv();
            };
            assert_eq!(isolation.run(key, SHORT, hanging), Err(NoAnswer::TimedOut(SHORT)));
        }
        assert_eq!(isolation.run(3, LONG, || ()), Err(NoAnswer::TooManyHanging(2)));
    }

    #[test]
    fn a_read_that_panics_costs_only_itself() {
        let isolation = Isolation::new(&Threads::new(1), 1, 0);
        assert_eq!(isolation.run(1, LONG, || panic!("on purpose")), Err::<(), _>(NoAnswer::Failed));
        assert_eq!(isolation.run(1, LONG, || 7), Ok(7));
    }
}
