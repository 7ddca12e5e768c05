//! Files that block, lie or vanish only affect the container they belong to.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use lxc_autoscale_core::snapshot::Snapshot;
use lxc_monitor::collector::Collector;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::fixture::{Node, cycle, record, vmid};

/// Containers 104 and 105, with the files every container needs to be found.
fn node() -> Node {
    let node = Node::new();
    node.write("cgroup/cgroup.controllers", "cpu memory\n");
    for (id, pid) in [(104, 7104), (105, 7105)] {
        node.start(id, pid);
        container(&node, id, pid);
    }
    node
}

fn container(node: &Node, id: u32, pid: u32) {
    node.write(&format!("cgroup/lxc/{id}/cgroup.events"), "populated 1\n");
    node.write(&format!("cgroup/lxc/{id}/cgroup.procs"), &format!("{pid}\n"));
    node.write(&format!("cgroup/lxc/{id}/cpu.stat"), "usage_usec 5\n");
    node.write(&format!("cgroup/lxc/{id}/pids.current"), "3\n");
}

#[test]
fn a_fifo_in_place_of_a_file_costs_only_that_value() {
    let node = node();
    for file in
        ["cgroup/lxc/104/pids.current", "cgroup/lxc/104/memory.stat", "pve/lxc/104.conf", "proc/7104/stat"]
    {
        node.put_fifo(file);
    }
    let snapshot = cycle(&mut Collector::new(&node.config()));
    let wedged = record(&snapshot, 104);
    assert_eq!(wedged.cpu_usage_usec, Some(5));
    for field in
        ["process_count", "memory_usage_mb", "configuration", "uptime_seconds", "filesystem_total_gb"]
    {
        assert!(
            wedged.missing.reason(field).unwrap().ends_with("is not a regular file"),
            "{field}: {:?}",
            wedged.missing
        );
    }
    assert_eq!(record(&snapshot, 105).process_count, Some(3));
}

#[test]
fn files_full_of_nonsense_are_named_in_the_reasons() {
    let node = node();
    node.write("cgroup/lxc/104/cpu.stat", "usage_usec lots\n");
    node.write("cgroup/lxc/104/pids.current", "\u{0}\u{7f}\n");
    let snapshot = cycle(&mut Collector::new(&node.config()));
    let confused = record(&snapshot, 104);
    assert_eq!((confused.cpu_usage_usec, confused.process_count), (None, None));
    assert!(
        confused
            .missing
            .reason("cpu_usage_usec")
            .unwrap()
            .contains("cpu.stat`: expected a `usage_usec` line")
    );
    assert!(confused.missing.reason("process_count").unwrap().contains("pids.current`: expected a number"));
}

/// With a wrong `paths.lxc` no command socket is found, so that no container can be classified as running or stopped.
#[test]
fn the_sums_are_unknown_while_it_is_unclear_which_containers_run() {
    let node = node();
    let mut config = node.config();
    config.paths.lxc = "/srv/lxc".into();
    let mut collector = Collector::new(&config);
    let snapshot = cycle(&mut collector);
    assert!(snapshot.containers.is_empty() && snapshot.summary.stopped_containers.is_empty());
    let found = snapshot.summary.node.unwrap();
    let sums = [
        ("containers_memory_limit_mb", found.containers_memory_limit_mb),
        ("containers_working_set_mb", found.containers_working_set_mb),
        ("containers_cores_limit", found.containers_cores_limit),
    ];
    for (field, sum) in sums {
        assert_eq!(sum, None, "{field}");
        assert_eq!(found.missing.reason(field), Some("container 104 could not be measured"));
    }
    // One of two is not enough.
    node.append("proc/net/unix", "0000: 00000002 00000000 00010000 0001 01 1 @/srv/lxc/104/command");
    let snapshot = cycle(&mut collector);
    assert_eq!(snapshot.containers.len(), 1);
    assert_eq!(snapshot.summary.node.unwrap().containers_cores_limit, None);
}

