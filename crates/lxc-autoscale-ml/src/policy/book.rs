//! All checked policies of a configuration, and the rules they give a container.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::config::{BrokenRule, Validate};
use sha2::{Digest, Sha256};

use super::in_force::{InForce, Layers, PresetBy, Source};
use super::overrides::{Overrides, ScalingOverrides};
use super::presets::Presets;
use super::schedule::{LONGEST_LEAD_MINUTES, LONGEST_MINUTES, Phase, Schedule};
use super::selector::{Identity, Match, Selector, Specificity};
use super::table::{Day, PolicyConfig, PresetsConfig, ScheduleConfig};
use crate::config::{Config, ModelConfig, ScalingConfig};
use crate::recommend::RecommendConfig;

/// A policy that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` {rule}")]
pub struct PolicyError {
    /// The invalid key, dotted.
    pub key: String,
    /// The rule it breaks.
    pub rule: String,
}

impl From<PolicyError> for BrokenRule {
    fn from(error: PolicyError) -> Self {
        Self::new(error.key, error.rule)
    }
}

/// Which of two policies that select the same container wins: the one that names its id, then the higher precedence,
/// then the narrower selector, then the later name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank<'a> {
    /// Whether it names the container's id.
    pub is_own: bool,
    /// Its precedence.
    pub precedence: i32,
    /// How narrowly it selects.
    pub specificity: Specificity,
    /// Its name.
    pub name: &'a str,
}

/// One checked policy.
#[derive(Clone, Debug)]
pub struct CheckedPolicy {
    /// Its name.
    pub name: String,
    /// Its precedence.
    pub precedence: i32,
    /// The containers it applies to.
    pub selector: Selector,
    /// Its preset.
    pub preset: Option<String>,
    /// What it sets.
    pub own: Overrides,
    /// Its schedules, weakest first.
    pub schedules: Vec<Schedule>,
}

/// All policies of a configuration.
#[derive(Clone, Debug)]
pub struct PolicyBook {
    scaling: ScalingConfig,
    recommend: RecommendConfig,
    model: ModelConfig,
    max_age_seconds: u64,
    ignored: Vec<Vmid>,
    by_tag: Option<String>,
    by_name: bool,
    policies: Vec<CheckedPolicy>,
    candidates: Vec<Candidate>,
    presets: Presets,
}

/// Most candidates: each costs about as much as the live policy.
const MOST_CANDIDATES: usize = 8;

/// A checked candidate.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Distinguishes its definition from others of the same name.
    pub key: String,
    /// The containers it applies to; empty for all.
    selector: Selector,
    /// What it sets, weaker first.
    overrides: Vec<Overrides>,
}

impl Candidate {
    /// Whether it applies to this container.
    pub fn is_for(&self, identity: &Identity) -> bool {
        self.selector.is_empty() || matches!(self.selector.matches(identity), Match::Yes(_))
    }
}

impl PolicyBook {
    /// Checks the policies of a configuration; `zone` is the default time zone of schedules.
    ///
    /// # Errors
    /// [`PolicyError`] with the first invalid key.
    pub fn new(config: &Config, zone: &TimeZone) -> Result<Self, PolicyError> {
        let mut book = Self {
            scaling: config.scaling.clone(),
            recommend: config.recommend.clone(),
            model: config.model.clone(),
            max_age_seconds: config.metrics.max_age_seconds,
            ignored: config.containers.ignore.iter().copied().collect(),
            by_tag: tag_prefix(&config.presets)?,
            by_name: config.presets.by_name,
            policies: Vec::new(),
            candidates: Vec::new(),
            presets: Presets::shipped()?,
        };
        for (name, table) in &config.policy {
            let policy = book.check("policy", name, table, zone)?;
            book.policies.push(policy);
        }
        if MOST_CANDIDATES < config.shadow.len() {
            let rule = format!("must not have more than {MOST_CANDIDATES} candidates");
            return Err(PolicyError { key: "shadow".to_owned(), rule });
        }
        for (name, table) in &config.shadow {
            let policy = book.check("shadow", name, &table.as_policy(), zone)?;
            let preset = policy.preset.as_ref().and_then(|name| book.presets.get(name));
            let preset = preset.map(|preset| preset.overrides.clone());
            let key = Sha256::digest(format!("{table:?}"))
                .iter()
                .take(8)
                .fold(0u64, |key, byte| (key << 8) | u64::from(*byte));
            book.candidates.push(Candidate {
                name: policy.name,
                key: format!("{key:016x}"),
                selector: policy.selector,
                overrides: preset.into_iter().chain([policy.own]).collect(),
            });
        }
        Ok(book)
    }

