//! The root filesystem of one container, seen through its first process: `statvfs("/proc/<pid>/root")`.
//!
//! This is the one read that can hang for good (a container on network storage that does not answer), so the
//! collector runs it apart from all others.

use lxc_autoscale_core::ErrorChain;

use crate::procfs::Procfs;
use crate::sample::{FilesystemUse, InitProcess, Missing, Reading};

/// Asks the filesystem for its size.
///
/// # Errors
/// Why it gave none.
pub fn read(procfs: &Procfs, init: InitProcess) -> Reading<FilesystemUse> {
    let root = procfs.root_of(init.pid);
    let stat = rustix::fs::statvfs(&root).map_err(|error| {
        let error = std::io::Error::from(error);
        Missing(format!("cannot look at `{}`: {}", root.display(), ErrorChain(&error)))
    })?;
    // The number may meanwhile be that of another process, with another root.
    if !procfs.is_still(init) {
        return Err(Missing::because("the container's init ended while its filesystem was read"));
    }
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(FilesystemUse {
        total: bytes(stat.f_blocks),
        used: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
        available: bytes(stat.f_bavail),
    })
}
