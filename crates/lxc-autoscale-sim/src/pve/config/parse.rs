//! Parses a configuration file.

use super::{GuestConfig, Section, decode_text};
use crate::pve::schema::{Kind, guest_option};

/// Parses a file and collects the warnings.
pub(super) fn parse(text: &str) -> (GuestConfig, Vec<String>) {
    let mut config = GuestConfig::default();
    let mut warnings = Vec::new();
    let mut place = Place::Current;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        if let Some(next) = section_of(line) {
            place = next;
            place.of(&mut config);
        } else if let Err(warning) = read_line(place.of(&mut config), line, matches!(place, Place::Pending)) {
            warnings.push(warning);
        }
    }
    (config, warnings)
}

/// The section that lines belong to.
#[derive(Debug)]
enum Place {
    Current,
    Pending,
    Snapshot(String),
}

impl Place {
    fn of<'a>(&self, config: &'a mut GuestConfig) -> &'a mut Section {
        match self {
            Self::Current => &mut config.current,
            Self::Pending => &mut config.pending,
            Self::Snapshot(name) => config.snapshots.entry(name.clone()).or_default(),
        }
    }
}

/// Parses `[pve:pending]` or `[<snapshot>]`.
fn section_of(line: &str) -> Option<Place> {
    let name = line.trim_end().strip_prefix('[')?.strip_suffix(']')?;
    if name.eq_ignore_ascii_case("pve:pending") {
        return Some(Place::Pending);
    }
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let rest = name.bytes().skip(1).all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    (starts && rest && 1 < name.len()).then(|| Place::Snapshot(name.to_owned()))
}

fn read_line(section: &mut Section, line: &str, is_pending: bool) -> Result<(), String> {
    if let Some(comment) = line.strip_prefix('#') {
        let description = section.description.get_or_insert_default();
        description.push_str(&decode_text(comment));
        description.push('\n');
        return Ok(());
    }
    let unreadable = || format!("unable to parse config: {line}");
    if line.starts_with("lxc.") {
        let (key, value) = line.split_once([':', '=']).ok_or_else(unreadable)?;
        section.raw.push((key.trim().to_owned(), value.trim().to_owned()));
        return Ok(());
    }
    let (key, value) = line.split_once(':').ok_or_else(unreadable)?;
    let value = value.trim();
    if !is_key(key) || value.is_empty() {
        return Err(unreadable());
    }
    if key == "description" {
        section.description.get_or_insert_default().push_str(&decode_text(value));
        return Ok(());
    }
    let value = if key == "delete" && is_pending {
        value.to_owned()
    } else {
        typed(key, value).map_err(|reason| format!("unable to parse value of '{key}' - {reason}"))?
    };
    section.options.insert(key.to_owned(), value);
    Ok(())
}

/// `[a-z][a-z_]*\d*`
fn is_key(key: &str) -> bool {
    let word = key.trim_end_matches(|c: char| c.is_ascii_digit());
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// Checks the type of a stored value (not its range), and writes booleans in Proxmox's way.
fn typed(key: &str, value: &str) -> Result<String, String> {
    match guest_option(key).ok_or_else(|| format!("unknown setting '{key}'"))? {
        Kind::Boolean => match crate::pve::getopt::parse_boolean(value) {
            Some(is_set) => Ok(u8::from(is_set).to_string()),
            None => Err(format!("type check ('boolean') failed - got '{value}'")),
        },
        Kind::Integer { .. } if !value.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(format!("type check ('integer') failed - got '{value}'"))
        }
        Kind::Number { .. } if value.parse::<f64>().is_err() => {
            Err(format!("type check ('number') failed - got '{value}'"))
        }
        _ => Ok(value.to_owned()),
    }
}
