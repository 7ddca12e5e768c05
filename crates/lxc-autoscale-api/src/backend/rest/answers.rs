//! Converts the answers of Proxmox to the types of the actions.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lxc_autoscale_core::api::{
    Cluster, ClusterNode, ClusterStatus, ContainerSettings, PendingSetting, RawSetting, SnapshotInfo,
};
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::{RecordTime, Vmid};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::backend::{self, snapstate};

/// An entry of `/nodes/{node}/lxc`, or the answer of `/status/current`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Listed {
    /// Its id: a number, but a string on Proxmox VE 6.
    #[serde(deserialize_with = "vmid")]
    pub(super) vmid: Vmid,
    status: String,
}

impl Listed {
    /// Whether it is running.
    pub(super) fn is_running(&self) -> bool {
        self.status == "running"
    }
}

/// An entry of `/cluster/resources?type=vm`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Guest {
    /// `lxc/104`, or `qemu/104`.
    id: String,
    /// The node it is on.
    pub(super) node: String,
}

impl Guest {
    /// Whether it is this container.
    pub(super) fn is_container(&self, vmid: Vmid) -> bool {
        self.id == format!("lxc/{vmid}")
    }
}

fn vmid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vmid, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.parse().map_err(serde::de::Error::custom)
}

/// The answer of `/config?current=1`.
pub(super) type ConfigAnswer = BTreeMap<String, Value>;

/// The configuration in the form that its file has.
pub(super) fn text(answer: &ConfigAnswer) -> String {
    let mut text = String::new();
    for (key, value) in settings_of(answer) {
        line(&mut text, key, &value);
    }
    for raw in raw_of(answer) {
        line(&mut text, &raw.name, &raw.value);
    }
    text
}

/// The snapshot that the present state descends from.
pub(super) fn parent(answer: &ConfigAnswer) -> Option<String> {
    answer.get("parent").and_then(Value::as_str).map(str::to_owned)
}

/// The notes of the container.
pub(super) fn notes(answer: &ConfigAnswer) -> Option<String> {
    let notes = answer.get("description").and_then(Value::as_str).map(|text| text.trim_end_matches('\n'));
    notes.filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Proxmox's digest of the whole file; without one, a digest of the answer.
pub(super) fn digest(answer: &ConfigAnswer) -> String {
    let told = answer.get("digest").and_then(Value::as_str).map(str::to_owned);
    told.unwrap_or_else(|| backend::digest(Value::from_iter(answer.clone()).to_string().as_bytes()))
}

/// The settings in the form that the file has.
fn settings_of(answer: &ConfigAnswer) -> impl Iterator<Item = (&String, String)> {
    let is_setting = |key: &str| !["digest", "description", "lxc"].contains(&key);
    answer
        .iter()
        .filter(move |(key, _)| is_setting(key))
        .map(|(key, value)| (key, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
}

/// The raw LXC settings, which are key-value pairs.
fn raw_of(answer: &ConfigAnswer) -> impl Iterator<Item = RawSetting> {
    let pairs = answer.get("lxc").and_then(Value::as_array).into_iter().flatten();
    pairs.filter_map(Value::as_array).filter_map(|pair| match pair.as_slice() {
        [Value::String(name), Value::String(value)] => {
            Some(RawSetting { name: name.clone(), value: value.clone() })
        }
        _ => None,
    })
}

/// An entry of `/pending`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct PendingAnswer {
    key: String,
    #[serde(default)]
    pending: Option<Value>,
    #[serde(default)]
    delete: Option<Value>,
}

impl PendingAnswer {
    /// Whether a change of this option waits for the next start.
    pub(super) fn is_change_of(&self, option: &str) -> bool {
        self.key == option && (self.pending.is_some() || self.is_removed())
    }

    fn is_removed(&self) -> bool {
        // A number, or a string on old versions; 2 if it is forced.
        self.delete.as_ref().is_some_and(|delete| *delete != 0 && *delete != "0")
    }
}

/// All settings of a container.
pub(super) fn settings(vmid: Vmid, answer: &ConfigAnswer, pending: Vec<PendingAnswer>) -> ContainerSettings {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let waits = |entry: PendingAnswer| {
        let is_removed = entry.is_removed();
        let set = entry.pending.as_ref().map(|value| PendingSetting::Set(text(value)));
        let waits = if is_removed { Some(PendingSetting::Removed) } else { set };
        waits.map(|waits| (entry.key, waits))
    };
    ContainerSettings {
        vm_id: vmid,
        allocation: ContainerConfig::parse(&self::text(answer)).0,
        settings: settings_of(answer).map(|(key, value)| (key.clone(), value)).collect(),
        raw: raw_of(answer).collect(),
        pending: pending.into_iter().filter_map(waits).collect(),
        digest: digest(answer),
    }
}

/// An entry of `/cluster/status`: the cluster, if there is one, or a node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct MemberAnswer {
    r#type: String,
    name: String,
    #[serde(default)]
    quorate: Option<Value>,
    #[serde(default)]
    online: Option<Value>,
    #[serde(default)]
    local: Option<Value>,
    #[serde(default)]
    ip: Option<String>,
}

/// The cluster and its nodes, sorted by name.
pub(super) fn cluster(members: Vec<MemberAnswer>) -> ClusterStatus {
    // Booleans are numbers, and strings on old versions.
    let is_set =
        |value: Option<Value>| value.is_some_and(|value| value == 1 || value == "1" || value == true);
    let mut found = ClusterStatus { cluster: None, nodes: Vec::new() };
    for member in members {
        if member.r#type == "cluster" {
            found.cluster = Some(Cluster { name: member.name, quorate: is_set(member.quorate) });
        } else {
            let (online, local) = (is_set(member.online), is_set(member.local));
            found.nodes.push(ClusterNode { name: member.name, online, local, address: member.ip });
        }
    }
    found.nodes.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// Adds one line to the file; a value of several lines is cut after the first.
fn line(text: &mut String, key: &str, value: &str) {
    let value = value.lines().next().unwrap_or_default();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{key}: {value}");
}

/// An entry of `/snapshot`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct SnapshotAnswer {
    name: String,
    #[serde(default)]
    snaptime: Option<Value>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    parent: Option<String>,
    #[serde(default)]
    snapstate: Option<String>,
}

