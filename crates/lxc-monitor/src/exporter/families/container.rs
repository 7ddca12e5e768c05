//! Measurements of a container: CPU, memory, pressure, processes.

use super::Source::Container;
use super::{Family, alert_labels, counter, full, gauge, some, stalls};

pub(super) const FAMILIES: &[Family] = &[
    gauge(
        "lxc_container_uptime_seconds",
        "Time since the init of the container started.",
        Container(|c, to| to.real(c.uptime_seconds)),
    ),
    gauge(
        "lxc_container_missing_fields",
        "Fields that could not be read in the last cycle; the metrics file says why.",
        Container(|c, to| to.whole(Some(c.missing.len() as u64))),
    ),
    gauge(
        "lxc_container_alert",
        "Always 1: an alert of this rule is firing.",
        Container(|c, to| {
            for alert in &c.alerts {
                to.whole_labelled(&alert_labels(alert), Some(1));
            }
        }),
    ),
    gauge(
        "lxc_container_anomaly_score",
        "How unusual a metric is, in robust standard deviations of its series; absent while it is usual.",
        Container(|c, to| {
            for anomaly in &c.anomalies {
                to.labelled(&[("metric", &anomaly.metric)], Some(anomaly.score));
            }
        }),
    ),
    // --- CPU ---
    counter(
        "lxc_container_cpu_usage_seconds",
        "CPU time used.",
        Container(|c, to| to.usec(c.cpu_usage_usec)),
    ),
    gauge(
        "lxc_container_cpu_used_cores",
        "CPU use between the last two samples.",
        Container(|c, to| to.real(c.cpu_cores_used)),
    ),
    gauge(
        "lxc_container_cpu_usage_ratio",
        "CPU use between the last two samples as a share of what the container may use.",
        Container(|c, to| to.percent(c.cpu_usage_percent)),
    ),
    counter(
        "lxc_container_cpu_periods",
        "Enforcement periods of the CPU quota that have elapsed.",
        Container(|c, to| to.whole(c.throttling.map(|throttling| throttling.nr_periods))),
    ),
    counter(
        "lxc_container_cpu_throttled_periods",
        "Enforcement periods in which the CPU quota was used up.",
        Container(|c, to| to.whole(c.throttling.map(|throttling| throttling.nr_throttled))),
    ),
    counter(
        "lxc_container_cpu_throttled_seconds",
        "Time that tasks were held back by the CPU quota.",
        Container(|c, to| to.usec(c.throttling.map(|throttling| throttling.throttled_usec))),
    ),
    gauge(
        "lxc_container_cpu_throttled_ratio",
        "Share of the enforcement periods between the last two samples in which the CPU quota was used up.",
        Container(|c, to| to.real(c.cpu_throttled_share)),
    ),
    gauge(
        "lxc_container_cpu_limit_cores",
        "CPU the kernel lets the container use: the smallest of quota, cpuset and the CPUs of the node.",
        Container(|c, to| to.real(c.limits.and_then(|limits| limits.cores))),
    ),
    gauge(
        "lxc_container_cpu_quota_cores",
        "The CPU quota alone; absent where there is none.",
        Container(|c, to| to.real(c.limits.and_then(|limits| limits.quota_cores))),
    ),
    gauge(
        "lxc_container_cpuset_cores",
        "CPUs in the effective cpuset.",
        Container(|c, to| to.whole(c.limits.and_then(|limits| limits.cpuset_cores).map(u64::from))),
    ),
    // --- memory ---
    gauge(
        "lxc_container_memory_working_set_bytes",
        "Memory in use less the page cache that can be dropped; tmpfs and shared memory count.",
        Container(|c, to| to.mib(c.memory_usage_mb)),
    ),
    gauge(
        "lxc_container_memory_usage_bytes",
        "All memory that is charged to the container, page cache included.",
        Container(|c, to| to.mib(c.memory.map(|memory| memory.current_mb))),
    ),
    gauge(
        "lxc_container_memory_anon_bytes",
        "Anonymous memory.",
        Container(|c, to| to.mib(c.memory.map(|memory| memory.anon_mb))),
    ),
    gauge(
        "lxc_container_memory_file_bytes",
        "Page cache, tmpfs and shared memory included.",
        Container(|c, to| to.mib(c.memory.map(|memory| memory.file_mb))),
    ),
    gauge(
        "lxc_container_memory_shmem_bytes",
        "Tmpfs and shared memory.",
        Container(|c, to| to.mib(c.memory.map(|memory| memory.shmem_mb))),
    ),
    gauge(
        "lxc_container_memory_inactive_file_bytes",
        "Page cache that was not used lately.",
        Container(|c, to| to.mib(c.memory.map(|memory| memory.inactive_file_mb))),
    ),
    gauge(
        "lxc_container_memory_active_file_bytes",
        "Page cache in active use.",
        Container(|c, to| to.mib(c.memory.map(|memory| memory.active_file_mb))),
    ),
    gauge(
        "lxc_container_memory_dirty_bytes",
        "File pages that are not on disk yet.",
        Container(|c, to| to.mib(c.memory.map(|memory| memory.dirty_mb))),
    ),
    gauge(
        "lxc_container_memory_limit_bytes",
        "The memory limit in force in the kernel.",
        Container(|c, to| to.mib(c.limits.and_then(|limits| limits.memory_mb))),
    ),
    gauge("lxc_container_swap_used_bytes", "Swap in use.", Container(|c, to| to.mib(c.swap_usage_mb))),
    gauge(
        "lxc_container_swap_size_bytes",
        "Swap the container may use.",
        Container(|c, to| to.mib(c.swap_total_mb)),
    ),
    gauge(
        "lxc_container_swap_limit_bytes",
        "The swap limit in force in the kernel.",
        Container(|c, to| to.mib(c.limits.and_then(|limits| limits.swap_mb))),
    ),
    counter(
        "lxc_container_memory_events",
        "Events of the memory limits (memory.events), the subtree included.",
        Container(|c, to| {
            let Some(events) = c.memory_events else { return };
            for (event, count) in [
                ("low", events.low),
                ("high", events.high),
                ("max", Some(events.max)),
                ("oom", events.oom),
                ("oom_kill", events.oom_kill),
                ("oom_group_kill", events.oom_group_kill),
            ] {
                to.whole_labelled(&[("event", event)], count);
            }
        }),
    ),
    counter(
        "lxc_container_swap_events",
        "Events of the swap limits (memory.swap.events), the subtree included.",
        Container(|c, to| {
            let Some(events) = c.memory_swap_events else { return };
            for (event, count) in
                [("high", events.high), ("max", Some(events.max)), ("fail", Some(events.fail))]
            {
                to.whole_labelled(&[("event", event)], count);
            }
        }),
    ),
    counter(
        "lxc_container_refaulted_pages",
        "Pages that were needed again after they had been dropped (file) or swapped out (anon).",
        Container(|c, to| {
            let Some(paging) = c.paging else { return };
            to.whole_labelled(&[("type", "file")], paging.refault_file);
            to.whole_labelled(&[("type", "anon")], paging.refault_anon);
        }),
    ),
    counter(
        "lxc_container_swapped_in_pages",
        "Pages read back from swap.",
        Container(|c, to| to.whole(c.paging.and_then(|paging| paging.swap_in))),
    ),
    counter(
        "lxc_container_swapped_out_pages",
        "Pages written to swap.",
        Container(|c, to| to.whole(c.paging.and_then(|paging| paging.swap_out))),
    ),
    counter(
        "lxc_container_major_page_faults",
        "Page faults that waited for a disk.",
        Container(|c, to| to.whole(c.paging.and_then(|paging| paging.major_faults))),
    ),
    // --- pressure ---
    counter(
        "lxc_container_pressure_waiting_seconds",
        "Time in which at least one task waited for the resource (PSI some).",
        Container(|c, to| stalls(&c.pressure, to, some)),
    ),
    counter(
        "lxc_container_pressure_stalled_seconds",
        "Time in which all tasks waited for the resource at once (PSI full).",
        Container(|c, to| stalls(&c.pressure, to, full)),
    ),
    // --- processes ---
    gauge(
        "lxc_container_threads",
        "Processes and threads (pids.current).",
        Container(|c, to| to.whole(c.process_count)),
    ),
    gauge(
        "lxc_container_threads_limit",
        "The most processes and threads the kernel lets the container have.",
        Container(|c, to| to.whole(c.limits.and_then(|limits| limits.pids))),
    ),
    counter(
        "lxc_container_threads_refused",
        "Processes and threads that could not be started because of the limit.",
        Container(|c, to| to.whole(c.pids_events.map(|events| events.max))),
    ),
];
