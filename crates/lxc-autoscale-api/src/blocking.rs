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

use tokio::runtime::{Handle, RuntimeFlavor};

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
