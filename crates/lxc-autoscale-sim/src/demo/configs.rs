//! The daemons' configuration files for a demo.
//!
//! Keys that are not written here keep their defaults. The rest are paths and times: a demo is watched for minutes,
//! so the daemons measure every other second, and wait seconds between two changes of a container where a production
//! system waits minutes.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::node::NodeError;

use super::paths::DemoPaths;

/// Seconds between two measurements.
pub const MONITOR_INTERVAL_SECONDS: u32 = 2;
/// Seconds between two rounds of decisions.
pub const DECISION_INTERVAL_SECONDS: u32 = 3;

const MONITOR_FILE: &str = "lxc_monitor.toml";
const ML_FILE: &str = "lxc_autoscale_ml.toml";

/// The paths of the node's files for the daemons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRoots {
    /// Mount point of the control groups.
    pub cgroup: PathBuf,
    /// procfs.
    pub proc: PathBuf,
    /// sysfs.
    pub sys: PathBuf,
    /// Proxmox's cluster file system.
    pub pve: PathBuf,
    /// LXC's directory, as it appears in the names of the command sockets.
    pub lxc: PathBuf,
}

/// The three configuration files.
#[derive(Clone, Debug)]
pub struct ConfigFiles {
    /// lxc-monitor's.
    pub monitor: PathBuf,
    /// lxc-autoscale-api's.
    pub api: PathBuf,
    /// lxc-autoscale-ml's.
    pub ml: PathBuf,
}

/// Writes the three files. `programs` are those of the monitor, the API and the ml daemon; `policies` are tables that
/// are appended to the ml daemon's file.
///
/// # Errors
/// [`NodeError::File`] if one cannot be written.
pub fn write(
    paths: &DemoPaths,
    roots: &NodeRoots,
    api: SocketAddr,
    programs: &[PathBuf; 3],
    policies: &str,
) -> Result<ConfigFiles, NodeError> {
    let put = |name: &str, text: String| {
        let path = paths.etc().join(name);
        fs::write(&path, text).map_err(NodeError::file("write", &path))?;
        Ok(path)
    };
    Ok(ConfigFiles {
        monitor: put(MONITOR_FILE, monitor(paths, roots))?,
        api: put("lxc_autoscale_api.toml", self::api(paths, roots, api, programs))?,
        ml: put(ML_FILE, ml(paths, api, policies))?,
    })
}

fn monitor(paths: &DemoPaths, roots: &NodeRoots) -> String {
    format!(
        "interval_seconds = {MONITOR_INTERVAL_SECONDS}.0\n\n\
         [paths]\ncgroup = {}\nproc = {}\nsys = {}\npve = {}\nlxc = {}\n\n\
         [output]\nfile = {}\n\n[alerts]\nstate_file = {}\n\n[anomaly]\nstate_file = {}\n\n[history]\nfile = {}\n\n[notifications]\ndirectory = {}\n\n\
         [exporter]\nlisten = '127.0.0.1:0'\naddress_file = {}\n\n\
         [logging]\nfile = {}\n",
        quoted(&roots.cgroup),
        quoted(&roots.proc),
        quoted(&roots.sys),
        quoted(&roots.pve),
        quoted(&roots.lxc),
        quoted(&paths.metrics()),
        quoted(&paths.state().join("alerts.json")),
        quoted(&paths.state().join("anomaly.state")),
        quoted(&history(paths)),
        quoted(&notifications(paths)),
        quoted(&paths.state().join("exporter.address")),
        quoted(&paths.log().join("lxc_monitor.log")),
    )
}

