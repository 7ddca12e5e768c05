//! Creates a node.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use lxc_autoscale_core::Vmid;

use super::files::{write_atomically, write_new};
use super::running::HEADER;
use super::{CgroupVersion, EngineKind, NodeError, NodeLayout, NodeSettings};

/// Creates the directories and files of a node without containers, and stores its settings.
///
/// Files that exist are left alone, so that a node can be opened again with other settings.
///
/// # Errors
/// [`NodeError`] if the settings contradict each other, or the tree cannot be written.
pub fn create_node(layout: &NodeLayout, settings: &NodeSettings) -> Result<(), NodeError> {
    settings.check(layout)?;
    let node = layout.etc_pve_node(&settings.name);
    for directory in [
        node.join("lxc"),
        layout.containers(),
        layout.tasks(),
        layout.root().join("run/lock/lxc"),
        layout.root().join("var/lib/sim/volumes"),
        layout.root().join("etc/sim"),
    ] {
        fs::create_dir_all(&directory).map_err(NodeError::file("create", &directory))?;
    }
    link(&format!("nodes/{}/lxc", settings.name), &layout.configs())?;
    link(&format!("nodes/{}", settings.name), &layout.etc_pve().join("local"))?;
    // The content that the cluster file system shows on a node without a cluster.
    write_new(&layout.members(), &format!("{{\n\"nodename\": \"{}\",\n\"version\": 0\n}}\n", settings.name))?;
    write_new(&layout.root().join("etc/hostname"), &format!("{}\n", settings.name))?;
    if settings.engine == EngineKind::Simulated {
        create_proc(layout, settings)?;
        create_cgroup_root(layout, settings)?;
    }
    settings.save(layout)
}

/// Stores a container's configuration; the container is not started, and has no volume yet.
///
/// # Errors
/// [`NodeError::File`] if the file cannot be written.
pub fn add_container(layout: &NodeLayout, id: Vmid, config: &str) -> Result<(), NodeError> {
    write_atomically(&layout.config(id), config)
}

/// Creates the constant parts of `/proc`; the simulated kernel adds and advances the rest.
fn create_proc(layout: &NodeLayout, settings: &NodeSettings) -> Result<(), NodeError> {
    let proc = layout.proc();
    write_new(&layout.net_unix(), HEADER)?;
    write_new(&proc.join("sys/kernel/hostname"), &format!("{}\n", settings.name))?;
    write_new(&proc.join("uptime"), "0.00 0.00\n")?;
    let kib = settings.memory.get() * 1024;
    let swap_kib = settings.swap.get() * 1024;
    write_new(
        &proc.join("meminfo"),
        &format!(
            "MemTotal:       {kib:8} kB\nMemFree:        {kib:8} kB\nMemAvailable:   {kib:8} kB\n\
             Buffers:               0 kB\nCached:                0 kB\n\
             SwapTotal:      {swap_kib:8} kB\nSwapFree:       {swap_kib:8} kB\n"
        ),
    )?;
    let processors: Vec<String> = (0..settings.cpus)
        .map(|cpu| format!("processor\t: {cpu}\nmodel name\t: Simulated CPU\ncpu MHz\t\t: 2600.000\n\n"))
        .collect();
    write_new(&proc.join("cpuinfo"), &processors.concat())
}

fn create_cgroup_root(layout: &NodeLayout, settings: &NodeSettings) -> Result<(), NodeError> {
    let cgroup = layout.cgroup();
    let cpus = match settings.cpus {
        1 => "0\n".to_owned(),
        cpus => format!("0-{}\n", cpus - 1),
    };
    match settings.cgroup {
        CgroupVersion::V1 => {
            for controller in NodeLayout::V1_CONTROLLERS {
                let lxc = cgroup.join(controller).join("lxc");
                fs::create_dir_all(&lxc).map_err(NodeError::file("create", &lxc))?;
            }
            write_new(&cgroup.join("cpuset/lxc/cpuset.cpus"), &cpus)
        }
        CgroupVersion::V2 => {
            let controllers = "cpuset cpu io memory pids\n";
            write_new(&cgroup.join("cgroup.controllers"), controllers)?;
            write_new(&cgroup.join("cgroup.subtree_control"), controllers)?;
            write_new(&cgroup.join("lxc/cgroup.controllers"), controllers)?;
            write_new(&cgroup.join("lxc/cpuset.cpus.effective"), &cpus)?;
            write_new(&cgroup.join("lxc.monitor/cgroup.controllers"), controllers)
        }
    }
}

fn link(target: &str, path: &Path) -> Result<(), NodeError> {
    match symlink(target, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(NodeError::file("link", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::running;

    #[test]
    fn a_new_node_has_a_proxmox_tree_and_no_containers() {
        let directory = tempfile::tempdir().unwrap();
        let layout = NodeLayout::new(directory.path());
        let settings = NodeSettings { cpus: 4, ..NodeSettings::default() };
        create_node(&layout, &settings).unwrap();
        create_node(&layout, &settings).unwrap();

        assert_eq!(NodeSettings::load(&layout).unwrap(), settings);
        assert_eq!(running(&layout).unwrap().ids(), []);
        let id: Vmid = "100".parse().unwrap();
        add_container(&layout, id, "memory: 512\n").unwrap();
        let through_node = fs::read_to_string(layout.etc_pve_node("proxmox").join("lxc/100.conf")).unwrap();
        assert_eq!(through_node, "memory: 512\n");
        assert_eq!(fs::read_to_string(layout.etc_pve().join("local/lxc/100.conf")).unwrap(), "memory: 512\n");
    }

    #[test]
    fn impossible_settings_are_refused() {
        let layout = NodeLayout::new(format!("/{}", "long/".repeat(20)));
        let refused = |settings: NodeSettings| create_node(&layout, &settings).unwrap_err().to_string();
        let settings = NodeSettings::default();
        assert!(
            refused(NodeSettings { name: "a/b".to_owned(), ..settings.clone() }).contains("no node name")
        );
        assert!(refused(NodeSettings { cpus: 0, ..settings.clone() }).contains("at least one CPU"));
        assert!(refused(NodeSettings { engine: EngineKind::Lxc, ..settings }).contains("too long"));
    }
}
