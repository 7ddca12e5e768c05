//! `/proc`: the files of the node as a whole. The init processes are created by the engine that starts them.

use lxc_autoscale_core::Vmid;

use super::{File, pressure, whole};
use crate::kernel::container::Container;
use crate::kernel::node::{HOST_MEMORY_BYTES, Node};

/// Clock ticks in a second, as user space sees them.
const TICKS_PER_SECOND: f64 = 100.0;

/// The files of the node below `/proc`.
pub fn node_files(node: &Node, boot_time_seconds: u64) -> Vec<File> {
    [
        ("stat", stat(node, boot_time_seconds)),
        ("meminfo", meminfo(node)),
        ("loadavg", loadavg(node)),
        ("uptime", uptime(node)),
        ("net/dev", net_dev(node)),
        ("pressure/cpu", pressure(&node.cpu_pressure)),
        ("pressure/memory", pressure(&node.memory_pressure)),
        ("pressure/io", pressure(&node.io_pressure)),
    ]
    .map(|(name, text)| (name.to_owned(), text))
    .into()
}

/// User, nice, system, idle, iowait, irq, softirq, steal, guest and guest_nice time in ticks, for all CPUs and each
/// of them.
fn stat(node: &Node, boot_time_seconds: u64) -> String {
    let cpus = node.capacity.cpus;
    let total = node.uptime_seconds * cpus;
    let busy = node.busy_seconds.min(total);
    let row = |share: f64| {
        let busy = whole(busy * share * TICKS_PER_SECOND);
        let idle = whole((total - node.busy_seconds.min(total)) * share * TICKS_PER_SECOND);
        let system = busy / 5;
        format!("{} 0 {system} {idle} 0 0 0 0 0 0", busy - system)
    };
    let mut rows = vec![format!("cpu  {}", row(1.0))];
    rows.extend((0..whole(cpus)).map(|cpu| format!("cpu{cpu} {}", row(1.0 / cpus))));
    let processes: u32 = node.containers.values().map(|container| container.processes).sum();
    rows.push(format!(
        "intr 0\nctxt 0\nbtime {boot_time_seconds}\nprocesses {processes}\nprocs_running 1\nprocs_blocked 0\n"
    ));
    rows.join("\n")
}

fn meminfo(node: &Node) -> String {
    let kib = |bytes: f64| whole(bytes.max(0.0) / 1024.0);
    let sum = |of: fn(&Container) -> f64| node.containers.values().map(of).sum::<f64>();
    let total = node.capacity.memory_bytes;
    let free = total - HOST_MEMORY_BYTES - node.containers_memory();
    let active_file = sum(|container| container.memory.active_file);
    let inactive_file = sum(|container| container.memory.inactive_file);
    let shmem = sum(|container| container.memory.shmem);
    let anon = sum(|container| container.memory.anon) + HOST_MEMORY_BYTES / 2.0;
    let dirty = sum(|container| container.memory.dirty);
    let slab = sum(|container| container.memory.kernel) + HOST_MEMORY_BYTES / 10.0;
    let available = free + active_file + inactive_file - dirty;
    let rows = [
        ("MemTotal", kib(total)),
        ("MemFree", kib(free)),
        ("MemAvailable", kib(available)),
        ("Buffers", 0),
        ("Cached", kib(active_file + inactive_file + shmem)),
        ("SwapCached", 0),
        ("Active", kib(active_file + anon / 2.0)),
        ("Inactive", kib(inactive_file + shmem + anon / 2.0)),
        ("Active(anon)", kib(anon / 2.0)),
        ("Inactive(anon)", kib(shmem + anon / 2.0)),
        ("Active(file)", kib(active_file)),
        ("Inactive(file)", kib(inactive_file)),
        ("Unevictable", 0),
        ("Mlocked", 0),
        ("SwapTotal", kib(node.capacity.swap_bytes)),
        ("SwapFree", kib(node.swap_free())),
        ("Dirty", kib(dirty)),
        ("Writeback", 0),
        ("AnonPages", kib(anon)),
        ("Mapped", kib(active_file / 2.0)),
        ("Shmem", kib(shmem)),
        ("KReclaimable", kib(slab / 2.0)),
        ("Slab", kib(slab)),
        ("SReclaimable", kib(slab / 2.0)),
        ("SUnreclaim", kib(slab / 2.0)),
    ];
    let rows = rows.map(|(name, kib)| format!("{:<15} {kib:>8} kB\n", format!("{name}:")));
    rows.concat()
}