fn api(paths: &DemoPaths, roots: &NodeRoots, listen: SocketAddr, programs: &[PathBuf; 3]) -> String {
    let [monitor, _, ml] = programs;
    // Root is trusted anyway; another user who runs the demo is trusted for this demo.
    let own = rustix::process::getuid();
    let trusted = if own.is_root() { String::new() } else { format!("trusted_uids = [{}]\n", own.as_raw()) };
    format!(
        "[server]\nlisten = \"{listen}\"\nlisten_at_own_name = false\nsocket = \"\"\nkeys_file = {}\n{trusted}\n\
         [pct]\npath = {}\n\n\
         [metrics]\nfile = {}\n\n\
         [configuration]\nml_file = {}\nml_program = {}\nmonitor_file = {}\nmonitor_program = {}\n\n\
         [paths]\npve = {}\nproc = {}\nhosts = {}\nlxc = {}\nunit = {}\n\n[audit]\nfile = {}\n\n[state]\ndirectory = {}\n\n[logging]\nfile = {}\n",
        quoted(&paths.etc().join("api_keys.json")),
        quoted(&paths.bin().join("pct")),
        quoted(&paths.metrics()),
        quoted(&paths.etc().join(ML_FILE)),
        quoted(ml),
        quoted(&paths.etc().join(MONITOR_FILE)),
        quoted(monitor),
        quoted(&roots.pve),
        quoted(&roots.proc),
        // The name of a simulated node has no address.
        quoted(&paths.etc().join("hosts")),
        quoted(&roots.lxc),
        quoted(&paths.etc().join("lxc_autoscale_api.service")),
        quoted(&paths.log().join("audit.jsonl")),
        quoted(&paths.state()),
        quoted(&paths.log().join("lxc_autoscale_api.log")),
    )
}

fn ml(paths: &DemoPaths, api: SocketAddr, policies: &str) -> String {
    format!(
        "interval_seconds = {DECISION_INTERVAL_SECONDS}\n\n\
         [metrics]\nfile = {}\nhistory = {}\nmax_age_seconds = 60\n\n\
         [api]\nurl = \"http://{api}\"\n\n\
         [state]\ndirectory = {}\n\n\
         [scaling.cpu]\ncooldown_up_seconds = 10\ncooldown_down_seconds = 20\n\n\
         [scaling.memory]\ncooldown_up_seconds = 10\ncooldown_down_seconds = 20\n\n\
         [scaling.guard]\nboot_seconds = 0\nwatch_seconds = 10\n\n\
         [notifications]\ndirectory = {}\n\n\
         [exporter]\nlisten = '127.0.0.1:0'\naddress_file = {}\n\n\
         [logging]\nfile = {}\n\n{policies}",
        quoted(&paths.metrics()),
        quoted(&history(paths)),
        quoted(&paths.state()),
        quoted(&notifications(paths)),
        quoted(&paths.state().join("ml_exporter.address")),
        quoted(&paths.log().join("lxc_autoscale_ml.log")),
    )
}

/// The monitor's history, which the ml daemon also learns from.
fn history(paths: &DemoPaths) -> PathBuf {
    paths.state().join("metrics.sqlite")
}

/// The queue of both daemons that send notifications.
fn notifications(paths: &DemoPaths) -> PathBuf {
    paths.state().join("notifications")
}

