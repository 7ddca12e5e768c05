//! What systemd gives a daemon, so that it is measured as it runs on a node.

use std::io;
use std::path::PathBuf;

use crate::command::workspace_root;

/// The unit of this name.
pub(super) fn path(name: &str) -> PathBuf {
    workspace_root().join("systemd").join(name)
}

/// What the unit sets in the environment, as arguments of `env`.
pub(super) fn environment(name: &str) -> io::Result<Vec<String>> {
    let text = std::fs::read_to_string(path(name))?;
    let set = text.lines().filter_map(|line| line.strip_prefix("Environment="));
    Ok(set.flat_map(str::split_ascii_whitespace).map(str::to_owned).collect())
}
