//! Parameter checks, with the texts and the order of Proxmox's JSON schema.
//!
//! A value is checked for type, format, length, range and choice, in this order; the first failure is reported.

mod guest;

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::config::{parse_property_string, valid_volume_id};

pub use guest::{guest_option, guest_options};

/// A parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// Its name.
    pub name: Cow<'static, str>,
    /// What values it accepts.
    pub kind: Kind,
}

impl Property {
    /// A parameter with this name.
    pub fn new(name: impl Into<Cow<'static, str>>, kind: Kind) -> Self {
        Self { name: name.into(), kind }
    }
}

/// What values a parameter accepts.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `1`, `0` and their other spellings.
    Boolean,
    /// A whole number.
    Integer {
        /// The smallest value.
        min: Option<i64>,
        /// The largest value.
        max: Option<i64>,
    },
    /// A number.
    Number {
        /// The smallest value.
        min: i32,
        /// The largest value.
        max: Option<i32>,
    },
    /// Any text up to a length.
    Text {
        /// The largest number of characters.
        max_length: Option<usize>,
    },
    /// One of these.
    Choice(Cow<'static, [Cow<'static, str>]>),
    /// A container id.
    Vmid,
    /// The name of a snapshot.
    SnapshotName,
    /// Names of options, separated by commas.
    ConfigIdList,
    /// A host name.
    DnsName,
    /// Tags.
    Tags,
    /// The size of a volume, absolute or with `+`.
    Size,
    /// A volume with its options.
    Volume,
    /// `key=value` pairs.
    Pairs,
}

impl Kind {
    /// A choice between constant words.
    pub fn choice(words: &'static [&'static str]) -> Self {
        Self::Choice(words.iter().map(|&word| Cow::Borrowed(word)).collect())
    }

    /// Checks one value.
    ///
    /// # Errors
    /// Proxmox's text; texts of format checks end with a line break, as in Proxmox.
    pub fn check(&self, value: &str) -> Result<(), String> {
        match self {
            Self::Boolean => {
                let is_boolean = super::getopt::parse_boolean(value).is_some();
                is_boolean.then_some(()).ok_or_else(|| type_error("boolean", value))
            }
            Self::Integer { min, max } => check_integer(value, *min, *max),
            Self::Number { min, max } => check_number(value, *min, *max),
            Self::Text { max_length } => check_length(value, *max_length),
            Self::Choice(words) if words.iter().any(|word| word == value) => Ok(()),
            Self::Choice(words) => Err(format!(
                "value '{value}' does not have a value in the enumeration '{}'",
                words.join(", ")
            )),
            Self::Vmid => check_vmid(value),
            Self::SnapshotName if !is_config_id(value) => {
                Err(format!("invalid format - invalid configuration ID '{value}'\n"))
            }
            Self::SnapshotName => check_length(value, Some(40)),
            Self::ConfigIdList => match split_list(value).find(|id| !is_config_id(id)) {
                Some(bad) => Err(format!("invalid format - invalid configuration ID '{bad}'\n")),
                None => Ok(()),
            },
            Self::DnsName if !is_dns_name(value) => {
                Err("invalid format - value does not look like a valid DNS name\n".to_owned())
            }
            Self::DnsName => check_length(value, Some(255)),
            Self::Tags => match split_list(value).find(|tag| !is_tag(tag)) {
                Some(_) => Err("invalid format - invalid characters in tag\n".to_owned()),
                None => Ok(()),
            },
            Self::Size => is_size(value)
                .then_some(())
                .ok_or_else(|| "value does not match the regex pattern".to_owned()),
            Self::Volume => check_volume(value),
            Self::Pairs => check_pairs(value),
        }
    }
}

/// Checks all values of a call, and returns the error of each.
pub fn check_all(properties: &[Property], values: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut errors = BTreeMap::new();
    for (name, value) in values {
        let Some(property) = properties.iter().find(|property| property.name == *name) else { continue };
        if let Err(text) = property.kind.check(value) {
            errors.insert(name.clone(), text);
        }
    }
    errors
}

/// Splits a list as Proxmox does, at commas, semicolons and blanks.
pub fn split_list(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ';', ' ', '\t', '\n', '\0']).filter(|item| !item.is_empty())
}

fn type_error(wanted: &str, value: &str) -> String {
    format!("type check ('{wanted}') failed - got '{value}'")
}

fn check_integer(value: &str, min: Option<i64>, max: Option<i64>) -> Result<(), String> {
    let digits = value.strip_prefix(['+', '-']).unwrap_or(value);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(type_error("integer", value));
    }
    // A number with more digits than an i64 is beyond every maximum, or below every minimum, anyway.
    let beyond = if value.starts_with('-') { i64::MIN } else { i64::MAX };
    let number = value.parse().unwrap_or(beyond);
    check_range(number, min, max)
}

