//! Presets: settings for well-known applications, each deviation from the defaults with its reason.
//!
//! They are data (`presets.toml`) whose format requires a reason for each deviation. A preset applies if a policy names
//! it; by a tag or a name only if `[presets]` allows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::book::PolicyError;
use super::overrides::Overrides;
use super::selector::glob_matches;

const SHIPPED: &str = include_str!("presets.toml");

/// The presets that come with the program.
#[derive(Clone, Debug)]
pub struct Presets(BTreeMap<String, Preset>);

/// The settings for one application.
#[derive(Clone, Debug)]
pub struct Preset {
    /// The application's name, as people write it.
    pub title: String,
    /// What kind of application it is.
    pub group: String,
    /// Names that containers with it usually have, with `*` and `?`.
    pub names: Vec<String>,
    /// The deviations, and their reasons.
    pub settings: Vec<Setting>,
    /// The same as overrides.
    pub overrides: Overrides,
}

/// One key of a preset.
#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: serde_json::Value,
    /// Why it is not the default.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPreset {
    title: String,
    group: String,
    names: Vec<String>,
    set: BTreeMap<String, RawSetting>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSetting {
    value: toml::Value,
    reason: String,
}

impl Presets {
    /// The presets that come with the program.
    ///
    /// # Errors
    /// [`PolicyError`] when they cannot be read, which a test rules out.
    pub fn shipped() -> Result<Self, PolicyError> {
        let raw: BTreeMap<String, RawPreset> =
            toml::from_str(SHIPPED).map_err(|error| unreadable("presets", &error))?;
        let presets = raw.into_iter().map(|(name, raw)| Ok((name.clone(), Preset::from_raw(&name, raw)?)));
        presets.collect::<Result<_, PolicyError>>().map(Self)
    }

    /// All presets, by name.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Preset)> {
        self.0.iter().map(|(name, preset)| (name.as_str(), preset))
    }

    /// The preset of that name.
    pub fn get(&self, name: &str) -> Option<&Preset> {
        self.0.get(name)
    }

    /// The preset of the application that a container of this name usually runs; `None` if it is ambiguous.
    pub fn by_name(&self, container: &str) -> Option<&str> {
        let usual = |preset: &Preset| preset.names.iter().any(|glob| glob_matches(glob, container));
        let mut found = self.0.iter().filter(|(_, preset)| usual(preset)).map(|(name, _)| name.as_str());
        let first = found.next();
        first.filter(|_| found.next().is_none())
    }

    /// The most similar name to `wanted`, if any is similar.
    pub fn nearest(&self, wanted: &str) -> Option<&str> {
        lxc_autoscale_core::nearest(wanted, self.0.keys().map(String::as_str))
    }
}

impl Preset {
    fn from_raw(name: &str, raw: RawPreset) -> Result<Self, PolicyError> {
        let mut root = toml::Table::new();
        let mut settings = Vec::new();
        for (key, setting) in raw.set {
            let failed = |error: &dyn std::error::Error| unreadable(&format!("presets.{name}.{key}"), error);
            let value = serde_json::to_value(&setting.value).map_err(|error| failed(&error))?;
            put(&mut root, &key, setting.value);
            settings.push(Setting { key, value, reason: setting.reason });
        }
        let overrides = Overrides::deserialize(toml::Value::Table(root));
        let overrides = overrides.map_err(|error| unreadable(&format!("presets.{name}"), &error))?;
        Ok(Self { title: raw.title, group: raw.group, names: raw.names, settings, overrides })
    }
}

/// Sets the value of a dotted key.
fn put(table: &mut toml::Table, key: &str, value: toml::Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let toml::Value::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

fn unreadable(key: &str, error: &dyn std::error::Error) -> PolicyError {
    PolicyError { key: key.to_owned(), rule: format!("cannot be read: {error}") }
}

#[cfg(test)]
#[path = "presets_tests.rs"]
mod tests;
