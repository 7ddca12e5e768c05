//! The rules in force for one container, with the source of each.

use std::collections::BTreeMap;
use std::fmt;

use lxc_autoscale_core::config::Validate;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::given;
use super::overrides::Overrides;
use crate::config::{ModelConfig, ScalingConfig};
use crate::decide::{CpuControl, Mode, Policy};
use crate::recommend::RecommendConfig;

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// The default of the program.
    Default,
    /// The general tables of the configuration.
    General,
    /// A preset.
    Preset {
        /// Its name.
        preset: String,
        /// Why the container has it.
        by: PresetBy,
    },
    /// A policy.
    Policy {
        /// Its name.
        policy: String,
    },
    /// A schedule of a policy.
    Schedule {
        /// The policy.
        policy: String,
        /// The number of the schedule in it, from 1.
        number: usize,
        /// Whether it has not begun yet and only raises minimums.
        ahead: bool,
    },
    /// `[containers] ignore`.
    Ignored,
    /// The size that somebody gave the container, which is more than the default of the program.
    Given,
    /// The minimum that is set, which is more than the default of the program.
    Minimum,
    /// A candidate that never acts.
    Shadow {
        /// Its name.
        shadow: String,
    },
}

/// Why a container has a preset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PresetBy {
    /// A policy names it.
    Policy(String),
    /// The container carries this tag.
    Tag(String),
    /// The container has this name.
    Name(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::General => f.write_str("general table"),
            Self::Preset { preset, by: PresetBy::Policy(policy) } => {
                write!(f, "preset {preset} (policy {policy})")
            }
            Self::Preset { preset, by: PresetBy::Tag(tag) } => write!(f, "preset {preset} (tag {tag})"),
            Self::Preset { preset, by: PresetBy::Name(name) } => write!(f, "preset {preset} (name {name})"),
            Self::Policy { policy } => write!(f, "policy {policy}"),
            Self::Schedule { policy, number, ahead: false } => {
                write!(f, "policy {policy}, schedule {number}")
            }
            Self::Schedule { policy, number, ahead: true } => {
                write!(f, "policy {policy}, schedule {number} (about to begin)")
            }
            Self::Ignored => f.write_str("containers.ignore"),
            Self::Given => f.write_str("size that somebody gave it"),
            Self::Minimum => f.write_str("raised to the minimum"),
            Self::Shadow { shadow } => write!(f, "shadow {shadow}"),
        }
    }
}

/// The rules in force for a container at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct InForce {
    /// The rules of the decision.
    pub policy: Policy,
    /// The constants of the recommendation.
    pub recommend: RecommendConfig,
    /// The scaling table, from which `policy` was made; its fewest cores may be left to the setting that is changed.
    pub scaling: ScalingConfig,
    /// The parameters of the anomaly detector.
    pub model: ModelConfig,
    /// The sources of the keys that do not come from a general table.
    pub sources: BTreeMap<&'static str, Source>,
    /// The layers above the general tables, lowest first.
    pub layers: Vec<Source>,
}

/// One key as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Effective {
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub value: Value,
    /// Its source.
    pub source: Source,
}

/// What the ledger stores of the rules: enough to repeat a decision, and the sources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The rules of the decision.
    pub policy: Policy,
    /// The constants of the recommendation.
    pub recommend: RecommendConfig,
    /// The sources of the keys that do not come from a general table.
    pub sources: BTreeMap<String, Source>,
}

/// Puts layers on top of each other.
#[derive(Clone, Debug)]
pub(super) struct Layers {
    scaling: ScalingConfig,
    recommend: RecommendConfig,
    model: ModelConfig,
    sources: BTreeMap<&'static str, Source>,
    put: Vec<Source>,
    ignored: bool,
}

impl Layers {
    pub(super) fn on(scaling: &ScalingConfig, recommend: &RecommendConfig, model: &ModelConfig) -> Self {
        Self {
            scaling: scaling.clone(),
            recommend: recommend.clone(),
            model: model.clone(),
            sources: BTreeMap::new(),
            put: Vec::new(),
            ignored: false,
        }
    }

