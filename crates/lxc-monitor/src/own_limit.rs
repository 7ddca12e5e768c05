//! The monitor's own memory limit.

use std::path::Path;

use crate::cgroup::{Hierarchy, parse};
use crate::kernel_file::{read_parsed, read_text};

/// The smallest memory limit of the control groups of this process, in bytes (`MemoryMax=` or `MemoryHigh=` of its unit,
/// or one above that); `None` if there is none, or none can be read.
pub fn memory_limit(proc: &Path, cgroup: &Path) -> Option<u64> {
    let groups = read_text(&proc.join("self/cgroup")).ok()?;
    let (root, own, files, limit): (_, _, &[&str], fn(&str) -> _) = match Hierarchy::detect(cgroup).ok()? {
        // Above `memory.high` the kernel slows a process down, and what handles take cannot be reclaimed.
        Hierarchy::V2 { root } => {
            (root, own_group(&groups, "")?, &["memory.max", "memory.high"], parse::limit)
        }
        Hierarchy::V1 { controllers, .. } => {
            let (_, root) = controllers.into_iter().find(|(controller, _)| controller == "memory")?;
            (root, own_group(&groups, "memory")?, &["memory.limit_in_bytes"], parse::limit_v1)
        }
    };
    let own = root.join(own.trim_start_matches('/'));
    let chain = own.ancestors().take_while(|group| group.starts_with(&root));
    // The root of version 2 has no such file; an unreadable limit applies all the same, but is unknown here.
    let limits = chain.flat_map(|group| files.iter().map(|file| read_parsed(&group.join(file), limit)));
    limits.filter_map(|limit| limit.ok().flatten()).min()
}

/// The group of a controller in `/proc/<pid>/cgroup`, whose lines are `<number>:<controllers>:<group>`; version 2 has no
/// controllers there.
fn own_group<'a>(text: &'a str, controller: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|one| one == controller).then_some(group)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// The limit that a process in these groups finds in a tree of these files.
    #[track_caller]
    fn check(groups: &str, files: &[(&str, &str)], want: Option<u64>) {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in [("proc/self/cgroup", groups)].iter().chain(files) {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let limit = memory_limit(&directory.path().join("proc"), &directory.path().join("cgroup"));
        assert_eq!(limit, want, "{groups} {files:?}");
    }

    #[test]
    fn the_least_limit_above_the_process_counts() {
        let unit = "0::/system.slice/lxc_monitor.service\n";
        let (service, slice) =
            ("cgroup/system.slice/lxc_monitor.service/memory.max", "cgroup/system.slice/memory.max");
        let root = ("cgroup/cgroup.controllers", "memory\n");
        check(unit, &[root, (service, "134217728\n"), (slice, "max\n")], Some(128 * MIB));
        check(unit, &[root, (service, "134217728\n"), (slice, "67108864\n")], Some(64 * MIB));
        check(unit, &[root, (service, "max\n"), (slice, "max\n")], None);
        let high = ("cgroup/system.slice/lxc_monitor.service/memory.high", "33554432\n");
        check(unit, &[root, (service, "134217728\n"), high], Some(32 * MIB));
        check(unit, &[root], None);
        check("0::/\n", &[root], None);

        let v1 = "4:memory:/system.slice/lxc_monitor.service\n2:cpu,cpuacct:/\n0::/elsewhere\n";
        let service = "cgroup/memory/system.slice/lxc_monitor.service/memory.limit_in_bytes";
        check(v1, &[(service, "134217728\n")], Some(128 * MIB));
        check(v1, &[(service, "9223372036854771712\n")], None);
        check(v1, &[("cgroup/cpuacct/cpuacct.usage", "1\n")], None);
    }
}
