//! Loads a TOML file into a typed configuration, or reports exactly what is wrong with it.
//!
//! Unknown keys, wrong types and invalid ranges are errors, reported with file, line, key and, for a misspelt key,
//! the nearest valid one. Nothing is guessed and nothing is silently ignored: a limit that is dropped because it is
//! misspelt is worse than a daemon that does not start.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

use crate::nearest;

mod report;

pub use report::{ShowError, report, show};

/// File in the state directory of the ml daemon with a verbatim copy of the configuration it is running with.
///
/// Its modification time is that of the last cycle. It is removed when the daemon ends in an orderly way.
pub const IN_FORCE_FILE: &str = "configuration_in_force.toml";

/// A configuration whose fields can contradict each other.
pub trait Validate {
    /// Checks what types cannot express: ranges, and relations between fields.
    ///
    /// # Errors
    /// The first broken rule, with the dotted key it is about.
    fn validate(&self) -> Result<(), BrokenRule>;
}

/// A rule that a configuration breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenRule {
    /// Dotted key, such as `scaling.cpu.max_cores`; tables of an array are numbered from 1.
    pub key: Cow<'static, str>,
    /// What must hold, as a sentence without the key: `must be at least 1`.
    pub rule: String,
}

impl BrokenRule {
    /// A rule about this key.
    pub fn new(key: impl Into<Cow<'static, str>>, rule: impl Into<String>) -> Self {
        Self { key: key.into(), rule: rule.into() }
    }

    /// `Ok` if `holds`, otherwise this rule.
    ///
    /// # Errors
    /// The rule, if it does not hold.
    pub fn unless(
        holds: bool,
        key: impl Into<Cow<'static, str>>,
        rule: impl Into<String>,
    ) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::new(key, rule)) }
    }
}

/// Why a configuration could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is invalid.
    #[error("{}:{line}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line of the problem, from 1.
        line: usize,
        /// What is wrong there.
        problem: Problem,
    },
}

/// What is wrong in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A key that does not exist.
    UnknownKey {
        /// The key as written, dotted.
        key: String,
        /// The most similar valid key, if there is one.
        nearest: Option<String>,
    },
    /// A value of the wrong type, or text that is not TOML; the parser's own message.
    Syntax(String),
    /// A value out of its range.
    Rule {
        /// The key, dotted.
        key: String,
        /// What must hold.
        rule: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { key, nearest: Some(nearest) } => {
                write!(f, "unknown key `{key}`; did you mean `{nearest}`?")
            }
            Self::UnknownKey { key, nearest: None } => write!(f, "unknown key `{key}`"),
            Self::Syntax(message) => f.write_str(message),
            Self::Rule { key, rule } => write!(f, "`{key}` {rule}"),
        }
    }
}

/// Reads and checks a configuration file.
///
/// # Errors
/// [`ConfigError`] if the file cannot be read, or is not a valid configuration.
pub fn load<T: DeserializeOwned + Validate>(path: &Path) -> Result<T, ConfigError> {
    check(path, &read(path)?)
}

/// Reads the text of a configuration file.
///
/// # Errors
/// [`ConfigError::Read`].
pub fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

/// Checks a text that was read from `path`.
///
/// # Errors
/// [`ConfigError::Invalid`].
pub fn check<T: DeserializeOwned + Validate>(path: &Path, text: &str) -> Result<T, ConfigError> {
    parse(text).map_err(|(line, problem)| ConfigError::Invalid { path: path.to_owned(), line, problem })
}

/// Checks the text of a configuration file; an error carries the line, from 1.
///
/// # Errors
/// The line and the problem of the first thing that is wrong.
pub fn parse<T: DeserializeOwned + Validate>(text: &str) -> Result<T, (usize, Problem)> {
    let config: T = toml::from_str(text).map_err(|error| {
        let (line, problem) = explain(text, &error);
        match (problem, words_wanted::<T>(text, &error)) {
            (Problem::Syntax(_), Some(wanted)) => (line, Problem::Syntax(wanted)),
            (problem, _) => (line, problem),
        }
    })?;
    config.validate().map_err(|broken| {
        let line = line_of_key(text, &broken.key);
        (line, Problem::Rule { key: broken.key.into_owned(), rule: broken.rule })
    })?;
    Ok(config)
}

