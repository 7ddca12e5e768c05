//! What all requests share.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;

use crate::audit::AuditLog;
use crate::auth::keys::KeyFile;
use crate::auth::limits::RateLimits;
use crate::backend::ContainerHost;
use crate::backend::measured::Measured;
use crate::changes::Changes;
use crate::config::Config;
use crate::events::Events;
use crate::exporter::Instruments;
use crate::node::CpuMeter;
use crate::store::Store;

/// A handle on [`Shared`].
pub type AppState = Arc<Shared>;

/// What all requests share.
#[derive(Debug)]
pub struct Shared {
    config: RwLock<Arc<Config>>,
    host: Arc<dyn ContainerHost>,
    changes: Changes,
    store: Store,
    events: Events,
    keys: KeyFile,
    rate_limits: RateLimits,
    cpu: CpuMeter,
    instruments: Arc<Instruments>,
    node_name: Option<String>,
}

impl Shared {
    /// Puts the parts together; `node_name` is the name of the node this runs on, where it is known.
    pub fn new(config: Config, host: Arc<dyn ContainerHost>, node_name: Option<String>) -> Self {
        let patience = Duration::from_secs(config.server.queue_timeout_seconds);
        let audit = (!config.audit.file.as_os_str().is_empty()).then(|| AuditLog::new(config.audit.clone()));
        let store = Store::new(&config.state.directory);
        let events = Events::new(Timestamp::now());
        let instruments = Arc::<Instruments>::default();
        let host = Arc::new(Measured::new(host, Arc::clone(&instruments)));
        let state = Self {
            changes: Changes::new(
                config.server.max_changes,
                patience,
                audit,
                store.clone(),
                config.state.clone(),
                events.clone(),
                Arc::clone(&instruments),
            ),
            store,
            events,
            rate_limits: RateLimits::new(
                config.server.requests_per_minute,
                config.server.refusals_per_minute,
            ),
            keys: KeyFile::new(config.server.keys_file.clone()),
            config: RwLock::new(Arc::new(config)),
            host,
            cpu: CpuMeter::default(),
            instruments,
            node_name,
        };
        state.changes.protect(&state.config().limits.protected_containers);
        state
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The containers.
    pub fn host(&self) -> Arc<dyn ContainerHost> {
        Arc::clone(&self.host)
    }

    /// The changes under way.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// What is kept over a restart.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What happens.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// How often somebody may ask.
    pub fn rate_limits(&self) -> &RateLimits {
        &self.rate_limits
    }

    /// The API keys.
    pub fn keys(&self) -> &KeyFile {
        &self.keys
    }

    /// Measures the node's CPU use.
    pub fn cpu(&self) -> &CpuMeter {
        &self.cpu
    }

    /// What is counted for Prometheus.
    pub fn instruments(&self) -> Arc<Instruments> {
        Arc::clone(&self.instruments)
    }

    /// The name of this node, where it can be read.
    pub fn node_name(&self) -> Option<&str> {
        self.node_name.as_deref()
    }

    /// Applies what can be changed while serving, and returns the keys that take a restart.
    pub fn reload(&self, new: &Config) -> Vec<&'static str> {
        let mut slot = self.config.write().unwrap_or_else(PoisonError::into_inner);
        let old = Arc::clone(&slot);
        let mut merged = (*old).clone();
        merged.limits = new.limits.clone();
        merged.metrics = new.metrics.clone();
        merged.server.trusted_uids.clone_from(&new.server.trusted_uids);
        merged.server.operators.clone_from(&new.server.operators);
        merged.server.allowed_hosts.clone_from(&new.server.allowed_hosts);
        self.changes.protect(&merged.limits.protected_containers);
        let mut restart = Vec::new();
        for (same, table) in [
            (merged.server == new.server, "server"),
            (merged.backend == new.backend, "backend"),
            (merged.pct == new.pct, "pct"),
            (merged.rest == new.rest, "rest"),
            (merged.network == new.network, "network"),
            (merged.audit == new.audit, "audit"),
            (merged.state == new.state, "state"),
            (merged.paths == new.paths, "paths"),
            (merged.logging == new.logging, "logging"),
        ] {
            if !same {
                restart.push(table);
            }
        }
        *slot = Arc::new(merged);
        restart
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::pct::PctHost;

    #[test]
    fn a_reload_applies_limits_and_names_what_takes_a_restart() {
        let config = Config::default();
        let host = Arc::new(PctHost::new(config.pct.clone(), config.paths.clone()));
        let state = Shared::new(config.clone(), host, None);
        let mut new = config;
        new.limits.max_cores = 4;
        new.server.trusted_uids = vec![999];
        new.server.operators = vec!["daemon".to_owned()];
        assert_eq!(state.reload(&new), [""; 0]);
        assert_eq!(*state.config(), new);
        new.server.max_body_kib = 1;
        new.pct.query_timeout_seconds = 1;
        assert_eq!(state.reload(&new), ["server", "pct"]);
        assert_eq!(state.config().server.max_body_kib, 64);
    }
}
