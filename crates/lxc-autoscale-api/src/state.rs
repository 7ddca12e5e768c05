//! The state that all requests share.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use lxc_autoscale_core::api::ConfigSetting;

use crate::audit::refusals::Refusals;
use crate::auth::keys::KeyFile;
use crate::auth::limits::RateLimits;
use crate::backend::ContainerHost;
use crate::backend::measured::Measured;
use crate::blocking::OneAtATime;
use crate::changes::Changes;
use crate::cli::DEFAULT_CONFIG;
use crate::config::{Config, NetworkConfig, ServerConfig};
use crate::configuration::Configuration;
use crate::configuration::edit::differences;
use crate::confirmation::Confirmations;
use crate::events::Events;
use crate::exporter::Instruments;
use crate::looks::Looks;
use crate::node::CpuMeter;
use crate::store::Store;
use crate::why::Turns;

/// A handle on [`Shared`].
pub type AppState = Arc<Shared>;

/// The configuration in force, for what must not use an older one: a change reads it only when it begins, which may be
/// long after it was asked for.
#[derive(Clone, Debug)]
pub struct InForce(Arc<RwLock<Arc<Config>>>);

impl InForce {
    /// The configuration in force now.
    pub fn now(&self) -> Arc<Config> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The state that all requests share.
#[derive(Debug)]
pub struct Shared {
    config: InForce,
    host: Arc<dyn ContainerHost>,
    changes: Changes,
    store: Store,
    events: Events,
    configuration: Configuration,
    keys: Arc<KeyFile>,
    rate_limits: RwLock<Arc<RateLimits>>,
    refusals: Refusals,
    questions: Turns,
    looks: Looks,
    confirmations: Confirmations,
    cpu: CpuMeter,
    audit_looks: OneAtATime,
    instruments: Arc<Instruments>,
    node_name: Option<String>,
}

impl Shared {
    /// The turn of those who look whether the audit log can be written.
    pub(crate) fn audit_looks(&self) -> &OneAtATime {
        &self.audit_looks
    }

    /// Creates the state; `node_name` is the name of this node, if known.
    pub fn new(config: Config, host: Arc<dyn ContainerHost>, node_name: Option<String>) -> Self {
        let store = Store::new(&config.state.directory);
        let instruments = Arc::<Instruments>::default();
        let host: Arc<dyn ContainerHost> = Arc::new(Measured::new(host, Arc::clone(&instruments)));
        let events = Events::new(Timestamp::now());
        let state = Self {
            changes: Changes::new(
                &config,
                Arc::clone(&host),
                store.clone(),
                events.clone(),
                Arc::clone(&instruments),
            ),
            store,
            events,
            configuration: Configuration::new(PathBuf::from(DEFAULT_CONFIG)),
            rate_limits: RwLock::new(Arc::new(rate_limits(&config.server))),
            refusals: Refusals::default(),
            questions: Turns::default(),
            looks: Looks::default(),
            confirmations: Confirmations::default(),
            keys: Arc::new(KeyFile::new(config.server.keys_file.clone())),
            config: InForce(Arc::new(RwLock::new(Arc::new(config)))),
            host,
            cpu: CpuMeter::default(),
            audit_looks: OneAtATime::default(),
            instruments,
            node_name,
        };
        state.changes.keep_to(&state.config().limits);
        state
    }

    /// Sets the configuration file that the server was started with, if it is not the default one.
    #[must_use]
    pub fn started_with(self, own_file: &Path) -> Self {
        Self { configuration: Configuration::new(own_file.to_owned()), ..self }
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.now()
    }

    /// A handle on the configuration in force, which follows every reload.
    pub fn in_force(&self) -> InForce {
        self.config.clone()
    }

    /// The back end that holds the containers.
    pub fn host(&self) -> Arc<dyn ContainerHost> {
        Arc::clone(&self.host)
    }

