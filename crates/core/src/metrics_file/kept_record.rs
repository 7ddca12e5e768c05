//! A second copy of the newest record, in a file without a name.
//!
//! Until the next record is published, the text of the newest one must remain available: others may damage the
//! published copy, and serving the newest measurements needs all of them at once. In memory it would be as large as
//! everything else that a container costs. A file without a name costs only pages that the kernel can take back, and
//! nobody else can open it. Two of them take turns: to write over pages that are there costs the kernel half of what
//! new ones do.

use std::fs::File;
use std::io;
use std::ops::Range;
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
    /// Its length; a longer record of earlier may go on behind it.
    bytes: u64,
}

impl KeptRecord {
    /// Copies a record from the file that is published at `path`, over an earlier record that nobody needs any more if there is one.
    ///
    /// # Errors
    /// Any I/O error; some file systems do not support files without a name.
    pub(super) fn copy(
        path: &Path,
        published: &File,
        place: Range<u64>,
        earlier: Option<Self>,
    ) -> io::Result<Self> {
        let file = match earlier {
            Some(earlier) => earlier.file,
            None => disk::open_nameless(path.parent().unwrap_or(Path::new("/")))?,
        };
        let bytes = place.end - place.start;
        spares::copy_range(published, place, &file, 0)?;
        Ok(Self { file, bytes })
    }

    /// Its text.
    pub(super) fn text(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        tail::read_range(&self.file, 0, self.bytes, &mut text)?;
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