    /// The policies, by name.
    pub fn policies(&self) -> &[CheckedPolicy] {
        &self.policies
    }

    /// The candidates, by name.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// The available presets.
    pub fn presets(&self) -> &Presets {
        &self.presets
    }

    /// Whether the rules can change with time alone.
    pub fn has_schedules(&self) -> bool {
        self.policies.iter().any(|policy| !policy.schedules.is_empty())
    }

    /// The rules in force for a container at `now`.
    pub fn in_force(&self, identity: &Identity, now: Timestamp) -> InForce {
        self.layered(identity, Some(now))
    }

    /// The rules for a container without those of schedules.
    pub fn lasting(&self, identity: &Identity) -> InForce {
        self.layered(identity, None)
    }

    /// The rules for a container that no policy selects.
    pub fn general(&self) -> InForce {
        self.ground().finish(self.max_age_seconds, None)
    }

    /// The general tables, the lowest layer.
    fn ground(&self) -> Layers {
        Layers::on(&self.scaling, &self.recommend, &self.model)
    }

    fn layered(&self, identity: &Identity, now: Option<Timestamp>) -> InForce {
        let mut layers = self.ground();
        for (preset, by) in self.presets_of(identity) {
            self.put_preset(&mut layers, &preset, by);
        }
        let (selected, unclear) = self.selected(identity);
        for (_, policy) in selected {
            self.put(&mut layers, policy, now);
        }
        if self.ignored.contains(&identity.id) {
            layers.turn_off(Source::Ignored);
        }
        layers.finish(self.max_age_seconds, unclear)
    }

    /// The rules with a candidate on top of those in force.
    pub fn with_candidate(&self, below: &InForce, candidate: &Candidate) -> InForce {
        let mut layers = Layers::again(below);
        for overrides in &candidate.overrides {
            layers.put(&Source::Shadow { shadow: candidate.name.clone() }, overrides);
        }
        layers.finish(self.max_age_seconds, None)
    }

    /// The policies for a container, weakest first, and why that cannot be determined.
    fn selected(&self, identity: &Identity) -> (Vec<(Rank<'_>, &CheckedPolicy)>, Option<String>) {
        let (mut selected, mut unclear) = (Vec::new(), None);
        for policy in &self.policies {
            match policy.selector.matches(identity) {
                Match::Yes(specificity) => {
                    let is_own = specificity == Specificity::Own;
                    let (precedence, name) = (policy.precedence, policy.name.as_str());
                    selected.push((Rank { is_own, precedence, specificity, name }, policy));
                }
                Match::No => {}
                Match::Unknown => {
                    unclear = Some(format!(
                        "its pool could not be read, so it is not known whether `[policy.{}]` applies to it",
                        policy.name
                    ));
                }
            }
        }
        selected.sort_by_key(|(rank, _)| *rank);
        (selected, unclear)
    }

    /// The presets that a container has without a policy: by its name, and above that by its tags.
    fn presets_of(&self, identity: &Identity) -> Vec<(String, PresetBy)> {
        let mut found = Vec::new();
        if let (true, Some(name)) = (self.by_name, &identity.name)
            && let Some(preset) = self.presets.by_name(name)
        {
            found.push((preset.to_owned(), PresetBy::Name(name.clone())));
        }
        found.extend(
            self.tagged(identity).map(|(tag, preset)| (preset.to_owned(), PresetBy::Tag(tag.to_owned()))),
        );
        found
    }

    /// The tags of a container that refer to a preset, each with the preset's name.
    fn tagged<'a>(&'a self, identity: &'a Identity) -> impl Iterator<Item = (&'a str, &'a str)> {
        let prefix = self.by_tag.as_deref();
        identity.tags.iter().filter_map(move |tag| Some((tag.as_str(), tag.strip_prefix(prefix?)?)))
    }

