//! Parses the node's own files: the full configuration of a container, and the members of the cluster.

use std::collections::BTreeMap;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::{
    Cluster, ClusterNode, ClusterStatus, ContainerSettings, PendingSetting, RawSetting,
};
use lxc_autoscale_core::container_config::ContainerConfig;
use serde::Deserialize;

use crate::backend::digest;

/// The section of pending changes.
const PENDING: &str = "[pve:pending]";
/// Its key that lists the settings to be removed.
const DELETE: &str = "delete";

/// Parses `/etc/pve/lxc/<id>.conf`: settings in force and pending, without snapshots.
pub(super) fn settings(vmid: Vmid, bytes: &[u8]) -> ContainerSettings {
    let text = String::from_utf8_lossy(bytes);
    let mut found = ContainerSettings {
        vm_id: vmid,
        allocation: ContainerConfig::parse(&text).0,
        settings: BTreeMap::new(),
        raw: Vec::new(),
        pending: BTreeMap::new(),
        digest: digest(bytes),
    };
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = if line.eq_ignore_ascii_case(PENDING) { PENDING } else { line };
            continue;
        }
        // Skips notes, and lines that are no setting.
        let Some((name, value)) = line.split_once(':').filter(|_| !line.starts_with('#')) else { continue };
        let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
        match section {
            "" if name.starts_with("lxc.") => found.raw.push(RawSetting { name, value }),
            "" => drop(found.settings.insert(name, value)),
            PENDING if name == DELETE => {
                let names = value.split([',', ';', ' ']).map(|name| name.trim_start_matches('!'));
                let removed = names.filter(|name| !name.is_empty());
                found.pending.extend(removed.map(|name| (name.to_owned(), PendingSetting::Removed)));
            }
            PENDING => drop(found.pending.insert(name, PendingSetting::Set(value))),
            _ => {}
        }
    }
    found
}

/// The content of `/etc/pve/.members`; outside a cluster it holds only the node's name.
#[derive(Debug, Deserialize)]
struct Members {
    nodename: String,
    #[serde(default)]
    cluster: Option<MembersCluster>,
    #[serde(default)]
    nodelist: BTreeMap<String, Member>,
}

#[derive(Debug, Deserialize)]
struct MembersCluster {
    name: String,
    quorate: u8,
}

#[derive(Debug, Deserialize)]
struct Member {
    #[serde(default)]
    online: u8,
    #[serde(default)]
    ip: Option<String>,
}

/// Parses `/etc/pve/.members`.
///
/// # Errors
/// Why it cannot be parsed.
pub(super) fn cluster(text: &str) -> Result<ClusterStatus, serde_json::Error> {
    let Members { nodename, cluster, nodelist } = serde_json::from_str(text)?;
    let mut nodes: Vec<ClusterNode> = nodelist
        .into_iter()
        .map(|(name, member)| ClusterNode {
            local: name == nodename,
            online: member.online != 0,
            address: member.ip,
            name,
        })
        .collect();
    if nodes.is_empty() {
        nodes.push(ClusterNode { name: nodename, online: true, local: true, address: None });
    }
    let cluster = cluster.map(|found| Cluster { name: found.name, quorate: found.quorate != 0 });
    Ok(ClusterStatus { cluster, nodes })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vmid() -> Vmid {
        Vmid::try_from(104).unwrap()
    }

    #[test]
    fn what_is_in_force_and_what_waits_are_told_apart() {
        let text = "#cores: 9\ncores: 2\nmemory: 512\nlxc.cgroup2.cpuset.cpus: 0-1\nlxc.apparmor.profile: unconfined\n\n\
                    [pve:pending]\nmp0: local-lvm:vm-104-disk-1,size=1G\ndelete: !mp1,nameserver\n\n[one]\ncores: 7\nparent: zero\n";
        let found = settings(vmid(), text.as_bytes());
        assert_eq!(found.allocation.cores, Some(2));
        let kept: Vec<_> =
            found.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(kept, [("cores", "2"), ("memory", "512")]);
        let raw: Vec<_> = found.raw.iter().map(|raw| raw.name.as_str()).collect();
        assert_eq!(raw, ["lxc.cgroup2.cpuset.cpus", "lxc.apparmor.profile"]);
        let pending: Vec<_> =
            found.pending.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let volume = PendingSetting::Set("local-lvm:vm-104-disk-1,size=1G".to_owned());
        let removed = PendingSetting::Removed;
        assert_eq!(pending, [("mp0", volume), ("mp1", removed.clone()), ("nameserver", removed)]);
        // `sha1sum` of the empty file.
        assert_eq!(settings(vmid(), b"").digest, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    }

    #[test]
    fn the_members_of_a_cluster_and_a_node_alone() {
        let text = r#"{"nodename": "pve2", "version": 4,
            "cluster": {"name": "home", "version": 3, "nodes": 3, "quorate": 1},
            "nodelist": {
              "pve1": {"id": 1, "online": 1, "ip": "192.168.1.11"},
              "pve2": {"id": 2, "online": 1, "ip": "192.168.1.12"},
              "pve3": {"id": 3, "online": 0}}}"#;
        let ClusterStatus { cluster: found, nodes } = cluster(text).unwrap();
        assert_eq!(found, Some(Cluster { name: "home".to_owned(), quorate: true }));
        let rows: Vec<_> = nodes.iter().map(|node| (node.name.as_str(), node.online, node.local)).collect();
        assert_eq!(rows, [("pve1", true, false), ("pve2", true, true), ("pve3", false, false)]);
        assert_eq!((nodes[0].address.as_deref(), &nodes[2].address), (Some("192.168.1.11"), &None));

        let alone = cluster(r#"{"nodename": "pve", "version": 0}"#).unwrap();
        assert_eq!((alone.cluster, alone.nodes.len(), alone.nodes[0].local), (None, 1, true));
        assert!(cluster("{}").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400), text in "\\PC{0,200}") {
            let _ = (settings(vmid(), &bytes), cluster(&text));
        }
    }
}
