//! `[alerts]` of the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::config::{BrokenRule, Validate};
use lxc_autoscale_core::container_config::folded_tag;
use lxc_autoscale_core::notification::Severity;
use serde::{Deserialize, Deserializer, de};

use super::defaults;
use super::engine::Settings;
use super::metric::{Direction, Scope};
use super::rule::{Overrides, Rule, RuleEdit, RuleSet};

/// Longest hold time, in seconds: a week.
const MAX_HOLD_SECONDS: u64 = 7 * 24 * 60 * 60;
/// Number of missed cycles before data counts as missing.
const CYCLES_OF_PATIENCE: f64 = 3.0;
/// Longest name of a rule.
const MAX_NAME: usize = 64;

/// The alert settings.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertsConfig {
    /// Whether there are alerts.
    pub enabled: bool,
    /// The file that keeps alerts across restarts.
    pub state_file: PathBuf,
    /// Time after which an unreadable value is shown as no data, in seconds.
    pub no_data_after_seconds: u64,
    /// The rules, by name.
    #[serde(rename = "rule", deserialize_with = "rules_over_the_defaults")]
    pub rules: BTreeMap<String, Rule>,
    /// Overrides for the containers with a tag.
    #[serde(rename = "tag")]
    pub tags: BTreeMap<String, Overrides>,
    /// Overrides for one container.
    #[serde(rename = "container", deserialize_with = "by_container")]
    pub containers: BTreeMap<Vmid, Overrides>,
}

impl AlertsConfig {
    /// The engine's settings, with a cycle every `interval`.
    pub fn settings(&self, interval: Duration) -> Settings {
        let cycles = interval.as_secs_f64() * CYCLES_OF_PATIENCE;
        let rules = if self.enabled {
            RuleSet {
                rules: self.rules.clone(),
                tags: self
                    .tags
                    .iter()
                    .map(|(tag, overrides)| (folded_tag(tag).into_owned(), overrides.clone()))
                    .collect(),
                containers: self.containers.clone(),
            }
        } else {
            RuleSet::default()
        };
        let seconds = (self.no_data_after_seconds as f64).max(cycles);
        Settings {
            rules,
            no_data_after: SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::MAX),
        }
    }
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            state_file: "/var/lib/lxc_autoscale_ml/monitor/alerts.json".into(),
            no_data_after_seconds: 600,
            rules: defaults::rules(),
            tags: BTreeMap::new(),
            containers: BTreeMap::new(),
        }
    }
}

impl Validate for AlertsConfig {
    fn validate(&self) -> Result<(), BrokenRule> {
        BrokenRule::unless(self.state_file.is_absolute(), "alerts.state_file", "must be an absolute path")?;
        let no_data_holds = (60..=MAX_HOLD_SECONDS).contains(&self.no_data_after_seconds);
        BrokenRule::unless(
            no_data_holds,
            "alerts.no_data_after_seconds",
            format!("must be from 60 to {MAX_HOLD_SECONDS}"),
        )?;
        for (name, rule) in &self.rules {
            check_name(name)?;
            check_rule(&format!("alerts.rule.{name}"), rule)?;
        }
        let mut seen = BTreeMap::new();
        for (tag, overrides) in &self.tags {
            check_tag(tag)?;
            if let Some(other) = seen.insert(folded_tag(tag), tag) {
                let problem = format!("is the same tag as `{other}`: small and capital letters are one");
                return Err(BrokenRule::new(format!("alerts.tag.{tag}"), problem));
            }
            self.check_overrides(&format!("alerts.tag.{tag}"), overrides)?;
        }
        for (vmid, overrides) in &self.containers {
            self.check_overrides(&format!("alerts.container.{vmid}"), overrides)?;
        }
        Ok(())
    }
}

