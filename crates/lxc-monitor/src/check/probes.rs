//! The probes, each with a fix for a bad result.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lxc_autoscale_core::ErrorChain;
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::container_config::folded_tag;
use lxc_autoscale_core::metrics_file::trust::{self, Believed, Distrust, MONITOR_USER};
use lxc_autoscale_core::snapshot::{NodeRecord, Snapshot};
use rustix::fs::Access;

use super::{Probe, places, privileges};
use crate::alerts::AlertsConfig;
use crate::cgroup::Hierarchy;
use crate::config::MonitorConfig;
use crate::discovery::{self, Inventory, Liveness};
use crate::kept_files::KeptFiles;
use crate::kernel_gaps::CgroupVersion;
use crate::procfs::Procfs;
use crate::usage;

/// Runs all probes; anything about single containers is in their records.
pub(super) fn all(
    config: &MonitorConfig,
    inventory: &Result<Inventory, String>,
    snapshot: &Snapshot,
) -> Vec<Probe> {
    let paths = &config.paths;
    let mut probes = Vec::new();
    let hierarchy = Hierarchy::detect(&paths.cgroup).map(Arc::new);
    probes.push(match &hierarchy {
        Ok(hierarchy) => control_groups(hierarchy, &paths.cgroup),
        Err(error) => Probe::bad(
            "control groups",
            error.to_string(),
            "mount them there, or set `paths.cgroup` to where they are mounted",
        ),
    });
    probes.push(node(snapshot.summary.node.as_ref(), &paths.proc));
    probes.push(proxmox(inventory, &paths.pve));
    if let Ok(hierarchy) = &hierarchy {
        let inventory = inventory.as_ref().unwrap_or(&Inventory::NotProxmox);
        probes.extend(containers(config, inventory, hierarchy, snapshot));
    }
    if let Ok(inventory) = inventory {
        probes.extend(overrides(&config.alerts, inventory, snapshot));
    }
    probes.push(pressure(hierarchy.as_deref().ok(), snapshot));
    probes.push(block_devices(&paths.sys));
    probes.push(privileges::probe(hierarchy.as_deref().ok()));
    probes.push(output(&config.output.file));
    probes.extend(places::probes(config));
    probes
}

fn control_groups(hierarchy: &Hierarchy, root: &Path) -> Probe {
    const NAME: &str = "control groups";
    let found = format!("{}, at `{}`", hierarchy.version(), root.display());
    match hierarchy.cgroup_version() {
        CgroupVersion::V2 => Probe::ok(NAME, found),
        CgroupVersion::V1 => Probe::note(
            NAME,
            format!("{found}; it counts less than version 2"),
            "Proxmox VE 7 and later boot with version 2 unless the kernel command line has \
             systemd.unified_cgroup_hierarchy=0; Proxmox VE 9 has no other",
        ),
    }
}

fn node(record: Option<&NodeRecord>, proc: &Path) -> Probe {
    const NAME: &str = "node";
    let Some(record) = record else {
        return Probe::bad(NAME, "it was not measured", "see the other lines");
    };
    if let (Some(cpus), Some(total), Some(available)) =
        (record.cpus, record.memory_total_mb, record.memory_available_mb)
    {
        let kernel = record.kernel.as_deref().unwrap_or("of unknown release");
        let what = format!("Linux {kernel}, {cpus} CPUs, {available:.0} of {total:.0} MiB memory available");
        return Probe::ok(NAME, what);
    }
    let reasons: Vec<_> =
        record.missing.entries().map(|(field, reason)| format!("{field}: {reason}")).collect();
    let fix = format!("`paths.proc` must be where procfs is mounted, and is `{}`", proc.display());
    Probe::bad(NAME, reasons.join("; "), fix)
}

fn proxmox(inventory: &Result<Inventory, String>, pve: &Path) -> Probe {
    const NAME: &str = "Proxmox";
    let unread = |reason: String| {
        let fix = "see that pve-cluster runs (`systemctl status pve-cluster`), and that the monitor is in the group \
                   `www-data`, as its unit has it";
        Probe::bad(NAME, reason, fix)
    };
    let directory = pve.join("lxc");
    let directory = directory.display();
    match inventory {
        Ok(Inventory::Proxmox(containers)) => {
            let bad: Vec<_> = containers
                .iter()
                .filter_map(|(vmid, stored)| match &stored.configuration {
                    Err(missing) => Some(format!("{vmid}: {missing}")),
                    Ok(_) => stored.unreadable.first().map(|line| format!("{vmid}.conf {line}")),
                })
                .collect();
            let found = format!("{} configured in `{directory}`", count(containers.len(), "container"));
            if bad.is_empty() {
                Probe::ok(NAME, found)
            } else {
                Probe::note(
                    NAME,
                    format!("{found}, not all of it readable: {}", first_of(&bad)),
                    "correct these lines with `pct set`; everything else in the files is used",
                )
            }
        }
        Ok(Inventory::NotProxmox) => Probe::note(
            NAME,
            format!(
                "there is no `{}`, so containers are found by their control groups, without configured sizes",
                pve.display()
            ),
            "on a Proxmox node `paths.pve` must be where its cluster file system is; elsewhere all is well",
        ),
        Ok(Inventory::Unknown(missing)) => unread(missing.to_string()),
        Err(reason) => unread(reason.clone()),
    }
}