    /// The tags of a container that have no effect, because they refer to a preset that does not exist.
    pub fn idle_tags(&self, identity: &Identity) -> Vec<String> {
        let unknown = self.tagged(identity).filter(|(_, preset)| self.presets.get(preset).is_none());
        unknown
            .map(|(tag, preset)| {
                let near = self.presets.nearest(preset);
                let hint = near.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
                format!("the tag `{tag}` names a preset that there is not and does nothing{hint}")
            })
            .collect()
    }

    fn put_preset(&self, layers: &mut Layers, name: &str, by: PresetBy) {
        if let Some(preset) = self.presets.get(name) {
            layers.put(&Source::Preset { preset: name.to_owned(), by }, &preset.overrides);
        }
    }

    fn put(&self, layers: &mut Layers, policy: &CheckedPolicy, now: Option<Timestamp>) {
        if let Some(preset) = &policy.preset {
            self.put_preset(layers, preset, PresetBy::Policy(policy.name.clone()));
        }
        layers.put(&Source::Policy { policy: policy.name.clone() }, &policy.own);
        let Some(now) = now else { return };
        for schedule in &policy.schedules {
            let phase = schedule.phase(now);
            let overrides = schedule.overrides(phase, layers.scaling());
            if phase == Phase::Out || overrides.is_empty() {
                continue;
            }
            let (policy, number) = (policy.name.clone(), schedule.number);
            layers.put(&Source::Schedule { policy, number, ahead: phase == Phase::Ahead }, &overrides);
        }
    }

