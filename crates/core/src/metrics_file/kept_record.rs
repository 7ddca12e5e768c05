//! The newest record once more, in a file without a name.
//!
//! Until the next record is published, the text of the newest one must be known: others may spoil the published copy, and who
//! serves the newest measurements needs all of them at once. In memory it is as large as all else that a container costs. In a file without a
//! name it costs pages that the kernel can take back; nobody else can open it; and when it is closed before the kernel gets to
//! writing it, as at one record a second, it never reaches the disk.

use std::fs::File;
use std::io;
use std::path::Path;

use super::{disk, spares, tail};
use crate::snapshot::Snapshot;

/// Why a record cannot be read back.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the newest record back")]
pub struct ReadBackError(#[from] io::Error);

/// A record that was published, as it was then.
#[derive(Debug)]
pub struct KeptRecord {
    file: File,
    /// Where it begins and ends, which is where it stands in the published file; there is nothing before it.
    begin: u64,
    end: u64,
}

impl KeptRecord {
    /// Copies a record of the file that is published at `path`.
    ///
    /// # Errors
    /// What the system says, as on file systems that have no files without a name.
    pub(super) fn copy(path: &Path, published: &File, begin: u64, end: u64) -> io::Result<Self> {
        let file = disk::open_nameless(path.parent().unwrap_or(Path::new("/")))?;
        spares::copy_range(published, begin, end, &file)?;
        Ok(Self { file, begin, end })
    }

    /// Its text.
    pub(super) fn text(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        tail::read_range(&self.file, self.begin, self.end, &mut text)?;
        Ok(text)
    }

    /// What it says; waits for the disk where the kernel took its pages back.
    ///
    /// # Errors
    /// [`ReadBackError`].
    pub fn read(&self) -> Result<Snapshot, ReadBackError> {
        let text = String::from_utf8(self.text()?).map_err(io::Error::other)?;
        Ok(text.parse::<Snapshot>().map_err(io::Error::from)?)
    }
}
