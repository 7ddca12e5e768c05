//! The argument grammar of Perl's `Getopt::Long`, as Proxmox configures it.
//!
//! Options have one dash or two, may be in any case and abbreviated to any unique prefix, take `=value` or the next
//! word as their value, and may be anywhere before `--`. The value of a boolean is optional, so a bare boolean
//! swallows the next word if that is not an option. The remaining words are the positional arguments.

use std::collections::BTreeMap;

use super::error::PctError;
use super::schema::{Kind, Property};

/// The arguments of a command.
#[derive(Clone, Debug)]
pub struct Grammar {
    /// Names of the positional arguments, in order.
    pub positional: &'static [&'static str],
    /// Whether words may follow the positional arguments.
    pub takes_more: bool,
    /// All parameters by name, including the positional ones.
    pub properties: Vec<Property>,
}

/// The parsed arguments of a call, not yet checked against the schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Values by parameter.
    pub values: BTreeMap<String, String>,
    /// Words after the positional arguments.
    pub more: Vec<String>,
}

impl Grammar {
    /// Parses the arguments of a call.
    ///
    /// # Errors
    /// [`PctError::Usage`] with Perl's and Proxmox's texts.
    pub fn parse(&self, args: &[String]) -> Result<Words, PctError> {
        let mut words = Words::default();
        let mut warnings = String::new();
        let mut plain: Vec<&String> = Vec::new();
        let mut rest = args.iter().peekable();
        while let Some(word) = rest.next() {
            if word == "--" {
                plain.extend(rest.by_ref());
                break;
            }
            let Some(option) = option_of(word) else {
                plain.push(word);
                continue;
            };
            let (name, inline) = split_value(option);
            let property = match self.find(&name.to_lowercase()) {
                Ok(property) => property,
                Err(warning) => {
                    warnings.push_str(&warning);
                    continue;
                }
            };
            let value = match (inline, property.kind == Kind::Boolean) {
                (Some(value), true) => value.to_owned(),
                (Some(value), false) if !value.is_empty() => value.to_owned(),
                (None, true) => rest
                    .next_if(|next| option_of(next).is_none() && *next != "--")
                    .cloned()
                    .unwrap_or_default(),
                (None, false) if rest.peek().is_some() => rest.next().cloned().unwrap_or_default(),
                (_, false) => {
                    warnings.extend(["Option ", property.name.as_ref(), " requires an argument\n"]);
                    continue;
                }
            };
            words.store(property, value);
        }
        if !warnings.is_empty() {
            return Err(PctError::Usage { warnings, message: "unable to parse option" });
        }
        let more = self.take_positional(&mut words, &plain)?;
        words.more = more;
        self.read_booleans(&mut words)?;
        Ok(words)
    }

    fn find(&self, name: &str) -> Result<&Property, String> {
        if let Some(exact) = self.properties.iter().find(|property| property.name.eq_ignore_ascii_case(name))
        {
            return Ok(exact);
        }
        let begins = |property: &&Property| property.name.to_lowercase().starts_with(name);
        let mut hits: Vec<&Property> = self.properties.iter().filter(begins).collect();
        match hits.len() {
            0 => Err(format!("Unknown option: {name}\n")),
            1 => Ok(hits.remove(0)),
            _ => {
                let mut names: Vec<&str> = hits.iter().map(|property| property.name.as_ref()).collect();
                names.sort_unstable();
                Err(format!("Option {name} is ambiguous ({})\n", names.join(", ")))
            }
        }
    }

    fn take_positional(&self, words: &mut Words, plain: &[&String]) -> Result<Vec<String>, PctError> {
        let usage = |message| PctError::Usage { warnings: String::new(), message };
        if plain.len() < self.positional.len() {
            return Err(usage("not enough arguments"));
        }
        let (fixed, more) = plain.split_at(self.positional.len());
        for (name, value) in self.positional.iter().zip(fixed) {
            words.values.insert((*name).to_owned(), (*value).clone());
        }
        if !self.takes_more && !more.is_empty() {
            return Err(usage("too many arguments"));
        }
        Ok(more.iter().map(|word| (*word).clone()).collect())
    }

