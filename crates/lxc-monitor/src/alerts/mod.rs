//! Threshold alerts: each fires once and clears once, also across a restart.
//!
//! A [`rule`] ([`config`], [`defaults`]) compares a [`metric`] with its levels; [`engine`] evaluates a snapshot (pure)
//! and returns an [`outcome`]; [`state`] is what it remembers and [`store`] the file for it; [`report`] puts an alert
//! into words, [`list`] is the command.
//!
//! ## Order of effects
//!
//! The new state is saved together with its notifications (the *outbox*), then they are logged and queued, then the
//! emptied outbox is saved. Whenever the monitor is killed, the saved state says what still has to be queued, and
//! queueing one again under its old id changes nothing: an alert is neither lost nor reported twice. If the state
//! cannot be saved (full disk), alerts continue in memory; only a restart could then repeat one.

pub mod config;
pub mod defaults;
pub mod engine;
pub mod list;
mod measured;
pub mod metric;
pub mod outcome;
pub mod report;
pub mod rule;
pub mod state;
pub mod store;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use lxc_autoscale_core::notification::{Queue, QueueError};
use lxc_autoscale_core::snapshot::{ActiveAlert, Snapshot};
use lxc_autoscale_core::{ErrorChain, RecordTime};

pub use config::AlertsConfig;

use self::engine::Settings;
use self::outcome::{Active, Outcome};
use self::state::{State, Subject};
use self::store::{Saved, StoreError};
use crate::clock;
use crate::config::MonitorConfig;
use crate::notices::Notices;
use crate::outage::{News, Outage};
use crate::state_file;

/// Most notifications that wait for the queue; the oldest are dropped.
const MAX_OUTBOX: usize = 1000;
/// Time limit for queueing notifications in one cycle: each waits for the disk twice, and cycles must continue even if
/// a thousand containers have alerts at once. The rest waits, saved, for the next cycle.
const PUT_TIME: Duration = Duration::from_millis(500);
/// Maximum age of the saved time while a hold time runs.
const CHECKPOINT: SignedDuration = SignedDuration::from_secs(60);

/// The alerts of a running monitor.
#[derive(Debug)]
pub struct Alerts {
    settings: Settings,
    path: PathBuf,
    queue: Option<Queue>,
    put_time: Duration,
    now: Saved,
    /// Whether the file lacks something that a restart needs.
    is_behind: bool,
    /// The last cycle recorded in the file.
    saved_cycle: Option<RecordTime>,
    outage: Outage,
    notices: Notices,
}

impl Alerts {
    /// Continues from the state file; a damaged one is put aside and replaced.
    pub fn open(config: &MonitorConfig) -> Self {
        let path = config.alerts.state_file.clone();
        let saved = match store::load(&path) {
            Ok(saved) => saved,
            Err(error) => {
                begin_anew(&path, &error);
                None
            }
        };
        Self {
            settings: config.alerts.settings(config.interval()),
            path,
            queue: config.notifications.queue(),
            put_time: PUT_TIME,
            is_behind: saved.is_none(),
            saved_cycle: saved.as_ref().and_then(|saved| saved.state.last_cycle),
            now: saved.unwrap_or_default(),
            outage: Outage::default(),
            notices: Notices::default(),
        }
    }

    /// Applies new settings; alerts of unchanged rules continue.
    pub fn reconfigure(&mut self, config: &MonitorConfig) {
        self.settings = config.alerts.settings(config.interval());
        self.queue = config.notifications.queue();
        if self.path != config.alerts.state_file {
            self.path.clone_from(&config.alerts.state_file);
            self.is_behind = true;
        }
    }

    /// Evaluates a snapshot, reports the transitions, and writes the firing alerts into the snapshot.
    pub fn apply(&mut self, snapshot: &mut Snapshot) {
        let previous = std::mem::take(&mut self.now.state);
        let Outcome { state, is_changed, transitions, active } =
            engine::evaluate(&self.settings, snapshot, previous);
        self.now.state = state;
        self.is_behind |= is_changed;
        if self.queue.is_some() {
            self.now.outbox.extend(transitions.iter().map(report::notification));
        } else {
            self.is_behind |= !self.now.outbox.is_empty();
            self.now.outbox.clear();
        }
        self.save_if_due();
        transitions.iter().for_each(report::log);
        self.deliver();
        self.save_if_due();
        annotate(snapshot, active);
    }