    /// All changes of this server.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The store, for what must survive a restart.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The events that clients can follow.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// The configurations of the daemons as resources.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// The rate limits of callers.
    pub fn rate_limits(&self) -> Arc<RateLimits> {
        Arc::clone(&self.rate_limits.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Which refusals are recorded.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// The queue of questions that take a process.
    pub fn looks(&self) -> &Looks {
        &self.looks
    }

    /// The queue of `why` questions.
    pub fn questions(&self) -> &Turns {
        &self.questions
    }

    /// Issues and checks confirmations.
    pub fn confirmations(&self) -> &Confirmations {
        &self.confirmations
    }

    /// The API keys.
    pub fn keys(&self) -> &Arc<KeyFile> {
        &self.keys
    }

    /// Measures the node's CPU use.
    pub fn cpu(&self) -> &CpuMeter {
        &self.cpu
    }

    /// The counters for Prometheus.
    pub fn instruments(&self) -> Arc<Instruments> {
        Arc::clone(&self.instruments)
    }

    /// The name of this node, if it can be read.
    pub fn node_name(&self) -> Option<&str> {
        self.node_name.as_deref()
    }

    /// Applies the keys of `new` that can change while serving ([`RELOADED`]), except the listener for other
    /// machines, whose socket is not held here. All other keys keep their values.
    pub fn reload(&self, new: &Config) {
        let mut slot = self.config.0.write().unwrap_or_else(PoisonError::into_inner);
        let old = Arc::clone(&slot);
        let mut merged = (*old).clone();
        merged.limits = new.limits.clone();
        merged.metrics = new.metrics.clone();
        merged.configuration = new.configuration.clone();
        merged.audit = new.audit.clone();
        // Only commands in a shell read it.
        merged.paths.unit.clone_from(&new.paths.unit);
        let server = &mut merged.server;
        server.trusted_uids.clone_from(&new.server.trusted_uids);
        server.operators.clone_from(&new.server.operators);
        server.allowed_hosts.clone_from(&new.server.allowed_hosts);
        server.requests_per_minute = new.server.requests_per_minute;
        server.refusals_per_minute = new.server.refusals_per_minute;
        server.max_body_kib = new.server.max_body_kib;
        server.client_timeout_seconds = new.server.client_timeout_seconds;
        self.changes.keep_to(&merged.limits);
        self.changes.trust(&merged.server);
        if merged.audit != old.audit {
            self.changes.audit(&merged.audit);
        }
        let numbers = |server: &ServerConfig| (server.requests_per_minute, server.refusals_per_minute);
        if numbers(&merged.server) != numbers(&old.server) {
            // This resets the counts along with the limits.
            *self.rate_limits.write().unwrap_or_else(PoisonError::into_inner) =
                Arc::new(rate_limits(&merged.server));
        }
        *slot = Arc::new(merged);
    }

    /// Records the new settings of the listener for other machines.
    pub fn moved_to(&self, network: &NetworkConfig) {
        let mut slot = self.config.0.write().unwrap_or_else(PoisonError::into_inner);
        let merged = Config { network: network.clone(), ..(**slot).clone() };
        *slot = Arc::new(merged);
    }
}

/// Keys, and prefixes of keys, that a reload applies; every other key needs a restart.
pub const RELOADED: [&str; 13] = [
    "audit.",
    "configuration.",
    "limits.",
    "metrics.",
    "network.",
    "paths.unit",
    "server.allowed_hosts",
    "server.client_timeout_seconds",
    "server.max_body_kib",
    "server.operators",
    "server.refusals_per_minute",
    "server.requests_per_minute",
    "server.trusted_uids",
];

/// The keys that differ between `started` and `new` and that only a restart applies.
pub fn restart_keys(started: &[ConfigSetting], new: &[ConfigSetting]) -> Vec<String> {
    let changed = differences(started, new).into_iter().map(|change| change.key);
    changed.filter(|key| !RELOADED.iter().any(|reloaded| key.starts_with(reloaded))).collect()
}

fn rate_limits(server: &ServerConfig) -> RateLimits {
    RateLimits::new(server.requests_per_minute, server.refusals_per_minute)
}

#[cfg(test)]
mod tests {
    use lxc_autoscale_core::config;

    use super::*;
    use crate::backend::pct::PctHost;
    use crate::config::{PathsConfig, SHIPPED};

    /// Every key of the configuration, with a value that is not its default.
    const ALL_CHANGED: &str = r#"
        backend = "pct"
        [server]
        listen = "127.0.0.1:5001"
        listen_at_own_name = false
        socket = "/run/other.sock"
        address_file = "/run/address"
        trusted_uids = [999]
        operators = ["daemon"]
        keys_file = "/etc/other_keys.json"
        allowed_hosts = ["pve.example.com"]
        requests_per_minute = 5
        refusals_per_minute = 6
        max_connections = 7
        max_body_kib = 8
        client_timeout_seconds = 9
        max_changes = 10
        queue_timeout_seconds = 11
        [network]
        listen = "192.0.2.1:5443"
        certificate_file = "/etc/other.pem"
        key_file = "/etc/other.key"
        plain_http = true
        [pct]
        path = "/usr/bin/pct"
        query_timeout_seconds = 1
        change_timeout_seconds = 1
        long_timeout_seconds = 1
        terminate_grace_seconds = 1
        max_output_kib = 1
        keep_environment = ["HOME"]
        [rest]
        url = "https://192.0.2.1:8006"
        node = "other"
        token_file = "/etc/token"
        token_credential = "other"
        ca_file = "/etc/other-ca.pem"
        fingerprint = "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff"
        query_timeout_seconds = 1
        change_timeout_seconds = 1
        long_timeout_seconds = 1
        [limits]
        min_cores = 2
        max_cores = 4
        min_cpulimit = 0.5
        min_memory_mib = 17
        max_memory_mib = 18
        max_disk_increase_gib = 1
        memory_margin_percent = 1.0
        allow_blind_memory_shrink = true
        destroy_any_container = true
        confirm_destroy = "always"
        max_step_factor = 2.0
        max_changes_per_hour = 1
        node_memory_reserve_percent = 1.0
        protected_containers = [104]
        [audit]
        file = "/var/log/other.jsonl"
        max_size_mib = 1
        backup_count = 1
        [state]
        directory = "/var/lib/other"
        jobs_keep_days = 1
        max_jobs = 1000
        ledger_keep_days = 1
        max_ledger_entries = 1000
        [metrics]
        file = "/var/log/other.json"
        owner = "daemon"
        max_age_seconds = 1
        [configuration]
        ml_file = "/etc/ml.toml"
        ml_program = "/usr/bin/ml"
        monitor_file = "/etc/monitor.toml"
        monitor_program = "/usr/bin/monitor"
        backup_count = 1
        [paths]
        pve = "/etc/other"
        proc = "/other/proc"
        hosts = "/etc/other_hosts"
        lxc = "/var/lib/other"
        unit = "/srv/api.service"
        [logging]
        level = "debug"
        format = "json"
        file = "/var/log/other.log"
        max_size_mib = 1
        backup_count = 1
    "#;

    #[test]
    fn a_reload_applies_what_it_says_and_names_every_other_key() {
        let settings = |text| {
            let report = config::report::<Config>(SHIPPED, text);
            assert_eq!(report.problem, None);
            report.settings
        };
        let (started, new) = (settings(""), settings(ALL_CHANGED));
        let same: Vec<_> = new.iter().filter(|key| key.default.as_ref() == Some(&key.value)).collect();
        assert!(same.is_empty(), "keys that this test lacks: {same:?}");

        let old = Config::default();
        let host = Arc::new(PctHost::new(old.pct.clone(), old.paths.clone()));
        let state = Shared::new(old.clone(), host, None);
        let new_config: Config = config::parse(ALL_CHANGED).unwrap();
        state.reload(&new_config);
        state.moved_to(&new_config.network);
        let (now, all) = (state.config(), new_config);
        assert_eq!(
            (&now.limits, &now.metrics, &now.audit, &now.network, &now.configuration),
            (&all.limits, &all.metrics, &all.audit, &all.network, &all.configuration)
        );
        let server = ServerConfig {
            trusted_uids: vec![999],
            operators: vec!["daemon".to_owned()],
            allowed_hosts: vec!["pve.example.com".to_owned()],
            requests_per_minute: all.server.requests_per_minute,
            refusals_per_minute: all.server.refusals_per_minute,
            max_body_kib: 8,
            client_timeout_seconds: 9,
            ..old.server.clone()
        };
        assert_eq!(now.server, server);
        let paths = PathsConfig { unit: all.paths.unit.clone(), ..old.paths.clone() };
        assert_eq!(
            (&now.backend, &now.pct, &now.rest, &now.state, &now.paths, &now.logging),
            (&old.backend, &old.pct, &old.rest, &old.state, &paths, &old.logging)
        );
        // The keys that kept their values are reported one by one, and no others.
        let restart = restart_keys(&started, &new);
        let of = |table: &str| restart.iter().filter(|key| key.starts_with(table)).count();
        assert_eq!((of("pct."), of("rest."), of("state."), of("paths."), of("logging.")), (7, 9, 5, 4, 5));
        let server_keys = [
            "address_file",
            "keys_file",
            "listen",
            "listen_at_own_name",
            "max_changes",
            "max_connections",
            "queue_timeout_seconds",
            "socket",
        ];
        for key in server_keys {
            assert!(restart.contains(&format!("server.{key}")), "{key}");
        }
        assert_eq!(restart.len(), 1 + 30 + server_keys.len(), "{restart:?}");
        // The command `check` alone reads it, anew each time.
        assert!(!restart.contains(&"paths.unit".to_owned()));
    }
}
