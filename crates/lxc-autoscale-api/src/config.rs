//! The configuration file; every key is explained in the shipped `lxc_autoscale_api.toml`.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use lxc_autoscale_core::config::{BrokenRule, Validate};
use lxc_autoscale_core::metrics_file::trust::MONITOR_USER;
use lxc_autoscale_core::telemetry::LoggingConfig;
use lxc_autoscale_core::{Vmid, users};
use serde::{Deserialize, Deserializer};

use crate::socket::MAX_PATH_BYTES;

mod managed;
mod network;
mod rest;
mod state;

pub use managed::ManagedFilesConfig;
pub use network::NetworkConfig;
pub use rest::{BackendChoice, CREDENTIALS_DIRECTORY, RestConfig, TokenPlace};
pub use state::StateConfig;

/// The user that the shipped unit runs the ml daemon as.
const ML_USER: &str = "lxc-autoscale-ml";
/// The most cores that Proxmox accepts for a container.
pub(crate) const MAX_CORES: u32 = 8192;
/// The least memory that Proxmox accepts for a container, in MiB.
const MIN_MEMORY_MIB: u64 = 16;
/// Upper bound of every time in seconds: a day.
const DAY_SECONDS: u64 = 86_400;

/// Ten per second: enough for a dashboard that reads everything, and little more.
const REQUESTS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(600).unwrap();
/// Enough for somebody who mistypes a key, and a bound to what refusals cost. It does not hinder guessing: a right key is
/// let in however many wrong ones came before it. That a key cannot be guessed is due to its 256 random bits.
const REFUSALS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(30).unwrap();

/// The shipped file: every key with its default and the reason for it.
pub const SHIPPED: &str = include_str!("../../../config/lxc_autoscale_api.toml");

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How containers are changed.
    pub backend: BackendChoice,
    /// Where the server listens, and who may use it.
    pub server: ServerConfig,
    /// The listener for other machines.
    pub network: NetworkConfig,
    /// The `pct` back end.
    pub pct: PctConfig,
    /// The back end through Proxmox's REST API.
    pub rest: RestConfig,
    /// What no request may exceed.
    pub limits: LimitsConfig,
    /// The audit log of changes.
    pub audit: AuditConfig,
    /// What is stored across restarts.
    pub state: StateConfig,
    /// The monitor's file.
    pub metrics: MetricsConfig,
    /// The configuration files that can be shown and changed.
    pub configuration: ManagedFilesConfig,
    /// Where the node's files are.
    pub paths: PathsConfig,
    /// Where log lines go.
    #[serde(deserialize_with = "logging_over_our_default")]
    pub logging: LoggingConfig,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Loopback address and port.
    pub listen: SocketAddr,
    /// Whether the users of this machine reach it at the addresses of the node's own name, too.
    pub listen_at_own_name: bool,
    /// Unix socket; empty means none.
    pub socket: PathBuf,
    /// File to which the bound address is written; empty means none.
    pub address_file: PathBuf,
    /// Users other than root whose requests are accepted.
    pub trusted_uids: Vec<u32>,
    /// Users, by name, who have the role operator without a key.
    pub operators: Vec<String>,
    /// File with the hashed API keys; it need not exist.
    pub keys_file: PathBuf,
    /// Names that the `Host` header may carry, in addition to `localhost`, the loopback addresses and the node's own
    /// names.
    pub allowed_hosts: Vec<String>,
    /// Requests per minute for each key.
    pub requests_per_minute: NonZeroU32,
    /// Refusals per minute for each address.
    pub refusals_per_minute: NonZeroU32,
    /// Connections served at the same time, at each listener.
    pub max_connections: usize,
    /// Largest request body, in KiB.
    pub max_body_kib: usize,
    /// How long a client may take to send the head of a request, and again for the body.
    pub client_timeout_seconds: u64,
    /// How many changes may be running or waiting.
    pub max_changes: u32,
    /// How long a change may wait for the previous one of the same container.
    pub queue_timeout_seconds: u64,
}

