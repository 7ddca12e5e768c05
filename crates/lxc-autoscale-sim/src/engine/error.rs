//! Errors of the machine when it does something for `pct`.

use std::io;
use std::path::{Path, PathBuf};

use lxc_autoscale_core::Vmid;

use crate::node::NodeError;

use super::cpuset::InvalidCpuSet;

/// Why the machine could not do what `pct` asked for. Where Proxmox has a message of its own, the texts are
/// Proxmox's.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The kernel refused a value. Perl notices that when it closes the file, hence the wording.
    #[error("closing file '{}' failed - {}", path.display(), error_text(*errno))]
    Refused {
        /// The cgroup file, by the path it has on a real node.
        path: PathBuf,
        /// The kernel's reason.
        errno: i32,
    },
    /// A cgroup file does not exist, most often because the container has just ended.
    #[error("unable to open file '{}' - {}", path.display(), error_text(*errno))]
    Missing {
        /// The cgroup file, by the path it has on a real node.
        path: PathBuf,
        /// The kernel's reason.
        errno: i32,
    },
    /// A CPU weight that no cgroup v2 kernel would accept.
    #[error("cpu weight (shares) must be in range [1, 10000]")]
    CpuWeight,
    /// A cgroup or proc file does not contain a number as the kernel writes it.
    #[error("`{}` does not hold what it should: `{}`", path.display(), text.trim_end())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The content of the file.
        text: String,
    },
    /// A cpuset list is malformed.
    #[error("`{}` does not hold a list of CPUs", path.display())]
    CpuSet {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: InvalidCpuSet,
    },
    /// A file of the tree or of this machine cannot be read or written.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The container did not start.
    #[error("startup for container '{id}' failed")]
    Startup {
        /// The container.
        id: Vmid,
        /// Why not.
        source: Option<Box<EngineError>>,
    },
    /// The container did not stop.
    #[error("container did not stop")]
    StillRunning,
    /// A tool of this machine could not be started.
    #[error("cannot run `{command}`")]
    Spawn {
        /// The command line.
        command: String,
        /// Why not.
        source: io::Error,
    },
    /// A tool of this machine failed.
    #[error("command '{command}' failed: {}{}", exit_text(*code), detail(stderr))]
    Command {
        /// The command line.
        command: String,
        /// Its exit code, unless a signal ended it.
        code: Option<i32>,
        /// What it printed on stderr.
        stderr: String,
    },
    /// No command can be run in a simulated container.
    #[error("container '{0}' is simulated: no command can be run in it")]
    NothingRuns(Vmid),
}

impl EngineError {
    pub(super) fn refused(path: &Path, error: &io::Error) -> Self {
        // An error without a number did not come from the kernel; a failing device is the closest match.
        let errno = error.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error());
        if error.kind() == io::ErrorKind::NotFound {
            return Self::Missing { path: path.to_owned(), errno };
        }
        Self::Refused { path: path.to_owned(), errno }
    }

    /// The `errno` that a Perl program would have left.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { errno, .. } | Self::Missing { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

/// The C library's text for an error number.
fn error_text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    // Rust appends ` (os error N)`, which no other program prints.
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn exit_text(code: Option<i32>) -> String {
    code.map_or_else(|| "got a signal".to_owned(), |code| format!("exit code {code}"))
}

fn detail(stderr: &str) -> String {
    let line = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    if line.is_empty() { String::new() } else { format!(" ({line})") }
}
