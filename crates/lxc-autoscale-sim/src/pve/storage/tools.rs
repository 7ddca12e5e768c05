//! The output of `qemu-img`, `mke2fs` and `resize2fs`.

use std::io::{self, Write};
use std::path::Path;

use sha1::{Digest, Sha1};

use super::super::config::VolumeId;
use super::{Ext4, Volume};

/// Whether a file system is grown while it is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilesystemState {
    /// The container is running.
    Mounted,
    /// The container is stopped.
    Unmounted,
}

/// `qemu-img create`
pub(super) fn formatted(out: &mut dyn Write, id: &VolumeId, bytes: u64) -> io::Result<()> {
    let path = format!("/var/lib/vz/images/{}", id.name);
    writeln!(out, "Formatting '{path}', fmt=raw size={bytes} preallocation=off")
}

/// `mke2fs`
pub(super) fn made_filesystem(out: &mut dyn Write, made: &Ext4, directory: &Path) -> io::Result<()> {
    let unit = made.block_bytes / 1024;
    writeln!(out, "Creating filesystem with {} {unit}k blocks and {} inodes", made.blocks, made.inodes())?;
    writeln!(out, "Filesystem UUID: {}", uuid(directory))?;
    let backups: Vec<String> = made.backups().iter().map(u64::to_string).collect();
    writeln!(out, "Superblock backups stored on blocks: \n\t{}", backups.join(", "))
}

/// `resize2fs`, preceded by `e2fsck` if the file system is not mounted.
pub(super) fn resized_filesystem(
    out: &mut dyn Write,
    device: &str,
    old: &Volume,
    new: &Volume,
    state: FilesystemState,
) -> io::Result<()> {
    let (before, after) = (&old.filesystem, &new.filesystem);
    let unit = after.block_bytes / 1024;
    match state {
        FilesystemState::Mounted => {
            writeln!(out, "resize2fs 1.47.0 (5-Feb-2023)")?;
            writeln!(out, "Filesystem at {device} is mounted on /tmp; on-line resizing required")?;
            writeln!(
                out,
                "old_desc_blocks = {}, new_desc_blocks = {}",
                before.descriptor_blocks(),
                after.descriptor_blocks()
            )?;
        }
        FilesystemState::Unmounted => {
            writeln!(
                out,
                "e2fsck 1.47.0 (5-Feb-2023)\nPass 1: Checking inodes, blocks, and sizes\n\
                 Pass 2: Checking directory structure\nPass 3: Checking directory connectivity\n\
                 Pass 4: Checking reference counts\nPass 5: Checking group summary information\n\
                 resize2fs 1.47.0 (5-Feb-2023)"
            )?;
            writeln!(out, "Resizing the filesystem on {device} to {} ({unit}k) blocks.", after.blocks)?;
        }
    }
    writeln!(out, "The filesystem on {device} is now {} ({unit}k) blocks long.\n", after.blocks)
}

/// A UUID for the file system of a volume; it is always the same for the same volume, so that runs can be repeated.
fn uuid(directory: &Path) -> String {
    let hash = Sha1::digest(directory.as_os_str().as_encoded_bytes());
    let hex = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}