impl AlertsConfig {
    fn check_overrides(&self, whose: &str, overrides: &Overrides) -> Result<(), BrokenRule> {
        for (name, edit) in &overrides.rules {
            let key = format!("{whose}.rule.{name}");
            let Some(rule) = self.rules.get(name) else {
                let names: Vec<_> = self.rules.keys().map(String::as_str).collect();
                return Err(BrokenRule::new(key, format!("changes no rule; there are {}", names.join(", "))));
            };
            let is_of_containers = rule.metric.scope() == Scope::Container;
            BrokenRule::unless(
                is_of_containers,
                key.clone(),
                "cannot be changed here: it is about the node",
            )?;
            BrokenRule::unless(
                edit.metric.is_none(),
                format!("{key}.metric"),
                "cannot differ between containers; make a rule of its own",
            )?;
            // So that a level from a tag never contradicts the other level from a container.
            BrokenRule::unless(
                edit.trigger.is_some() == edit.clear.is_some(),
                key.clone(),
                "must have both `trigger` and `clear`, or neither",
            )?;
            check_rule(&key, &rule.edited(edit))?;
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), BrokenRule> {
    let is_plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    let holds = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_plain);
    BrokenRule::unless(
        holds,
        format!("alerts.rule.{name}"),
        "must be named with small letters, digits, - and _ only",
    )
}

/// Proxmox refuses any other tag, so an override for one would never apply.
fn check_tag(tag: &str) -> Result<(), BrokenRule> {
    let begins = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let goes_on = |byte: u8| begins(byte) || b"-+.".contains(&byte);
    let holds = tag.bytes().next().is_some_and(begins) && tag.bytes().all(goes_on);
    BrokenRule::unless(
        holds,
        format!("alerts.tag.{tag}"),
        "can be no tag of Proxmox: those have letters, digits, _, -, + and ., and begin with a letter, a digit or _",
    )
}

fn check_rule(key: &str, rule: &Rule) -> Result<(), BrokenRule> {
    let most = rule.metric.most();
    for (part, level) in [("trigger", rule.trigger), ("clear", rule.clear)] {
        let holds = (0.0..=most).contains(&level);
        BrokenRule::unless(holds, format!("{key}.{part}"), format!("must be from 0 to {most:.0}"))?;
    }
    let (trigger, clear) = (rule.trigger, rule.clear);
    match rule.metric.direction() {
        Direction::High => BrokenRule::unless(
            clear < trigger,
            format!("{key}.clear"),
            format!("is {clear} and must be less than `trigger`, {trigger}"),
        )?,
        Direction::Low => BrokenRule::unless(
            trigger < clear,
            format!("{key}.clear"),
            format!("is {clear} and must be more than `trigger`, {trigger}: the less, the worse"),
        )?,
    }
    for (part, seconds) in [("for_seconds", rule.for_seconds), ("clear_for_seconds", rule.clear_for_seconds)]
    {
        let holds = seconds <= MAX_HOLD_SECONDS;
        BrokenRule::unless(holds, format!("{key}.{part}"), format!("must be from 0 to {MAX_HOLD_SECONDS}"))?;
    }
    BrokenRule::unless(
        rule.for_seconds == 0 || !rule.metric.is_of_events(),
        format!("{key}.for_seconds"),
        format!(
            "must be 0 for `{}`, which counts what happened since the previous cycle: it is 0 again in the next one, \
             so the alert would never fire",
            rule.metric.name()
        ),
    )
}

/// A rule with defaults is changed where it is named; any other name makes a new rule.
fn rules_over_the_defaults<'de, D>(deserializer: D) -> Result<BTreeMap<String, Rule>, D::Error>
where
    D: Deserializer<'de>,
{
    let mut rules = defaults::rules();
    for (name, edit) in BTreeMap::<String, RuleEdit>::deserialize(deserializer)? {
        let rule = match rules.get(&name) {
            Some(rule) => rule.edited(&edit),
            None => new_rule(&edit).ok_or_else(|| {
                de::Error::custom(format!("the new rule `{name}` needs `metric`, `trigger` and `clear`"))
            })?,
        };
        rules.insert(name, rule);
    }
    Ok(rules)
}

/// The defaults of a new rule: a minute to fire (at once where events are counted), a minute to clear, a warning.
fn new_rule(edit: &RuleEdit) -> Option<Rule> {
    let metric = edit.metric?;
    let hold = if metric.is_of_events() { 0 } else { 60 };
    Some(Rule {
        metric,
        trigger: edit.trigger?,
        clear: edit.clear?,
        for_seconds: edit.for_seconds.unwrap_or(hold),
        clear_for_seconds: edit.clear_for_seconds.unwrap_or(60),
        severity: edit.severity.unwrap_or(Severity::Warning),
        enabled: edit.enabled.unwrap_or(true),
    })
}

fn by_container<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Vmid, Overrides>, D::Error> {
    BTreeMap::<String, Overrides>::deserialize(deserializer)?
        .into_iter()
        .map(|(id, overrides)| id.parse().map(|vmid| (vmid, overrides)).map_err(de::Error::custom))
        .collect()
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
