//! A second copy of the newest record, in a file without a name.
//!
//! Until the next record is published, the text of the newest one must remain available: others may damage the
//! published copy, and serving the newest measurements needs all of them at once. In memory it would be as large as
//! everything else that a container costs. A file without a name costs only pages that the kernel can take back, and
//! nobody else can open it. If it is closed before the kernel writes it, as at one record a second, it never reaches
//! the disk.

use std::fs::File;
use std::io;
use std::path::Path;

use super::{disk, spares, tail};
use crate::snapshot::Snapshot;

/// The record cannot be read back.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the newest record back")]
pub struct ReadBackError(#[from] io::Error);

/// A published record, as it was published.
#[derive(Debug)]
pub struct KeptRecord {
    file: File,
    /// Its beginning and end, at the same offsets as in the published file; there is nothing before it.
    begin: u64,
    end: u64,
}

impl KeptRecord {
    /// Copies a record from the file that is published at `path`.
    ///
    /// # Errors
    /// Any I/O error; some file systems do not support files without a name.
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

    /// Parses it; waits for the disk if the kernel has taken its pages back.
    ///
    /// # Errors
    /// [`ReadBackError`].
    pub fn read(&self) -> Result<Snapshot, ReadBackError> {
        let text = String::from_utf8(self.text()?).map_err(io::Error::other)?;
        Ok(text.parse::<Snapshot>().map_err(io::Error::from)?)
    }
}
