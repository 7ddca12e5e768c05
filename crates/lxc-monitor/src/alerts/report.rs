//! An alert in words: log lines, and notifications.

use lxc_autoscale_core::notification::{Kind, Notification, NotificationId, Severity, Source};

use super::metric::{Direction, Metric, Unit};
use super::outcome::{Active, Change, ClearReason, Transition};
use super::state::Subject;

/// Logs a transition in one line.
pub fn log(transition: &Transition) {
    let line = line(transition);
    match transition.change {
        Change::Fired => tracing::warn!("{line}"),
        Change::Cleared(_) => tracing::info!("{line}"),
    }
}

/// A transition in one line.
pub fn line(transition: &Transition) -> String {
    let alert = &transition.alert;
    let whose = subject(alert);
    let (severity, rule, since) = (alert.severity, &alert.rule, alert.since);
    match transition.change {
        Change::Fired => {
            format!("{severity} alert `{rule}` of {whose}: {} since {since}", state(alert))
        }
        Change::Cleared(reason) => {
            format!("alert `{rule}` of {whose} is over: {}; it began {since}", ending(alert, reason))
        }
    }
}

/// The notification of a transition.
pub fn notification(transition: &Transition) -> Notification {
    let alert = &transition.alert;
    let (kind, severity, title) = match transition.change {
        Change::Fired => (Kind::Fired, alert.severity, format!("{}: {}", subject(alert), state(alert))),
        Change::Cleared(reason) => {
            let title = format!("{}: {} is over: {}", subject(alert), alert.rule, ending(alert, reason));
            (Kind::Cleared, Severity::Info, title)
        }
    };
    let mut details = [
        ("rule", alert.rule.as_str().into()),
        ("metric", alert.metric.as_str().into()),
        ("trigger", alert.trigger.into()),
        ("clear", alert.clear.into()),
        ("since", alert.since.to_string().into()),
    ]
    .map(|(key, value): (&str, serde_json::Value)| (key.to_owned(), value))
    .into_iter()
    .collect::<std::collections::BTreeMap<_, _>>();
    if let Some(value) = alert.value {
        details.insert("value".to_owned(), value.into());
    }
    if let Some(name) = &alert.name {
        details.insert("name".to_owned(), name.as_str().into());
    }
    if let Change::Cleared(reason) = transition.change {
        details.insert("reason".to_owned(), reason.name().into());
    }
    Notification {
        id: NotificationId::new(transition.at),
        time: transition.at,
        source: Source::Monitor,
        severity,
        kind,
        container: alert.subject.container(),
        title,
        text: line(transition),
        details,
    }
}

/// The subject of an alert.
pub fn subject(alert: &Active) -> String {
    match (alert.subject, &alert.name) {
        (Subject::Node, _) => "the node".to_owned(),
        (Subject::Container(vmid), Some(name)) => format!("container {vmid} ({name})"),
        (Subject::Container(vmid), None) => format!("container {vmid}"),
    }
}

/// The present value and the level it is compared with: `96.3 % (fires at 95 %)`.
pub fn value(alert: &Active) -> String {
    let metric = metric(alert);
    let unit = metric.map_or(Unit::Count, Metric::unit);
    let level = unit.show(alert.trigger);
    let value = match alert.value {
        Some(value) => unit.show(value).to_string(),
        None if alert.no_data => "no data".to_owned(),
        None => "unknown".to_owned(),
    };
    match metric.map(Metric::direction) {
        Some(Direction::Low) => format!("{value} (fires at {level} or less)"),
        _ => format!("{value} (fires at {level})"),
    }
}

fn state(alert: &Active) -> String {
    match metric(alert) {
        // There is no level to compare with.
        Some(metric @ Metric::Stopped) => metric.description().to_owned(),
        Some(metric) => format!("{} {}", metric.description(), value(alert)),
        None => value(alert),
    }
}

