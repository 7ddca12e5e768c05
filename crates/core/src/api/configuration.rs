//! `/config`: the configurations of the daemons, and changes of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest dotted key that `/config` accepts, in characters.
pub const MAX_KEY_CHARS: usize = 200;
/// The most keys that one request may set, and may remove.
pub const MAX_CHANGES: usize = 100;

/// The daemon that a configuration belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ConfigOwner {
    /// lxc-autoscale-ml, which decides how containers are scaled.
    #[default]
    Ml,
    /// lxc-monitor, which measures.
    Monitor,
    /// lxc-autoscale-api, which is this server.
    Api,
}

impl ConfigOwner {
    /// The word for it in requests.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ml => "ml",
            Self::Monitor => "monitor",
            Self::Api => "api",
        }
    }
}

/// Query of `GET /config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfigRequest {
    /// The daemon whose configuration is meant; the ml daemon if omitted.
    #[serde(default)]
    pub file: ConfigOwner,
}

/// What is wrong with a configuration, as reported by its daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigProblem {
    /// Line number, from 1.
    pub line: usize,
    /// The dotted key, if the problem is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The most similar valid key, if the key does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// One sentence for humans.
    pub message: String,
}

/// One key of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigSetting {
    /// The dotted key; the tables of an array are numbered from 1.
    pub key: String,
    /// The effective value.
    pub value: Value,
    /// The line of the file that sets it, from 1; absent if it is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The default; absent if there is none, as for the keys of a policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// The effective configuration, or what is wrong with it; printed by the daemons' command `config --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigReport {
    /// What is wrong; absent if it is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ConfigProblem>,
    /// Every key, in the order of the shipped file; empty if the file is not TOML at all.
    pub settings: Vec<ConfigSetting>,
}

/// A key whose value changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigChange {
    /// The dotted key.
    pub key: String,
    /// The value before; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The value afterwards; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// The configuration that the ml daemon is running with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigInForce {
    /// When it last reported that, which it does in every cycle.
    #[cfg_attr(feature = "schema", schemars(with = "crate::RecordTime"))]
    pub confirmed_at: Timestamp,
    /// Whether it equals the current file.
    pub is_file: bool,
    /// The differences: `before` is the value in force, `after` the one in the file.
    pub differences: Vec<ConfigChange>,
}

/// A configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigInfo {
    /// The daemon it belongs to.
    pub file: ConfigOwner,
    /// The path of the file.
    pub path: String,
    /// SHA-256 of the file, for `If-Match`.
    pub digest: String,
    /// What is wrong with the file; absent if it is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ConfigProblem>,
    /// What the ml daemon is running with; absent if it is not running, and for the other files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force: Option<ConfigInForce>,
    /// Every key with its value.
    pub settings: Vec<ConfigSetting>,
    /// The content of the file, with comments.
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
    /// Dotted keys to be removed from the file, so that their defaults apply.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::DottedKeys"))]
    pub remove: Vec<String>,
}

/// `PUT /config`: the whole configuration file of the ml daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConfigText {
    /// The content of the file, with comments.
    pub text: String,
}

/// `POST /config/validate`: changes of the ml daemon's configuration, or a whole new file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::schema::text_or_changes))]
#[serde(deny_unknown_fields)]
pub struct ConfigCandidate {
    /// The whole file; excludes `set` and `remove`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub text: Option<String>,
    /// Values by dotted key.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::ValuesByKey"))]
    pub set: BTreeMap<String, Value>,
    /// Dotted keys to be removed from the file.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::DottedKeys"))]
    pub remove: Vec<String>,
}

/// Whether a configuration would be accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigVerdict {
    /// Whether it would be accepted.
    pub valid: bool,
    /// Why it would not be accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ConfigProblem>,
    /// The values that would change.
    pub changes: Vec<ConfigChange>,
}

/// The result of changing a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigChanged {
    /// Whether the file was written.
    pub changed: bool,
    /// SHA-256 of the file after the request.
    pub digest: String,
    /// SHA-256 of the file before the request.
    pub digest_before: String,
    /// The keys whose values have changed; long values are cut.
    pub changes: Vec<ConfigChange>,
    /// How many more keys have changed.
    pub more_changes: usize,
}
