//! The configuration file, `/etc/lxc_autoscale_ml/lxc_monitor.toml`.

use std::path::PathBuf;
use std::time::Duration;

use lxc_autoscale_core::config::{BrokenRule, Validate};
use lxc_autoscale_core::metrics_file::Bounds;
use lxc_autoscale_core::notification::QueueConfig;
use lxc_autoscale_core::telemetry::LoggingConfig;
use serde::{Deserialize, Deserializer};

use crate::alerts::AlertsConfig;
use crate::anomaly::AnomalyConfig;
use crate::exporter::ExporterConfig;
use crate::history::HistoryConfig;

/// The default path of the configuration.
pub const DEFAULT_PATH: &str = "/etc/lxc_autoscale_ml/lxc_monitor.toml";

/// The file that is shipped: every key at its default, with its reason.
pub const SHIPPED: &str = include_str!("../../../config/lxc_monitor.toml");

/// All settings of the monitor.
///
/// Every field has a default, so an empty file is a valid configuration; a key that is not listed is an error.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MonitorConfig {
    /// Time from the start of one cycle to the start of the next, in seconds; may have fractions.
    pub interval_seconds: f64,
    /// Where the kernel's and Proxmox's files are.
    pub paths: PathsConfig,
    /// Where the measurements go.
    pub output: OutputConfig,
    /// The settings of measuring.
    pub collection: CollectionConfig,
    /// Alerts.
    pub alerts: AlertsConfig,
    /// Flags of unusual values.
    pub anomaly: AnomalyConfig,
    /// The queue of alerts to be sent.
    pub notifications: QueueConfig,
    /// The Prometheus exporter.
    pub exporter: ExporterConfig,
    /// The history of roll-ups.
    pub history: HistoryConfig,
    /// The log.
    #[serde(deserialize_with = "logging_over_our_default")]
    pub logging: LoggingConfig,
}

/// The root paths; every other path is found below them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PathsConfig {
    /// Where the control groups are mounted.
    pub cgroup: PathBuf,
    /// Where procfs is mounted.
    pub proc: PathBuf,
    /// Where sysfs is mounted; it has the hierarchy of the block devices.
    pub sys: PathBuf,
    /// Proxmox's cluster file system; if it has no `lxc`, containers are found by their control groups.
    pub pve: PathBuf,
    /// LXC's directory, as it appears in the names of the command sockets.
    pub lxc: PathBuf,
}

/// The exchange file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputConfig {
    /// The file.
    pub file: PathBuf,
    /// Size at which the older half is dropped, in MiB.
    pub max_size_mib: u64,
    /// Age at which records are dropped, in days.
    pub max_age_days: u64,
    /// Who may read it; only the monitor's own user may ever write to it.
    pub readable_by: ReadableBy,
}

/// Who may read the exchange file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadableBy {
    /// The monitor's user (mode 0600).
    Owner,
    /// Also the file's group (mode 0640).
    Group,
    /// Everybody on the node (mode 0644).
    All,
}

impl ReadableBy {
    /// The mode of the file.
    pub fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Group => 0o640,
            Self::All => 0o644,
        }
    }
}

/// The settings of measuring.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollectionConfig {
    /// Time limit for the files of one container in one cycle, in milliseconds.
    pub read_timeout_ms: u64,
    /// Block devices whose I/O is not counted, by kernel name; a trailing `*` stands for any rest.
    pub excluded_devices: Vec<String>,
    /// How long values of a container that is not running, which others could change, are reused, in seconds; 0 reads
    /// everything at each look.
    pub full_look_seconds: u64,
}

impl MonitorConfig {
    /// How long a full look at a container that does not run may be reused; zero if every look is a full one.
    pub fn full_look_every(&self) -> Duration {
        let every = Duration::from_secs(self.collection.full_look_seconds);
        if self.interval() < every { every } else { Duration::ZERO }
    }

    /// The same, reading everything at each look.
    #[must_use]
    pub fn with_full_looks(mut self) -> Self {
        self.collection.full_look_seconds = 0;
        self
    }

    /// Time between cycles.
    pub fn interval(&self) -> Duration {
        Duration::from_secs_f64(self.interval_seconds)
    }
}

impl OutputConfig {
    /// The bounds of the exchange file.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            max_bytes: self.max_size_mib << 20,
            max_age: Duration::from_secs(self.max_age_days * 24 * 60 * 60),
        }
    }
}