    fn save_if_due(&mut self) {
        if !self.is_behind && !is_checkpoint(&self.now.state, self.saved_cycle) {
            return;
        }
        let result = store::save(&self.path, &self.now);
        let trouble = result.as_ref().err().map(|error| ErrorChain(error).to_string());
        let news = self.outage.update(trouble.as_deref(), clock::now().since_boot);
        let trouble = trouble.unwrap_or_default();
        match news {
            News::Begun => tracing::error!(
                "{trouble}; alerts go on, and saving is tried again at each cycle; a restart before that may repeat some"
            ),
            News::Back => tracing::error!(
                "{trouble}; this comes and goes, and is said to be over when it has stayed away for a minute"
            ),
            News::Ended => tracing::info!("the alerts' state `{}` is saved again", self.path.display()),
            News::None => {}
        }
        if result.is_ok() {
            self.is_behind = false;
            self.saved_cycle = self.now.state.last_cycle;
        }
    }

    /// Queues the waiting notifications; what cannot be queued waits for the next cycle.
    fn deliver(&mut self) {
        let Some(queue) = &self.queue else { return };
        let mut trouble = None;
        let mut dropped = 0;
        let mut n_done = 0;
        let begun = Instant::now();
        for notification in &self.now.outbox {
            match queue.put(notification) {
                Ok(put) => dropped += put.dropped,
                // It will never fit, and must not block the others.
                Err(error @ QueueError::Encode { .. }) => {
                    tracing::error!("{}; it is dropped", ErrorChain(&error));
                }
                Err(error) => {
                    trouble = Some(ErrorChain(&error).to_string());
                    break;
                }
            }
            n_done += 1;
            if self.put_time <= begun.elapsed() {
                break;
            }
        }
        self.is_behind |= 0 < n_done;
        self.now.outbox.drain(..n_done);
        if 0 < dropped {
            tracing::warn!(
                "the notification queue `{}` is full: dropped the {dropped} oldest, unsent",
                queue.directory().display()
            );
        }
        let surplus = self.now.outbox.len().saturating_sub(MAX_OUTBOX);
        if 0 < surplus {
            self.is_behind = true;
            self.now.outbox.drain(..surplus);
            tracing::warn!("dropped {surplus} notifications that could not be put into the queue");
        }
        self.notices.warn("notifications", trouble);
    }
}

/// Whether the time in the file is due for an update; after a restart it shows how long a level may have been held
/// unseen.
fn is_checkpoint(state: &State, saved_cycle: Option<RecordTime>) -> bool {
    let age =
        state.last_cycle.zip(saved_cycle).map(|(now, saved)| now.instant().duration_since(saved.instant()));
    age.is_some_and(|age| CHECKPOINT <= age.abs()) && state.has_timers()
}

fn begin_anew(path: &std::path::Path, error: &StoreError) {
    let why = ErrorChain(error);
    let StoreError::Damaged { .. } = error else {
        tracing::error!("{why}; alerts start over and may fire again");
        return;
    };
    match state_file::set_aside(path) {
        Ok(aside) => tracing::error!(
            "{why}; it is kept as `{}`, alerts start over and may fire again",
            aside.display()
        ),
        Err(error) => {
            tracing::error!("{why}; it cannot be set aside: {error}; alerts start over and may fire again");
        }
    }
}

/// Writes the active alerts to where readers of the metrics file look for them.
fn annotate(snapshot: &mut Snapshot, active: Vec<Active>) {
    for (subject, mut alerts) in outcome::by_subject(active) {
        outcome::by_urgency(&mut alerts);
        let record = subject.container().and_then(|vmid| snapshot.containers.get_mut(&vmid));
        match (subject, record) {
            (_, Some(record)) => record.alerts = alerts.iter().map(|alert| shown(alert, None)).collect(),
            // A container without a record, and the node.
            (subject, None) => {
                let node = snapshot.summary.node.get_or_insert_default();
                node.alerts.extend(alerts.iter().map(|alert| shown(alert, Some(subject))));
            }
        }
    }
}

fn shown(alert: &Active, elsewhere: Option<Subject>) -> ActiveAlert {
    ActiveAlert {
        rule: alert.rule.clone(),
        severity: alert.severity,
        metric: alert.metric.clone(),
        value: alert.value,
        level: alert.trigger,
        since: alert.since,
        no_data: alert.no_data,
        container: elsewhere.and_then(Subject::container),
    }
}

/// A saved alert, without a present value.
fn saved_alerts(state: &State) -> Vec<Active> {
    let mut active = Vec::new();
    for (subject, alerts) in &state.alerts {
        for (rule, alert) in alerts {
            let Some(firing) = &alert.firing else { continue };
            active.push(Active {
                subject: *subject,
                name: firing.name.clone(),
                rule: rule.clone(),
                metric: alert.metric.clone(),
                severity: firing.severity,
                value: None,
                trigger: alert.levels.trigger,
                clear: Some(alert.levels.clear),
                since: firing.since,
                no_data: false,
            });
        }
    }
    outcome::by_urgency(&mut active);
    active
}

#[cfg(test)]
#[path = "alerts_tests.rs"]
mod tests;
