//! Rules, a snapshot and the previous state in; the new state and the transitions out.
//!
//! Pure: time is that of the snapshot, so a replay of the same snapshots fires the same alerts.
//!
//! ## Life of an alert
//!
//! Quiet → the value reaches the trigger level → it stays there for `for_seconds` → **fires** → the value reaches the
//! clear level → it stays there for `clear_for_seconds` → **clears**. Between the two levels nothing changes. An alert
//! fires once and clears once, whatever the value does meanwhile.
//!
//! ## Missing values
//!
//! A missing value neither fires nor clears. If it was missing for longer than the limit for missing data, hold times
//! start anew, because nobody saw that the level was held; so they do if the monitor itself was away for longer than that.
//!
//! ## Time
//!
//! Hold times are those of the node's uptime: when the clock was set, every stored time is moved by as much. Where there
//! is no uptime to tell that by, and over a restart of the node, the wall clock has to do: a hold time that began after
//! now starts anew, and so does every one if it went ahead by more than data may be missing.
//!
//! ## Other ends of an alert
//!
//! There is no limit any more that the value could be a share of (one that cannot be read is a missing value). The
//! container stopped; it is gone (neither running nor stopped for longer than the limit for missing data, while the
//! containers could be listed); the rule was switched off, or has other levels at which the value would not fire.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use lxc_autoscale_core::snapshot::{ContainerRecord, Snapshot};
use lxc_autoscale_core::{RecordTime, Run, Vmid};

use super::metric::{Metric, Scope};
use super::outcome::{Active, Change, ClearReason, Outcome, Transition};
use super::rule::{Rule, RuleSet};
use super::state::{AlertState, Firing, Remembered, State, Subject, Uptime};

/// The engine's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The rules.
    pub rules: RuleSet,
    /// Time after which a missing value counts as no data.
    pub no_data_after: SignedDuration,
}

/// Evaluates a snapshot.
pub fn evaluate(settings: &Settings, snapshot: &Snapshot, mut previous: State) -> Outcome {
    let now = snapshot.summary.collection_start_time;
    let node = snapshot.summary.node.as_ref();
    let boot = node.and_then(|node| node.boot_id);
    let uptime = node.and_then(|node| node.uptime_seconds).filter(|seconds| seconds.is_finite());
    let uptime = uptime.map(|seconds| Uptime { at: now, seconds, boot });
    let clock_step = uptime.and_then(|uptime| previous.clock_step(uptime));
    if let Some(step) = clock_step {
        previous.move_times(step);
    }
    let last_uptime = uptime.or(previous.last_uptime);
    let last = previous.moment();
    // The state of the containers is moved, because most of it does not change in a cycle.
    let State { last_cycle, alerts, mut containers, .. } = previous;
    let was_away = last_cycle.is_some_and(|last| settings.no_data_after < elapsed(last, now));
    let mut cycle = Cycle { settings, alerts: &alerts, now, last, was_away, outcome: Outcome::default() };
    cycle.node(snapshot);
    let n_before = containers.len();
    cycle.containers(snapshot, &mut containers);
    if n_before < containers.len() {
        // A map built from a list takes half the memory of one that grew.
        containers = containers.into_iter().collect();
    }
    let mut outcome = cycle.outcome;
    outcome.is_changed |= outcome.state.alerts != alerts || clock_step.is_some();
    outcome.state.last_cycle = Some(now);
    outcome.state.last_uptime = last_uptime;
    outcome.state.containers = containers;
    outcome
}

/// The cycle being evaluated.
struct Cycle<'a> {
    settings: &'a Settings,
    /// The alerts of the previous cycle.
    alerts: &'a BTreeMap<Subject, BTreeMap<String, AlertState>>,
    now: RecordTime,
    /// When the last cycle was; `None` in the first one.
    last: Option<Run>,
    /// Whether so much time passed unseen that hold times start anew.
    was_away: bool,
    outcome: Outcome,
}

/// What is known about a container.
struct Known<'a> {
    vmid: Vmid,
    name: Option<&'a str>,
    record: Option<&'a ContainerRecord>,
    /// Its tags, if known.
    tags: Option<&'a [String]>,
    oom_kills: Option<f64>,
    stopped: Option<f64>,
}

