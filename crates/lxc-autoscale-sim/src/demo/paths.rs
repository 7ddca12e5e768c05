//! The directories of a demo.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::node::{NodeError, NodeLayout};

/// The directory of a demo.
#[derive(Clone, Debug)]
pub struct DemoPaths {
    root: PathBuf,
    is_temporary: bool,
}

impl DemoPaths {
    /// Uses the directory that the user named, or creates a temporary one.
    ///
    /// The name of a temporary one is short, because the names of sockets are limited to 107 bytes.
    ///
    /// # Errors
    /// [`NodeError::File`] if it cannot be created, or contains a node already.
    pub fn prepare(directory: Option<&Path>) -> Result<Self, NodeError> {
        let paths = match directory {
            Some(directory) => {
                let root = std::path::absolute(directory).map_err(NodeError::file("resolve", directory))?;
                Self { root, is_temporary: false }
            }
            None => Self { root: make_temporary()?, is_temporary: true },
        };
        let node = paths.node().root().to_owned();
        if node.exists() {
            let source = io::Error::new(
                io::ErrorKind::AlreadyExists,
                "an earlier demo left it; remove it or choose another directory",
            );
            return Err(NodeError::File { action: "begin a demo in", path: node, source });
        }
        for directory in [paths.etc(), paths.log(), paths.bin(), paths.state()] {
            fs::create_dir_all(&directory).map_err(NodeError::file("create", &directory))?;
        }
        Ok(paths)
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The daemons' configuration files.
    pub fn etc(&self) -> PathBuf {
        self.root.join("etc")
    }

    /// The metrics file and the logs.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// `pct` and `pvesh`.
    pub fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// The state directory of the daemons.
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// The metrics file.
    pub fn metrics(&self) -> PathBuf {
        self.log().join("lxc_metrics.json")
    }

    /// The node's tree.
    pub fn node(&self) -> NodeLayout {
        NodeLayout::new(self.root.join("node"))
    }

    /// Removes a temporary directory; one that the user named is kept.
    ///
    /// # Errors
    /// [`NodeError::File`] if something in it cannot be removed.
    pub fn clean_up(&self) -> Result<(), NodeError> {
        if self.is_temporary { crate::node::remove_tree(&self.root) } else { Ok(()) }
    }
}

/// Creates a directory that only we can enter. If somebody guessed its name and created it first, another name is
/// used.
fn make_temporary() -> Result<PathBuf, NodeError> {
    let parent = std::env::temp_dir();
    let process = std::process::id();
    let mut last = None;
    for attempt in 0..100 {
        let path = parent.join(format!("lxcas-{process}-{attempt}"));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = Some(error),
            Err(error) => return Err(NodeError::file("create", &path)(error)),
        }
    }
    Err(NodeError::File {
        action: "create a directory in",
        path: parent,
        source: last.unwrap_or_else(|| io::ErrorKind::AlreadyExists.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_directory_is_private_short_and_removed() {
        use std::os::unix::fs::PermissionsExt;
        let paths = DemoPaths::prepare(None).unwrap();
        assert_eq!(fs::metadata(paths.root()).unwrap().permissions().mode() & 0o777, 0o700);
        let socket = paths.node().containers().join("999999999/command");
        assert!(socket.as_os_str().len() <= 107 || std::env::temp_dir() != Path::new("/tmp"));
        paths.clean_up().unwrap();
        assert!(!paths.root().exists());
    }

    #[test]
    fn a_named_directory_stays_and_an_earlier_demo_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let paths = DemoPaths::prepare(Some(directory.path())).unwrap();
        paths.clean_up().unwrap();
        assert!(paths.metrics().parent().unwrap().is_dir());
        fs::create_dir(paths.node().root()).unwrap();
        let error = DemoPaths::prepare(Some(directory.path())).unwrap_err();
        assert!(error.to_string().starts_with("cannot begin a demo in"), "{error}");
    }
}
