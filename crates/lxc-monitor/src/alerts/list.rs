//! `lxc-monitor alerts`: the firing alerts, for people and for programs.
//!
//! The newest record of the metrics file says which alerts fire, with their values and the present names of the
//! containers. The state file counts where it is the newer one, or where there is no record: it is saved first, and the
//! monitor may have been killed in between. Where it is the older one, it could not be saved.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::metrics_file::MetricsReader;
use lxc_autoscale_core::snapshot::Snapshot;
use lxc_autoscale_core::{ErrorChain, RecordTime};

use super::outcome::Active;
use super::state::Subject;
use super::store::{self, StoreError};
use super::{measured, report, saved_alerts};
use crate::config::MonitorConfig;
use crate::printable::printable;

/// Number of missed cycles before a warning.
const MISSED_CYCLES: u32 = 3;
/// But at least this long, because a cycle takes time.
const LEAST_PATIENCE: Duration = Duration::from_secs(30);

/// The firing alerts, as far as known.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// The alerts, most urgent first.
    pub alerts: Vec<Active>,
    /// When the newest snapshot was taken; `None` when no snapshot can be read.
    pub measured: Option<RecordTime>,
    /// What the state file says otherwise, if it could not be saved.
    pub disagreement: Option<String>,
}

/// Reads the firing alerts.
///
/// # Errors
/// [`StoreError`] when the state file exists and cannot be read, and no snapshot says what fires.
pub fn active(config: &MonitorConfig) -> Result<Listing, StoreError> {
    // The record first: a state that is read after it is at least as new, unless it could not be saved.
    let newest = MetricsReader::read_newest(&config.output.file).ok().flatten();
    let measured = newest.as_ref().map(|newest| newest.summary.collection_end_time);
    // The records of the original tell of no alerts.
    let telling = newest.as_ref().filter(|newest| newest.summary.schema_version.is_some());
    let path = &config.alerts.state_file;
    let (state, trouble) = match store::load(path) {
        Ok(saved) => (saved.map(|saved| saved.state), None),
        Err(error) if telling.is_some() => (None, Some(ErrorChain(&error).to_string())),
        Err(error) => return Err(error),
    };
    let mut saved = state.as_ref().map(saved_alerts).unwrap_or_default();
    if let Some(newest) = &newest {
        for alert in &mut saved {
            alert.name = name_in(newest, alert.subject).map(str::to_owned).or(alert.name.take());
        }
    }
    let newer = telling.filter(|newest| !state.as_ref().is_some_and(|state| state.is_after(newest)));
    let Some(newer) = newer else {
        return Ok(Listing { alerts: saved, measured, disagreement: None });
    };
    let alerts = measured::alerts(newer, &saved, &config.alerts.settings(config.interval()).rules);
    let disagreement = disagreement(&saved, &alerts, trouble.as_deref()).map(|what| {
        let path = path.display();
        format!("{what}; what was measured last counts, and the monitor's log says why `{path}` is not saved")
    });
    Ok(Listing { alerts, measured, disagreement })
}

/// How the state differs from what was measured; an unreadable one is said even if nothing fires.
fn disagreement(saved: &[Active], measured: &[Active], trouble: Option<&str>) -> Option<String> {
    let of = |alerts: &[Active]| -> BTreeSet<(Subject, String)> {
        alerts.iter().map(|alert| (alert.subject, alert.rule.clone())).collect()
    };
    let named = |(subject, rule): &(Subject, String)| match subject {
        Subject::Node => format!("`{rule}` of the node"),
        Subject::Container(vmid) => format!("`{rule}` of {vmid}"),
    };
    let listed = |names: Vec<String>| (!names.is_empty()).then(|| names.join(", "));
    let (saved, measured) = (of(saved), of(measured));
    let lacking = listed(measured.difference(&saved).map(named).collect());
    let over = listed(saved.difference(&measured).map(named).collect());
    let what = match (lacking, over) {
        (Some(lacking), Some(over)) => Some(format!("does not have {lacking}, and still has {over}")),
        (Some(lacking), None) => Some(format!("does not have {lacking}")),
        (None, Some(over)) => Some(format!("still has {over}")),
        (None, None) => None,
    };
    match (trouble, what) {
        (Some(trouble), _) => Some(trouble.to_owned()),
        (None, Some(what)) => Some(format!("the alerts' state {what}")),
        (None, None) => None,
    }
}

impl Listing {
    /// A warning if there was no cycle lately, so that the absence of alerts means nothing.
    pub fn warning(&self, config: &MonitorConfig, now: Timestamp) -> Option<String> {
        if !config.alerts.enabled {
            return Some("alerts are switched off (`alerts.enabled`)".to_owned());
        }
        let Some(measured) = self.measured else {
            let file = config.output.file.display();
            return Some(format!(
                "`{file}` holds no measurement, so nothing is known of now; does lxc-monitor run?"
            ));
        };
        let old = now.duration_since(measured.instant());
        let limit = config.interval().saturating_mul(MISSED_CYCLES).max(LEAST_PATIENCE);
        (limit < old.unsigned_abs() && old.is_positive()).then(|| {
            format!(
                "the newest measurement is {} old: this is what was known then; does lxc-monitor run?",
                age(old)
            )
        })
    }
}

fn name_in(snapshot: &Snapshot, subject: Subject) -> Option<&str> {
    snapshot.containers.get(&subject.container()?)?.configuration.as_ref()?.name.as_deref()
}

