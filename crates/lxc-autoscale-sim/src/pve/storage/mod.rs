//! Volumes, which `rootfs` and `mpN` of a configuration refer to.
//!
//! A volume is a directory with its size, the file system that it would have, the files of a real container, and its
//! snapshots. The volume of a simulated container contains no files; its usage is a number.

mod ext4;
mod interrupt;
mod lvm;
mod tools;
mod volume;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use lxc_autoscale_core::{Mebibytes, Vmid};

use super::config::VolumeId;
use super::error::PctError;
use crate::node::{NodeError, NodeLayout, NodeSettings, Storage, StorageKind, read_text, remove_tree};

pub use ext4::Ext4;
pub use interrupt::Interrupt;
pub use tools::FilesystemState;
pub use volume::Volume;

/// The space of a fresh busybox root file system, in bytes, which is the usage of an unused simulated volume.
const FRESH_BYTES: u64 = 2_028_544;

/// How to copy a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyKind {
    /// With a file system of its own.
    Full,
    /// Based on a template's volume.
    Linked,
}

/// Space of a volume's file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// The total size.
    pub total: u64,
    /// In use.
    pub used: u64,
    /// Space that a user may still use.
    pub available: u64,
}

/// The volumes of a node.
#[derive(Clone, Debug)]
pub struct VolumeStore {
    layout: NodeLayout,
    storages: Vec<Storage>,
    work: Duration,
    filesystems_grow: bool,
    /// Stops long work.
    pub interrupt: Interrupt,
}

impl VolumeStore {
    /// The volumes of the node.
    pub fn new(layout: &NodeLayout, settings: &NodeSettings) -> Self {
        Self {
            layout: layout.clone(),
            storages: settings.storages.clone(),
            work: Duration::from_millis(settings.volume_work_milliseconds),
            filesystems_grow: settings.filesystems_grow,
            interrupt: Interrupt::default(),
        }
    }

    /// The storage with this id.
    ///
    /// # Errors
    /// Proxmox's text if there is none.
    pub fn storage(&self, id: &str) -> Result<&Storage, PctError> {
        let found = self.storages.iter().find(|storage| storage.id == id);
        found.ok_or_else(|| PctError::died(format!("storage '{id}' does not exist")))
    }

    fn directory(&self, id: &VolumeId) -> PathBuf {
        self.layout.volume(&id.storage, &id.name)
    }

    fn snapshot_directory(&self, id: &VolumeId, snapshot: &str) -> PathBuf {
        self.directory(id).join("snapshots").join(snapshot)
    }

    /// The directory that is the volume's root.
    pub fn rootfs(&self, id: &VolumeId) -> PathBuf {
        self.directory(id).join("content")
    }

    /// The volume; if it was never used, it is created with the configured size.
    ///
    /// # Errors
    /// Proxmox's text if the volume does not exist and its size is not known.
    pub fn open(&self, id: &VolumeId, configured_bytes: Option<u64>) -> Result<Volume, PctError> {
        if let Some(volume) = Volume::load(&self.directory(id))? {
            return Ok(volume);
        }
        let unknown = || PctError::died(format!("Could not determine current size of volume '{id}'"));
        self.make(id, configured_bytes.ok_or_else(unknown)?)
    }

    /// Creates a new volume, and prints the output of the storage's tools.
    ///
    /// # Errors
    /// [`PctError`] if the storage does not exist or the volume cannot be written.
    pub fn create(&self, id: &VolumeId, bytes: u64, out: &mut dyn Write) -> Result<Volume, PctError> {
        let volume = self.make(id, bytes)?;
        self.say_made(id, &volume, out)?;
        if !matches!(self.storage(&id.storage)?.kind, StorageKind::ZfsPool | StorageKind::Tree) {
            tools::made_filesystem(out, &volume.filesystem, &self.directory(id))?;
        }
        Ok(volume)
    }

    fn say_made(&self, id: &VolumeId, volume: &Volume, out: &mut dyn Write) -> Result<(), PctError> {
        match self.storage(&id.storage)?.kind {
            StorageKind::LvmThin => lvm::created(out, id.short_name())?,
            StorageKind::Dir => tools::formatted(out, id, volume.bytes)?,
            StorageKind::ZfsPool | StorageKind::Tree => {}
        }
        Ok(())
    }