/// `[pct]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PctConfig {
    /// The program.
    pub path: PathBuf,
    /// Time limit of calls that only read.
    pub query_timeout_seconds: u64,
    /// Time limit of `pct set`, `start` and `stop`.
    pub change_timeout_seconds: u64,
    /// Time limit of calls that copy or drop data: resize, snapshot, rollback, clone, destroy.
    pub long_timeout_seconds: u64,
    /// Time a call has to end after SIGTERM before it is left running on its own.
    pub terminate_grace_seconds: u64,
    /// How much output of a call is kept, for stdout and stderr each, in KiB.
    pub max_output_kib: usize,
    /// Environment variables passed on to it.
    pub keep_environment: Vec<String>,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Fewest cores a request may set.
    pub min_cores: u32,
    /// Most cores a request may set.
    pub max_cores: u32,
    /// Least CPU limit a request may set, in cores.
    pub min_cpulimit: f64,
    /// Least memory a request may set.
    pub min_memory_mib: u64,
    /// Most memory a request may set.
    pub max_memory_mib: u64,
    /// Most GiB a request may add to a root filesystem.
    pub max_disk_increase_gib: u32,
    /// How much memory above the working set a shrink must leave, in percent of the working set.
    pub memory_margin_percent: f64,
    /// Whether the memory of a running container may shrink if its working set is not known.
    pub allow_blind_memory_shrink: bool,
    /// Whether a request may remove a container that is not a copy of ours, if it says so explicitly.
    pub destroy_any_container: bool,
    /// Which removals need a second request.
    pub confirm_destroy: ConfirmDestroy,
    /// The largest factor by which one change may multiply or divide a size.
    pub max_step_factor: f64,
    /// How often the sizes of one container may change within an hour; 0 for no limit.
    pub max_changes_per_hour: u32,
    /// The share of the node's memory that must stay available when a running container gets more, in percent.
    pub node_memory_reserve_percent: f64,
    /// Containers that no request may change.
    pub protected_containers: Vec<Vmid>,
}

/// Which removals of containers need a second request, which confirms what the first one reported would be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConfirmDestroy {
    /// Removals of containers that are not copies of ours.
    #[default]
    Others,
    /// All removals.
    Always,
    /// No removals.
    Never,
}

/// `[audit]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// The file; an empty path turns the audit log off.
    pub file: PathBuf,
    /// Size at which a new file is started, in MiB.
    pub max_size_mib: u64,
    /// How many older files are kept.
    pub backup_count: u32,
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// The file.
    pub file: PathBuf,
    /// The user, other than root and our own, whose file is trusted: the one the monitor runs as.
    pub owner: String,
    /// The age up to which a record counts as current.
    pub max_age_seconds: u64,
}

/// `[paths]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PathsConfig {
    /// Proxmox's cluster file system.
    pub pve: PathBuf,
    /// procfs.
    pub proc: PathBuf,
    /// The names that this machine knows, with their addresses.
    pub hosts: PathBuf,
    /// LXC's directory, which appears in the names of the command sockets of running containers.
    pub lxc: PathBuf,
    /// The unit of this server, which says what systemd passes to it.
    pub unit: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            backend: BackendChoice::default(),
            server: ServerConfig::default(),
            network: NetworkConfig::default(),
            pct: PctConfig::default(),
            rest: RestConfig::default(),
            limits: LimitsConfig::default(),
            audit: AuditConfig::default(),
            state: StateConfig::default(),
            metrics: MetricsConfig::default(),
            configuration: ManagedFilesConfig::default(),
            paths: PathsConfig::default(),
            logging: default_logging(),
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 5000)),
            listen_at_own_name: true,
            socket: PathBuf::from("/run/lxc_autoscale_ml/api.sock"),
            address_file: PathBuf::new(),
            trusted_uids: Vec::new(),
            operators: vec![ML_USER.to_owned()],
            keys_file: PathBuf::from("/etc/lxc_autoscale_ml/api_keys.json"),
            allowed_hosts: Vec::new(),
            requests_per_minute: REQUESTS_PER_MINUTE,
            refusals_per_minute: REFUSALS_PER_MINUTE,
            max_connections: 128,
            max_body_kib: 64,
            client_timeout_seconds: 10,
            max_changes: 64,
            queue_timeout_seconds: 120,
        }
    }
}

