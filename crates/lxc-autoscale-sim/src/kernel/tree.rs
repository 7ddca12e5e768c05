//! Writes rendered files into the node's tree.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::node::NodeError;

/// Writes files so that a reader sees either the old text or the new one, and only if they have changed.
///
/// New text is written to a staging directory and renamed into place, so that no other files ever appear next to the
/// kernel's. A file whose directory is gone is not recreated: its container has just stopped.
#[derive(Debug)]
pub struct TreeWriter {
    staging: PathBuf,
    written: HashMap<PathBuf, String>,
}

impl TreeWriter {
    /// Creates a writer that uses `staging`, which must be on the same file system as the tree.
    ///
    /// # Errors
    /// [`NodeError::File`] if the staging directory cannot be created.
    pub fn new(staging: PathBuf) -> Result<Self, NodeError> {
        fs::create_dir_all(&staging).map_err(NodeError::file("create", &staging))?;
        Ok(Self { staging, written: HashMap::new() })
    }

    /// Writes `text` to `path`, unless it is there already.
    ///
    /// # Errors
    /// [`NodeError::File`] if it cannot be written for any reason except a missing directory.
    pub fn put(&mut self, path: PathBuf, text: String) -> Result<(), NodeError> {
        if self.written.get(&path) == Some(&text) {
            return Ok(());
        }
        let staged = self.staging.join("file");
        fs::write(&staged, &text).map_err(NodeError::file("write", &staged))?;
        match fs::rename(&staged, &path) {
            Ok(()) => {
                self.written.insert(path, text);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(NodeError::file("write", &path)(error)),
        }
    }

    /// Forgets everything below `directory`, which has been removed.
    pub fn forget(&mut self, directory: &Path) {
        self.written.retain(|path, _| !path.starts_with(directory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_a_vanished_directory_stays_away() {
        let directory = tempfile::tempdir().unwrap();
        let mut tree = TreeWriter::new(directory.path().join("staging")).unwrap();
        let cgroup = directory.path().join("lxc/100");
        fs::create_dir_all(&cgroup).unwrap();
        let path = cgroup.join("cpu.stat");
        tree.put(path.clone(), "usage_usec 1\n".to_owned()).unwrap();
        tree.put(path.clone(), "usage_usec 2\n".to_owned()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "usage_usec 2\n");
        assert_eq!(fs::read_dir(&cgroup).unwrap().count(), 1);

        fs::remove_dir_all(&cgroup).unwrap();
        tree.put(path.clone(), "usage_usec 3\n".to_owned()).unwrap();
        assert!(!cgroup.exists());

        tree.forget(&cgroup);
        fs::create_dir_all(&cgroup).unwrap();
        tree.put(path.clone(), "usage_usec 2\n".to_owned()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "usage_usec 2\n");
    }
}