/// Converts the parser's error to a line and a problem.
fn explain(text: &str, error: &toml::de::Error) -> (usize, Problem) {
    let offset = error.span().map_or(0, |span| span.start);
    let line = line_of_offset(text, offset);
    let message = error.message();
    let Some((unknown, known)) = parse_unknown_field(message) else {
        let key = key_at(text, offset).map(|key| format!("`{key}`: ")).unwrap_or_default();
        return (line, Problem::Syntax(format!("{key}{message}")));
    };
    let nearest = nearest(&unknown, known.iter().map(String::as_str));
    let key = key_at(text, offset).unwrap_or_else(|| unknown.clone());
    let table = key.strip_suffix(unknown.as_str()).unwrap_or_default();
    let nearest = nearest.map(|name| format!("{table}{name}"));
    (line, Problem::UnknownKey { key, nearest })
}

/// What a key takes whose value is no word but must be one of a few, such as `confirm_destroy = true`.
///
/// The parser does not name the words then, only for a wrong word. So it is asked once more, with a word that is none
/// of them in that place.
fn words_wanted<T: DeserializeOwned>(text: &str, error: &toml::de::Error) -> Option<String> {
    if error.message() != "wanted string or table" {
        return None;
    }
    let span = error.span()?;
    let key = key_at(text, span.start)?;
    let mut with_word = text.to_owned();
    with_word.replace_range(span.clone(), "\"\"");
    let error = toml::from_str::<T>(&with_word)
        .err()
        .filter(|error| error.span().is_some_and(|found| found.start == span.start))?;
    let words = error.message().strip_prefix("unknown variant ``, expected ")?;
    Some(format!("`{key}`: {} is no word in quotation marks, expected {words}", text.get(span)?))
}

/// Parses serde's message: "unknown field `a`, expected one of `b`, `c`" (or "expected `b`").
fn parse_unknown_field(message: &str) -> Option<(String, Vec<String>)> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2).map(str::to_owned);
    Some((quoted.next()?, quoted.collect()))
}

fn line_of_offset(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The line of a dotted key or, if it is not in the file, of its innermost table that is; otherwise line 1.
fn line_of_key(text: &str, dotted: &str) -> usize {
    let Ok(root) = DeTable::parse(text) else { return 1 };
    let mut table = root.get_ref();
    let mut offset = 0;
    let mut parts = dotted.split('.');
    while let Some(part) = parts.next() {
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref().as_ref() == part) else { break };
        offset = key.span().start;
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            DeValue::Array(tables) => {
                let number = parts.next().and_then(|part| part.parse::<usize>().ok());
                let Some(entry) = number.and_then(|number| tables.get(number.checked_sub(1)?)) else { break };
                let DeValue::Table(inner) = entry.get_ref() else { break };
                offset = entry.span().start;
                table = inner;
            }
            _ => break,
        }
    }
    line_of_offset(text, offset)
}

/// The dotted key whose name or value is at `offset`; tables of an array are numbered from 1.
fn key_at(text: &str, offset: usize) -> Option<String> {
    let root = DeTable::parse(text).ok()?;
    find_key(root.get_ref(), offset)
}