fn ending(alert: &Active, reason: ClearReason) -> String {
    match reason {
        ClearReason::Recovered => match (metric(alert), alert.value.zip(alert.clear)) {
            (Some(Metric::Stopped), _) => "it runs again".to_owned(),
            (Some(metric), Some((value, clear))) => {
                let (unit, is_low) = (metric.unit(), metric.direction() == Direction::Low);
                let side = if is_low { "more" } else { "less" };
                let (value, clear) = (unit.show(value), unit.show(clear));
                format!("{} {value} ({clear} or {side})", metric.description())
            }
            _ => "the value is all right again".to_owned(),
        },
        ClearReason::NoLimit => match metric(alert) {
            Some(Metric::Swap | Metric::NodeSwap) => "there is no swap any more".to_owned(),
            _ => "there is no limit any more".to_owned(),
        },
        ClearReason::ContainerStopped => "the container was stopped".to_owned(),
        ClearReason::ContainerGone => "the container is not on this node any more".to_owned(),
        ClearReason::RuleOff => "the rule was switched off".to_owned(),
        ClearReason::RuleChanged => "the rule has other levels now".to_owned(),
    }
}

fn metric(alert: &Active) -> Option<Metric> {
    Metric::named(&alert.metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert() -> Active {
        Active {
            subject: Subject::Container("104".parse().unwrap()),
            name: Some("web".to_owned()),
            rule: "rootfs-full".to_owned(),
            metric: "rootfs".to_owned(),
            severity: Severity::Critical,
            value: Some(98.25),
            trigger: 97.0,
            clear: Some(95.0),
            since: "2026-11-23T17:20:00+01:00".parse().unwrap(),
            no_data: false,
        }
    }

    fn transition(change: Change, alert: Active) -> Transition {
        Transition { change, alert, at: "2026-11-23T17:30:00+01:00".parse().unwrap() }
    }

    #[track_caller]
    fn check(change: Change, alert: Active, want: &str) {
        assert_eq!(line(&transition(change, alert)), want);
    }

    #[test]
    fn lines_say_what_where_how_much_and_since_when() {
        check(
            Change::Fired,
            alert(),
            "critical alert `rootfs-full` of container 104 (web): root filesystem use 98.2 % (fires at 97 %) since \
             2026-11-23T17:20:00+01:00",
        );
        check(
            Change::Cleared(ClearReason::Recovered),
            Active { value: Some(80.0), ..alert() },
            "alert `rootfs-full` of container 104 (web) is over: root filesystem use 80 % (95 % or less); it began \
             2026-11-23T17:20:00+01:00",
        );
        check(
            Change::Cleared(ClearReason::ContainerStopped),
            Active { value: None, name: None, ..alert() },
            "alert `rootfs-full` of container 104 is over: the container was stopped; it began \
             2026-11-23T17:20:00+01:00",
        );
        let node = Active {
            subject: Subject::Node,
            metric: "node_memory_available".to_owned(),
            value: Some(4.0),
            trigger: 5.0,
            ..alert()
        };
        check(
            Change::Fired,
            node,
            "critical alert `rootfs-full` of the node: available memory of the node 4 % (fires at 5 % or less) since \
             2026-11-23T17:20:00+01:00",
        );
    }

    #[test]
    fn a_notification_has_it_for_programs_too() {
        let fired = notification(&transition(Change::Fired, alert()));
        assert_eq!((fired.kind, fired.severity), (Kind::Fired, Severity::Critical));
        assert_eq!(fired.details["value"], 98.25);
        assert_eq!(fired.details["metric"], "rootfs");
        assert!(!fired.details.contains_key("reason"));
        let cleared = Change::Cleared(ClearReason::ContainerGone);
        let cleared = notification(&transition(cleared, Active { value: None, ..alert() }));
        assert_eq!((cleared.kind, cleared.severity), (Kind::Cleared, Severity::Info));
        assert_eq!(cleared.details["reason"], "container-gone");
        assert!(!cleared.details.contains_key("value"));
    }
}
