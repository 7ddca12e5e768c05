//! The effective configuration of a file: every key with its value and its origin.
//!
//! The shipped file of each program contains every key with its default, which a test ensures. So a key that a file
//! leaves out has the value of the shipped file.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Number, Value};
use toml::de::{DeTable, DeValue};

use super::{ConfigError, Problem, Validate, check, line_of_offset, parse, read};
use crate::api::{ConfigProblem, ConfigReport, ConfigSetting};

/// Largest configuration that is read from a pipe; ours have 13 KB.
const MAX_BYTES: u64 = 1 << 20;

/// Shown in place of a path if the text comes through a pipe.
const STANDARD_INPUT: &str = "standard input";

/// Why a configuration cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    /// It cannot be read, or is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The output cannot be written.
    #[error("cannot write the configuration")]
    Output(#[source] io::Error),
}

/// A key, its value, and its line from 1.
type Leaf = (String, Value, usize);

/// Reports the effective configuration of `text` for a program whose shipped file is `shipped`.
pub fn report<T: DeserializeOwned + Validate>(shipped: &str, text: &str) -> ConfigReport {
    let problem = parse::<T>(text).err().map(|(line, problem)| {
        let message = problem.to_string();
        let (key, nearest) = match problem {
            Problem::UnknownKey { key, nearest } => (Some(key), nearest),
            Problem::Rule { key, .. } => (Some(key), None),
            Problem::Syntax(_) => (None, None),
        };
        ConfigProblem { line, key, nearest, message }
    });
    ConfigReport { problem, settings: settings(shipped, text) }
}

/// The command `config`: prints the effective configuration of the file or of standard input.
///
/// Returns whether it is valid; without `json`, an invalid configuration is an error.
///
/// # Errors
/// [`ShowError`] if it cannot be read, is invalid, or the output cannot be written.
pub fn show<T: DeserializeOwned + Validate>(
    shipped: &str,
    path: &Path,
    from_stdin: bool,
    json: bool,
    out: &mut impl Write,
) -> Result<bool, ShowError> {
    let path = if from_stdin { Path::new(STANDARD_INPUT) } else { path };
    let text = if from_stdin {
        let mut text = String::new();
        let taken = io::stdin().lock().take(MAX_BYTES).read_to_string(&mut text);
        taken.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        text
    } else {
        read(path)?
    };
    if json {
        let report = report::<T>(shipped, &text);
        let written = serde_json::to_writer(&mut *out, &report).map_err(io::Error::from);
        written.and_then(|()| writeln!(out)).map_err(ShowError::Output)?;
        return Ok(report.problem.is_none());
    }
    check::<T>(path, &text)?;
    table(&settings(shipped, &text), out).map_err(ShowError::Output)?;
    Ok(true)
}

fn table(settings: &[ConfigSetting], out: &mut impl Write) -> io::Result<()> {
    let width = settings.iter().map(|setting| setting.key.len()).max().unwrap_or_default();
    for ConfigSetting { key, value, line, default } in settings {
        write!(out, "{key:width$}  {value}")?;
        match (line, default) {
            (None, _) => writeln!(out, "  (default)")?,
            (Some(line), Some(default)) if default != value => {
                writeln!(out, "  (line {line}; default {default})")?;
            }
            (Some(line), _) => writeln!(out, "  (line {line})")?,
        }
    }
    Ok(())
}

/// Every key with its value: those of the shipped file in its order, then those that are only in `text`.
fn settings(shipped: &str, text: &str) -> Vec<ConfigSetting> {
    let Some(found) = leaves(text) else { return Vec::new() };
    let mut by_key: BTreeMap<&str, (&Value, usize)> =
        found.iter().map(|(key, value, line)| (key.as_str(), (value, *line))).collect();
    let known = leaves(shipped).unwrap_or_default();
    let mut settings: Vec<ConfigSetting> = known
        .into_iter()
        .map(|(key, default, _)| match by_key.remove(key.as_str()) {
            Some((value, line)) => {
                ConfigSetting { key, value: value.clone(), line: Some(line), default: Some(default) }
            }
            None => ConfigSetting { key, value: default.clone(), line: None, default: Some(default) },
        })
        .collect();
    let others = found.iter().filter(|(key, ..)| by_key.contains_key(key.as_str()));
    settings.extend(others.map(|(key, value, line)| ConfigSetting {
        key: key.clone(),
        value: value.clone(),
        line: Some(*line),
        default: None,
    }));
    settings
}

/// The keys whose values are not tables, with their lines; `None` if the text is not TOML.
fn leaves(text: &str) -> Option<Vec<Leaf>> {
    let (places, values) = (DeTable::parse(text).ok()?, text.parse::<toml::Table>().ok()?);
    let mut leaves = Vec::new();
    collect(text, "", places.get_ref(), &values, &mut leaves);
    leaves.sort_by_key(|(_, _, line)| *line);
    Some(leaves)
}

