//! The tables `[policy.<name>]` and `[presets]` of the configuration.

use jiff::civil::{Time, Weekday};
use serde::{Deserialize, Deserializer, de};

use super::overrides::{ModelOverrides, RecommendOverrides, ScalingOverrides};
use super::selector::{Ids, Selector};

/// How long before its start a schedule raises minimums, in minutes. Memory can double every minute, so five minutes
/// turn half a GiB into 16 GiB.
const LEAD_MINUTES: u32 = 5;

/// `[policy.<name>]`: rules for some of the containers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// Ids and ranges of ids that it applies to.
    pub ids: Option<Vec<Ids>>,
    /// Names, with `*` and `?`.
    pub names: Option<Vec<String>>,
    /// Tags in Proxmox.
    pub tags: Option<Vec<String>>,
    /// Pools in Proxmox.
    pub pools: Option<Vec<String>>,
    /// The higher wins, except that a policy that names the container's id wins over all others.
    pub precedence: i32,
    /// The preset below the keys of this policy.
    pub preset: Option<String>,
    /// Keys of `[scaling]`.
    pub scaling: ScalingOverrides,
    /// Keys of `[recommend]`.
    pub recommend: RecommendOverrides,
    /// Keys of `[model]`.
    pub model: ModelOverrides,
    /// Keys that are in force at certain times.
    pub schedule: Vec<ScheduleConfig>,
}

impl PolicyConfig {
    /// Its selectors.
    pub fn selector(&self) -> Selector {
        Selector {
            ids: self.ids.clone().unwrap_or_default(),
            names: self.names.clone().unwrap_or_default(),
            tags: self.tags.clone().unwrap_or_default(),
            pools: self.pools.clone().unwrap_or_default(),
        }
    }

    /// The key of a selector that is present but empty.
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

/// `[shadow.<name>]`: a candidate, which is evaluated and never acts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShadowConfig {
    /// As in a policy; without any selector it applies to every container.
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
    /// The same settings as a policy.
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
    /// Its time zone; the node's when left out.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// How long before the start a raised minimum is in force.
    #[serde(default = "default_lead")]
    pub lead_minutes: u32,
    /// Of several schedules of one policy in force together, the higher wins; among equals the later one.
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

    /// The calendar's weekday.
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
    /// The prefix of these tags.
    pub tag_prefix: String,
    /// A container whose name is usual for a preset's application has that preset.
    pub by_name: bool,
}

impl Default for PresetsConfig {
    fn default() -> Self {
        Self { by_tag: false, tag_prefix: "autoscale-preset-".to_owned(), by_name: false }
    }
}
