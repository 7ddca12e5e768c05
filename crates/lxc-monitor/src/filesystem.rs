//! The root filesystem of one container, through its first process: `statfs("/proc/<pid>/root")`.
//!
//! This is the one read that can hang for good (a container on network storage that does not respond), so the collector
//! runs it separately.

use lxc_autoscale_core::ErrorChain;

use crate::procfs::{Init, Procfs};
use crate::sample::{FilesystemUse, InodeUse, Missing, Reading};

/// The type that `statfs` returns for ZFS (`ZFS_SUPER_MAGIC` of OpenZFS).
const ZFS_MAGIC: u64 = 0x2fc1_2fc1;

/// Reads the size of the filesystem.
///
/// # Errors
/// Why it is unknown.
pub fn read(procfs: &Procfs, init: &Init) -> Reading<FilesystemUse> {
    let root = procfs.root_of(init.process.pid);
    let stat = rustix::fs::statfs(&root).map_err(|error| {
        let error = std::io::Error::from(error);
        Missing::because(format!("cannot look at `{}`: {}", root.display(), ErrorChain(&error)))
    })?;
    // The pid may belong to another process by now, with another root.
    if !procfs.is_still(init) {
        return Err(Missing::because("the container's init ended while its filesystem was read"));
    }
    let block_bytes = u64::try_from(stat.f_frsize).unwrap_or(0);
    let bytes = |blocks: u64| blocks.saturating_mul(block_bytes);
    Ok(FilesystemUse {
        total: bytes(stat.f_blocks),
        used: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
        available: bytes(stat.f_bavail),
        // A filesystem that allocates inodes on demand (btrfs) says 0.
        inodes: (0 < stat.f_files)
            .then(|| InodeUse { total: stat.f_files, used: stat.f_files.saturating_sub(stat.f_ffree) }),
        is_zfs: u64::try_from(stat.f_type).is_ok_and(|kind| kind == ZFS_MAGIC),
    })
}