impl Default for PctConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from("/usr/sbin/pct"),
            query_timeout_seconds: 30,
            change_timeout_seconds: 90,
            long_timeout_seconds: 3600,
            terminate_grace_seconds: 15,
            max_output_kib: 256,
            keep_environment: Vec::new(),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            min_cores: 1,
            max_cores: MAX_CORES,
            min_cpulimit: 0.05,
            min_memory_mib: MIN_MEMORY_MIB,
            max_memory_mib: 1 << 20,
            max_disk_increase_gib: 1024,
            memory_margin_percent: 10.0,
            allow_blind_memory_shrink: false,
            destroy_any_container: false,
            confirm_destroy: ConfirmDestroy::default(),
            max_step_factor: 16.0,
            max_changes_per_hour: 120,
            node_memory_reserve_percent: 2.0,
            protected_containers: Vec::new(),
        }
    }
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { file: PathBuf::from("/var/log/lxc_autoscale_audit.jsonl"), max_size_mib: 10, backup_count: 9 }
    }
}

impl AuditConfig {
    fn validate(&self) -> Result<(), BrokenRule> {
        let file = self.file.as_os_str().is_empty() || self.file.is_absolute();
        BrokenRule::unless(file, "audit.file", "must be an absolute path")?;
        BrokenRule::unless(
            (1..=4096).contains(&self.max_size_mib),
            "audit.max_size_mib",
            "must be from 1 to 4096",
        )?;
        BrokenRule::unless(self.backup_count <= 1000, "audit.backup_count", "must be at most 1000")
    }
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            file: PathBuf::from("/var/log/lxc_metrics.json"),
            owner: MONITOR_USER.to_owned(),
            max_age_seconds: 180,
        }
    }
}

impl Default for PathsConfig {
    fn default() -> Self {
        Self {
            pve: PathBuf::from("/etc/pve"),
            proc: PathBuf::from("/proc"),
            lxc: PathBuf::from("/var/lib/lxc"),
            hosts: PathBuf::from("/etc/hosts"),
            unit: PathBuf::from("/etc/systemd/system/lxc_autoscale_api.service"),
        }
    }
}

impl PctConfig {
    /// Time limit of calls that only read.
    pub fn query_timeout(&self) -> Duration {
        Duration::from_secs(self.query_timeout_seconds)
    }

    fn validate(&self) -> Result<(), BrokenRule> {
        BrokenRule::unless(self.path.is_absolute(), "pct.path", "must be an absolute path")?;
        seconds(self.query_timeout_seconds, "pct.query_timeout_seconds")?;
        seconds(self.change_timeout_seconds, "pct.change_timeout_seconds")?;
        seconds(self.long_timeout_seconds, "pct.long_timeout_seconds")?;
        seconds(self.terminate_grace_seconds, "pct.terminate_grace_seconds")?;
        let output = (1..=65_536).contains(&self.max_output_kib);
        BrokenRule::unless(output, "pct.max_output_kib", "must be from 1 to 65536")?;
        let names = self.keep_environment.iter().all(|name| !name.is_empty() && !name.contains('='));
        BrokenRule::unless(names, "pct.keep_environment", "must hold names of environment variables")
    }
}