/// A path as a TOML string.
fn quoted(path: &Path) -> String {
    let mut text = String::from("\"");
    for c in path.to_string_lossy().chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => text.extend(format!("\\u{:04X}", u32::from(c)).chars()),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use lxc_autoscale_core::config::{BrokenRule, Validate, report};
    use serde::Deserialize;
    use serde::de::IgnoredAny;
    use serde_json::Value;

    use super::*;

    /// Absolute paths of a demo outside its directory, and why they do no harm.
    const OUTSIDE: [(&str, &str); 7] = [
        ("lxc_autoscale_api.toml", "configuration.ml_program"),
        ("lxc_autoscale_api.toml", "configuration.monitor_program"),
        // Only the names of sockets of the simulated node begin with it.
        ("lxc_autoscale_api.toml", "paths.lxc"),
        ("lxc_monitor.toml", "paths.lxc"),
        // They are never read: there is no listener for other machines, and the back end is `pct`.
        ("lxc_autoscale_api.toml", "network.certificate_file"),
        ("lxc_autoscale_api.toml", "network.key_file"),
        ("lxc_autoscale_api.toml", "rest.ca_file"),
    ];

    /// Any configuration: the daemons validate their own; here only the values matter.
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Any(IgnoredAny);

    impl Validate for Any {
        fn validate(&self) -> Result<(), BrokenRule> {
            Ok(())
        }
    }

    /// The strings in a value that are absolute paths.
    fn absolute_paths(value: &Value) -> Vec<&str> {
        match value {
            Value::String(text) if text.starts_with('/') => vec![text],
            Value::Array(values) => values.iter().flat_map(absolute_paths).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn no_path_of_a_demo_is_one_of_an_installation() {
        let directory = tempfile::tempdir().unwrap();
        let paths = DemoPaths::prepare(Some(directory.path())).unwrap();
        let node = paths.node().root().to_owned();
        let roots = NodeRoots {
            cgroup: node.join("sys/fs/cgroup"),
            proc: node.join("proc"),
            sys: node.join("sys"),
            pve: node.join("etc/pve"),
            lxc: "/var/lib/lxc".into(),
        };
        let programs = ["/b/lxc-monitor", "/b/lxc-autoscale-api", "/b/lxc-autoscale-ml"].map(PathBuf::from);
        let files = write(&paths, &roots, "127.0.0.1:5055".parse().unwrap(), &programs, "").unwrap();
        let shipped = [
            (&files.monitor, include_str!("../../../../config/lxc_monitor.toml")),
            (&files.api, include_str!("../../../../config/lxc_autoscale_api.toml")),
            (&files.ml, include_str!("../../../../config/lxc_autoscale_ml.toml")),
        ];
        let mut outside = Vec::new();
        for (file, shipped) in shipped {
            let name = file.file_name().unwrap().to_str().unwrap();
            // Every key with its value, including defaults.
            let settings = report::<Any>(shipped, &fs::read_to_string(file).unwrap()).settings;
            assert!(20 < settings.len(), "{name}: {settings:?}");
            for setting in settings {
                let is_outside = |path: &&str| !Path::new(path).starts_with(directory.path());
                if absolute_paths(&setting.value).iter().any(is_outside) {
                    outside.push((name.to_owned(), setting.key));
                }
            }
        }
        let mut want = OUTSIDE.map(|(file, key)| (file.to_owned(), key.to_owned()));
        want.sort();
        outside.sort();
        assert_eq!(outside, want);
    }

    #[test]
    fn the_files_name_the_demos_own_paths() {
        let directory = tempfile::tempdir().unwrap();
        let paths = DemoPaths::prepare(Some(directory.path())).unwrap();
        let roots = NodeRoots {
            cgroup: "/n/sys/fs/cgroup".into(),
            proc: "/n/proc".into(),
            sys: "/n/sys".into(),
            pve: "/n/etc/pve".into(),
            lxc: "/var/lib/lxc".into(),
        };
        let policies = "[policy.x]\n";
        let programs = ["/b/lxc-monitor", "/b/lxc-autoscale-api", "/b/lxc-autoscale-ml"].map(PathBuf::from);
        let files = write(&paths, &roots, "127.0.0.1:5055".parse().unwrap(), &programs, policies).unwrap();
        let text = |path: &Path| fs::read_to_string(path).unwrap();
        assert!(text(&files.monitor).contains("cgroup = \"/n/sys/fs/cgroup\"\nproc = \"/n/proc\"\n"));
        assert!(text(&files.api).contains("listen = \"127.0.0.1:5055\""));
        assert!(text(&files.api).contains(&format!("path = \"{}/bin/pct\"", directory.path().display())));
        let managed = format!("ml_file = \"{}\"\nml_program = \"/b/lxc-autoscale-ml\"", files.ml.display());
        assert!(text(&files.api).contains(&managed));
        assert!(text(&files.ml).contains("url = \"http://127.0.0.1:5055\""));
        assert!(text(&files.ml).ends_with(policies));
        for file in [&files.monitor, &files.api, &files.ml] {
            assert!(text(file).contains("/log/lxc_metrics.json\""), "{}", file.display());
        }
    }

    #[test]
    fn a_strange_path_is_still_a_toml_string() {
        assert_eq!(quoted(Path::new("/a\"b\\c\n")), r#""/a\"b\\c\u000A""#);
    }
}