fn loadavg(node: &Node) -> String {
    let [one, five, fifteen] = node.load_centi().map(|load| format!("{}.{:02}", load / 100, load % 100));
    let processes: u32 = node.containers.values().map(|container| container.processes).sum();
    format!("{one} {five} {fifteen} 1/{} 4242\n", processes + 100)
}

/// Uptime, and idle time summed over all CPUs.
fn uptime(node: &Node) -> String {
    let idle = (node.uptime_seconds * node.capacity.cpus - node.busy_seconds).max(0.0);
    format!("{:.2} {idle:.2}\n", node.uptime_seconds)
}

/// The host's end of each container's network device: what the container receives, the host has sent.
fn net_dev(node: &Node) -> String {
    let mut text = String::from(
        "Inter-|   Receive                                                |  Transmit\n \
         face |bytes    packets errs drop fifo frame compressed multicast|\
         bytes    packets errs drop fifo colls carrier compressed\n",
    );
    text.push_str(&interface("lo", [0.0; 4]));
    for (id, container) in &node.containers {
        let network = &container.network;
        let (rx_packets, tx_packets) = network.packets();
        text.push_str(&interface(
            &interface_name(*id),
            [network.tx_bytes, tx_packets, network.rx_bytes, rx_packets],
        ));
    }
    text
}

/// The name of the host's end of a container's first network device.
pub fn interface_name(id: Vmid) -> String {
    format!("veth{id}i0")
}

fn interface(name: &str, [rx_bytes, rx_packets, tx_bytes, tx_packets]: [f64; 4]) -> String {
    format!(
        "{name:>6}: {:>7} {:>7}    0    0    0     0          0         0 {:>8} {:>7}    0    0    0     0       \
         0          0\n",
        whole(rx_bytes),
        whole(rx_packets),
        whole(tx_bytes),
        whole(tx_packets)
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::kernel::demand::Demand;
    use crate::kernel::limits::Limits;
    use crate::kernel::node::{Capacity, Tenant};

    const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

    fn node() -> Node {
        let mut node = Node::new(Capacity { cpus: 4.0, memory_bytes: 8.0 * GIB, swap_bytes: 2.0 * GIB });
        let demand = Demand {
            cores: 1.95,
            anon_bytes: GIB,
            rx_bytes_per_second: 1000.0,
            tx_bytes_per_second: 250.0,
            processes: 3,
            ..Demand::default()
        };
        let tenants =
            BTreeMap::from([(Vmid::try_from(101).unwrap(), Tenant { demand, limits: Limits::default() })]);
        for _ in 0..50 {
            node.tick(&tenants, 0.2);
        }
        node
    }

    fn text(name: &str) -> String {
        node_files(&node(), 1_700_000_000).into_iter().find(|(file, _)| file == name).unwrap().1
    }

    #[test]
    fn cpu_time_adds_up_to_the_time_that_has_passed() {
        let stat = text("stat");
        assert!(stat.starts_with("cpu  1600 0 400 2000 0 0 0 0 0 0\ncpu0 400 0 100 500 "), "{stat}");
        assert!(stat.contains("\ncpu3 ") && !stat.contains("\ncpu4 ") && stat.contains("btime 1700000000\n"));
        assert_eq!(text("uptime"), "10.00 20.00\n");
    }

    #[test]
    fn memory_looks_as_the_kernel_prints_it() {
        let meminfo = text("meminfo");
        assert!(meminfo.starts_with("MemTotal:        8388608 kB\nMemFree:  "), "{meminfo}");
        assert!(meminfo.contains("SwapTotal:       2097152 kB\nSwapFree:        2097152 kB\n"));
    }

    #[test]
    fn the_host_sends_what_the_container_receives() {
        assert_eq!(
            text("net/dev").lines().last().unwrap(),
            "veth101i0:    2500       2    0    0    0     0          0         0    10000      10    0    0    0     \
             0       0          0"
        );
    }
}
