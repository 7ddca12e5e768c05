//! The traffic of one container.
//!
//! Proxmox names the node's end of each of a container's network devices `veth<id>i<n>`; what the node sends
//! there the container receives. Where no device has such a name (plain LXC chooses random ones) the container's
//! own table is read through its first process.

use std::collections::BTreeMap;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::snapshot::NetworkUsage;

use crate::procfs::Procfs;
use crate::sample::{InitProcess, Reading};

/// Devices inside a container over which traffic passes a second time.
const INNER_DEVICES: [&str; 6] = ["veth", "docker", "br-", "virbr", "lxcbr", "lxdbr"];

/// Reads the traffic of a container in its own directions.
///
/// # Errors
/// Why it is not known.
pub fn read(
    procfs: &Procfs,
    node_devices: &Reading<BTreeMap<String, NetworkUsage>>,
    vmid: Vmid,
    init: &Reading<InitProcess>,
) -> Reading<NetworkUsage> {
    if let Some(usage) = node_devices.as_ref().ok().and_then(|devices| node_end(devices, vmid)) {
        return Ok(usage);
    }
    let init = init.as_ref().map_err(Clone::clone)?;
    Ok(own_end(&procfs.network_devices_of(init.pid)?))
}

/// Sums the node's ends of the container's devices, with the directions turned round.
fn node_end(devices: &BTreeMap<String, NetworkUsage>, vmid: Vmid) -> Option<NetworkUsage> {
    let prefix = format!("veth{vmid}i");
    let is_own = |name: &str| {
        name.strip_prefix(&prefix)
            .is_some_and(|index| !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let ends = devices.iter().filter(|(name, _)| is_own(name)).map(|(_, usage)| usage);
    ends.map(|end| NetworkUsage { rx_bytes: end.tx_bytes, tx_bytes: end.rx_bytes }).reduce(add)
}

/// Sums the devices the container itself sees; none is no traffic.
fn own_end(devices: &BTreeMap<String, NetworkUsage>) -> NetworkUsage {
    let is_outer = |name: &str| name != "lo" && !INNER_DEVICES.iter().any(|inner| name.starts_with(inner));
    let outer = devices.iter().filter(|(name, _)| is_outer(name)).map(|(_, usage)| *usage);
    outer.reduce(add).unwrap_or(NetworkUsage { rx_bytes: 0, tx_bytes: 0 })
}

fn add(a: NetworkUsage, b: NetworkUsage) -> NetworkUsage {
    NetworkUsage {
        rx_bytes: a.rx_bytes.saturating_add(b.rx_bytes),
        tx_bytes: a.tx_bytes.saturating_add(b.tx_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(table: &[(&str, u64, u64)]) -> BTreeMap<String, NetworkUsage> {
        let entry = |&(name, rx_bytes, tx_bytes): &(&str, _, _)| {
            (name.to_owned(), NetworkUsage { rx_bytes, tx_bytes })
        };
        table.iter().map(entry).collect()
    }

    #[test]
    fn what_the_node_sends_the_container_receives() {
        let table = devices(&[
            ("veth100i0", 602, 1152),
            ("veth100i1", 10, 20),
            ("veth1001i0", 7, 7),
            ("veth100i", 9, 9),
            ("veth100ix", 9, 9),
            ("fwpr100p0", 9, 9),
        ]);
        let vmid = |id: u32| Vmid::try_from(id).unwrap();
        assert_eq!(node_end(&table, vmid(100)), Some(NetworkUsage { rx_bytes: 1172, tx_bytes: 612 }));
        assert_eq!(node_end(&table, vmid(101)), None);
    }

    #[test]
    fn inside_a_container_only_its_outer_devices_count() {
        let table = devices(&[("lo", 9, 9), ("eth0", 5, 6), ("docker0", 5, 6), ("veth12ab", 5, 6)]);
        assert_eq!(own_end(&table), NetworkUsage { rx_bytes: 5, tx_bytes: 6 });
        assert_eq!(own_end(&devices(&[("lo", 9, 9)])), NetworkUsage { rx_bytes: 0, tx_bytes: 0 });
    }
}