    pub(super) fn again(in_force: &InForce) -> Self {
        Self {
            scaling: in_force.scaling.clone(),
            recommend: in_force.recommend.clone(),
            model: in_force.model.clone(),
            sources: in_force.sources.clone(),
            put: in_force.layers.clone(),
            ignored: in_force.policy.ignored,
        }
    }

    pub(super) fn scaling(&self) -> &ScalingConfig {
        &self.scaling
    }

    pub(super) fn put(&mut self, source: &Source, overrides: &Overrides) {
        let sources = &mut self.sources;
        overrides.apply(&mut self.scaling, &mut self.recommend, &mut self.model, &mut |key| {
            sources.insert(key, source.clone());
        });
        self.put.push(source.clone());
    }

    pub(super) fn turn_off(&mut self, source: Source) {
        self.scaling.mode = Mode::Off;
        self.ignored = true;
        self.sources.insert("scaling.mode", source.clone());
        self.put.push(source);
    }

    /// The rules, with `unclear` as a reason to leave the container alone; contradicting rules are such a reason, too.
    pub(super) fn finish(mut self, max_age_seconds: u64, unclear: Option<String>) -> InForce {
        for resource in given::raise_to_minimum(&mut self.scaling, &self.sources) {
            self.sources.insert(given::maximum_key(resource), Source::Minimum);
        }
        let mut policy = self.scaling.policy(max_age_seconds);
        let broken = policy.validate().and_then(|()| self.recommend.validate()).err();
        let contradiction = broken.map(|broken| {
            format!(
                "the policies that are in force for it contradict each other: `{}` {}",
                broken.key, broken.rule
            )
        });
        policy.unclear = unclear.or(contradiction);
        policy.ignored = self.ignored;
        let Self { scaling, recommend, model, sources, put: layers, .. } = self;
        InForce { policy, recommend, scaling, model, sources, layers }
    }
}

impl InForce {
    /// Every key that a policy may set, with its value and source.
    pub fn effective(&self) -> Vec<Effective> {
        let defaults = Overrides::values(
            &ScalingConfig::default(),
            &RecommendConfig::default(),
            &ModelConfig::default(),
        );
        let values = Overrides::values(&self.scaling, &self.recommend, &self.model);
        // What is left to another key is shown as what it comes to.
        let mut scaling = self.scaling.clone();
        scaling.cpu.min_cores = self.policy.cpu.min_cores;
        let shown = Overrides::values(&scaling, &self.recommend, &self.model);
        let rows = values.into_iter().zip(defaults).zip(shown);
        rows.map(|(((key, value), (_, default)), (_, shown))| {
            let general = if value == default { Source::Default } else { Source::General };
            let source = self.sources.get(key).cloned().unwrap_or(general);
            Effective { key, value: shown, source }
        })
        .collect()
    }

    /// The same rules with CPU given by this setting: the fewest cores follow it unless somebody set them.
    #[must_use]
    pub fn with_cpu_control(mut self, control: CpuControl) -> Self {
        self.scaling.cpu.control = control;
        (self.policy.cpu.control, self.policy.cpu.min_cores) = (control, self.scaling.cpu.fewest_cores());
        self
    }

    /// The key under which the ledger stores it; `None` if it cannot be serialised as JSON.
    pub fn key(&self) -> Option<String> {
        self.kept().key().ok()
    }

    /// What the ledger stores of it.
    pub fn kept(&self) -> Kept {
        let sources = self.sources.iter().map(|(key, source)| ((*key).to_owned(), source.clone()));
        Kept { policy: self.policy.clone(), recommend: self.recommend.clone(), sources: sources.collect() }
    }
}

impl Kept {
    /// The key derived from its JSON text: the first 128 bits of the SHA-256, in hexadecimal digits.
    ///
    /// # Errors
    /// When it cannot be serialised as JSON.
    pub fn key(&self) -> Result<String, serde_json::Error> {
        let digest = Sha256::digest(serde_json::to_vec(self)?);
        let mut bits = [0u8; 16];
        bits.iter_mut().zip(digest).for_each(|(bit, byte)| *bit = byte);
        Ok(format!("{:032x}", u128::from_be_bytes(bits)))
    }
}
