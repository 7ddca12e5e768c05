//! Work that waits for the disk or the node, and where it is done.
//!
//! The server has one worker thread, so whatever waits on it holds up all other requests.
//!
//! - What can hang or take long is done with [`tokio::task::spawn_blocking`]: files below `/etc/pve` (FUSE), files whose
//!   place the administrator chooses (the keys, the metrics file), databases that are searched. Whoever cannot wait for
//!   ever adds a time limit.
//! - What writes a record to the local disk, in a task of which nothing else is expected meanwhile, is done with
//!   [`in_place`].
//! - What the kernel has in memory is read where it is needed: `/proc`, and `/etc/passwd`, which is small.
//!
//! Before it listens, and in the task that waits for signals, the server holds up nobody and reads files directly.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Mutex;
use tokio::task::JoinError;
use tokio::time::error::Elapsed;

/// Runs `work` in the thread that the calling task is on; other tasks of that thread move to another one meanwhile.
///
/// A thread of its own ([`tokio::task::spawn_blocking`]) has to be woken, and wakes the task when it is done: on an idle
/// virtual machine that takes longer than writing a record. Not for what can hang: nothing else in the task goes on, not
/// even its time limit.
pub(crate) fn in_place<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        // A runtime of one thread has no other to move them to.
        _ => work(),
    }
}

/// Work of which one piece at a time is done, in a thread of its own: what hangs takes no more threads than one, however
/// often it is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct OneAtATime(Arc<Mutex<()>>);

impl OneAtATime {
    /// Does `work` when it is its turn; gives up waiting for its turn and its end after `limit`. Work that has begun is
    /// not stopped, and keeps the turn until it ends.
    pub(crate) async fn within<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Result<T, JoinError>, Elapsed> {
        let done = async {
            let turn = Arc::clone(&self.0).lock_owned().await;
            let work = move || {
                let _turn = turn;
                work()
            };
            tokio::task::spawn_blocking(work).await
        };
        tokio::time::timeout(limit, done).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn what_hangs_takes_one_thread_and_holds_nobody_up_for_ever() {
        let looks = OneAtATime::default();
        let (release, hung) = channel::<()>();
        let short = Duration::from_millis(10);
        let first = looks.within(short, move || hung.recv().is_ok()).await;
        assert!(first.is_err(), "{first:?}");
        let (begun, is_begun) = channel::<()>();
        let second = looks.within(short, move || begun.send(()).is_ok()).await;
        assert!(second.is_err() && is_begun.recv().is_err(), "it is dropped before it begins: {second:?}");
        drop(release);
        assert_eq!(looks.within(Duration::from_mins(1), || 7).await.unwrap().unwrap(), 7);
    }
}
