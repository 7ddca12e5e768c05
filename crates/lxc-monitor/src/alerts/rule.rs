//! A rule, and its overrides for some containers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::container_config::folded_tag;
use lxc_autoscale_core::notification::Severity;
use serde::{Deserialize, Serialize};

use super::metric::{Direction, Metric};

/// When an alert fires and when it clears.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// The metric.
    pub metric: Metric,
    /// Level at which it fires, in the metric's unit.
    pub trigger: f64,
    /// Level at which it clears; between the two an alert stays as it is.
    pub clear: f64,
    /// Seconds for which the value must have been at the trigger level or beyond.
    pub for_seconds: u64,
    /// Seconds for which it must have been at the clear level or better.
    pub clear_for_seconds: u64,
    /// How urgent it is.
    pub severity: Severity,
    /// Whether it is evaluated.
    pub enabled: bool,
}

/// The levels an alert was judged by; when they change, it is judged anew.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Levels {
    /// At or beyond it an alert fires.
    pub trigger: f64,
    /// At or better than it an alert clears.
    pub clear: f64,
}

/// Changes to a rule; fields that are absent stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleEdit {
    /// See [`Rule::metric`]; not allowed in overrides.
    pub metric: Option<Metric>,
    /// See [`Rule::trigger`].
    pub trigger: Option<f64>,
    /// See [`Rule::clear`].
    pub clear: Option<f64>,
    /// See [`Rule::for_seconds`].
    pub for_seconds: Option<u64>,
    /// See [`Rule::clear_for_seconds`].
    pub clear_for_seconds: Option<u64>,
    /// See [`Rule::severity`].
    pub severity: Option<Severity>,
    /// See [`Rule::enabled`].
    pub enabled: Option<bool>,
}

/// Overrides for the containers with a tag, or for one container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Overrides {
    /// Changes, by the name of the rule.
    #[serde(rename = "rule")]
    pub rules: BTreeMap<String, RuleEdit>,
}

/// All rules, with their overrides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleSet {
    /// The rules, by name.
    pub rules: BTreeMap<String, Rule>,
    /// Changes for the containers with a tag, which is [folded](folded_tag).
    pub tags: BTreeMap<String, Overrides>,
    /// Changes for one container.
    pub containers: BTreeMap<Vmid, Overrides>,
}

impl Rule {
    /// The levels.
    pub fn levels(&self) -> Levels {
        Levels { trigger: self.trigger, clear: self.clear }
    }

    /// Whether a value reaches the trigger level.
    pub fn is_over(&self, value: f64) -> bool {
        match self.metric.direction() {
            Direction::High => self.trigger <= value,
            Direction::Low => value <= self.trigger,
        }
    }

    /// Whether a value reaches the clear level.
    pub fn is_clear(&self, value: f64) -> bool {
        match self.metric.direction() {
            Direction::High => value <= self.clear,
            Direction::Low => self.clear <= value,
        }
    }

    /// The rule with a change.
    #[must_use]
    pub fn edited(self, edit: &RuleEdit) -> Self {
        Self {
            metric: edit.metric.unwrap_or(self.metric),
            trigger: edit.trigger.unwrap_or(self.trigger),
            clear: edit.clear.unwrap_or(self.clear),
            for_seconds: edit.for_seconds.unwrap_or(self.for_seconds),
            clear_for_seconds: edit.clear_for_seconds.unwrap_or(self.clear_for_seconds),
            severity: edit.severity.unwrap_or(self.severity),
            enabled: edit.enabled.unwrap_or(self.enabled),
        }
    }
}

impl RuleSet {
    /// The rule for a container; `None` when it depends on the container's tags and they are unknown.
    ///
    /// Overrides for the container win over those for a tag, and those over the rule itself. Of several tags the one
    /// that sorts first wins, key by key.
    pub fn for_container(&self, name: &str, rule: Rule, vmid: Vmid, tags: Option<&[String]>) -> Option<Rule> {
        let mut rule = rule;
        if self.is_edited_by_tags(name) {
            let mut tags: Vec<Cow<'_, str>> = tags?.iter().map(|tag| folded_tag(tag)).collect();
            tags.sort_unstable();
            for tag in tags.into_iter().rev() {
                if let Some(edit) = self.tags.get(&*tag).and_then(|overrides| overrides.rules.get(name)) {
                    rule = rule.edited(edit);
                }
            }
        }
        if let Some(edit) = self.containers.get(&vmid).and_then(|overrides| overrides.rules.get(name)) {
            rule = rule.edited(edit);
        }
        Some(rule)
    }

    fn is_edited_by_tags(&self, name: &str) -> bool {
        !self.tags.is_empty() && self.tags.values().any(|overrides| overrides.rules.contains_key(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule {
        metric: Metric::Memory,
        trigger: 95.0,
        clear: 90.0,
        for_seconds: 300,
        clear_for_seconds: 60,
        severity: Severity::Warning,
        enabled: true,
    };

    fn overrides(edit: RuleEdit) -> Overrides {
        Overrides { rules: [("memory".to_owned(), edit)].into() }
    }

    fn set() -> RuleSet {
        let levels =
            |trigger, clear| RuleEdit { trigger: Some(trigger), clear: Some(clear), ..RuleEdit::default() };
        let lenient = RuleEdit { for_seconds: Some(9), ..levels(99.0, 98.0) };
        let off = RuleEdit { enabled: Some(false), ..RuleEdit::default() };
        RuleSet {
            rules: [("memory".to_owned(), RULE)].into(),
            tags: [
                ("a-strict".to_owned(), overrides(levels(50.0, 40.0))),
                ("b-lenient".to_owned(), overrides(lenient)),
            ]
            .into(),
            containers: [("104".parse().unwrap(), overrides(off))].into(),
        }
    }

    /// Checks the rule for a container: trigger, hold time and whether it is enabled.
    #[track_caller]
    fn check(id: u32, tags: Option<&[&str]>, want: Option<(f64, u64, bool)>) {
        let tags: Option<Vec<String>> = tags.map(|tags| tags.iter().map(|tag| (*tag).to_owned()).collect());
        let rule = set().for_container("memory", RULE, Vmid::try_from(id).unwrap(), tags.as_deref());
        assert_eq!(rule.map(|rule| (rule.trigger, rule.for_seconds, rule.enabled)), want);
    }

    #[test]
    fn the_container_wins_over_its_tags_and_those_over_the_rule() {
        check(105, Some(&[]), Some((95.0, 300, true)));
        check(105, Some(&["other"]), Some((95.0, 300, true)));
        check(105, Some(&["b-lenient"]), Some((99.0, 9, true)));
        check(105, Some(&["b-lenient", "a-strict"]), Some((50.0, 9, true)));
        check(105, Some(&["B-Lenient", "A-STRICT"]), Some((50.0, 9, true)));
        check(104, Some(&["a-strict"]), Some((50.0, 300, false)));
        check(105, None, None);
    }
}
