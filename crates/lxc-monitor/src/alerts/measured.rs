//! The firing alerts as a record of the metrics file tells them.

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::snapshot::{ActiveAlert, ContainerRecord, Snapshot};

use super::outcome::{self, Active};
use super::rule::RuleSet;
use super::state::Subject;

/// The alerts of a snapshot, most urgent first. What a record does not have comes from the saved alert, if it is the
/// same one, and from the rules.
pub(super) fn alerts(snapshot: &Snapshot, saved: &[Active], rules: &RuleSet) -> Vec<Active> {
    let of_containers = snapshot
        .containers
        .iter()
        .flat_map(|(vmid, record)| record.alerts.iter().map(move |shown| (Subject::Container(*vmid), shown)));
    let of_node = snapshot.summary.node.iter().flat_map(|node| &node.alerts);
    let elsewhere = of_node.map(|shown| (shown.container.map_or(Subject::Node, Subject::Container), shown));
    let mut alerts: Vec<Active> = of_containers
        .chain(elsewhere)
        .map(|(subject, shown)| {
            let same = saved.iter().find(|saved| is_same(saved, subject, shown));
            one(snapshot, subject, shown, same, rules)
        })
        .collect();
    outcome::by_urgency(&mut alerts);
    alerts
}

fn is_same(saved: &Active, subject: Subject, shown: &ActiveAlert) -> bool {
    (saved.subject, &saved.rule, saved.since.instant()) == (subject, &shown.rule, shown.since.instant())
}

fn one(
    snapshot: &Snapshot,
    subject: Subject,
    shown: &ActiveAlert,
    saved: Option<&Active>,
    rules: &RuleSet,
) -> Active {
    let record = subject.container().and_then(|vmid| snapshot.containers.get(&vmid));
    let configuration = record.and_then(|record| record.configuration.as_ref());
    let name = configuration.and_then(|configuration| configuration.name.clone());
    Active {
        subject,
        name: name.or_else(|| saved.and_then(|saved| saved.name.clone())),
        rule: shown.rule.clone(),
        metric: shown.metric.clone(),
        severity: shown.severity,
        value: shown.value,
        trigger: shown.level,
        clear: match saved {
            Some(saved) => saved.clear,
            None => clear_level(rules, &shown.rule, subject.container(), record),
        },
        since: shown.since,
        no_data: shown.no_data,
    }
}

/// The level at which a rule clears for a container; `None` if there is no such rule any more, or the container's tags
/// decide and are unknown.
fn clear_level(
    rules: &RuleSet,
    name: &str,
    container: Option<Vmid>,
    record: Option<&ContainerRecord>,
) -> Option<f64> {
    let rule = *rules.rules.get(name)?;
    let rule = match container {
        None => rule,
        Some(vmid) => {
            let tags = record.and_then(|record| record.configuration.as_ref());
            rules.for_container(name, rule, vmid, tags.map(|stored| stored.tags.as_slice()))?
        }
    };
    Some(rule.clear)
}
