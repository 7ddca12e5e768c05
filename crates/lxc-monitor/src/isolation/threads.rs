//! Worker threads: each does one job after another, and one that hangs is left alone.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// A job of a thread.
type Work = Box<dyn FnOnce() + Send>;

/// Threads that wait for a job; when none is idle, another is started.
#[derive(Debug)]
pub struct Threads {
    idle: Mutex<Vec<Sender<Work>>>,
    /// Idle threads beyond this number end: they were needed because others hung.
    max_idle: usize,
}

impl Threads {
    /// No thread yet; at most `max_idle` are kept for further jobs.
    pub fn new(max_idle: usize) -> Arc<Self> {
        Arc::new(Self { idle: Mutex::default(), max_idle })
    }

    /// Runs `work` on an idle or a new thread.
    ///
    /// # Errors
    /// When none is idle and the system gives no further one.
    pub(super) fn run(self: &Arc<Self>, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let work: Work = Box::new(work);
        match idle {
            // An idle thread waits for this and cannot have ended.
            Some(idle) => idle.send(work).map_err(|_| io::ErrorKind::BrokenPipe.into()),
            None => self.start(work),
        }
    }

    fn start(self: &Arc<Self>, first: Work) -> io::Result<()> {
        // It ends with the last holder of `Threads`.
        let threads = Arc::downgrade(self);
        let live = move || {
            let mut work = Some(first);
            while let Some(todo) = work.take() {
                todo();
                let next = threads.upgrade().and_then(|threads| threads.next_for_this_thread());
                work = next.and_then(|next| next.recv().ok());
            }
        };
        std::thread::Builder::new().name("lxc-monitor-read".to_owned()).spawn(live).map(drop)
    }

    /// Where an idle thread receives its next job; `None` if enough threads are idle already.
    fn next_for_this_thread(&self) -> Option<Receiver<Work>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        (idle.len() < self.max_idle).then(|| {
            let (sender, next) = channel();
            idle.push(sender);
            next
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_does_one_thing_at_a_time_and_takes_the_next() {
        let threads = Threads::new(1);
        let (done, is_done) = channel();
        let held: Vec<Sender<()>> = (0..2)
            .map(|_| {
                let (release, hang) = channel();
                let done = done.clone();
                threads
                    .run(move || {
                        let _ = hang.recv();
                        let _ = done.send(std::thread::current().id());
                    })
                    .unwrap();
                release
            })
            .collect();
        drop(held);
        let seen = [is_done.recv().unwrap(), is_done.recv().unwrap()];
        assert_ne!(seen[0], seen[1], "the second does not wait for the first");
        while threads.idle.lock().unwrap().is_empty() {
            std::thread::yield_now();
        }
        let next = move || {
            let _ = done.send(std::thread::current().id());
        };
        threads.run(next).unwrap();
        assert!(seen.contains(&is_done.recv().unwrap()));
    }
}
