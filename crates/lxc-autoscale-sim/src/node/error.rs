//! Why the tree could not be read or changed.

use std::io;
use std::path::{Path, PathBuf};

/// Why the tree could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A file of the tree could not be worked with.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried: `read`, `write`, `create` …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The settings of the node are not what this version writes.
    #[error("`{}` does not describe a node", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// A node's name becomes a directory and a host name.
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
    /// Turns an I/O error into one that names the file.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}