    fn make(&self, id: &VolumeId, bytes: u64) -> Result<Volume, PctError> {
        let bytes = match self.storage(&id.storage)?.kind {
            StorageKind::LvmThin => lvm::whole_extents(bytes),
            StorageKind::Dir | StorageKind::ZfsPool | StorageKind::Tree => bytes,
        };
        let volume = Volume { bytes, filesystem: Ext4::make(bytes) };
        let content = self.rootfs(id);
        fs::create_dir_all(&content).map_err(NodeError::file("create", &content))?;
        volume.save(&self.directory(id))?;
        Ok(volume)
    }

    /// A name for the next volume of a container.
    ///
    /// # Errors
    /// [`PctError`] if the storage does not exist.
    pub fn free_name(&self, storage: &str, container: Vmid) -> Result<VolumeId, PctError> {
        let kind = self.storage(storage)?.kind;
        let candidates = (0u32..).map(|number| VolumeId {
            storage: storage.to_owned(),
            name: match kind {
                StorageKind::Dir => format!("{container}/vm-{container}-disk-{number}.raw"),
                StorageKind::ZfsPool => format!("subvol-{container}-disk-{number}"),
                StorageKind::LvmThin | StorageKind::Tree => format!("vm-{container}-disk-{number}"),
            },
        });
        let mut free = candidates.filter(|id| !self.directory(id).exists());
        free.next().ok_or_else(|| PctError::died(format!("no free volume name on storage '{storage}'")))
    }

    /// Grows a volume and its file system, and prints the output of the tools.
    ///
    /// # Errors
    /// [`PctError`] if the volume cannot be written.
    pub fn resize(
        &self,
        id: &VolumeId,
        mut volume: Volume,
        bytes: u64,
        state: FilesystemState,
        out: &mut dyn Write,
    ) -> Result<Volume, PctError> {
        let storage = self.storage(&id.storage)?;
        let old = volume.clone();
        let allocated = if storage.kind == StorageKind::LvmThin { lvm::whole_extents(bytes) } else { bytes };
        volume.bytes = allocated;
        if self.filesystems_grow {
            volume.filesystem.grow(allocated);
        }
        volume.save(&self.directory(id))?;
        let device = match storage.kind {
            StorageKind::LvmThin => {
                lvm::resized(out, id.short_name(), old.bytes, allocated, storage, self.promised(storage)?)?;
                lvm::device(id.short_name())
            }
            StorageKind::Dir => match state {
                FilesystemState::Mounted => "/dev/loop0".to_owned(),
                FilesystemState::Unmounted => format!("/var/lib/vz/images/{}", id.name),
            },
            StorageKind::ZfsPool | StorageKind::Tree => return Ok(volume),
        };
        if self.filesystems_grow {
            tools::resized_filesystem(out, &device, &old, &volume, state)?;
        } else {
            let failed = format!("command 'resize2fs {device}' failed: exit code 1");
            writeln!(out, "Failed to update the container's filesystem: {failed}\n")?;
        }
        Ok(volume)
    }

    /// The size that all volumes of a storage and their snapshots may grow to.
    fn promised(&self, storage: &Storage) -> Result<Mebibytes, NodeError> {
        let root = self.layout.volume(&storage.id, "");
        let mut bytes = 0u64;
        for volume in volume::directories(&root)? {
            for directory in
                std::iter::once(volume.clone()).chain(volume::directories(&volume.join("snapshots"))?)
            {
                bytes += Volume::load(&directory)?.map_or(0, |volume| volume.bytes);
            }
        }
        Ok(Mebibytes::new(bytes / Mebibytes::BYTES))
    }

    /// Whether the storage can take snapshots of the volume.
    pub fn has_snapshots(&self, id: &VolumeId) -> bool {
        self.storage(&id.storage).is_ok_and(|storage| storage.kind != StorageKind::Dir)
    }

    /// Takes a snapshot.
    ///
    /// # Errors
    /// [`PctError`] if the copy cannot be made.
    pub fn snapshot(&self, id: &VolumeId, snapshot: &str, out: &mut dyn Write) -> Result<(), PctError> {
        let target = self.snapshot_directory(id, snapshot);
        self.interrupt.work_for(self.work)?;
        volume::copy_volume(&self.directory(id), &target)?;
        self.lvm_only(id, || lvm::created(out, &format!("snap_{}_{snapshot}", id.short_name())))
    }

