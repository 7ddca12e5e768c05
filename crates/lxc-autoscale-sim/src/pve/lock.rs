//! The lock on a container's configuration: `flock` on `/run/lock/lxc/pve-config-<id>.lock`.

use std::fs::{self, File, TryLockError};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use lxc_autoscale_core::Vmid;

use super::error::PctError;
use super::terminal::Terminal;
use crate::node::{NodeError, NodeLayout};

/// How often a held lock is retried.
const RETRY: Duration = Duration::from_millis(20);
/// The error number of a Perl program whose wait is interrupted by its alarm.
const INTERRUPTED: u8 = 4;

/// The exclusive right to change one container; released when dropped.
#[derive(Debug)]
pub struct ConfigLock {
    _file: File,
}

impl ConfigLock {
    /// Takes the lock, waiting at most `timeout`, and prints that it is waiting.
    ///
    /// # Errors
    /// Proxmox's text if the time is over.
    pub fn acquire(
        layout: &NodeLayout,
        id: Vmid,
        timeout: Duration,
        terminal: &mut Terminal<'_>,
    ) -> Result<Self, PctError> {
        let path = layout.config_lock(id);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(NodeError::file("create", parent))?;
        }
        let file =
            File::options().create(true).append(true).open(&path).map_err(NodeError::file("open", &path))?;
        let deadline = Instant::now() + timeout;
        let mut is_waiting = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(TryLockError::Error(error)) => return Err(NodeError::file("lock", &path)(error).into()),
            }
            if !is_waiting {
                write!(terminal.err, "trying to acquire lock...")?;
                terminal.err.flush()?;
                is_waiting = true;
            }
            if deadline <= Instant::now() {
                writeln!(terminal.err)?;
                let text = format!("can't lock file '/run/lock/lxc/pve-config-{id}.lock' - got timeout");
                return Err(PctError::Died { text, exit: INTERRUPTED });
            }
            thread::sleep(RETRY);
        }
        if is_waiting {
            writeln!(terminal.err, " OK")?;
        }
        Ok(Self { _file: file })
    }
}