impl LimitsConfig {
    fn validate(&self) -> Result<(), BrokenRule> {
        let unless = BrokenRule::unless;
        unless(1 <= self.min_cores, "limits.min_cores", "must be at least 1")?;
        let cores = (self.min_cores..=MAX_CORES).contains(&self.max_cores);
        unless(cores, "limits.max_cores", "must be from `limits.min_cores` to 8192")?;
        let cpulimit = (0.01..=f64::from(self.max_cores)).contains(&self.min_cpulimit);
        unless(cpulimit, "limits.min_cpulimit", "must be from 0.01 to `limits.max_cores`")?;
        unless(MIN_MEMORY_MIB <= self.min_memory_mib, "limits.min_memory_mib", "must be at least 16")?;
        let memory = self.min_memory_mib <= self.max_memory_mib;
        unless(memory, "limits.max_memory_mib", "must not be less than `limits.min_memory_mib`")?;
        unless(1 <= self.max_disk_increase_gib, "limits.max_disk_increase_gib", "must be at least 1")?;
        let margin = (0.0..=1000.0).contains(&self.memory_margin_percent);
        unless(margin, "limits.memory_margin_percent", "must be from 0 to 1000")?;
        let factor = (1.0..=1e6).contains(&self.max_step_factor);
        unless(factor, "limits.max_step_factor", "must be from 1 to 1000000")?;
        let reserve = (0.0..=90.0).contains(&self.node_memory_reserve_percent);
        unless(reserve, "limits.node_memory_reserve_percent", "must be from 0 to 90")
    }
}

impl ServerConfig {
    fn validate(&self) -> Result<(), BrokenRule> {
        let unless = BrokenRule::unless;
        unless(
            self.listen.ip().is_loopback(),
            "server.listen",
            "must be a loopback address such as 127.0.0.1:5000: here the user who sends a request is trusted, and only \
             a connection from this machine shows its user; other machines use the listener `network.listen`",
        )?;
        let fits = self.socket.as_os_str().len() <= MAX_PATH_BYTES;
        unless(
            self.socket.as_os_str().is_empty() || self.socket.is_absolute() && fits,
            "server.socket",
            "must be an absolute path of at most 107 bytes, or empty",
        )?;
        let names = self.operators.iter().all(|name| users::is_name(name));
        unless(names, "server.operators", "must hold names of users")?;
        let no_blank =
            self.allowed_hosts.iter().all(|host| !host.is_empty() && !host.contains(['/', ' ', '*']));
        unless(
            no_blank,
            "server.allowed_hosts",
            "must hold plain host names, without scheme, port or wildcard",
        )?;
        unless(
            (1..=65_536).contains(&self.max_connections),
            "server.max_connections",
            "must be from 1 to 65536",
        )?;
        unless((1..=1024).contains(&self.max_body_kib), "server.max_body_kib", "must be from 1 to 1024")?;
        seconds(self.client_timeout_seconds, "server.client_timeout_seconds")?;
        unless((1..=4096).contains(&self.max_changes), "server.max_changes", "must be from 1 to 4096")?;
        seconds(self.queue_timeout_seconds, "server.queue_timeout_seconds")
    }
}

impl Validate for Config {
    fn validate(&self) -> Result<(), BrokenRule> {
        self.server.validate()?;
        self.network.validate()?;
        self.pct.validate()?;
        self.rest.validate()?;
        self.audit.validate()?;
        self.state.validate()?;
        self.limits.validate()?;
        self.configuration.validate()?;
        seconds(self.metrics.max_age_seconds, "metrics.max_age_seconds")?;
        BrokenRule::unless(
            users::is_name(&self.metrics.owner),
            "metrics.owner",
            "must be the name of a user",
        )?;
        for (path, key) in [
            (&self.paths.pve, "paths.pve"),
            (&self.paths.proc, "paths.proc"),
            (&self.paths.hosts, "paths.hosts"),
            (&self.paths.lxc, "paths.lxc"),
            (&self.paths.unit, "paths.unit"),
            (&self.metrics.file, "metrics.file"),
            (&self.server.keys_file, "server.keys_file"),
        ] {
            BrokenRule::unless(path.is_absolute(), key, "must be an absolute path")?;
        }
        self.logging.validate()
    }
}

fn seconds(value: u64, key: &'static str) -> Result<(), BrokenRule> {
    BrokenRule::unless((1..=DAY_SECONDS).contains(&value), key, "must be from 1 to 86400")
}

fn default_logging() -> LoggingConfig {
    LoggingConfig::for_file("/var/log/lxc_autoscale_api.log")
}

/// A key that is left out of `[logging]` keeps this daemon's default, including the log file.
fn logging_over_our_default<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LoggingConfig, D::Error> {
    LoggingConfig::deserialize_over(deserializer, default_logging())
}

