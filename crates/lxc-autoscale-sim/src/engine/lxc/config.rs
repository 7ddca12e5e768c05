//! The LXC configuration a container is started with.

use std::fmt::Write as _;

use lxc_autoscale_core::Mebibytes;

use super::super::memory_limits::memory_high_bytes;
use super::super::{CpuSet, Guest};
use crate::node::CgroupVersion;

/// Which limit keys this machine's kernel supports.
#[derive(Clone, Copy, Debug)]
pub(super) struct LimitNames {
    pub(super) version: CgroupVersion,
    pub(super) has_swap_limit: bool,
}

/// Keys of the template (or of an earlier start) that this program sets itself.
const OWN: [&str; 7] = [
    "lxc.net.",
    "lxc.apparmor.",
    "lxc.cgroup.",
    "lxc.cgroup2.",
    "lxc.rootfs.path",
    "lxc.uts.name",
    "lxc.monitor.",
];

/// Keeps what the template needs to run, and sets the rest: Proxmox's cgroup layout, limits, no network.
pub(super) fn container_config(template: &str, guest: &Guest, names: LimitNames, cpus: &CpuSet) -> String {
    let id = guest.id;
    let kept = template.lines().map(str::trim).filter(|line| {
        !line.is_empty() && !line.starts_with('#') && !OWN.iter().any(|own| line.starts_with(own))
    });
    let mut text: String = kept.flat_map(|line| [line, "\n"]).collect();
    let mut set = |key: &str, value: &str| {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{key} = {value}");
    };
    set("lxc.uts.name", &guest.hostname);
    set("lxc.rootfs.path", &format!("dir:{}", guest.rootfs.display()));
    set("lxc.net.0.type", "empty");
    set("lxc.cgroup.dir.monitor", &format!("lxc.monitor/{id}"));
    set("lxc.cgroup.dir.container", &format!("lxc/{id}"));
    set("lxc.cgroup.dir.container.inner", "ns");
    for (key, value) in limit_lines(guest, names, cpus) {
        set(key, &value);
    }
    text
}

fn limit_lines(guest: &Guest, names: LimitNames, cpus: &CpuSet) -> Vec<(&'static str, String)> {
    let limits = &guest.limits;
    let bytes = |amount: Mebibytes| amount.get().saturating_mul(Mebibytes::BYTES);
    let quota = limits.cpulimit.map(|cores| (100_000.0 * cores).trunc());
    let (memory, swap) = (bytes(limits.memory), bytes(limits.swap));
    let cpuset = match (&limits.pinned_cpuset, limits.cores) {
        (Some(pinned), _) => Some(pinned.clone()),
        (None, Some(cores)) if (cores as usize) < cpus.len() => {
            Some(cpus.iter().take(cores as usize).collect::<CpuSet>().to_string())
        }
        _ => None,
    };
    let mut lines = Vec::new();
    match names.version {
        CgroupVersion::V1 => {
            lines.push(("lxc.cgroup.memory.limit_in_bytes", memory.to_string()));
            if names.has_swap_limit {
                lines.push((
                    "lxc.cgroup.memory.memsw.limit_in_bytes",
                    memory.saturating_add(swap).to_string(),
                ));
            }
            if let Some(quota) = quota {
                lines.push(("lxc.cgroup.cpu.cfs_period_us", "100000".to_owned()));
                lines.push(("lxc.cgroup.cpu.cfs_quota_us", quota.to_string()));
            }
            lines.extend(limits.cpuunits.map(|units| ("lxc.cgroup.cpu.shares", units.max(2).to_string())));
            lines.extend(cpuset.map(|cpuset| ("lxc.cgroup.cpuset.cpus", cpuset)));
        }
        CgroupVersion::V2 => {
            lines.push(("lxc.cgroup2.memory.max", memory.to_string()));
            lines.push(("lxc.cgroup2.memory.high", memory_high_bytes(limits.memory).to_string()));
            lines.push(("lxc.cgroup2.memory.swap.max", swap.to_string()));
            lines.extend(quota.map(|quota| ("lxc.cgroup2.cpu.max", format!("{quota} 100000"))));
            let weight = |units: u32| units.clamp(1, 10_000).to_string();
            lines.extend(limits.cpuunits.map(|units| ("lxc.cgroup2.cpu.weight", weight(units))));
            lines.extend(cpuset.map(|cpuset| ("lxc.cgroup2.cpuset.cpus", cpuset)));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::engine::GuestLimits;

    fn guest() -> Guest {
        Guest {
            id: "91001".parse().unwrap(),
            hostname: "busy".to_owned(),
            limits: GuestLimits {
                memory: Mebibytes::new(64),
                swap: Mebibytes::new(32),
                cpulimit: Some(0.5),
                cpuunits: None,
                cores: Some(1),
                pinned_cpuset: None,
            },
            rootfs: PathBuf::from("/srv/rootfs"),
        }
    }

    #[test]
    fn the_template_loses_its_network_and_gains_our_limits() {
        let template =
            "# made by hand\nlxc.net.0.type = veth\nlxc.signal.halt = SIGUSR1\nlxc.uts.name = \"x\"\n";
        let names = LimitNames { version: CgroupVersion::V1, has_swap_limit: true };
        let text = container_config(template, &guest(), names, &CpuSet::first(2));
        let want = "\
lxc.signal.halt = SIGUSR1
lxc.uts.name = busy
lxc.rootfs.path = dir:/srv/rootfs
lxc.net.0.type = empty
lxc.cgroup.dir.monitor = lxc.monitor/91001
lxc.cgroup.dir.container = lxc/91001
lxc.cgroup.dir.container.inner = ns
lxc.cgroup.memory.limit_in_bytes = 67108864
lxc.cgroup.memory.memsw.limit_in_bytes = 100663296
lxc.cgroup.cpu.cfs_period_us = 100000
lxc.cgroup.cpu.cfs_quota_us = 50000
lxc.cgroup.cpuset.cpus = 0
";
        assert_eq!(text, want);
        assert_eq!(container_config(&text, &guest(), names, &CpuSet::first(2)), want, "a second start");
    }

    #[test]
    fn cgroup_v2_has_its_own_keys() {
        let mut guest = guest();
        guest.limits.pinned_cpuset = Some("1".to_owned());
        let names = LimitNames { version: CgroupVersion::V2, has_swap_limit: false };
        let text = container_config("", &guest, names, &CpuSet::first(4));
        for line in
            ["lxc.cgroup2.memory.high = 66584576", "lxc.cgroup2.cpu.max = 50000 100000", "cpuset.cpus = 1"]
        {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
