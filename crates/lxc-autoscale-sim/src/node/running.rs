//! The running containers, as listed in `/proc/net/unix`, where every reader of the node finds them.

use std::fs::File;
use std::path::Path;

use lxc_autoscale_core::Vmid;

use super::files::{read_text, write_atomically};
use super::{NodeError, NodeLayout};

/// The kernel's header of `/proc/net/unix`.
pub(super) const HEADER: &str = "Num       RefCount Protocol Flags    Type St Inode Path\n";

/// The exclusive right to change which containers are running; released when dropped.
///
/// Every process that starts or stops a simulated container holds it, so that two `pct` processes and the simulated
/// kernel never rewrite the table of running containers at the same time.
#[derive(Debug)]
pub struct NodeLock {
    _file: File,
}

impl NodeLock {
    /// Waits for the lock.
    ///
    /// # Errors
    /// [`NodeError::File`] if the lock file cannot be opened or locked.
    pub fn acquire(layout: &NodeLayout) -> Result<Self, NodeError> {
        let path = layout.node_lock();
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(NodeError::file("open", &path))?;
        file.lock().map_err(NodeError::file("lock", &path))?;
        Ok(Self { _file: file })
    }
}

/// The containers whose command socket is listed in a `/proc/net/unix`, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunningTable {
    ids: Vec<Vmid>,
}

impl RunningTable {
    /// Finds the sockets `@<containers>/<id>/command` in the text of a `/proc/net/unix`.
    pub fn parse(net_unix: &str, containers: &Path) -> Self {
        let prefix = format!("@{}/", containers.display());
        let mut ids: Vec<Vmid> = net_unix
            .lines()
            .filter_map(|line| {
                line.rsplit_once(' ')?.1.strip_prefix(&prefix)?.strip_suffix("/command")?.parse().ok()
            })
            .collect();
        ids.sort_unstable();
        ids.dedup();
        Self { ids }
    }

    /// Whether the container is running.
    pub fn contains(&self, id: Vmid) -> bool {
        self.ids.binary_search(&id).is_ok()
    }

    /// The ids, lowest first.
    pub fn ids(&self) -> &[Vmid] {
        &self.ids
    }
}

/// The running containers of a simulated node, lowest id first.
///
/// # Errors
/// [`NodeError::File`] if the tree has no `/proc/net/unix`.
pub fn running(layout: &NodeLayout) -> Result<RunningTable, NodeError> {
    Ok(RunningTable::parse(&read_text(&layout.net_unix())?, Path::new("/var/lib/lxc")))
}

/// Adds a container to the table; the `NodeLock` proves that nobody else is changing it.
pub(crate) fn add_running(_lock: &NodeLock, layout: &NodeLayout, id: Vmid) -> Result<(), NodeError> {
    let path = layout.net_unix();
    let mut text = read_text(&path)?;
    let inode = 20_000 + u64::from(id.get());
    let socket = NodeLayout::command_socket(id);
    let line = format!("0000000000000000: 00000002 00000000 00010000 0001 01 {inode:5} {socket}\n");
    text.push_str(&line);
    write_atomically(&path, &text)
}

/// Removes a container from the table.
pub(crate) fn remove_running(_lock: &NodeLock, layout: &NodeLayout, id: Vmid) -> Result<(), NodeError> {
    let path = layout.net_unix();
    let ending = format!(" {}", NodeLayout::command_socket(id));
    let text = read_text(&path)?;
    let kept: String =
        text.split_inclusive('\n').filter(|line| !line.trim_end().ends_with(&ending)).collect();
    if kept == text { Ok(()) } else { write_atomically(&path, &kept) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_command_sockets_below_the_container_directory_count() {
        let text = format!(
            "{HEADER}\
             0000000000000000: 00000002 00000000 00010000 0001 01 20101 @/var/lib/lxc/101/command\n\
             0000000000000000: 00000003 00000000 00000000 0001 03 20102 @/var/lib/lxc/101/command\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 20103 @/srv/lxc/102/command\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 20104 @/var/lib/lxc/web/command\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 20105 @/var/lib/lxc/103/commands\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 20106 /run/systemd/notify\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 20107 @/var/lib/lxc/100/command\n"
        );
        let table = RunningTable::parse(&text, Path::new("/var/lib/lxc"));
        let ids: Vec<u32> = table.ids().iter().map(|id| id.get()).collect();
        assert_eq!(ids, [100, 101]);
    }
}
