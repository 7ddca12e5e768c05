//! The environment and the memory limit that a systemd unit gives a daemon: benchmarks use them to measure it as it
//! runs on a node.

use std::io;
use std::path::PathBuf;

use crate::command::workspace_root;

/// The unit of this name.
pub(super) fn path(name: &str) -> PathBuf {
    workspace_root().join("systemd").join(name)
}

/// The environment variables the unit sets, as arguments of `env`.
pub(super) fn environment(name: &str) -> io::Result<Vec<String>> {
    let text = std::fs::read_to_string(path(name))?;
    let set = text.lines().filter_map(|line| line.strip_prefix("Environment="));
    Ok(set.flat_map(str::split_ascii_whitespace).map(str::to_owned).collect())
}

/// The memory limit the unit sets, in bytes; `None` without one.
pub(super) fn memory_max(name: &str) -> io::Result<Option<u64>> {
    let text = std::fs::read_to_string(path(name))?;
    let Some(said) = text.lines().find_map(|line| line.strip_prefix("MemoryMax=")) else { return Ok(None) };
    let mebibytes = said.strip_suffix('M').and_then(|number| number.parse::<u64>().ok());
    let unclear =
        || io::Error::new(io::ErrorKind::InvalidData, format!("MemoryMax={said} is no number of M"));
    Ok(Some(mebibytes.ok_or_else(unclear)? << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monitors_unit_says_how_much_memory_it_may_have() {
        assert_eq!(memory_max("lxc_monitor.service").unwrap(), Some(128 << 20));
        assert!(environment("lxc_monitor.service").unwrap().iter().any(|set| set.starts_with("MALLOC_")));
    }
}