impl Cycle<'_> {
    fn node(&mut self, snapshot: &Snapshot) {
        let rules = self.settings.rules.rules.iter().filter(|(_, rule)| rule.metric.scope() == Scope::Node);
        for (name, rule) in rules.filter(|(_, rule)| rule.enabled) {
            let node = snapshot.summary.node.as_ref();
            if node.is_some_and(|node| rule.metric.is_unlimited_on(node)) {
                self.end(Subject::Node, None, name, ClearReason::NoLimit);
                continue;
            }
            let value = node.and_then(|node| rule.metric.of_node(node));
            self.judge(Subject::Node, None, name, rule, value);
        }
        self.end_others(Subject::Node, None, ClearReason::RuleOff);
    }

    fn containers(&mut self, snapshot: &Snapshot, remembered: &mut BTreeMap<Vmid, Remembered>) {
        for (vmid, record) in &snapshot.containers {
            let is_new = !remembered.contains_key(vmid);
            self.outcome.is_changed |= is_new;
            let run = Run::of(record, snapshot.summary.node.as_ref());
            self.running(*vmid, record, run, remembered.entry(*vmid).or_default());
        }
        // If the containers, or those that are stopped, could not be listed, none of them counts as gone.
        let is_blind = snapshot.summary.node.as_ref().is_some_and(|node| {
            ["containers", "stopped_containers"].into_iter().any(|field| node.missing.contains(field))
        });
        let stopped: BTreeSet<Vmid> = snapshot.summary.stopped_containers.iter().copied().collect();
        // One that has not run so far begins with no kills.
        for vmid in &stopped {
            remembered.entry(*vmid).or_default();
        }
        remembered.retain(|vmid, was| {
            if snapshot.containers.contains_key(vmid) {
                true
            } else if stopped.contains(vmid) {
                self.stopped(*vmid, was);
                true
            } else {
                self.absent(*vmid, was, is_blind)
            }
        });
    }

    fn running(&mut self, vmid: Vmid, record: &ContainerRecord, run: Run, was: &mut Remembered) {
        let counted = record.memory_events.and_then(|events| events.oom_kill);
        let has_restarted = |earlier: Run| run.restarted_since(&earlier) == Some(true);
        // A new run counts from zero; so does one that began after the last cycle. A counter that went back without
        // either says nothing, nor does the first one of a container that may have run before.
        let counted_from = match was.oom_kills {
            _ if was.run.is_some_and(has_restarted) => Some(0),
            None if self.last.is_some_and(has_restarted) => Some(0),
            before => before,
        };
        let is_unread = record.configuration.is_none() && record.missing.contains("configuration");
        let tags = match &record.configuration {
            Some(stored) => Some(stored.tags.as_slice()),
            None if is_unread => was.tags.as_deref(),
            None => Some([].as_slice()),
        };
        let onboot = match &record.configuration {
            Some(stored) => stored.onboot,
            None => is_unread && was.onboot,
        };
        let name = match &record.configuration {
            Some(stored) => stored.name.as_deref(),
            None => was.name.as_deref().filter(|_| is_unread),
        };
        let known = Known {
            vmid,
            name,
            record: Some(record),
            tags,
            oom_kills: counted_from
                .zip(counted)
                .and_then(|(before, counted)| counted.checked_sub(before))
                .map(|kills| kills as f64),
            stopped: Some(0.0),
        };
        self.container(&known, ClearReason::RuleOff);
        let new_name = (name != was.name.as_deref()).then(|| name.map(str::to_owned));
        let new_tags = (tags != was.tags.as_deref()).then(|| tags.map(<[String]>::to_vec));
        if let Some(name) = new_name {
            self.remember(&mut was.name, name);
        }
        if let Some(tags) = new_tags {
            self.remember(&mut was.tags, tags);
        }
        // A look that cannot identify the run does not hide the end of the previous one.
        if counted.is_some() && run.uptime_seconds.is_some() {
            was.run = Some(run);
        }
        let oom_kills = counted.or(was.oom_kills);
        self.remember(&mut was.oom_kills, oom_kills);
        self.remember(&mut was.onboot, onboot);
        self.remember(&mut was.absent_since, None);
    }

    fn stopped(&mut self, vmid: Vmid, was: &mut Remembered) {
        let known = Known {
            vmid,
            name: was.name.as_deref(),
            record: None,
            tags: was.tags.as_deref(),
            oom_kills: None,
            stopped: Some(if was.onboot { 1.0 } else { 0.0 }),
        };
        self.container(&known, ClearReason::ContainerStopped);
        // The next run counts from zero.
        was.run = None;
        self.remember(&mut was.oom_kills, Some(0));
        self.remember(&mut was.absent_since, None);
    }

    /// Whether it should still be remembered.
    fn absent(&mut self, vmid: Vmid, was: &mut Remembered, is_blind: bool) -> bool {
        let since = match was.absent_since {
            _ if is_blind => None,
            Some(since) if since.instant() <= self.now.instant() => Some(since),
            _ => Some(self.now),
        };
        let is_gone = since.is_some_and(|since| self.settings.no_data_after < elapsed(since, self.now));
        if is_gone && !self.was_away {
            self.end_others(Subject::Container(vmid), None, ClearReason::ContainerGone);
            self.outcome.is_changed = true;
            return false;
        }
        // Absence while the monitor was away does not count.
        let since = if self.was_away { since.map(|_| self.now) } else { since };
        let known = Known {
            vmid,
            name: was.name.as_deref(),
            record: None,
            tags: was.tags.as_deref(),
            oom_kills: None,
            stopped: None,
        };
        self.container(&known, ClearReason::RuleOff);
        self.remember(&mut was.absent_since, since);
        true
    }

    /// Stores a value, and notes whether it changed.
    fn remember<T: PartialEq>(&mut self, place: &mut T, value: T) {
        self.outcome.is_changed |= *place != value;
        *place = value;
    }

    /// Evaluates all rules of a container; alerts that none of them keeps clear for the given reason.
    fn container(&mut self, known: &Known<'_>, reason: ClearReason) {
        let subject = Subject::Container(known.vmid);
        let set = &self.settings.rules;
        let rules = set.rules.iter().filter(|(_, rule)| rule.metric.scope() == Scope::Container);
        let mut switched_off = Vec::new();
        for (name, rule) in rules {
            let (rule, value) = match set.for_container(name, *rule, known.vmid, known.tags) {
                Some(rule) => (rule, known.value(rule.metric)),
                // It is unknown which levels apply, so the value says nothing.
                None => (*rule, None),
            };
            if !rule.enabled {
                switched_off.push(name);
            } else if known.record.is_some_and(|record| rule.metric.is_unlimited_in(record)) {
                self.end(subject, known.name, name, ClearReason::NoLimit);
            } else if reason != ClearReason::ContainerStopped || rule.metric == Metric::Stopped {
                self.judge(subject, known.name, name, &rule, value);
            }
        }
        for name in switched_off {
            self.end(subject, known.name, name, ClearReason::RuleOff);
        }
        self.end_others(subject, known.name, reason);
    }

    /// Advances one alert by a cycle.
    fn judge(
        &mut self,
        subject: Subject,
        name: Option<&str>,
        rule_name: &str,
        rule: &Rule,
        value: Option<f64>,
    ) {
        let was = self.alerts.get(&subject).and_then(|alerts| alerts.get(rule_name));
        if was.is_none() && !value.is_some_and(|value| rule.is_over(value)) {
            return;
        }
        let mut alert = was.cloned().unwrap_or_else(|| AlertState::new(rule));
        if self.was_away {
            alert.restart_timers();
        }
        let change = value.and_then(|value| self.advance(&mut alert, name, rule, value));
        if value.is_none() {
            begun(&mut alert.no_data_since, self.now);
        }
        let active = self.active(subject, name, rule_name, &alert, value);
        match (change, active) {
            (Some(change @ Change::Fired), Some(active)) => {
                self.outcome.transitions.push(Transition { change, alert: active.clone(), at: self.now });
                self.outcome.active.push(active);
            }
            (Some(change @ Change::Cleared(_)), Some(active)) => {
                self.outcome.transitions.push(Transition { change, alert: active, at: self.now });
                return;
            }
            (None, Some(active)) => self.outcome.active.push(active),
            (_, None) => {}
        }
        if alert.firing.is_some() || alert.over_since.is_some() {
            self.outcome.state.alerts.entry(subject).or_default().insert(rule_name.to_owned(), alert);
        }
    }

    /// Advances an alert by a known value.
    fn advance(&self, alert: &mut AlertState, name: Option<&str>, rule: &Rule, value: f64) -> Option<Change> {
        let gap = alert.no_data_since.take();
        if gap.is_some_and(|since| self.settings.no_data_after < elapsed(since, self.now)) {
            alert.restart_timers();
        }
        let is_changed = alert.levels != rule.levels() || Metric::named(&alert.metric) != Some(rule.metric);
        if is_changed {
            let firing = alert.firing.take();
            *alert = AlertState { firing, ..AlertState::new(rule) };
            alert.restart_timers();
        }
        if alert.metric != rule.metric.name() {
            // It was saved under its former name.
            rule.metric.name().clone_into(&mut alert.metric);
        }
        let now = self.now;
        let Some(firing) = &mut alert.firing else {
            if !rule.is_over(value) {
                alert.over_since = None;
                return None;
            }
            let since = begun(&mut alert.over_since, now);
            if !has_held(since, now, rule.for_seconds) {
                return None;
            }
            alert.over_since = None;
            let name = name.map(str::to_owned);
            alert.firing = Some(Firing { since, severity: rule.severity, value, name, clear_since: None });
            return Some(Change::Fired);
        };
        firing.severity = rule.severity;
        if is_changed && !rule.is_over(value) {
            return Some(Change::Cleared(ClearReason::RuleChanged));
        }
        if !rule.is_clear(value) {
            firing.clear_since = None;
            return None;
        }
        let since = begun(&mut firing.clear_since, now);
        has_held(since, now, rule.clear_for_seconds).then_some(Change::Cleared(ClearReason::Recovered))
    }

    /// Clears an alert if it is firing.
    fn end(&mut self, subject: Subject, name: Option<&str>, rule_name: &str, reason: ClearReason) {
        let was = self.alerts.get(&subject).and_then(|alerts| alerts.get(rule_name));
        if let Some(alert) = was.and_then(|alert| self.active(subject, name, rule_name, alert, None)) {
            self.outcome.transitions.push(Transition {
                change: Change::Cleared(reason),
                alert,
                at: self.now,
            });
        }
    }

    /// Clears all alerts of a subject that were neither advanced nor cleared in this cycle.
    fn end_others(&mut self, subject: Subject, name: Option<&str>, reason: ClearReason) {
        let before = self.alerts;
        let Some(alerts) = before.get(&subject) else { return };
        for rule_name in alerts.keys() {
            let goes_on =
                self.outcome.state.alerts.get(&subject).is_some_and(|alerts| alerts.contains_key(rule_name));
            let ended = |transition: &Transition| {
                transition.alert.subject == subject && transition.alert.rule == *rule_name
            };
            if !goes_on && !self.outcome.transitions.iter().any(ended) {
                self.end(subject, name, rule_name, reason);
            }
        }
    }

    fn active(
        &self,
        subject: Subject,
        name: Option<&str>,
        rule_name: &str,
        alert: &AlertState,
        value: Option<f64>,
    ) -> Option<Active> {
        let firing = alert.firing.as_ref()?;
        let no_data =
            alert.no_data_since.is_some_and(|since| self.settings.no_data_after < elapsed(since, self.now));
        Some(Active {
            subject,
            name: name.map(str::to_owned).or_else(|| firing.name.clone()),
            rule: rule_name.to_owned(),
            metric: alert.metric.clone(),
            severity: firing.severity,
            value,
            trigger: alert.levels.trigger,
            clear: Some(alert.levels.clear),
            since: firing.since,
            no_data,
        })
    }
}

impl Known<'_> {
    fn value(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::OomKills => self.oom_kills,
            Metric::Stopped => self.stopped,
            _ => self.record.and_then(|record| metric.of_container(record)),
        }
    }
}

impl AlertState {
    fn new(rule: &Rule) -> Self {
        Self {
            metric: rule.metric.name().to_owned(),
            levels: rule.levels(),
            over_since: None,
            no_data_since: None,
            firing: None,
        }
    }
}

/// The beginning of a condition; now, when it begins or the clock was set back before it.
fn begun(since: &mut Option<RecordTime>, now: RecordTime) -> RecordTime {
    let begun = since.filter(|since| since.instant() <= now.instant()).unwrap_or(now);
    *since = Some(begun);
    begun
}

fn has_held(since: RecordTime, now: RecordTime, seconds: u64) -> bool {
    let wanted = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    wanted <= elapsed(since, now)
}

fn elapsed(earlier: RecordTime, later: RecordTime) -> SignedDuration {
    later.instant().duration_since(earlier.instant())
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
