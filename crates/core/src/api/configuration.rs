//! `/config`: what the configurations of the daemons are, and changes of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest dotted key that `/config` takes.
pub const MAX_KEY_CHARS: usize = 200;
/// Most keys that one request sets, and that it removes.
pub const MAX_CHANGES: usize = 100;

/// Whose configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ConfigOwner {
    /// lxc-autoscale-ml: how containers are scaled.
    #[default]
    Ml,
    /// lxc-monitor: what is measured.
    Monitor,
    /// lxc-autoscale-api: this server.
    Api,
}

impl ConfigOwner {
    /// Its word in requests.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ml => "ml",
            Self::Monitor => "monitor",
            Self::Api => "api",
        }
    }
}

/// `GET /config`: whose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfigRequest {
    /// Whose configuration; that of the ml daemon when left out.
    #[serde(default)]
    pub file: ConfigOwner,
}

/// What is wrong with a configuration, as its daemon says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigProblem {
    /// Line, from 1.
    pub line: usize,
    /// The key, dotted, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The valid key that looks most like it, where there is none of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// One sentence for people.
    pub message: String,
}

/// One key of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigSetting {
    /// The key, dotted; the tables of an array are numbered from 1.
    pub key: String,
    /// The value that the file comes to.
    pub value: Value,
    /// The line of the file that says so, from 1; absent where it is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The default; absent for what has none, such as the keys of a policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// What a configuration comes to, or what is wrong with it; the daemons' command `config --json` prints it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigReport {
    /// What is wrong; absent when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ConfigProblem>,
    /// Every key, in the order of the shipped file; none where the file is not TOML at all.
    pub settings: Vec<ConfigSetting>,
}

/// A key whose value is another now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigChange {
    /// The key, dotted.
    pub key: String,
    /// What it was; absent where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it is; absent where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// The configuration that the ml daemon works by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigInForce {
    /// When it last said so, which it does in every cycle.
    #[cfg_attr(feature = "schema", schemars(with = "crate::RecordTime"))]
    pub confirmed_at: Timestamp,
    /// Whether it is the file as it stands.
    pub is_file: bool,
    /// What differs: `before` is in force, `after` stands in the file.
    pub differences: Vec<ConfigChange>,
}

/// A configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigInfo {
    /// Whose.
    pub file: ConfigOwner,
    /// Where it is.
    pub path: String,
    /// SHA-256 of the file, for `If-Match`.
    pub digest: String,
    /// What is wrong with the file; absent when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ConfigProblem>,
    /// What the ml daemon works by; absent where it is not running, and for the other files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force: Option<ConfigInForce>,
    /// Every key with its value.
    pub settings: Vec<ConfigSetting>,
    /// The file, with its comments.
    pub text: String,
}

/// `PATCH /config`: changes of the ml daemon's configuration by key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::changes_something))]
#[serde(deny_unknown_fields)]
pub struct ConfigPatch {
    /// Values by dotted key, such as `{"scaling.cpu.max_cores": 4}`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::ValuesByKey"))]
    pub set: BTreeMap<String, Value>,
    /// Dotted keys that are taken out of the file, so that their defaults apply.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::DottedKeys"))]
    pub remove: Vec<String>,
}

/// `PUT /config`: the whole file of the ml daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfigText {
    /// The file, with its comments.
    pub text: String,
}

/// `POST /config/validate`: changes of the ml daemon's configuration, or the whole of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::text_or_changes))]
#[serde(deny_unknown_fields)]
pub struct ConfigCandidate {
    /// The whole file; without `set` and `remove`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub text: Option<String>,
    /// Values by dotted key.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::ValuesByKey"))]
    pub set: BTreeMap<String, Value>,
    /// Dotted keys that are taken out of the file.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::DottedKeys"))]
    pub remove: Vec<String>,
}

/// Whether a configuration would be accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigVerdict {
    /// Whether it would.
    pub valid: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ConfigProblem>,
    /// What would change.
    pub changes: Vec<ConfigChange>,
}

/// What became of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigChanged {
    /// Whether the file was written.
    pub changed: bool,
    /// SHA-256 of the file now.
    pub digest: String,
    /// SHA-256 of the file before.
    pub digest_before: String,
    /// The keys whose values are others now; long values are cut.
    pub changes: Vec<ConfigChange>,
    /// How many more there are.
    pub more_changes: usize,
}