#[cfg(test)]
mod tests {
    use lxc_autoscale_core::config;

    use lxc_autoscale_core::telemetry::Level;

    use super::*;

    #[test]
    fn the_shipped_file_is_the_default() {
        assert_eq!(config::parse::<Config>(SHIPPED), Ok(Config::default()));
    }

    /// The keys of a table, taken from the parser's error about an unknown key.
    fn keys_of(table: &str) -> Vec<String> {
        let heading = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
        let error = toml::from_str::<Config>(&format!("{heading}no_such_key = 1\n")).unwrap_err();
        error.message().split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }

    /// The keys of a table that no line of it sets.
    fn missing_in(text: &str, table: &str) -> Vec<String> {
        let text = format!("[]\n{text}");
        let section = text.split("\n[").map(|section| section.trim_start_matches('['));
        let section =
            section.filter_map(|section| section.split_once("]\n")).find(|(name, _)| *name == table);
        let (_, lines) = section.unwrap();
        let is_missing = |key: &String| !lines.lines().any(|line| line.starts_with(&format!("{key} = ")));
        keys_of(table).into_iter().filter(is_missing).collect()
    }

    /// Every key must be in its table of the shipped file, which would parse without it, too.
    #[test]
    fn the_shipped_file_has_every_key() {
        // All except `backend` are tables.
        let tables: Vec<String> = missing_in(SHIPPED, "");
        assert_eq!((tables.len(), keys_of("").len()), (11, 12), "{tables:?}");
        for table in tables {
            assert_eq!(missing_in(SHIPPED, &table), [""; 0], "[{table}]");
        }
        // Some tables share names of keys.
        for (table, key) in [("pct", "query_timeout_seconds"), ("rest", "query_timeout_seconds")] {
            let (before, rest) = SHIPPED.split_once(&format!("\n[{table}]\n")).unwrap();
            let without = format!("{before}\n[{table}]\n{}", rest.replacen(&format!("\n{key} ="), "\n# ", 1));
            assert_eq!(missing_in(&without, table), [key], "[{table}]");
        }
    }

    #[track_caller]
    fn check_refused(text: &str, want: &str) {
        let (_, problem) = config::parse::<Config>(text).unwrap_err();
        assert!(problem.to_string().starts_with(want), "{problem}");
    }

    #[test]
    fn a_network_address_is_refused() {
        for address in ["0.0.0.0:5000", "192.168.1.10:5000", "[::]:5000"] {
            check_refused(
                &format!("[server]\nlisten = \"{address}\""),
                "`server.listen` must be a loopback address",
            );
        }
        assert!(config::parse::<Config>("[server]\nlisten = \"[::1]:0\"").is_ok());
    }

    #[test]
    fn bad_values_are_named() {
        check_refused("[limits]\nmax_cores = 9000", "`limits.max_cores` must be from");
        check_refused("[limits]\nmin_memory_mib = 8", "`limits.min_memory_mib` must be at least 16");
        check_refused("[limits]\nmemory_margin_percent = nan", "`limits.memory_margin_percent` must be");
        check_refused("[pct]\npath = \"pct\"", "`pct.path` must be an absolute path");
        check_refused("[pct]\nquery_timeout_seconds = 0", "`pct.query_timeout_seconds` must be from 1");
        check_refused("[server]\nsocket = \"api.sock\"", "`server.socket` must be an absolute path");
        let long = "x".repeat(107);
        check_refused(&format!("[server]\nsocket = \"/{long}\""), "`server.socket` must be an absolute path");
        check_refused("[server]\nallowed_hosts = [\"*\"]", "`server.allowed_hosts` must hold plain");
        check_refused("[server]\nmax_conections = 1", "unknown key `server.max_conections`; did you mean");
    }

    #[test]
    fn a_log_level_alone_keeps_the_log_file() {
        let config: Config = config::parse("[logging]\nlevel = \"debug\"").unwrap();
        assert_eq!(config.logging, LoggingConfig { level: Level::Debug, ..default_logging() });
    }
}
