//! Errors of reading or changing the tree.

use std::io;
use std::path::{Path, PathBuf};

/// Why the tree could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A file of the tree cannot be read or written.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// The action that failed: `read`, `write`, `create` …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The settings file of the node is not in the format of this version.
    #[error("`{}` does not describe a node", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// The name of a node is used as a directory and as a host name, and must be valid as both.
    #[error("`{0}` is no node name: letters, digits and hyphens, a letter or digit at both ends")]
    NodeName(String),
    /// A node needs processors and memory.
    #[error("a node needs at least one CPU and 64 MiB of memory")]
    TooSmall,
    /// liblxc hides the command socket behind a hash when its name is longer than the kernel allows.
    #[error(
        "`{}` is too long a path for real containers: their command socket would not fit into a socket name",
        path.display()
    )]
    PathTooLong {
        /// The node's root.
        path: PathBuf,
    },
}

impl NodeError {
    /// Converts an I/O error to one with the path of the file.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}