fn collect(text: &str, prefix: &str, places: &DeTable<'_>, values: &toml::Table, leaves: &mut Vec<Leaf>) {
    for (name, place) in places {
        let Some(value) = values.get(name.get_ref().as_ref()) else { continue };
        let key = format!("{prefix}{}", shown(name.get_ref()));
        match (place.get_ref(), value) {
            (DeValue::Table(places), toml::Value::Table(values)) => {
                collect(text, &format!("{key}."), places, values, leaves);
            }
            (DeValue::Array(places), toml::Value::Array(values))
                if !values.is_empty() && values.iter().all(toml::Value::is_table) =>
            {
                for (number, (place, value)) in places.iter().zip(values).enumerate() {
                    if let (DeValue::Table(places), toml::Value::Table(values)) = (place.get_ref(), value) {
                        collect(text, &format!("{key}.{}.", number + 1), places, values, leaves);
                    }
                }
            }
            _ => leaves.push((key, json(value), line_of_offset(text, name.span().start))),
        }
    }
}

/// A part of a dotted key in TOML notation, quoted if necessary.
fn shown(name: &str) -> String {
    let is_bare = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if is_bare { name.to_owned() } else { format!("{name:?}") }
}

/// The value as JSON; a number that JSON cannot represent becomes a string.
fn json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => {
            Number::from_f64(*number).map_or_else(|| Value::from(number.to_string()), Value::Number)
        }
        toml::Value::Boolean(flag) => Value::from(*flag),
        toml::Value::Datetime(time) => Value::from(time.to_string()),
        toml::Value::Array(values) => values.iter().map(json).collect(),
        toml::Value::Table(values) => {
            values.iter().map(|(name, value)| (name.clone(), json(value))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::super::BrokenRule;
    use super::*;

    const SHIPPED: &str = "# seconds\ninterval_seconds = 60\n[scaling]\nmax_cores = 8\n[policy]\n";

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Example {
        interval_seconds: u64,
        scaling: Scaling,
        policy: BTreeMap<String, toml::Table>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Scaling {
        max_cores: u32,
    }

    impl Validate for Example {
        fn validate(&self) -> Result<(), BrokenRule> {
            BrokenRule::unless(self.scaling.max_cores < 100, "scaling.max_cores", "must be less than 100")
        }
    }

    fn lines(text: &str) -> Vec<String> {
        let mut out = Vec::new();
        table(&settings(SHIPPED, text), &mut out).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn every_key_has_its_value_and_where_it_comes_from() {
        assert_eq!(lines(""), ["interval_seconds   60  (default)", "scaling.max_cores  8  (default)"]);
        assert_eq!(
            lines("interval_seconds = 5\n[scaling]\nmax_cores = 8"),
            ["interval_seconds   5  (line 1; default 60)", "scaling.max_cores  8  (line 3)"]
        );
        let text = "scaling = { max_cores = 4 }\n[policy.\"a.b\"]\nids = [104, \"200-209\"]\nshare = nan\n\
                    [[policy.\"a.b\".schedule]]\nstart = \"08:00\"\nscaling.cpu.min_cores = 2\n";
        let found: Vec<_> = settings(SHIPPED, text)
            .into_iter()
            .map(|setting| (setting.key, setting.value, setting.line))
            .collect();
        let want = [
            ("interval_seconds", json!(60), None),
            ("scaling.max_cores", json!(4), Some(1)),
            ("policy.\"a.b\".ids", json!([104, "200-209"]), Some(3)),
            ("policy.\"a.b\".share", json!("NaN"), Some(4)),
            ("policy.\"a.b\".schedule.1.start", json!("08:00"), Some(6)),
            ("policy.\"a.b\".schedule.1.scaling.cpu.min_cores", json!(2), Some(7)),
        ];
        assert_eq!(found, want.map(|(key, value, line)| (key.to_owned(), value, line)));
    }

    #[test]
    fn what_is_wrong_is_told_with_all_its_parts() {
        let problem = |text| report::<Example>(SHIPPED, text).problem;
        assert_eq!(problem("interval_seconds = 5"), None);
        let unknown = problem("\n[scaling]\nmax_core = 4").unwrap();
        assert_eq!((unknown.line, unknown.key.as_deref()), (3, Some("scaling.max_core")));
        assert_eq!(unknown.nearest.as_deref(), Some("scaling.max_cores"));
        let rule = problem("[scaling]\nmax_cores = 100").unwrap();
        assert_eq!((rule.line, rule.message.as_str()), (2, "`scaling.max_cores` must be less than 100"));
        let broken = report::<Example>(SHIPPED, "a = \n");
        assert!(broken.problem.is_some() && broken.settings.is_empty());
    }
}