    fn read_booleans(&self, words: &mut Words) -> Result<(), PctError> {
        let booleans = self.properties.iter().filter(|property| property.kind == Kind::Boolean);
        for property in booleans {
            let Some(value) = words.values.get_mut(property.name.as_ref()) else { continue };
            let is_set = if value.is_empty() { Some(true) } else { parse_boolean(value) };
            let message = "unable to parse boolean option";
            let is_set = is_set.ok_or(PctError::Usage { warnings: String::new(), message })?;
            *value = u8::from(is_set).to_string();
        }
        Ok(())
    }
}

impl Words {
    /// A list grows with each occurrence; for other parameters, the last occurrence counts.
    fn store(&mut self, property: &Property, value: String) {
        match self.values.get_mut(property.name.as_ref()) {
            Some(list) if property.kind == Kind::ConfigIdList => {
                list.push(',');
                list.push_str(&value);
            }
            _ => {
                self.values.insert(property.name.to_string(), value);
            }
        }
    }
}

/// Proxmox's booleans.
pub fn parse_boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Some(true),
        "0" | "off" | "no" | "false" => Some(false),
        _ => None,
    }
}

/// The word without its dashes, if it is an option; a single dash is a plain word.
fn option_of(word: &str) -> Option<&str> {
    let option = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    (!option.is_empty()).then_some(option)
}

fn split_value(option: &str) -> (&str, Option<&str>) {
    match option.split_once('=') {
        Some((name, value)) if !name.is_empty() => (name, Some(value)),
        _ => (option, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grammar() -> Grammar {
        let property = |name: &'static str, kind: Kind| Property { name: name.into(), kind };
        let integer = Kind::Integer { min: None, max: None };
        Grammar {
            positional: &["vmid"],
            takes_more: false,
            properties: vec![
                property("vmid", Kind::Vmid),
                property("cores", integer.clone()),
                property("cpulimit", integer),
                property("purge", Kind::Boolean),
                property("delete", Kind::ConfigIdList),
            ],
        }
    }

    #[track_caller]
    fn check(line: &str, want: Result<&str, &str>) {
        let args: Vec<String> = line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let got = grammar().parse(&args);
        let shown = got.map(|words| {
            let pairs: Vec<String> =
                words.values.iter().map(|(name, value)| format!("{name}={value}")).collect();
            pairs.join(" ")
        });
        let shown = shown.map_err(|error| error.to_string());
        assert_eq!(shown, want.map(str::to_owned).map_err(str::to_owned), "{line:?}");
    }

    #[test]
    fn options_stand_anywhere_and_may_be_cut() {
        check("100 -cores 2", Ok("cores=2 vmid=100"));
        check("--cores=2 100", Ok("cores=2 vmid=100"));
        check("-CORES -5 100", Ok("cores=-5 vmid=100"));
        check("100 --cor 1 -cores 3", Ok("cores=3 vmid=100"));
        check("100 --delete a --delete b,c", Ok("delete=a,b,c vmid=100"));
    }

    #[test]
    fn a_bare_boolean_swallows_a_word() {
        check("100 --purge", Ok("purge=1 vmid=100"));
        check("100 --purge off", Ok("purge=0 vmid=100"));
        check("--purge --cores 1 100", Ok("cores=1 purge=1 vmid=100"));
        check("--purge 100", Err("400 not enough arguments"));
        check("100 --purge maybe", Err("400 unable to parse boolean option"));
    }

    #[test]
    fn what_is_wrong_is_said_in_perls_words() {
        check("100 -nosuch 1", Err("Unknown option: nosuch\n400 unable to parse option"));
        check("100 -64M", Err("Unknown option: 64m\n400 unable to parse option"));
        check("100 -cores", Err("Option cores requires an argument\n400 unable to parse option"));
        check("100 -cores=", Err("Option cores requires an argument\n400 unable to parse option"));
        check("100 -c 1", Err("Option c is ambiguous (cores, cpulimit)\n400 unable to parse option"));
        check("100 101", Err("400 too many arguments"));
        check("", Err("400 not enough arguments"));
        check("-- 100", Ok("vmid=100"));
        check("-- 100 -cores 1", Err("400 too many arguments"));
    }

    proptest! {
        /// Whatever is typed, no word is lost: each is a value, a plain word, or reported.
        #[test]
        fn any_words_are_survived(args in proptest::collection::vec("-{0,3}[a-z=0-9 ]{0,6}", 0..6)) {
            if let Ok(words) = grammar().parse(&args) {
                prop_assert!(words.values.contains_key("vmid"));
                prop_assert!(words.more.is_empty());
            }
        }
    }
}