/// Name of the entry for the present state.
const CURRENT: &str = "current";

/// The snapshots in the order of their times; of the same second, each before those that descend from it.
pub(super) fn snapshots(mut answer: Vec<SnapshotAnswer>, zone: &TimeZone) -> Vec<SnapshotInfo> {
    let present = answer.iter().find(|entry| entry.name == CURRENT).and_then(|entry| entry.parent.clone());
    answer.retain(|entry| entry.name != CURRENT);
    let parents = answer.iter().map(|entry| (entry.name.as_str(), entry.parent.as_deref())).collect();
    let depths: Vec<_> = answer.iter().map(|entry| snapstate::depth(&parents, &entry.name)).collect();
    let mut entries: Vec<_> = depths.into_iter().zip(answer).collect();
    entries.sort_by_key(|(depth, entry)| (entry.seconds(), *depth));
    let info = |entry: SnapshotAnswer| SnapshotInfo {
        created: entry
            .seconds()
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .map(|at| RecordTime::new(at, zone)),
        current: present.as_deref() == Some(&entry.name),
        description: entry.description.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()),
        parent: entry.parent,
        state: snapstate::state(entry.snapstate.as_deref()),
        name: entry.name,
    };
    entries.into_iter().map(|(_, entry)| info(entry)).collect()
}