    /// Checks the table `[<kind>.<name>]`.
    fn check(
        &self,
        kind: &str,
        name: &str,
        table: &PolicyConfig,
        zone: &TimeZone,
    ) -> Result<CheckedPolicy, PolicyError> {
        let key = |rest: &str| format!("{kind}.{name}{rest}");
        let unless = |holds: bool, rest: &str, rule: &str| {
            if holds { Ok(()) } else { Err(PolicyError { key: key(rest), rule: rule.to_owned() }) }
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let rule = "must be a name of letters, digits, `-` and `_`";
        unless(!name.is_empty() && name.chars().all(is_plain), "", rule)?;
        if let Some(list) = table.empty_selector() {
            unless(false, &format!(".{list}"), "must not be empty: it would select nothing")?;
        }
        let selector = table.selector();
        unless(
            kind == "shadow" || !selector.is_empty(),
            "",
            "must select containers by `ids`, `names`, `tags` or `pools`",
        )?;
        let own = Overrides {
            scaling: table.scaling.clone(),
            recommend: table.recommend.clone(),
            model: table.model.clone(),
        };
        if let Some(preset) = &table.preset
            && self.presets.get(preset).is_none()
        {
            let near = self.presets.nearest(preset);
            let near = near.map(|near| format!("did you mean \"{near}\"? ")).unwrap_or_default();
            let rule =
                format!("is \"{preset}\", and there is no such preset; {near}`policy presets` lists them");
            unless(false, ".preset", &rule)?;
        }
        let sets_something = !own.is_empty() || table.preset.is_some() || !table.schedule.is_empty();
        unless(
            sets_something,
            "",
            "must set something: a key of `scaling`, `recommend` or `model`, a preset or a schedule",
        )?;
        let mut schedules = Vec::new();
        for (index, schedule) in table.schedule.iter().enumerate() {
            let prefix = key(&format!(".schedule.{}", index + 1));
            schedules.push(
                check_schedule(index + 1, schedule, zone)
                    .map_err(|(rest, rule)| PolicyError { key: format!("{prefix}.{rest}"), rule })?,
            );
        }
        schedules.sort_by_key(|schedule| (schedule.precedence, schedule.number));
        let (preset, precedence) = (table.preset.clone(), table.precedence);
        let policy = CheckedPolicy { name: name.to_owned(), precedence, selector, preset, own, schedules };
        self.check_values(kind, &policy)?;
        Ok(policy)
    }

    /// The general tables with this policy on top must be valid, without schedules and with each of them.
    fn check_values(&self, kind: &str, policy: &CheckedPolicy) -> Result<(), PolicyError> {
        let mut layers = self.ground();
        let source = Source::Policy { policy: policy.name.clone() };
        if let Some(preset) = policy.preset.as_ref().and_then(|name| self.presets.get(name)) {
            layers.put(&source, &preset.overrides);
        }
        layers.put(&source, &policy.own);
        let prefix = format!("{kind}.{}", policy.name);
        self.check_layers(layers.clone(), &prefix)?;
        for schedule in &policy.schedules {
            let mut layers = layers.clone();
            layers.put(&source, &schedule.overrides(Phase::In, layers.scaling()));
            self.check_layers(layers, &format!("{prefix}.schedule.{}", schedule.number))?;
        }
        Ok(())
    }

    fn check_layers(&self, layers: Layers, prefix: &str) -> Result<(), PolicyError> {
        let in_force = layers.finish(self.max_age_seconds, None);
        let broken = in_force
            .policy
            .validate()
            .and_then(|()| in_force.recommend.validate())
            .and_then(|()| in_force.model.validate());
        broken.map_err(|BrokenRule { key, rule }| PolicyError { key: format!("{prefix}.{key}"), rule })
    }
}

fn check_schedule(
    number: usize,
    table: &ScheduleConfig,
    zone: &TimeZone,
) -> Result<Schedule, (String, String)> {
    let unless = |holds: bool, key: &str, rule: &str| {
        if holds { Ok(()) } else { Err((key.to_owned(), rule.to_owned())) }
    };
    let days = table.days.clone().unwrap_or_else(|| Day::ALL.to_vec());
    unless(!days.is_empty(), "days", "must not be empty: it would never begin")?;
    let minutes = (1..=LONGEST_MINUTES).contains(&table.duration_minutes);
    unless(minutes, "duration_minutes", "must be 1 to 10080, a week")?;
    unless(table.lead_minutes <= LONGEST_LEAD_MINUTES, "lead_minutes", "must be at most 1440, a day")?;
    let sets_something = table.scaling != ScalingOverrides::default();
    unless(sets_something, "scaling", "must set a key of `[scaling]`")?;
    let zone = match &table.time_zone {
        None => zone.clone(),
        Some(name) => TimeZone::get(name).map_err(|error| {
            ("time_zone".to_owned(), format!("must be a time zone such as \"Europe/Berlin\": {error}"))
        })?,
    };
    Ok(Schedule {
        number,
        precedence: table.precedence,
        days: days.into_iter().map(Day::weekday).collect(),
        start: table.start,
        duration: SignedDuration::from_mins(table.duration_minutes.into()),
        lead: SignedDuration::from_mins(table.lead_minutes.into()),
        zone,
        scaling: table.scaling.clone(),
    })
}

fn tag_prefix(config: &PresetsConfig) -> Result<Option<String>, PolicyError> {
    if config.tag_prefix.is_empty() {
        let rule = "must not be empty: every tag would name a preset".to_owned();
        return Err(PolicyError { key: "presets.tag_prefix".to_owned(), rule });
    }
    Ok(config.by_tag.then(|| config.tag_prefix.clone()))
}

/// The rules in force for each container, computed once per cycle.
pub type Policies = BTreeMap<Vmid, std::sync::Arc<InForce>>;

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
