//! Watches all containers: puts the flags into the snapshot, logs their beginnings and ends, saves the learnt state.

use std::collections::BTreeMap;

use lxc_autoscale_core::snapshot::Snapshot;
use lxc_autoscale_core::{ErrorChain, Vmid};

use super::config::AnomalyConfig;
use super::container::{ContainerState, Event};
use super::store::{self, StoreError};
use crate::notices::Notices;
use crate::state_file;

/// Least time between two saves, in seconds.
const SAVE_SECONDS: f64 = 300.0;
/// A container that was not seen for this long is forgotten, in seconds.
const FORGET_SECONDS: f64 = 30.0 * 86_400.0;

/// Watches for unusual values.
#[derive(Debug)]
pub struct AnomalyWatch {
    config: AnomalyConfig,
    /// Boxed, because the unused entries of a map would otherwise take as much memory as the used ones.
    states: BTreeMap<Vmid, Box<ContainerState>>,
    /// Time of the previous snapshot.
    previous: Option<f64>,
    /// Time of the snapshot after which the state was last saved.
    saved: Option<f64>,
    notices: Notices,
}

impl AnomalyWatch {
    /// Restores the learnt state; a damaged file is put aside and learning starts anew.
    pub fn open(config: &AnomalyConfig) -> Self {
        let mut watch = Self {
            config: config.clone(),
            states: BTreeMap::new(),
            previous: None,
            saved: None,
            notices: Notices::default(),
        };
        if config.enabled {
            watch.load();
        }
        watch
    }

    /// Applies new settings; when switched off, it saves the state and forgets it.
    pub fn reconfigure(&mut self, config: &AnomalyConfig) {
        if *config == self.config {
            return;
        }
        self.finish();
        let before = std::mem::replace(&mut self.config, config.clone());
        if !config.enabled {
            self.states.clear();
        } else if !before.enabled || (before.state_file != config.state_file && config.state_file.exists()) {
            self.load();
        }
    }

    /// Adds the flags to a snapshot and learns from it; saves the state when that is due.
    pub fn annotate(&mut self, snapshot: &mut Snapshot) {
        if !self.config.enabled {
            return;
        }
        let settings = self.config.settings();
        let now = snapshot.summary.collection_start_time.as_seconds();
        let previous = self.previous.replace(now);
        for (&vmid, record) in &mut snapshot.containers {
            let state = self.states.entry(vmid).or_default();
            let was_absent = previous.is_none_or(|previous| state.last_seen() < previous);
            if state.is_of_another(record, was_absent) {
                tracing::info!(
                    "container {vmid} is another one than before, by its name and its start: what is usual for it is \
                     learnt from scratch"
                );
                **state = ContainerState::default();
            }
            for event in state.take(&settings, record) {
                say(vmid, &event);
            }
            record.anomalies = state.anomalies();
        }
        let Some(saved) = self.saved else {
            self.saved = Some(now);
            return;
        };
        // Not postponed if the clock was set back.
        if SAVE_SECONDS <= (now - saved).abs() {
            self.saved = Some(now);
            self.states.retain(|_, state| now - state.last_seen() < FORGET_SECONDS);
            self.write();
        }
    }

    /// Saves the state at the end.
    pub fn finish(&mut self) {
        if self.config.enabled {
            self.write();
        }
    }

    fn write(&mut self) {
        let trouble = store::save(&self.config.state_file, &self.states).err();
        self.notices.warn("anomaly flags", trouble.map(|error| ErrorChain(&error).to_string()));
    }

    fn load(&mut self) {
        match store::load(&self.config.state_file) {
            Ok(states) => self.states = states,
            Err(error @ StoreError::Damaged { .. }) => {
                let kept = match state_file::set_aside(&self.config.state_file) {
                    Ok(aside) => format!("the file is now `{}`", aside.display()),
                    Err(error) => format!("it cannot be set aside: {error}"),
                };
                tracing::warn!(
                    "{}; {kept}, and the usual values are learnt from scratch",
                    ErrorChain(&error)
                );
            }
            Err(error) => tracing::warn!("{}; the usual values are learnt from scratch", ErrorChain(&error)),
        }
    }
}

fn say(vmid: Vmid, event: &Event) {
    match event {
        Event::Begun(anomaly) => tracing::info!(
            score = (anomaly.score * 10.0).round() / 10.0,
            "container {vmid}: {}: {}",
            anomaly.metric,
            anomaly.reason
        ),
        Event::Accepted(metric) => {
            tracing::info!(
                "container {vmid}: {}: what was unusual is taken as usual from now on",
                metric.name()
            );
        }
        Event::Ended(metric) => tracing::info!("container {vmid}: {}: as usual again", metric.name()),
    }
}
