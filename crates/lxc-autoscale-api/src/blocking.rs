//! Work that waits for the disk, done where its task runs.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs `work` in the thread that the calling task is on; other tasks of that thread move to another one meanwhile.
///
/// A thread of its own ([`tokio::task::spawn_blocking`]) has to be woken, and wakes the task when it is done: on an idle
/// virtual machine that takes longer than writing a record. Not for what can hang, such as a read of `/etc/pve`: nothing
/// else in the task goes on, not even its time limit.
pub(crate) fn in_place<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        // A runtime of one thread has no other to move them to.
        _ => work(),
    }
}