fn containers(
    config: &MonitorConfig,
    inventory: &Inventory,
    hierarchy: &Arc<Hierarchy>,
    snapshot: &Snapshot,
) -> Vec<Probe> {
    const NAME: &str = "containers";
    let mut probes = Vec::new();
    let sockets = match Procfs::new(&config.paths.proc)
        .command_sockets(&KeptFiles::for_one_look(), &config.paths.lxc)
    {
        Ok(sockets) => Some(sockets),
        Err(error) => {
            probes.push(Probe::note(
                NAME,
                format!("{}; the control groups alone tell which containers run", ErrorChain(&error)),
                "`paths.proc` must be where procfs is mounted",
            ));
            None
        }
    };
    let liveness: BTreeMap<Vmid, Liveness> =
        discovery::containers(inventory, hierarchy.containers(), sockets.as_ref())
            .into_iter()
            .map(|(vmid, socket)| (vmid, discovery::liveness(socket, hierarchy.container(vmid))))
            .collect();
    let unclear: Vec<Vmid> = liveness
        .iter()
        .filter_map(|(vmid, liveness)| matches!(liveness, Liveness::Unclear(_)).then_some(*vmid))
        .collect();
    let running: Vec<Vmid> = liveness
        .iter()
        .filter_map(|(vmid, liveness)| matches!(liveness, Liveness::Running(_)).then_some(*vmid))
        .collect();
    let stopped = snapshot.summary.stopped_containers.len();
    probes.push(Probe::ok(NAME, format!("{} running, {stopped} stopped", running.len())));
    if !unclear.is_empty() {
        let why = match &liveness[&unclear[0]] {
            Liveness::Unclear(why) => *why,
            _ => "",
        };
        probes.push(Probe::note(
            NAME,
            format!("{} cannot be told running or stopped: {why}", list(&unclear)),
            format!(
                "unless it is just starting or stopping: the monitor must be in the node's own network namespace, \
                 and `paths.lxc` must be LXC's directory, and is `{}`",
                config.paths.lxc.display()
            ),
        ));
    }
    let unmeasured: Vec<Vmid> =
        running.into_iter().filter(|vmid| !snapshot.containers.contains_key(vmid)).collect();
    if !unmeasured.is_empty() {
        probes.push(Probe::bad(
            NAME,
            format!("{} runs and could not be measured", list(&unmeasured)),
            "its files do not answer: look for processes in state D, and for storage that hangs",
        ));
    }
    probes.extend(required(snapshot));
    let foreign: Vec<_> =
        hierarchy.container_names().into_iter().filter(|name| name.parse::<Vmid>().is_err()).collect();
    if !foreign.is_empty() {
        probes.push(Probe::note(
            NAME,
            format!("not measured, because their names are no ids: {}", foreign.join(", ")),
            "give them numbers from 100 to 999999999 as names, as Proxmox does",
        ));
    }
    probes
}

/// Overrides of alerts that change nothing, because no container has such a tag or id.
fn overrides(alerts: &AlertsConfig, inventory: &Inventory, snapshot: &Snapshot) -> Option<Probe> {
    if matches!(inventory, Inventory::Unknown(_)) {
        return None;
    }
    let known: BTreeSet<Vmid> = inventory
        .ids()
        .chain(snapshot.containers.keys().copied())
        .chain(snapshot.summary.stopped_containers.iter().copied())
        .collect();
    let configurations: Vec<_> = known.iter().map(|vmid| inventory.configuration(*vmid)).collect();
    // One that cannot be read may have any tag.
    let are_tags_known = configurations.iter().all(Result::is_ok);
    let tags: BTreeSet<String> = configurations
        .iter()
        .filter_map(|configuration| configuration.as_ref().ok()?.as_ref())
        .flat_map(|stored| stored.tags.iter().map(|tag| folded_tag(tag).into_owned()))
        .collect();
    let of_tags = alerts.tags.keys().filter(|tag| are_tags_known && !tags.contains(&*folded_tag(tag)));
    let of_containers = alerts.containers.keys().filter(|vmid| !known.contains(vmid));
    let idle: Vec<_> = of_tags
        .map(|tag| format!("`alerts.tag.{tag}`"))
        .chain(of_containers.map(|vmid| format!("`alerts.container.{vmid}`")))
        .collect();
    (!idle.is_empty()).then(|| {
        Probe::note(
            "alerts",
            format!("no container matches {}", idle.join(", ")),
            "correct or remove what was meant for one that is here; the others wait for theirs",
        )
    })
}