fn check_number(value: &str, min: i32, max: Option<i32>) -> Result<(), String> {
    let mantissa = value.strip_prefix(['+', '-']).unwrap_or(value);
    let is_number = mantissa.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let number = is_number.then(|| value.parse::<f64>().ok()).flatten().filter(|number| number.is_finite());
    let number = number.ok_or_else(|| type_error("number", value))?;
    check_range(number, Some(f64::from(min)), max.map(f64::from))
}

fn check_range<T: PartialOrd + Copy + std::fmt::Display>(
    number: T,
    min: Option<T>,
    max: Option<T>,
) -> Result<(), String> {
    if let Some(max) = max
        && max < number
    {
        return Err(format!("value must have a maximum value of {max}"));
    }
    if let Some(min) = min
        && number < min
    {
        return Err(format!("value must have a minimum value of {min}"));
    }
    Ok(())
}

fn check_length(value: &str, max_length: Option<usize>) -> Result<(), String> {
    match max_length {
        Some(most) if most < value.chars().count() => {
            Err(format!("value may only be {most} characters long"))
        }
        _ => Ok(()),
    }
}

fn check_vmid(value: &str) -> Result<(), String> {
    check_integer(value, None, None)?;
    match value.parse::<lxc_autoscale_core::Vmid>() {
        Ok(_) => Ok(()),
        Err(_) => Err("invalid format - value does not look like a valid VM ID\n".to_owned()),
    }
}

fn check_volume(value: &str) -> Result<(), String> {
    let pairs = parse_property_string(value, "volume");
    let volume = pairs.iter().find(|(key, _)| key == "volume").map(|(_, volume)| volume.as_str());
    match volume {
        Some(volume) if valid_volume_id(volume) => Ok(()),
        _ => Err("invalid format - format error\nvolume: unable to parse volume ID\n".to_owned()),
    }
}

fn check_pairs(value: &str) -> Result<(), String> {
    let is_pair = |part: &str| part.split_once('=').is_some_and(|(key, _)| !key.is_empty());
    match value.split(',').find(|part| !is_pair(part)) {
        Some(_) => {
            Err("invalid format - value without key, but schema does not define a default key\n".to_owned())
        }
        None => Ok(()),
    }
}

fn is_config_id(text: &str) -> bool {
    let rest = text.strip_prefix(|c: char| c.is_ascii_alphabetic());
    rest.is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    })
}

fn is_dns_name(text: &str) -> bool {
    text.split('.').all(|label| {
        let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        is_end(label.chars().next())
            && is_end(label.chars().next_back())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    })
}

fn is_tag(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-+.".contains(&b))
}

fn is_size(text: &str) -> bool {
    let text = text.strip_prefix('+').unwrap_or(text);
    let text = text.strip_suffix(['K', 'M', 'G', 'T']).unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && digits(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: &Kind, value: &str, want: &str) {
        assert_eq!(kind.check(value).err().unwrap_or_default(), want, "{value:?}");
    }

    #[test]
    fn numbers() {
        let cores = guest_option("cores").unwrap();
        check(&cores, "1", "");
        check(&cores, "0", "value must have a minimum value of 1");
        check(&cores, "8193", "value must have a maximum value of 8192");
        check(&cores, "99999999999999999999", "value must have a maximum value of 8192");
        for bad in ["", "1.5", "abc", "+", "1 "] {
            check(&cores, bad, &format!("type check ('integer') failed - got '{bad}'"));
        }
        let cpulimit = guest_option("cpulimit").unwrap();
        for good in ["0", "1.25", ".5", "1e1", "+2"] {
            check(&cpulimit, good, "");
        }
        for bad in ["inf", "nan", "0x1", "1,5"] {
            check(&cpulimit, bad, &format!("type check ('number') failed - got '{bad}'"));
        }
        check(&cpulimit, "-1", "value must have a minimum value of 0");
    }

    #[test]
    fn names_and_sizes() {
        check(&Kind::Vmid, "99", "invalid format - value does not look like a valid VM ID\n");
        check(&Kind::SnapshotName, "a", "invalid format - invalid configuration ID 'a'\n");
        check(&Kind::SnapshotName, "Bad-name_1", "");
        check(&Kind::SnapshotName, &"a".repeat(41), "value may only be 40 characters long");
        check(&Kind::DnsName, "web_1", "invalid format - value does not look like a valid DNS name\n");
        check(&Kind::DnsName, "web-1.example.com", "");
        for good in ["+1G", "512M", "0.5G", "1024", "+1.25T"] {
            check(&Kind::Size, good, "");
        }
        for bad in ["abc", "+abc", "1g", "1.G", ".5G", "1GB", "-1G", ""] {
            check(&Kind::Size, bad, "value does not match the regex pattern");
        }
    }
}