fn find_key(table: &DeTable<'_>, offset: usize) -> Option<String> {
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        if let DeValue::Table(inner) = value.get_ref()
            && let Some(rest) = find_key(inner, offset)
        {
            return Some(format!("{name}.{rest}"));
        }
        if let DeValue::Array(entries) = value.get_ref() {
            for (index, entry) in entries.iter().enumerate() {
                if let DeValue::Table(inner) = entry.get_ref()
                    && let Some(rest) = find_key(inner, offset)
                {
                    return Some(format!("{name}.{}.{rest}", index + 1));
                }
            }
        }
        if key.span().contains(&offset) || value.span().contains(&offset) {
            return Some(name.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Example {
        interval_seconds: u64,
        scaling: Scaling,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Scaling {
        min_cores: u32,
        max_cores: u32,
    }

    impl Default for Example {
        fn default() -> Self {
            Self { interval_seconds: 60, scaling: Scaling::default() }
        }
    }

    impl Default for Scaling {
        fn default() -> Self {
            Self { min_cores: 1, max_cores: 8 }
        }
    }

    impl Validate for Example {
        fn validate(&self) -> Result<(), BrokenRule> {
            BrokenRule::unless(
                self.scaling.min_cores <= self.scaling.max_cores,
                "scaling.max_cores",
                "must not be less than `scaling.min_cores`",
            )
        }
    }

    #[track_caller]
    fn check(text: &str, want_line: usize, want: &str) {
        let (line, problem) = parse::<Example>(text).unwrap_err();
        assert_eq!((line, problem.to_string().as_str()), (want_line, want));
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(parse::<Example>(""), Ok(Example::default()));
    }

    #[test]
    fn a_misspelt_key_is_named_with_the_nearest_valid_one() {
        check("\ninterval_secs = 5\n", 2, "unknown key `interval_secs`; did you mean `interval_seconds`?");
        check(
            "[scaling]\n# comment\nmax_core = 5\n",
            3,
            "unknown key `scaling.max_core`; did you mean `scaling.max_cores`?",
        );
        check("[scalling]\n", 1, "unknown key `scalling`; did you mean `scaling`?");
        check("entirely_different = 5\n", 1, "unknown key `entirely_different`");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_key() {
        check(
            "[scaling]\nmax_cores = \"four\"\n",
            2,
            "`scaling.max_cores`: invalid type: string \"four\", expected u32",
        );
    }

    /// The parser alone says "wanted string or table".
    #[test]
    fn a_value_that_is_no_word_is_told_which_words_there_are() {
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Word {
            Others,
            Always,
            Never,
        }
        #[derive(Debug, PartialEq, Deserialize)]
        struct Words {
            limits: Limits,
        }
        #[derive(Debug, PartialEq, Deserialize)]
        struct Limits {
            confirm: Word,
        }
        impl Validate for Words {
            fn validate(&self) -> Result<(), BrokenRule> {
                Ok(())
            }
        }
        for value in ["true", "3"] {
            let (line, problem) =
                parse::<Words>(&format!("[limits]\nconfirm = {value} # why\n")).unwrap_err();
            assert_eq!(line, 2);
            let want = format!(
                "`limits.confirm`: {value} is no word in quotation marks, expected one of `others`, `always`, `never`"
            );
            assert_eq!(problem.to_string(), want);
        }
    }

    #[test]
    fn a_broken_rule_points_at_its_key() {
        check(
            "interval_seconds = 1\n[scaling]\nmin_cores = 4\nmax_cores = 2\n",
            4,
            "`scaling.max_cores` must not be less than `scaling.min_cores`",
        );
        // The key itself is not in the file, so the line is that of its table.
        check(
            "[scaling]\nmin_cores = 9\n",
            1,
            "`scaling.max_cores` must not be less than `scaling.min_cores`",
        );
    }

    #[test]
    fn broken_toml_has_a_line() {
        let (line, _) = parse::<Example>("interval_seconds = 1\n[scaling\n").unwrap_err();
        assert_eq!(line, 2);
    }

    #[test]
    fn a_missing_file_is_an_error_that_names_it() {
        let error = load::<Example>(Path::new("/nonexistent/x.toml")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read the configuration `/nonexistent/x.toml`");
    }
}