/// What the learning daemon cannot do without.
fn required(snapshot: &Snapshot) -> Option<Probe> {
    const NAME: &str = "containers";
    let mut fields: BTreeSet<&str> = BTreeSet::new();
    let mut reasons: BTreeSet<&str> = BTreeSet::new();
    let mut lacking = Vec::new();
    for (vmid, record) in &snapshot.containers {
        let absent = usage::absent_required(record);
        if !absent.is_empty() {
            lacking.push(*vmid);
            reasons.extend(absent.iter().filter_map(|field| record.missing.reason(field)));
            fields.extend(absent);
        }
    }
    let are_all = lacking.len() == snapshot.containers.len();
    let whose = if are_all { "any container".to_owned() } else { list(&lacking) };
    let what: Vec<_> = fields.into_iter().collect();
    let why: Vec<_> = reasons.into_iter().map(str::to_owned).collect();
    let found = format!("{} of {whose} cannot be measured: {}", what.join(" and "), first_of(&why));
    let fix = "the ml daemon decides nothing about a container without it; the reasons are below";
    match lacking.is_empty() {
        true => None,
        false if are_all => Some(Probe::bad(NAME, found, fix)),
        false => Some(Probe::note(NAME, found, fix)),
    }
}

fn pressure(hierarchy: Option<&Hierarchy>, snapshot: &Snapshot) -> Probe {
    const NAME: &str = "pressure";
    let of_node = snapshot.summary.node.as_ref().is_some_and(|node| !node.pressure.is_empty());
    let without = snapshot.containers.values().filter(|record| record.pressure.is_empty()).count();
    let only_v1 = matches!(hierarchy, Some(Hierarchy::V1 { unified: None, .. }));
    match (of_node, without) {
        (true, 0) => Probe::ok(NAME, "the kernel gives pressure stall information"),
        (true, _) => Probe::note(
            NAME,
            "the kernel gives pressure stall information for the node and not for the containers; decisions about \
             them rest on use and throttling alone",
            "use cgroup version 2 (systemd.unified_cgroup_hierarchy=1), or mount it at `unified` beside version 1",
        ),
        (false, _) => Probe::note(
            NAME,
            "the kernel gives no pressure stall information; decisions rest on use and throttling alone",
            if only_v1 {
                "boot with `psi=1`, and with systemd.unified_cgroup_hierarchy=1, since cgroup version 1 alone has it \
                 for the node only"
            } else {
                "boot with `psi=1`"
            },
        ),
    }
}

fn block_devices(sys: &Path) -> Probe {
    const NAME: &str = "block devices";
    if sys.join("dev/block").is_dir() {
        Probe::ok(NAME, format!("`{}` says which stand on which", sys.join("dev/block").display()))
    } else {
        Probe::note(
            NAME,
            format!(
                "there is no `{}`, so I/O through LVM is counted at each layer",
                sys.join("dev/block").display()
            ),
            "set `paths.sys` to where sysfs is mounted",
        )
    }
}

/// Without opening the file, which the daemon may be using.
fn output(file: &Path) -> Probe {
    const NAME: &str = "metrics file";
    let shown = file.display();
    let place = match trusted(file) {
        Ok(place) => place,
        Err(error) => {
            let fix = format!(
                "nobody but root and `{MONITOR_USER}` may be able to write or replace it, because its records steer the \
                 node; where the monitor runs as another user, name it as `metrics.owner` to the other daemons"
            );
            let found = format!("`{shown}` would not be trusted: {}", ErrorChain(&error));
            return Probe::bad(NAME, found, fix);
        }
    };
    let directory = place.parent().unwrap_or(Path::new("/"));
    match rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Probe::ok(NAME, format!("`{shown}` can be written")),
        Err(error) => Probe::bad(
            NAME,
            format!("`{shown}` cannot be written: {}: {}", directory.display(), std::io::Error::from(error)),
            "create the directory and let the monitor write there, or set `output.file`",
        ),
    }
}

/// The path of the file, or of what will be created instead, if the daemons that read it would trust it.
fn trusted(file: &Path) -> Result<PathBuf, Distrust> {
    let believed = Believed::default();
    let place = trust::check_place(file, &believed)?;
    match std::fs::symlink_metadata(&place) {
        Ok(metadata) => trust::check_file(&metadata, &believed).map(|()| place),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(place),
        Err(error) => Err(error.into()),
    }
}

/// The first few of a possibly long list.
fn first_of(items: &[String]) -> String {
    const SHOWN: usize = 3;
    let rest = items.len().saturating_sub(SHOWN);
    let shown = items[..items.len() - rest].join("; ");
    if rest == 0 { shown } else { format!("{shown}; and {rest} more") }
}

fn list(vmids: &[Vmid]) -> String {
    vmids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