impl CollectionConfig {
    /// Time limit of a read.
    pub fn read_timeout(&self) -> Duration {
        Duration::from_millis(self.read_timeout_ms)
    }
}

impl Default for MonitorConfig {
    fn default() -> Self {
        Self {
            interval_seconds: 60.0,
            paths: PathsConfig::default(),
            output: OutputConfig::default(),
            collection: CollectionConfig::default(),
            alerts: AlertsConfig::default(),
            anomaly: AnomalyConfig::default(),
            notifications: QueueConfig::default(),
            exporter: ExporterConfig::default(),
            history: HistoryConfig::default(),
            logging: default_logging(),
        }
    }
}

impl Default for PathsConfig {
    fn default() -> Self {
        Self {
            cgroup: "/sys/fs/cgroup".into(),
            proc: "/proc".into(),
            sys: "/sys".into(),
            pve: "/etc/pve".into(),
            lxc: "/var/lib/lxc".into(),
        }
    }
}

impl Default for OutputConfig {
    fn default() -> Self {
        Self {
            file: "/var/log/lxc_metrics.json".into(),
            max_size_mib: 64,
            max_age_days: 30,
            readable_by: ReadableBy::Group,
        }
    }
}

impl Default for CollectionConfig {
    fn default() -> Self {
        let excluded = ["fd*", "ram*", "sr*", "zram*"];
        let excluded_devices = excluded.map(str::to_owned).to_vec();
        Self { read_timeout_ms: 2000, excluded_devices, full_look_seconds: 10 }
    }
}

impl Validate for MonitorConfig {
    fn validate(&self) -> Result<(), BrokenRule> {
        let interval_holds = (0.1..=3600.0).contains(&self.interval_seconds);
        BrokenRule::unless(interval_holds, "interval_seconds", "must be from 0.1 to 3600")?;
        let paths = [
            ("paths.cgroup", &self.paths.cgroup),
            ("paths.proc", &self.paths.proc),
            ("paths.sys", &self.paths.sys),
            ("paths.pve", &self.paths.pve),
            ("paths.lxc", &self.paths.lxc),
            ("output.file", &self.output.file),
        ];
        for (key, path) in paths {
            BrokenRule::unless(path.is_absolute(), key, "must be an absolute path")?;
        }
        let size_holds = (1..=65_536).contains(&self.output.max_size_mib);
        BrokenRule::unless(size_holds, "output.max_size_mib", "must be from 1 to 65536")?;
        let age_holds = (1..=3650).contains(&self.output.max_age_days);
        BrokenRule::unless(age_holds, "output.max_age_days", "must be from 1 to 3650")?;
        let timeout_holds = (10..=60_000).contains(&self.collection.read_timeout_ms);
        BrokenRule::unless(timeout_holds, "collection.read_timeout_ms", "must be from 10 to 60000")?;
        let full_look_holds = self.collection.full_look_seconds <= 60;
        BrokenRule::unless(full_look_holds, "collection.full_look_seconds", "must be from 0 to 60")?;
        for pattern in &self.collection.excluded_devices {
            check_device(pattern)?;
        }
        self.alerts.validate()?;
        self.anomaly.validate()?;
        self.notifications.validate()?;
        self.exporter.validate()?;
        self.history.validate()?;
        self.logging.validate()
    }
}

/// Refuses a pattern that no kernel name can match, because the device would be counted all the same.
fn check_device(pattern: &str) -> Result<(), BrokenRule> {
    let name = pattern.strip_suffix('*').unwrap_or(pattern);
    let is_possible = |byte: u8| byte.is_ascii_graphic() && !b"*?[]{}\\".contains(&byte);
    let begins = |byte: u8| !byte.is_ascii_uppercase() && byte != b'/';
    let holds =
        !pattern.is_empty() && name.bytes().all(is_possible) && name.bytes().next().is_none_or(begins);
    BrokenRule::unless(
        holds,
        "collection.excluded_devices",
        format!(
            "holds `{pattern}`, which matches no device: name them as /proc/diskstats does (`sda`, not `/dev/sda`), \
             with a `*` at the end for any rest"
        ),
    )
}

/// The log settings of this daemon.
fn default_logging() -> LoggingConfig {
    LoggingConfig::for_file("/var/log/lxc_monitor.log")
}

/// A key missing from `[logging]` keeps this daemon's default, its log file too.
fn logging_over_our_default<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LoggingConfig, D::Error> {
    LoggingConfig::deserialize_over(deserializer, default_logging())
}

#[cfg(test)]
mod tests {
    use lxc_autoscale_core::config::parse;

