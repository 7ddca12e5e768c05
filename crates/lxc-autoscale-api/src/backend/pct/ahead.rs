//! Reads a file of the node as soon as a `pct` call has ended.
//!
//! A thread waits for the end of the call and reads at once. Otherwise the end of the call would wake the server, which
//! would have to wake a thread to read, and be woken by it again.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::process::Child;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How many threads may wait. The calls beyond are read after as usual.
const MAX_WAITING: usize = 16;

/// The threads that wait for calls.
#[derive(Debug)]
pub(super) struct Ahead(Arc<Semaphore>);

/// A file that is read when its call has ended.
#[derive(Debug)]
pub(super) struct ReadAhead(JoinHandle<io::Result<Vec<u8>>>);

impl Default for Ahead {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_WAITING)))
    }
}

impl Ahead {
    /// Reads `path` when the call that runs as `child` has ended, if it does so within `limit`. `None` if that cannot be
    /// waited for, which is no fault: the file can be read later.
    pub(super) fn begin(&self, child: &Child, path: PathBuf, limit: Duration) -> Option<ReadAhead> {
        let turn = Arc::clone(&self.0).try_acquire_owned().ok()?;
        let pid = Pid::from_raw(child.id()?.try_into().ok()?)?;
        let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let limit = Timespec::try_from(limit).ok()?;
        Some(ReadAhead(tokio::task::spawn_blocking(move || {
            let _turn = turn;
            // Readable once the process has ended, see pidfd_open(2).
            let ended = retry_on_intr(|| poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit)))?;
            if ended == 0 { Err(io::ErrorKind::TimedOut.into()) } else { fs::read(path) }
        })))
    }
}

impl ReadAhead {
    /// What the file held when the call had ended; `None` if it could not be read within `limit`.
    pub(super) async fn bytes(self, limit: Duration) -> Option<Vec<u8>> {
        timeout(limit, self.0).await.ok()?.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::io::AsyncWriteExt;
    use tokio::process::Command;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    /// A program that writes `after` into the file when its input ends.
    fn writes(path: &std::path::Path) -> Child {
        let mut program = Command::new("sh");
        program.args(["-c", "read line; printf after > \"$0\""]).arg(path);
        program.stdin(Stdio::piped()).spawn().unwrap()
    }

    #[tokio::test]
    async fn the_file_is_read_after_the_end_of_the_call() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("104.conf");
        fs::write(&path, "before").unwrap();
        let mut child = writes(&path);
        let ahead = Ahead::default().begin(&child, path, LONG).unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").await.unwrap();
        // Somebody else has waited for it already.
        child.wait().await.unwrap();
        assert_eq!(ahead.bytes(LONG).await.unwrap(), b"after");
    }

    #[tokio::test]
    async fn nothing_is_read_while_the_call_goes_on_and_only_so_many_wait() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("104.conf");
        fs::write(&path, "before").unwrap();
        let mut child = writes(&path);
        let ahead = Ahead::default();
        let impatient = ahead.begin(&child, path.clone(), Duration::ZERO).unwrap();
        assert_eq!(impatient.bytes(LONG).await, None);
        let waiting: Vec<_> =
            (0..MAX_WAITING).map(|_| ahead.begin(&child, path.clone(), LONG).unwrap()).collect();
        assert!(ahead.begin(&child, path.clone(), LONG).is_none());
        drop(child.stdin.take());
        child.wait().await.unwrap();
        for each in waiting {
            assert_eq!(each.bytes(LONG).await.unwrap(), b"after");
        }
        assert!(ahead.begin(&child, path, LONG).is_none(), "the process is gone");
    }
}
