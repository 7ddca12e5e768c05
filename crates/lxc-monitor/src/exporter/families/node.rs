//! Measurements of the node.

use super::Source::Node;
use super::{Family, alert_labels, counter, full, gauge, info, some, stalls};

pub(super) const FAMILIES: &[Family] = &[
    info(
        "lxc_node",
        "The node and its kernel.",
        Node(|n, to| {
            let kernel = n.kernel.as_deref().unwrap_or_default();
            to.whole_labelled(&[("name", &n.name), ("kernel", kernel)], Some(1));
        }),
    ),
    gauge("lxc_node_uptime_seconds", "Time since the node booted.", Node(|n, to| to.real(n.uptime_seconds))),
    gauge("lxc_node_cpus", "CPUs online.", Node(|n, to| to.whole(n.cpus.map(u64::from)))),
    gauge(
        "lxc_node_physical_cores",
        "Physical cores with a CPU online.",
        Node(|n, to| {
            to.whole(n.topology.as_ref().and_then(|topology| topology.cores).map(u64::from));
        }),
    ),
    gauge(
        "lxc_node_cpu_used_cores",
        "CPU use between the last two samples.",
        Node(|n, to| to.real(n.cpu_cores_used)),
    ),
    gauge(
        "lxc_node_cpu_iowait_cores",
        "CPUs that were idle while a task of theirs waited for a disk, between the last two samples.",
        Node(|n, to| to.real(n.cpu_iowait_cores)),
    ),
    gauge(
        "lxc_node_cpu_steal_cores",
        "CPU time a hypervisor gave to others between the last two samples.",
        Node(|n, to| to.real(n.cpu_steal_cores)),
    ),
    gauge("lxc_node_load1", "Load average of 1 minute.", Node(|n, to| to.real(n.load.map(|load| load[0])))),
    gauge("lxc_node_load5", "Load average of 5 minutes.", Node(|n, to| to.real(n.load.map(|load| load[1])))),
    gauge(
        "lxc_node_load15",
        "Load average of 15 minutes.",
        Node(|n, to| to.real(n.load.map(|load| load[2]))),
    ),
    gauge("lxc_node_threads", "Processes and threads of the whole node.", Node(|n, to| to.whole(n.threads))),
    gauge("lxc_node_memory_size_bytes", "Memory of the node.", Node(|n, to| to.mib(n.memory_total_mb))),
    gauge(
        "lxc_node_memory_available_bytes",
        "Memory that can be given out without swapping (MemAvailable).",
        Node(|n, to| to.mib(n.memory_available_mb)),
    ),
    gauge("lxc_node_swap_size_bytes", "Swap of the node.", Node(|n, to| to.mib(n.swap_total_mb))),
    gauge("lxc_node_swap_used_bytes", "Swap in use.", Node(|n, to| to.mib(n.swap_used_mb))),
    gauge("lxc_node_zfs_arc_bytes", "Cache of ZFS (ARC).", Node(|n, to| to.mib(n.zfs_arc_mb))),
    gauge(
        "lxc_node_zfs_arc_min_bytes",
        "Size below which the ARC does not shrink.",
        Node(|n, to| to.mib(n.zfs_arc_min_mb)),
    ),
    gauge(
        "lxc_node_zfs_arc_max_bytes",
        "Size to which the ARC may grow.",
        Node(|n, to| to.mib(n.zfs_arc_max_mb)),
    ),
    counter(
        "lxc_node_refaulted_pages",
        "Pages that were needed again after they had been dropped (file) or swapped out (anon).",
        Node(|n, to| {
            let Some(paging) = n.paging else { return };
            to.whole_labelled(&[("type", "file")], paging.refault_file);
            to.whole_labelled(&[("type", "anon")], paging.refault_anon);
        }),
    ),
    counter(
        "lxc_node_swapped_in_pages",
        "Pages read back from swap.",
        Node(|n, to| to.whole(n.paging.and_then(|paging| paging.swap_in))),
    ),
    counter(
        "lxc_node_swapped_out_pages",
        "Pages written to swap.",
        Node(|n, to| to.whole(n.paging.and_then(|paging| paging.swap_out))),
    ),
    counter(
        "lxc_node_major_page_faults",
        "Page faults that waited for a disk.",
        Node(|n, to| to.whole(n.paging.and_then(|paging| paging.major_faults))),
    ),
    counter(
        "lxc_node_oom_kills",
        "Processes killed by the OOM killer on the whole node since it booted.",
        Node(|n, to| to.whole(n.oom_kill)),
    ),
    counter(
        "lxc_node_pressure_waiting_seconds",
        "Time in which at least one task waited for the resource (PSI some).",
        Node(|n, to| stalls(&n.pressure, to, some)),
    ),
    counter(
        "lxc_node_pressure_stalled_seconds",
        "Time in which all tasks waited for the resource at once (PSI full).",
        Node(|n, to| stalls(&n.pressure, to, full)),
    ),
    gauge(
        "lxc_node_containers_memory_limit_bytes",
        "Sum of the memory limits of the running containers; absent while one is unknown.",
        Node(|n, to| to.mib(n.containers_memory_limit_mb)),
    ),
    gauge(
        "lxc_node_containers_memory_working_set_bytes",
        "Sum of the working sets of the running containers; absent while one is unknown.",
        Node(|n, to| to.mib(n.containers_working_set_mb)),
    ),
    gauge(
        "lxc_node_containers_cpu_limit_cores",
        "Sum of the CPU limits of the running containers; absent while one is unknown.",
        Node(|n, to| to.real(n.containers_cores_limit)),
    ),
    gauge(
        "lxc_node_alert",
        "Always 1: an alert of this rule is firing, of the node or of a container that is not measured.",
        Node(|n, to| {
            for alert in &n.alerts {
                let container = alert.container.map(|vmid| format!("lxc/{vmid}")).unwrap_or_default();
                let [rule, severity] = alert_labels(alert);
                to.whole_labelled(&[rule, severity, ("container", &container)], Some(1));
            }
        }),
    ),
    gauge(
        "lxc_node_missing_fields",
        "Fields of the node that could not be read in the last cycle; the metrics file says why.",
        Node(|n, to| to.whole(Some(n.missing.len() as u64))),
    ),
];