/// The alerts as JSON; `warning` says why they tell nothing about now.
pub fn json(listing: &Listing, warning: Option<&str>) -> String {
    let rows: Vec<_> = listing
        .alerts
        .iter()
        .map(|alert| {
            serde_json::json!({
                "container": alert.subject.container(),
                "name": alert.name,
                "rule": alert.rule,
                "metric": alert.metric,
                "severity": alert.severity,
                "value": alert.value,
                "trigger": alert.trigger,
                "clear": alert.clear,
                "since": alert.since,
                "no_data": alert.no_data,
            })
        })
        .collect();
    let whole = serde_json::json!({
        "measured": listing.measured,
        "stale": warning.is_some(),
        "reason": warning,
        "disagreement": listing.disagreement,
        "alerts": rows,
    });
    format!("{whole:#}\n")
}

/// The alerts as a table, with ages as of `now`.
pub fn table(alerts: &[Active], now: Timestamp) -> String {
    if alerts.is_empty() {
        return "No alert is active.\n".to_owned();
    }
    let headings = ["severity", "container", "rule", "value", "since"].map(str::to_owned);
    let rows: Vec<[String; 5]> =
        std::iter::once(headings).chain(alerts.iter().map(|alert| row(alert, now))).collect();
    let widths: [usize; 5] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a string cannot fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn row(alert: &Active, now: Timestamp) -> [String; 5] {
    let whose = match alert.subject {
        Subject::Node => "node".to_owned(),
        Subject::Container(vmid) => {
            let name: String = alert.name.as_deref().unwrap_or_default().chars().take(24).collect();
            format!("{vmid} {}", printable(&name)).trim_end().to_owned()
        }
    };
    let since = alert.since.to_string();
    // To the second, without the zone: the node's local time.
    let shown: String = since.chars().take(19).map(|c| if c == 'T' { ' ' } else { c }).collect();
    let age = age(now.duration_since(alert.since.instant()));
    [alert.severity.to_string(), whose, alert.rule.clone(), report::value(alert), format!("{shown} ({age})")]
}

/// A duration in its two largest units.
fn age(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use lxc_autoscale_core::notification::Severity;

    use super::*;

    #[test]
    fn the_table_lines_up() {
        let web = Active {
            subject: Subject::Container("104".parse().unwrap()),
            name: Some("web".to_owned()),
            rule: "rootfs".to_owned(),
            metric: "rootfs".to_owned(),
            severity: Severity::Warning,
            value: Some(93.14),
            trigger: 90.0,
            clear: Some(87.0),
            since: "2026-11-23T17:20:00.25+01:00".parse().unwrap(),
            no_data: false,
        };
        let node = Active {
            subject: Subject::Node,
            name: None,
            rule: "node-memory".to_owned(),
            metric: "node_memory_available".to_owned(),
            severity: Severity::Critical,
            value: None,
            trigger: 5.0,
            no_data: true,
            since: "2026-11-20T17:20:00+01:00".parse().unwrap(),
            ..web.clone()
        };
        let text = table(&[node, web], "2026-11-23T17:25:30Z".parse().unwrap());
        let want = "\
            severity  container  rule         value                          since\n\
            critical  node       node-memory  no data (fires at 5 % or less)  2026-11-20 17:20:00 (3 d 1 h)\n\
            warning   104 web    rootfs       93.1 % (fires at 90 %)          2026-11-23 17:20:00 (1 h 5 min)\n";
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&text), squeezed(want));
        let column = |line: &str| line.find("  2026").or_else(|| line.find("  since"));
        let columns: Vec<_> = text.lines().map(column).collect();
        assert!(columns.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
        assert_eq!(table(&[], Timestamp::UNIX_EPOCH), "No alert is active.\n");
    }

    #[test]
    fn that_nobody_looks_is_said() {
        let config = MonitorConfig::default();
        let now: Timestamp = "2026-11-23T17:25:30Z".parse().unwrap();
        let warning = |config: &MonitorConfig, seconds_ago: Option<i64>| {
            let measured = seconds_ago.map(|ago| RecordTime::utc(now - SignedDuration::from_secs(ago)));
            Listing { alerts: Vec::new(), measured, disagreement: None }.warning(config, now)
        };
        assert_eq!(warning(&config, Some(60)), None);
        assert_eq!(warning(&config, Some(-3600)), None, "the clock was set back");
        let stale = warning(&config, Some(3600 + 240)).unwrap();
        assert!(stale.starts_with("the newest measurement is 1 h 4 min old"), "{stale}");
        assert!(warning(&config, None).unwrap().contains("holds no measurement"));
        let mut off = config;
        off.alerts.enabled = false;
        assert!(warning(&off, Some(60)).unwrap().contains("switched off"));
    }

    #[test]
    fn programs_are_told_that_an_empty_list_means_nothing() {
        let measured: RecordTime = "2026-11-23T17:25:30+01:00".parse().unwrap();
        let rendered = |measured, warning| -> serde_json::Value {
            serde_json::from_str(&json(
                &Listing { alerts: Vec::new(), measured, disagreement: None },
                warning,
            ))
            .unwrap()
        };
        let want = serde_json::json!({
            "measured": "2026-11-23T17:25:30+01:00", "stale": false, "reason": null,
            "disagreement": null, "alerts": []
        });
        assert_eq!(rendered(Some(measured), None), want);
        let want = serde_json::json!({
            "measured": null, "stale": true, "reason": "why", "disagreement": null, "alerts": []
        });
        assert_eq!(rendered(None, Some("why")), want);
    }

    #[test]
    fn ages_have_two_units() {
        let cases = [(-5, "0 s"), (59, "59 s"), (60, "1 min"), (3600, "1 h 0 min"), (90_061, "1 d 1 h")];
        for (seconds, want) in cases {
            assert_eq!(age(SignedDuration::from_secs(seconds)), want);
        }
    }
}