impl SnapshotAnswer {
    fn seconds(&self) -> Option<i64> {
        let value = self.snaptime.as_ref()?;
        value.as_i64().or_else(|| value.as_str()?.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use lxc_autoscale_core::Mebibytes;
    use lxc_autoscale_core::api::SnapshotState;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_recorded_configuration_is_read() {
        let answer: ConfigAnswer = serde_json::from_value(json!({
            "arch": "amd64", "unprivileged": 1, "hostname": "busy", "swap": 128, "cores": 1, "cpulimit": "1.5",
            "parent": "before_scale", "memory": 128, "rootfs": "local-lvm:vm-100-disk-0,size=616M",
            "tags": "autoscale;web", "digest": "8e49da008bde4e18cd99d5e2df9decaa0823e3fc",
            "description": "memory: 4\ncores: 9\n", "lock": "backup",
            "lxc": [["lxc.cgroup2.cpuset.cpus", "0-1"]]
        }))
        .unwrap();
        let (config, unreadable) = ContainerConfig::parse(&text(&answer));
        assert_eq!(unreadable, []);
        assert_eq!(parent(&answer).as_deref(), Some("before_scale"));
        assert_eq!(digest(&answer), "8e49da008bde4e18cd99d5e2df9decaa0823e3fc");
        assert_eq!((config.cores, config.cpulimit), (Some(1), Some(1.5)));
        assert_eq!((config.memory_mb, config.rootfs_mb), (Mebibytes::new(128), Some(Mebibytes::new(616))));
        assert_eq!((config.lock.as_deref(), config.pinned_cpuset.as_deref()), (Some("backup"), Some("0-1")));
        assert_eq!(config.tags, ["autoscale", "web"]);
    }

    #[test]
    fn all_settings_are_read_with_what_waits() {
        let answer: ConfigAnswer = serde_json::from_value(json!({
            "hostname": "busy", "cores": 1, "cpulimit": "1.5", "memory": 128, "digest": "8e49",
            "description": "notes", "lxc": [["lxc.cgroup2.cpuset.cpus", "0-1"]]
        }))
        .unwrap();
        let pending = serde_json::from_value(json!([
            {"key": "cores", "value": 1}, {"key": "mp0", "pending": "x:y,size=1G"},
            {"key": "nameserver", "value": "1.1.1.1", "delete": 1}, {"key": "tags", "value": "a", "delete": 0}
        ]));
        let found = settings(Vmid::try_from(104).unwrap(), &answer, pending.unwrap());
        let told: Vec<_> =
            found.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(told, [("cores", "1"), ("cpulimit", "1.5"), ("hostname", "busy"), ("memory", "128")]);
        assert_eq!((found.raw[0].value.as_str(), found.digest.as_str()), ("0-1", "8e49"));
        let waits: Vec<_> =
            found.pending.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let set = PendingSetting::Set("x:y,size=1G".to_owned());
        assert_eq!(waits, [("mp0", set), ("nameserver", PendingSetting::Removed)]);
    }

    #[test]
    fn a_cluster_and_a_node_alone_are_told_apart() {
        let node = |name: &str, online: u8, local: u8| {
            json!({"type": "node", "id": format!("node/{name}"), "name": name, "online": online, "local": local,
                   "ip": "192.168.1.11", "nodeid": 1, "level": ""})
        };
        let read = |answer: Value| cluster(serde_json::from_value(answer).unwrap());
        let head = json!({"type": "cluster", "id": "cluster", "name": "home", "nodes": 2, "quorate": 0, "version": 3});
        let ClusterStatus { cluster, nodes } = read(json!([node("pve2", 0, 0), head, node("pve1", 1, 1)]));
        assert_eq!(cluster, Some(Cluster { name: "home".to_owned(), quorate: false }));
        let rows: Vec<_> = nodes.iter().map(|node| (node.name.as_str(), node.online, node.local)).collect();
        assert_eq!(rows, [("pve1", true, true), ("pve2", false, false)]);
        let alone = read(json!([node("pve", 1, 1)]));
        assert_eq!((alone.cluster, alone.nodes.len()), (None, 1));
    }

    #[test]
    fn recorded_snapshots_are_read() {
        let answer = serde_json::from_value(json!([
            {"name": "bad-name", "parent": "before_scale", "snaptime": 1_795_459_371, "description": "",
             "snapstate": "prepare"},
            {"snaptime": "1795459355", "description": "two words\n", "name": "before_scale"},
            {"digest": "8e49", "description": "You are here!", "running": 1, "parent": "before_scale", "name": "current"}
        ]));
        let found = snapshots(answer.unwrap(), &TimeZone::UTC);
        let rows: Vec<_> = found
            .iter()
            .map(|found| {
                (found.name.as_str(), found.parent.as_deref(), found.description.as_deref(), found.current)
            })
            .collect();
        assert_eq!(
            rows,
            [
                ("before_scale", None, Some("two words"), true),
                ("bad-name", Some("before_scale"), None, false)
            ]
        );
        assert_eq!([found[0].state, found[1].state], [SnapshotState::Complete, SnapshotState::HalfMade]);
        assert_eq!(found[0].created.unwrap().to_string(), "2026-11-23T18:42:35+00:00");
    }

    #[test]
    fn of_snapshots_of_the_same_second_the_parent_comes_first() {
        let answer = serde_json::from_value(json!([
            {"name": "a-third", "parent": "new", "snaptime": 7}, {"name": "new", "parent": "old", "snaptime": 7},
            {"name": "old", "snaptime": 7}, {"name": "zero", "snaptime": 6},
            {"name": "x-circle", "parent": "y-circle", "snaptime": 8},
            {"name": "y-circle", "parent": "x-circle", "snaptime": 8}
        ]));
        let found = snapshots(answer.unwrap(), &TimeZone::UTC);
        let names: Vec<&str> = found.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(names, ["zero", "old", "new", "a-third", "x-circle", "y-circle"]);
    }

    #[test]
    fn ids_are_numbers_or_on_old_versions_texts() {
        let listed: Vec<Listed> = serde_json::from_value(json!([
            {"vmid": 102, "status": "running", "cpus": 4}, {"vmid": "103", "status": "stopped"}
        ]))
        .unwrap();
        assert_eq!(listed.iter().map(Listed::is_running).collect::<Vec<_>>(), [true, false]);
        assert_eq!(listed[1].vmid.to_string(), "103");
        assert!(serde_json::from_value::<Listed>(json!({"vmid": "x", "status": "running"})).is_err());
    }

    proptest! {
        #[test]
        fn no_value_can_pretend_to_be_another_key(value in "\\PC{0,20}\ncores: 99\n\\PC{0,20}") {
            let answer = ConfigAnswer::from([("hostname".to_owned(), json!(value)), ("memory".to_owned(), json!(64))]);
            let (config, _) = ContainerConfig::parse(&text(&answer));
            prop_assert_eq!(config.cores, None);
            prop_assert_eq!(config.memory_mb, Mebibytes::new(64));
        }
    }
}