    /// Removes a snapshot.
    ///
    /// # Errors
    /// [`PctError`] if its copy cannot be removed.
    pub fn remove_snapshot(
        &self,
        id: &VolumeId,
        snapshot: &str,
        out: &mut dyn Write,
    ) -> Result<(), PctError> {
        remove_tree(&self.snapshot_directory(id, snapshot))?;
        self.lvm_only(id, || lvm::removed(out, &format!("snap_{}_{snapshot}", id.short_name())))
    }

    /// Refuses to roll back to a snapshot that the storage cannot roll back to: ZFS can only to the newest.
    ///
    /// # Errors
    /// Proxmox's text.
    pub fn check_rollback(&self, id: &VolumeId, snapshot: &str) -> Result<(), PctError> {
        if self.storage(&id.storage)?.kind != StorageKind::ZfsPool {
            return Ok(());
        }
        let mut newest = None;
        for directory in volume::directories(&self.directory(id).join("snapshots"))? {
            let made = fs::metadata(&directory).and_then(|metadata| metadata.modified());
            newest = newest.max(Some((made.map_err(NodeError::file("read", &directory))?, directory)));
        }
        match newest {
            Some((_, newest)) if !newest.ends_with(snapshot) => Err(PctError::died(format!(
                "can't rollback, '{snapshot}' is not most recent snapshot on '{id}'"
            ))),
            _ => Ok(()),
        }
    }

    /// Restores a volume to its state when the snapshot was taken.
    ///
    /// # Errors
    /// [`PctError`] if the copy cannot be made.
    pub fn rollback(&self, id: &VolumeId, snapshot: &str, out: &mut dyn Write) -> Result<(), PctError> {
        remove_tree(&self.rootfs(id))?;
        volume::copy_volume(&self.snapshot_directory(id, snapshot), &self.directory(id))?;
        self.lvm_only(id, || {
            lvm::removed(out, id.short_name())?;
            lvm::created(out, id.short_name())
        })
    }

    /// Creates a new volume with the files of another one, or of a snapshot of it. A linked copy shares the file
    /// system of its source, a full one gets its own; here they differ only in the output.
    ///
    /// # Errors
    /// [`PctError`] if the copy cannot be made.
    pub fn copy(
        &self,
        source: &VolumeId,
        snapshot: Option<&str>,
        target: &VolumeId,
        kind: CopyKind,
        out: &mut dyn Write,
    ) -> Result<Volume, PctError> {
        let from =
            snapshot.map_or_else(|| self.directory(source), |name| self.snapshot_directory(source, name));
        let missing = || PctError::died(format!("volume '{source}' does not exist"));
        let original = Volume::load(&from)?.ok_or_else(missing)?;
        self.interrupt.work_for(self.work)?;
        let copy = match kind {
            CopyKind::Full => self.create(target, original.bytes, out)?,
            CopyKind::Linked => {
                let volume = self.make(target, original.bytes)?;
                self.say_made(target, &volume, out)?;
                volume
            }
        };
        volume::copy_files(&from, &self.directory(target))?;
        Ok(copy)
    }

    /// Removes a volume and its snapshots.
    ///
    /// # Errors
    /// [`PctError`] if it cannot be removed.
    pub fn remove(&self, id: &VolumeId, out: &mut dyn Write) -> Result<(), PctError> {
        remove_tree(&self.directory(id))?;
        self.lvm_only(id, || lvm::removed(out, id.short_name()))
    }

    /// The space of a volume's file system.
    ///
    /// # Errors
    /// [`PctError`] if the volume cannot be read.
    pub fn space(&self, id: &VolumeId, volume: &Volume) -> Result<Space, PctError> {
        let total = volume.filesystem.total_bytes();
        let used = self.used_bytes(id)?.min(total);
        let available = (total - used).saturating_sub(volume.filesystem.reserved_bytes());
        Ok(Space { total, used, available })
    }

    /// The space used by the volume's files: real files are counted, a simulated volume has it in `used_bytes`.
    fn used_bytes(&self, id: &VolumeId) -> Result<u64, PctError> {
        let noted = self.directory(id).join("used_bytes");
        if noted.exists() {
            return Ok(read_text(&noted)?.trim().parse().unwrap_or(FRESH_BYTES));
        }
        let files = volume::bytes_of_files(&self.rootfs(id))?;
        Ok(if files == 0 { FRESH_BYTES } else { files })
    }

    fn lvm_only(&self, id: &VolumeId, say: impl FnOnce() -> std::io::Result<()>) -> Result<(), PctError> {
        if self.storage(&id.storage)?.kind == StorageKind::LvmThin {
            say()?;
        }
        Ok(())
    }
}
