//! A container's configuration in Proxmox.

use lxc_autoscale_core::Mebibytes;
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::exposition::Samples;

use super::Source::{Container, Identity};
use super::{Family, gauge, info};

pub(super) const FAMILIES: &[Family] = &[
    info("lxc_container", "Who a container is; join on id for its name.", Identity(identity)),
    gauge(
        "lxc_container_configured_cores",
        "Cores in the configuration; absent where it names none, which means all of the node.",
        Container(|c, to| {
            to.whole(c.configuration.as_ref().and_then(|configuration| configuration.cores).map(u64::from));
        }),
    ),
    gauge(
        "lxc_container_configured_cpulimit_cores",
        "CPU quota in the configuration; absent where it names none.",
        Container(|c, to| to.real(c.configuration.as_ref().and_then(|configuration| configuration.cpulimit))),
    ),
    gauge(
        "lxc_container_configured_cpu_weight",
        "CPU weight in the configuration (cpuunits); absent where it names none.",
        Container(|c, to| {
            to.whole(
                c.configuration.as_ref().and_then(|configuration| configuration.cpuunits).map(u64::from),
            );
        }),
    ),
    gauge(
        "lxc_container_configured_memory_bytes",
        "Memory in the configuration.",
        Container(|c, to| {
            to.mib(c.configuration.as_ref().map(|configuration| configuration.memory_mb.as_f64()));
        }),
    ),
    gauge(
        "lxc_container_configured_swap_bytes",
        "Swap in the configuration.",
        Container(|c, to| {
            to.mib(c.configuration.as_ref().map(|configuration| configuration.swap_mb.as_f64()));
        }),
    ),
    gauge(
        "lxc_container_configured_rootfs_bytes",
        "Size of the root filesystem in the configuration; absent where it names none.",
        Container(|c, to| {
            let size = c.configuration.as_ref().and_then(|configuration| configuration.rootfs_mb);
            to.mib(size.map(Mebibytes::as_f64));
        }),
    ),
    gauge(
        "lxc_container_locked",
        "Whether Proxmox holds a lock on the container (1) or not (0).",
        Container(|c, to| {
            if let Some(configuration) = &c.configuration {
                to.yes(configuration.lock.is_some());
            }
        }),
    ),
    gauge(
        "lxc_container_protected",
        "Whether the container is protected from removal (1) or not (0).",
        Container(|c, to| {
            if let Some(configuration) = &c.configuration {
                to.yes(configuration.protection);
            }
        }),
    ),
    gauge(
        "lxc_container_onboot",
        "Whether the container starts with the node (1) or not (0).",
        Container(|c, to| {
            if let Some(configuration) = &c.configuration {
                to.yes(configuration.onboot);
            }
        }),
    ),
];

/// Labels as in `pve_guest_info` of prometheus-pve-exporter: tags are joined by semicolons.
fn identity(configuration: Option<&ContainerConfig>, node: &str, to: &mut Samples<'_>) {
    let name = configuration.and_then(|configuration| configuration.name.as_deref()).unwrap_or_default();
    let tags = configuration.map(|configuration| configuration.tags.join(";")).unwrap_or_default();
    to.whole_labelled(&[("name", name), ("node", node), ("tags", &tags)], Some(1));
}
