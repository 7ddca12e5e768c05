//! The tables `[policy.<name>]` and `[presets]` as they stand in the configuration.

use jiff::civil::{Time, Weekday};
use serde::{Deserialize, Deserializer, de};

use super::overrides::{ModelOverrides, RecommendOverrides, ScalingOverrides};
use super::selector::{Ids, Selector};

/// How long before its start a schedule that raises a minimum begins to act, in minutes. Memory grows by its own
/// size a minute, so five minutes make 16 GiB of half a GiB.
const LEAD_MINUTES: u32 = 5;

/// `[policy.<name>]`: rules for some of the containers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// Ids and ranges of ids that it is for.
    pub ids: Option<Vec<Ids>>,
    /// Names, with `*` and `?`.
    pub names: Option<Vec<String>>,
    /// Tags in Proxmox.
    pub tags: Option<Vec<String>>,
    /// Pools in Proxmox.
    pub pools: Option<Vec<String>>,
    /// The higher wins over the lower, except that a policy that names the very id wins over all others.
    pub precedence: i32,
    /// The preset that lies below the keys of this policy.
    pub preset: Option<String>,
    /// Keys of `[scaling]`.
    pub scaling: ScalingOverrides,
    /// Keys of `[recommend]`.
    pub recommend: RecommendOverrides,
    /// Keys of `[model]`.
    pub model: ModelOverrides,
    /// When other keys are in force.
    pub schedule: Vec<ScheduleConfig>,
}

impl PolicyConfig {
    /// What it selects by.
    pub fn selector(&self) -> Selector {
        Selector {
            ids: self.ids.clone().unwrap_or_default(),
            names: self.names.clone().unwrap_or_default(),
            tags: self.tags.clone().unwrap_or_default(),
            pools: self.pools.clone().unwrap_or_default(),
        }
    }

    /// The key of a selector that is there and empty.
    pub fn empty_selector(&self) -> Option<&'static str> {
        let is_empty = [
            ("ids", self.ids.as_ref().is_some_and(Vec::is_empty)),
            ("names", self.names.as_ref().is_some_and(|list| has_nothing(list))),
            ("tags", self.tags.as_ref().is_some_and(|list| has_nothing(list))),
            ("pools", self.pools.as_ref().is_some_and(|list| has_nothing(list))),
        ];
        is_empty.into_iter().find(|(_, is_empty)| *is_empty).map(|(key, _)| key)
    }
}

fn has_nothing(list: &[String]) -> bool {
    list.is_empty() || list.iter().any(|entry| entry.trim().is_empty())
}

/// `[shadow.<name>]`: a candidate, which is watched and never acts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShadowConfig {
    /// As in a policy; without any selector it is for every container.
    pub ids: Option<Vec<Ids>>,
    /// As in a policy.
    pub names: Option<Vec<String>>,
    /// As in a policy.
    pub tags: Option<Vec<String>>,
    /// As in a policy.
    pub pools: Option<Vec<String>>,
    /// As in a policy.
    pub preset: Option<String>,
    /// As in a policy.
    pub scaling: ScalingOverrides,
    /// As in a policy.
    pub recommend: RecommendOverrides,
}

impl ShadowConfig {
    /// The same as the policy that it might become.
    pub fn as_policy(&self) -> PolicyConfig {
        let Self { ids, names, tags, pools, preset, scaling, recommend } = self.clone();
        PolicyConfig { ids, names, tags, pools, preset, scaling, recommend, ..PolicyConfig::default() }
    }
}

/// `[[policy.<name>.schedule]]`: keys that are in force at certain times.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Days on which it begins; every day when left out.
    #[serde(default)]
    pub days: Option<Vec<Day>>,
    /// When it begins, in local time.
    #[serde(deserialize_with = "local_time")]
    pub start: Time,
    /// How long it lasts.
    pub duration_minutes: u32,
    /// Whose local time; the node's when left out.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// How long before the start a raised minimum is in force already.
    #[serde(default = "default_lead")]
    pub lead_minutes: u32,
    /// Of schedules of one policy that are in force together, the higher wins; among equals the later one.
    #[serde(default)]
    pub precedence: i32,
    /// Keys of `[scaling]`.
    #[serde(default)]
    pub scaling: ScalingOverrides,
}

fn default_lead() -> u32 {
    LEAD_MINUTES
}

fn local_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_plain = text.len() == 5 && text.as_bytes().get(2) == Some(&b':');
    let time = is_plain.then(|| format!("{text}:00").parse().ok()).flatten();
    time.ok_or_else(|| de::Error::custom(format!("`{text}` is not a time of day such as \"08:00\"")))
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl Day {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];

    /// The day in the calendar.
    pub fn weekday(self) -> Weekday {
        match self {
            Self::Mon => Weekday::Monday,
            Self::Tue => Weekday::Tuesday,
            Self::Wed => Weekday::Wednesday,
            Self::Thu => Weekday::Thursday,
            Self::Fri => Weekday::Friday,
            Self::Sat => Weekday::Saturday,
            Self::Sun => Weekday::Sunday,
        }
    }
}

/// `[presets]`: whether presets apply without a policy that names them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PresetsConfig {
    /// A container with the tag `<tag_prefix><preset>` has that preset.
    pub by_tag: bool,
    /// The beginning of these tags.
    pub tag_prefix: String,
    /// A container whose name is usual for the application of a preset has that preset.
    pub by_name: bool,
}

impl Default for PresetsConfig {
    fn default() -> Self {
        Self { by_tag: false, tag_prefix: "autoscale-preset-".to_owned(), by_name: false }
    }
}