    use super::*;

    #[test]
    fn the_shipped_file_is_the_default() {
        assert_eq!(parse::<MonitorConfig>(SHIPPED), Ok(MonitorConfig::default()));
    }

    /// Keys that are tables; rules have a test of their own.
    const TABLES: [&str; 12] = [
        "paths",
        "output",
        "collection",
        "alerts",
        "anomaly",
        "rule",
        "tag",
        "container",
        "exporter",
        "history",
        "notifications",
        "logging",
    ];

    #[test]
    fn every_key_stands_in_the_shipped_file() {
        // An unknown key in a table makes the parser list all keys of the table.
        let tables = [
            "",
            "[paths]",
            "[output]",
            "[collection]",
            "[alerts]",
            "[anomaly]",
            "[exporter]",
            "[history]",
            "[notifications]",
            "[logging]",
        ];
        for table in tables {
            let heading = if table.is_empty() { String::new() } else { format!("\n{table}\n") };
            let (_, section) = SHIPPED.split_once(&heading).unwrap();
            let section = format!("\n{}", section.split("\n[").next().unwrap());
            let error = toml_error(&format!("{table}\nno_such_key = 1\n"));
            let keys = error.split('`').skip(3).step_by(2);
            for key in keys.filter(|key| !TABLES.contains(key)) {
                assert!(section.contains(&format!("\n{key} = ")), "`{key}` in {table:?}");
            }
        }
    }

    fn toml_error(text: &str) -> String {
        toml::from_str::<MonitorConfig>(text).unwrap_err().message().to_owned()
    }

    #[track_caller]
    fn check(text: &str, want: &str) {
        let (_, problem) = parse::<MonitorConfig>(text).unwrap_err();
        assert_eq!(problem.to_string(), want);
    }

    #[test]
    fn bad_values_are_refused_by_name() {
        check("interval_seconds = 0", "`interval_seconds` must be from 0.1 to 3600");
        check("interval_seconds = nan", "`interval_seconds` must be from 0.1 to 3600");
        check("[paths]\nproc = \"proc\"", "`paths.proc` must be an absolute path");
        check("[output]\nmax_size_mib = 0", "`output.max_size_mib` must be from 1 to 65536");
        check("[output]\nmax_age_days = 0", "`output.max_age_days` must be from 1 to 3650");
        check("[collection]\nread_timeout_ms = 0", "`collection.read_timeout_ms` must be from 10 to 60000");
        check("[collection]\nfull_look_seconds = 61", "`collection.full_look_seconds` must be from 0 to 60");
        check("[anomaly]\nfalse_alarm_share = 0", "`anomaly.false_alarm_share` must be from 0.0001 to 0.2");
        check("[anomaly]\nmin_history_hours = -1", "`anomaly.min_history_hours` must be from 0 to 720");
        check("[anomaly]\nstep_seconds = 0", "`anomaly.step_seconds` must be from 0.1 to 3600");
        check("[anomaly]\nstate_file = \"a\"", "`anomaly.state_file` must be an absolute path");
        check("[logging]\nmax_size_mib = 0", "`logging.max_size_mib` must be from 1 to 10240");
        check("[paths]\ncgroups = \"/\"", "unknown key `paths.cgroups`; did you mean `paths.cgroup`?");
    }

    #[test]
    fn a_pattern_that_can_match_no_device_is_refused() {
        for pattern in ["sda", "sd*", "*", "dm-1", "nvme0n1", "cciss/c0d0", "md_d0"] {
            parse::<MonitorConfig>(&format!("[collection]\nexcluded_devices = ['{pattern}']")).unwrap();
        }
        for pattern in ["/dev/sda", "SDA", "sd?", "s*a", "sd[ab]", "sd a", "", "**"] {
            check(
                &format!("[collection]\nexcluded_devices = ['zram*', '{pattern}']"),
                &format!(
                    "`collection.excluded_devices` holds `{pattern}`, which matches no device: name them as \
                     /proc/diskstats does (`sda`, not `/dev/sda`), with a `*` at the end for any rest"
                ),
            );
        }
    }

    #[test]
    fn fractions_of_a_second_are_allowed() {
        let config: MonitorConfig = parse("interval_seconds = 0.5").unwrap();
        assert_eq!(config.interval(), Duration::from_millis(500));
        assert_eq!(
            parse::<MonitorConfig>("interval_seconds = 30").unwrap().interval(),
            Duration::from_secs(30)
        );
    }
}
