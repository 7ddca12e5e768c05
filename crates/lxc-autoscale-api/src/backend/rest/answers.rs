//! What Proxmox answers, turned into what the actions know.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lxc_autoscale_core::api::SnapshotInfo;
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::{RecordTime, Vmid};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// An entry of `/nodes/{node}/lxc`, or `/status/current`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Listed {
    /// Its id: a number, and on Proxmox VE 6 a text.
    #[serde(deserialize_with = "vmid")]
    pub(super) vmid: Vmid,
    status: String,
}

impl Listed {
    /// Whether it runs.
    pub(super) fn is_running(&self) -> bool {
        self.status == "running"
    }
}

fn vmid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vmid, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.parse().map_err(serde::de::Error::custom)
}

/// `/config?current=1`.
pub(super) type ConfigAnswer = BTreeMap<String, Value>;

/// Reads a configuration as the file of the same content is read; lines that cannot be read are returned beside
/// it, with the snapshot the present state descends from.
pub(super) fn config(answer: &ConfigAnswer) -> (ContainerConfig, Option<String>, Vec<String>) {
    let mut text = String::new();
    for (key, value) in answer.iter().filter(|(key, _)| *key != "digest" && *key != "description") {
        match value {
            Value::String(value) => line(&mut text, key, value),
            // Raw LXC settings, as pairs.
            Value::Array(pairs) if key == "lxc" => {
                for pair in pairs.iter().filter_map(Value::as_array) {
                    if let [Value::String(key), Value::String(value)] = pair.as_slice() {
                        line(&mut text, key, value);
                    }
                }
            }
            other => line(&mut text, key, &other.to_string()),
        }
    }
    let (config, unreadable) = ContainerConfig::parse(&text);
    let parent = answer.get("parent").and_then(Value::as_str).map(str::to_owned);
    (config, parent, unreadable.iter().map(ToString::to_string).collect())
}

/// One line of the file; what would be two lines is cut.
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
}

/// Name of the entry that stands for the present state.
const CURRENT: &str = "current";

/// The snapshots in the order of their times.
pub(super) fn snapshots(mut answer: Vec<SnapshotAnswer>, zone: &TimeZone) -> Vec<SnapshotInfo> {
    let present = answer.iter().find(|entry| entry.name == CURRENT).and_then(|entry| entry.parent.clone());
    answer.retain(|entry| entry.name != CURRENT);
    answer.sort_by_key(SnapshotAnswer::seconds);
    let info = |entry: SnapshotAnswer| SnapshotInfo {
        created: entry
            .seconds()
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .map(|at| RecordTime::new(at, zone)),
        current: present.as_deref() == Some(&entry.name),
        description: entry.description.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()),
        parent: entry.parent,
        name: entry.name,
    };
    answer.into_iter().map(info).collect()
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
        let (config, parent, unreadable) = config(&answer);
        assert_eq!(unreadable, [""; 0]);
        assert_eq!(parent.as_deref(), Some("before_scale"));
        assert_eq!((config.cores, config.cpulimit), (Some(1), Some(1.5)));
        assert_eq!((config.memory_mb, config.rootfs_mb), (Mebibytes::new(128), Some(Mebibytes::new(616))));
        assert_eq!((config.lock.as_deref(), config.pinned_cpuset.as_deref()), (Some("backup"), Some("0-1")));
        assert_eq!(config.tags, ["autoscale", "web"]);
    }

    #[test]
    fn recorded_snapshots_are_read() {
        let answer = serde_json::from_value(json!([
            {"name": "bad-name", "parent": "before_scale", "snaptime": 1_795_459_371, "description": ""},
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
        assert_eq!(found[0].created.unwrap().to_string(), "2026-11-23T18:42:35+00:00");
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
            let (config, _, _) = config(&answer);
            prop_assert_eq!(config.cores, None);
            prop_assert_eq!(config.memory_mb, Mebibytes::new(64));
        }
    }
}