/// The container comes and goes all the time; every cycle ends and contains its neighbour.
#[test]
fn a_container_that_vanishes_while_it_is_read_is_left_out() {
    let node = node();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = std::fs::remove_dir_all(node.path("cgroup/lxc/104"));
                container(&node, 104, 7104);
            }
        });
        let mut collector = Collector::new(&node.config());
        for _ in 0..300 {
            let snapshot = cycle(&mut collector);
            assert_eq!(record(&snapshot, 105).process_count, Some(3));
        }
        stop.store(true, Ordering::Relaxed);
    });
    std::fs::remove_dir_all(node.path("cgroup/lxc/104")).unwrap();
    let snapshot = cycle(&mut Collector::new(&node.config()));
    assert!(!snapshot.containers.contains_key(&vmid(104)));
    assert!(!snapshot.summary.stopped_containers.contains(&vmid(104)), "its command socket is still open");
}

#[test]
fn a_node_without_control_groups_says_so_and_recovers() {
    let node = node();
    std::fs::rename(node.path("cgroup"), node.path("elsewhere")).unwrap();
    let mut collector = Collector::new(&node.config());
    let snapshot = cycle(&mut collector);
    assert!(snapshot.containers.is_empty());
    let missing = snapshot.summary.node.unwrap().missing;
    let reason = missing.reason("containers").unwrap();
    assert!(reason.starts_with("no control groups at "), "{reason}");
    std::fs::rename(node.path("elsewhere"), node.path("cgroup")).unwrap();
    let snapshot = collector.cycle();
    assert_eq!(snapshot.containers.len(), 2);
}

/// Without its cluster file system `/etc/pve` of a Proxmox node is an empty directory. That differs from a node without
/// Proxmox, where containers have no such configuration.
#[test]
fn a_cluster_file_system_that_is_not_mounted_is_missed() {
    let node = node();
    std::fs::rename(node.path("pve/lxc"), node.path("elsewhere")).unwrap();
    let mut collector = Collector::new(&node.config());
    let snapshot = cycle(&mut collector);
    assert_eq!(snapshot.containers.len(), 2, "they are still measured");
    let reason = record(&snapshot, 104).missing.reason("configuration").unwrap();
    assert!(reason.ends_with("pve/lxc` does not exist"), "{reason}");
    let unlisted =
        |snapshot: &Snapshot| snapshot.summary.node.as_ref().unwrap().missing.contains("stopped_containers");
    assert!(unlisted(&snapshot), "one without a control group may be stopped or gone");

    std::fs::rename(node.path("elsewhere"), node.path("pve/lxc")).unwrap();
    assert!(record(&cycle(&mut collector), 104).configuration.is_some());
    std::fs::rename(node.path("pve/lxc"), node.path("elsewhere")).unwrap();
    let snapshot = cycle(&mut collector);
    assert!(!unlisted(&snapshot), "which containers there are, it said before");
    let known = record(&snapshot, 104);
    // It may have been resized or renamed since: what it said last is not of this time.
    assert_eq!((&known.configuration, &known.pool), (&None, &None));
    for field in ["configuration", "pool"] {
        let reason = known.missing.reason(field).unwrap();
        assert!(reason.ends_with("pve/lxc` does not exist"), "{field}: {reason}");
    }
    // One that comes meanwhile is measured, and belongs into the sums.
    node.start(106, 7106);
    container(&node, 106, 7106);
    std::fs::remove_dir_all(node.path("pve/lxc")).unwrap();
    let snapshot = cycle(&mut collector);
    assert_eq!(record(&snapshot, 106).process_count, Some(3));
    std::fs::rename(node.path("elsewhere"), node.path("pve/lxc")).unwrap();
    let known = cycle(&mut collector);
    assert!(record(&known, 104).configuration.is_some() && record(&known, 104).pool.is_some());

    std::fs::remove_dir_all(node.path("pve")).unwrap();
    let snapshot = cycle(&mut Collector::new(&node.config()));
    assert!(!record(&snapshot, 104).missing.contains("configuration"), "a node without Proxmox");
}

