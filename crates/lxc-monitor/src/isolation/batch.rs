//! Many reads on as few threads as possible.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{InFlight, Isolation, NoAnswer};

/// After this part of its time limit, a read keeps its thread for itself while others continue.
const PATIENCE_SHARE: u32 = 20;

/// Reads that belong together.
struct Batch<K, J, T> {
    state: Mutex<State<K, J, T>>,
    /// A worker has nothing left to do.
    worker_ended: Condvar,
}

struct State<K, J, T> {
    waiting: VecDeque<(K, J)>,
    /// When each present read began; one that was given up is not listed any more.
    running: Vec<(K, Instant)>,
    results: Vec<(K, Result<T, NoAnswer>)>,
}

impl<K, J, T> Batch<K, J, T> {
    fn state(&self) -> MutexGuard<'_, State<K, J, T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Ord + Copy + Send + 'static> Isolation<K> {
    /// Runs `read` on each job, one after the other on another thread, each for at most `limit`.
    ///
    /// While a read takes long, others run on further threads. The result has every key, with its [`NoAnswer`] if there
    /// is no value; the read may still be running then.
    pub fn run_all<J: Send + 'static, T: Send + 'static>(
        &self,
        jobs: impl IntoIterator<Item = (K, J)>,
        limit: Duration,
        read: impl Fn(K, J) -> T + Send + Sync + 'static,
    ) -> Vec<(K, Result<T, NoAnswer>)> {
        let waiting: VecDeque<(K, J)> = jobs.into_iter().collect();
        let results = Vec::with_capacity(waiting.len());
        let state = State { waiting, running: Vec::new(), results };
        let batch = Arc::new(Batch { state: Mutex::new(state), worker_ended: Condvar::new() });
        let read = Arc::new(read);
        let patience = limit / PATIENCE_SHARE;
        let mut state = batch.state();
        loop {
            state.give_up(limit);
            if state.waiting.is_empty() && state.running.is_empty() {
                return std::mem::take(&mut state.results);
            }
            let ages = || state.running.iter().map(|(_, begun)| begun.elapsed());
            let is_stuck = ages().all(|age| patience <= age);
            let until = |age: Duration| match patience.saturating_sub(age) {
                Duration::ZERO => limit.saturating_sub(age),
                rest => rest,
            };
            let next_look = ages().map(until).min().unwrap_or(patience);
            if !state.waiting.is_empty() && is_stuck && state.running.len() < self.shared.n_turns {
                // Not while the state is held, for which the thread would wait as soon as it is awake.
                drop(state);
                let (isolation, own, read) = (self.clone(), Arc::clone(&batch), Arc::clone(&read));
                let started = self.shared.threads.run(move || isolation.work(&own, &*read));
                state = batch.state();
                if state.waiting.is_empty() && state.running.is_empty() {
                    continue;
                }
                if started.is_err() && state.running.is_empty() {
                    // The system gives no further thread, and no thread is running that could do the rest.
                    state.fail_waiting();
                    continue;
                }
            }
            let waited = batch.worker_ended.wait_timeout(state, next_look);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Runs the waiting jobs; ends after a read that was given up meanwhile.
    fn work<J, T>(&self, batch: &Batch<K, J, T>, read: &impl Fn(K, J) -> T) {
        loop {
            let (key, job, in_flight) = {
                let mut state = batch.state();
                let Some((key, job)) = state.waiting.pop_front() else { break };
                match InFlight::enter(&self.shared, key) {
                    Ok(in_flight) => {
                        state.running.push((key, Instant::now()));
                        (key, job, in_flight)
                    }
                    Err(no_answer) => {
                        state.results.push((key, Err(no_answer)));
                        continue;
                    }
                }
            };
            let result = catch_unwind(AssertUnwindSafe(|| read(key, job))).map_err(|_| NoAnswer::Failed);
            drop(in_flight);
            let mut state = batch.state();
            let Some(place) = state.running.iter().position(|(running, _)| *running == key) else { return };
            state.running.swap_remove(place);
            state.results.push((key, result));
        }
        batch.worker_ended.notify_one();
    }
}

impl<K: Ord + Copy, J, T> State<K, J, T> {
    fn give_up(&mut self, limit: Duration) {
        let results = &mut self.results;
        self.running.retain(|(key, begun)| {
            let is_in_time = begun.elapsed() < limit;
            if !is_in_time {
                results.push((*key, Err(NoAnswer::TimedOut(limit))));
            }
            is_in_time
        });
    }

    fn fail_waiting(&mut self) {
        self.results.extend(self.waiting.drain(..).map(|(key, _)| (key, Err(NoAnswer::Failed))));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::mpsc;

    use super::*;
    use crate::isolation::Threads;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_mins(1);

    fn sorted<T: Ord>(mut results: Vec<T>) -> Vec<T> {
        results.sort();
        results
    }

    #[test]
    fn one_thread_does_all_that_does_not_hang() {
        let isolation = Isolation::new(&Threads::new(2), 4, 4);
        let results =
            isolation.run_all((0..100).map(|n| (n, n)), LONG, |_, n| (n, std::thread::current().id()));
        let threads: std::collections::HashSet<_> =
            results.iter().map(|(_, result)| result.as_ref().unwrap().1).collect();
        assert_eq!((results.len(), threads.len()), (100, 1));
    }

    #[test]
    fn reads_that_hang_cost_only_themselves_and_are_taken_up_again() {
        let isolation = Isolation::new(&Threads::new(2), 2, 2);
        let (release, hang) = mpsc::channel::<()>();
        let hang = Mutex::new(hang);
        let read = move |key: u32, (): ()| {
            if key == 104 {
                let _ = hang.lock().unwrap().recv();
            }
            key
        };
        let jobs = || (100..120).map(|key| (key, ()));
        let results = isolation.run_all(jobs(), SHORT, read);
        assert_eq!(results.len(), 20);
        for (key, result) in results {
            let want = if key == 104 { Err(NoAnswer::TimedOut(SHORT)) } else { Ok(key) };
            assert_eq!(result, want, "{key}");
        }
        let again = isolation.run_all([(104, ()), (105, ())], LONG, |key, ()| key);
        let again: BTreeMap<_, _> = again.into_iter().collect();
        assert_eq!((again[&104], again[&105]), (Err(NoAnswer::StillHanging), Ok(105)));
        drop(release);
        while isolation.run_all([(104, ())], LONG, |key, ()| key)[0].1 != Ok(104) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn all_may_hang_and_the_batch_ends() {
        let isolation = Isolation::new(&Threads::new(2), 2, 1);
        let (release, hang) = mpsc::channel::<()>();
        let hang = Arc::new(Mutex::new(hang));
        let read = move |_: u32, (): ()| {
            let _ = hang.lock().unwrap().recv();
        };
        let results = isolation.run_all((1..=5).map(|key| (key, ())), SHORT, read);
        let results: Vec<_> = sorted(results.iter().map(|(_, result)| format!("{result:?}")).collect());
        let too_many = "Err(TooManyHanging(3))".to_owned();
        let timed_out = "Err(TimedOut(20ms))".to_owned();
        assert_eq!(results, [timed_out.clone(), timed_out.clone(), timed_out, too_many.clone(), too_many]);
        drop(release);
    }

    #[test]
    fn a_read_that_panics_costs_only_itself() {
        let isolation = Isolation::new(&Threads::new(2), 1, 0);
        let read = |key: u32, (): ()| if key == 2 { panic!("on purpose") } else { key };
        let results = isolation.run_all((1..=3).map(|key| (key, ())), LONG, read);
        assert_eq!(results, [(1, Ok(1)), (2, Err(NoAnswer::Failed)), (3, Ok(3))]);
    }

    #[test]
    fn nothing_to_read_is_done_at_once() {
        let results = Isolation::new(&Threads::new(2), 1, 0).run_all([], LONG, |_: u32, (): ()| ());
        assert_eq!(results, []);
    }
}