/// A file system whose server never answers, like hanging storage; calls fail at once when it is dropped.
struct Hanging {
    server: Option<File>,
    path: PathBuf,
}

impl Hanging {
    /// `None` if it cannot be mounted.
    fn mount(path: &Path) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let server = File::options().read(true).write(true).open("/dev/fuse").ok()?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
        mount(
            "hanging",
            path,
            "fuse.hanging",
            MountFlags::empty(),
            CString::new(options).unwrap().as_c_str(),
        )
        .ok()?;
        Some(Self { server: Some(server), path: path.to_owned() })
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        // Without its server every hanging call fails.
        self.server = None;
        let _ = unmount(&self.path, UnmountFlags::DETACH);
    }
}

/// Mounts a hanging file system at `path` of a node and measures before, during and after.
fn with_hanging(
    path: &str,
    check: impl FnOnce(&mut Collector),
    check_after: impl Fn(&mut Collector) -> bool,
) {
    let node = node();
    let mut config = node.config();
    config.collection.read_timeout_ms = 50;
    let mut collector = Collector::new(&config);
    cycle(&mut collector);
    let Some(hanging) = Hanging::mount(&node.path(path)) else {
        println!("skipped: a FUSE file system cannot be mounted here");
        return;
    };
    check(&mut collector);
    drop(hanging);
    // The hanging read ends when the kernel gets round to it.
    while !check_after(&mut collector) {
        std::thread::yield_now();
    }
}

#[test]
fn storage_that_hangs_costs_the_container_only_its_filesystem() {
    let check = |collector: &mut Collector| {
        for reason in ["no answer within 50 ms", "still no answer to an earlier read"] {
            let snapshot = cycle(collector);
            let hung = record(&snapshot, 104);
            assert_eq!((hung.process_count, hung.filesystem_total_gb), (Some(3), None));
            assert!(
                hung.missing.reason("filesystem_total_gb").unwrap().contains(reason),
                "{:?}",
                hung.missing
            );
            assert!(record(&snapshot, 105).filesystem_total_gb.is_some());
        }
    };
    with_hanging("proc/7104/root", check, |collector| {
        record(&cycle(collector), 104).filesystem_total_gb.is_some()
    });
}

#[test]
fn a_container_whose_files_hang_costs_only_its_own_row() {
    let check = |collector: &mut Collector| {
        for _ in 0..3 {
            let snapshot = cycle(collector);
            assert!(!snapshot.containers.contains_key(&vmid(104)));
            assert!(
                !snapshot.summary.stopped_containers.contains(&vmid(104)),
                "it is not known to be stopped"
            );
            assert_eq!(record(&snapshot, 105).process_count, Some(3));
            let node = snapshot.summary.node.unwrap();
            assert_eq!(
                node.missing.reason("containers_working_set_mb"),
                Some("container 104 could not be measured")
            );
        }
    };
    with_hanging("cgroup/lxc/104", check, |collector| cycle(collector).containers.contains_key(&vmid(104)));
}

#[test]
fn a_cluster_file_system_that_hangs_costs_the_configurations_and_no_container() {
    let check = |collector: &mut Collector| {
        let snapshot = cycle(collector);
        let reason = record(&snapshot, 104).missing.reason("configuration").unwrap();
        assert!(reason.ends_with("no answer within 50 ms"), "{reason}");
        assert_eq!(record(&snapshot, 104).configuration, None, "sizes of before are not those of now");
        assert_eq!(snapshot.containers.len(), 2);
    };
    with_hanging("pve/lxc", check, |collector| {
        record(&cycle(collector), 104).configuration.as_ref().is_some_and(|stored| stored.cores == Some(2))
    });
}
