//! Changes of a TOML text that keep its comments and its order. Nothing here touches the world.

use std::collections::BTreeMap;
use std::ops::Range;

use lxc_autoscale_core::api::{ConfigChange, ConfigSetting, MAX_CHANGES, MAX_KEY_CHARS};
use serde_json::{Map, Value as Json};
use toml_edit::{
    Array, ArrayOfTables, Document, DocumentMut, InlineTable, Item, Table, TableLike, TomlError, Value,
};

/// Why a text cannot be changed so.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// It is not TOML now.
    #[error("the file is not TOML, so none of its keys can be changed; repair it on the node")]
    Broken(#[source] Box<TomlError>),
    /// A key that is none.
    #[error(
        "`{key}` is not a dotted key such as `scaling.cpu.max_cores`: words of letters, digits, `_` and `-`, joined by \
         dots, at most {MAX_KEY_CHARS} characters"
    )]
    Key {
        /// The beginning of it.
        key: String,
    },
    /// Nothing is asked for, or too much.
    #[error("`set` and `remove` must name at least one key together, and at most {MAX_CHANGES} each")]
    Count,
    /// A key that is set and removed.
    #[error("`{key}` is to be set and to be removed")]
    Both {
        /// The key.
        key: String,
    },
    /// There is nothing to remove.
    #[error("`{key}` does not stand in the file")]
    NoSuchKey {
        /// The key.
        key: String,
    },
    /// A key below something that holds no keys.
    #[error("`{key}` cannot be set: `{part}` in it is neither a table nor the number of one")]
    NotATable {
        /// The key.
        key: String,
        /// The part of it.
        part: String,
    },
    /// A value that TOML cannot hold.
    #[error(
        "the value of `{key}` holds a null, or a whole number beyond 64 bits, which a configuration cannot"
    )]
    Value {
        /// The key.
        key: String,
    },
}

/// A key, in its parts; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DottedKey<'a> {
    text: &'a str,
    parts: Vec<&'a str>,
}

/// Something that has keys, or numbers from 1.
enum Place<'a> {
    Table(&'a mut dyn TableLike),
    Tables(&'a mut ArrayOfTables),
    Inline(&'a mut Array),
}

/// The text with these keys set and those removed.
///
/// # Errors
/// [`EditError`]; all of it is done, or nothing.
pub fn apply(text: &str, set: &BTreeMap<String, Json>, remove: &[String]) -> Result<String, EditError> {
    check(set, remove)?;
    let mut text = text.to_owned();
    for key in remove {
        text = removed(text, &DottedKey::new(key)?)?;
    }
    let mut document = parse(text)?.into_mut();
    for (key, value) in set {
        put(&mut document, &DottedKey::new(key)?, value)?;
    }
    Ok(document.to_string())
}

/// Whether changes can be asked for at all, of whatever file.
///
/// # Errors
/// [`EditError::Count`], [`EditError::Key`], [`EditError::Both`].
pub fn check(set: &BTreeMap<String, Json>, remove: &[String]) -> Result<(), EditError> {
    let is_within = |count: usize| count <= MAX_CHANGES;
    if set.is_empty() && remove.is_empty() || !is_within(set.len()) || !is_within(remove.len()) {
        return Err(EditError::Count);
    }
    for key in set.keys().chain(remove) {
        DottedKey::new(key)?;
    }
    match remove.iter().find(|key| set.contains_key(*key)) {
        Some(key) => Err(EditError::Both { key: bounded(key) }),
        None => Ok(()),
    }
}

/// What differs between two configurations, by key.
pub fn differences(before: &[ConfigSetting], after: &[ConfigSetting]) -> Vec<ConfigChange> {
    let by_key = |settings: &[ConfigSetting]| -> BTreeMap<String, Json> {
        settings.iter().map(|setting| (setting.key.clone(), setting.value.clone())).collect()
    };
    let (mut before, mut after) = (by_key(before), by_key(after));
    let mut keys: Vec<String> = before.keys().chain(after.keys()).cloned().collect();
    keys.sort_unstable();
    keys.dedup();
    let changes = keys.into_iter().map(|key| {
        let (before, after) = (before.remove(&key), after.remove(&key));
        ConfigChange { key, before, after }
    });
    changes.filter(|change| change.before != change.after).collect()
}

impl<'a> DottedKey<'a> {
    fn new(text: &'a str) -> Result<Self, EditError> {
        let is_word = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        let parts: Vec<&str> = text.split('.').collect();
        if MAX_KEY_CHARS < text.len() || !parts.iter().all(is_word) {
            return Err(EditError::Key { key: bounded(text) });
        }
        Ok(Self { text, parts })
    }

    /// The last part, and those before it.
    fn split(&self) -> (&'a str, &[&'a str]) {
        // `split` gives one part at least.
        self.parts.split_last().map_or(("", &[]), |(last, path)| (*last, path))
    }

    fn not_a_table(&self, part: &str) -> EditError {
        EditError::NotATable { key: self.text.to_owned(), part: part.to_owned() }
    }

    fn no_such(&self) -> EditError {
        EditError::NoSuchKey { key: self.text.to_owned() }
    }
}

fn bounded(key: &str) -> String {
    key.chars().take(60).collect()
}

/// Sees that a text is TOML.
///
/// # Errors
/// [`EditError::Broken`].
pub fn parsed(text: &str) -> Result<(), EditError> {
    parse(text.to_owned()).map(|_| ())
}

fn parse(text: String) -> Result<Document<String>, EditError> {
    Document::parse(text).map_err(|error| EditError::Broken(Box::new(error)))
}

/// The index that the number of a table stands for.
fn index(part: &str) -> Option<usize> {
    part.parse::<usize>().ok()?.checked_sub(1)
}

/// Takes a key out of the text. The comment above it stays, because it tells of the key whatever its value is.
fn removed(text: String, key: &DottedKey<'_>) -> Result<String, EditError> {
    let document = parse(text)?;
    if let Some(lines) = lines_of(&document, key) {
        let mut text = document.raw().to_owned();
        text.replace_range(lines, "");
        return Ok(text);
    }
    let mut document = document.into_mut();
    let (last, path) = key.split();
    let is_there = match place(Place::Table(document.as_table_mut()), path, key, false)? {
        Place::Table(table) => table.remove(last).is_some(),
        Place::Tables(tables) => match index(last) {
            Some(index) if index < tables.len() => {
                tables.remove(index);
                true
            }
            _ => false,
        },
        Place::Inline(values) => match index(last) {
            Some(index) if index < values.len() => {
                values.remove(index);
                true
            }
            _ => false,
        },
    };
    if is_there { Ok(document.to_string()) } else { Err(key.no_such()) }
}

/// The lines that a key and its value take up, where they have lines of their own.
fn lines_of(document: &Document<String>, key: &DottedKey<'_>) -> Option<Range<usize>> {
    let (last, path) = key.split();
    let mut table = document.as_table();
    let mut path = path.iter();
    while let Some(part) = path.next() {
        table = match table.get(part)? {
            Item::Table(inner) => inner,
            Item::ArrayOfTables(tables) => tables.get(index(path.next()?)?)?,
            Item::Value(_) | Item::None => return None,
        };
    }
    let (name, item) = table.get_key_value(last)?;
    let (start, end) = (name.span()?.start, item.as_value()?.span()?.end);
    let text = document.raw();
    let begins = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let ends = text[end..].find('\n').map_or(text.len(), |at| end + at + 1);
    Some(begins..ends)
}

/// Follows `path`, making the tables that are missing where `make` says so.
fn place<'a>(
    from: Place<'a>,
    path: &[&str],
    key: &DottedKey<'_>,
    make: bool,
) -> Result<Place<'a>, EditError> {
    let Some((first, rest)) = path.split_first() else { return Ok(from) };
    // The last part is not in the path.
    let depth = (key.parts.len() - 1).saturating_sub(path.len());
    let next = match from {
        Place::Table(table) => {
            if !table.contains_key(first) {
                if !make {
                    return Err(key.no_such());
                }
                let missing = new_table(depth, table.is_dotted());
                table.insert(first, Item::Table(missing));
            }
            match table.get_mut(first) {
                Some(Item::ArrayOfTables(tables)) => Some(Place::Tables(tables)),
                Some(Item::Value(Value::Array(values))) => Some(Place::Inline(values)),
                Some(item) => item.as_table_like_mut().map(Place::Table),
                None => None,
            }
        }
        Place::Tables(tables) => {
            index(first).and_then(|index| tables.get_mut(index)).map(|table| Place::Table(table))
        }
        Place::Inline(values) => index(first)
            .and_then(|index| values.get_mut(index)?.as_inline_table_mut())
            .map(|table| Place::Table(table)),
    };
    place(next.ok_or_else(|| key.not_a_table(first))?, rest, key, make)
}

/// A table for what is new. `[scaling.cpu]` and `[policy.web]` have headers, what is below them has dotted keys, as in
/// the shipped file.
fn new_table(depth: usize, parent_is_dotted: bool) -> Table {
    let mut table = Table::new();
    table.set_implicit(true);
    table.set_dotted(2 <= depth || parent_is_dotted);
    table
}

fn put(document: &mut DocumentMut, key: &DottedKey<'_>, json: &Json) -> Result<(), EditError> {
    let no_value = || EditError::Value { key: key.text.to_owned() };
    let (last, path) = key.split();
    match place(Place::Table(document.as_table_mut()), path, key, true)? {
        Place::Table(table) => {
            let mut new = value(json).ok_or_else(no_value)?;
            match table.get_mut(last) {
                // What stands on the line behind a value is about its key.
                Some(Item::Value(old)) => {
                    new.decor_mut().clone_from(old.decor());
                    *old = new;
                }
                Some(old) => *old = item(json, path.len()).ok_or_else(no_value)?,
                None => {
                    table.insert(last, item(json, path.len()).ok_or_else(no_value)?);
                }
            }
        }
        Place::Tables(tables) => {
            let Some(new) = entry(json) else { return Err(key.not_a_table(last)) };
            match index(last) {
                Some(index) if index < tables.len() => {
                    tables.replace(index, new);
                }
                Some(index) if index == tables.len() => tables.push(new),
                _ => return Err(key.not_a_table(last)),
            }
        }
        Place::Inline(values) => {
            let new = value(json).ok_or_else(no_value)?;
            match index(last) {
                Some(index) if index < values.len() => {
                    values.replace(index, new);
                }
                Some(index) if index == values.len() => values.push(new),
                _ => return Err(key.not_a_table(last)),
            }
        }
    }
    Ok(())
}

/// An object as a table, a list of objects as tables, all else as a value; `depth` tables are above it.
fn item(json: &Json, depth: usize) -> Option<Item> {
    match json {
        // An empty one would leave no trace among dotted keys.
        Json::Object(fields) if !fields.is_empty() => {
            let mut table = table(fields, depth)?;
            table.set_dotted(2 <= depth);
            Some(Item::Table(table))
        }
        Json::Array(entries) if !entries.is_empty() && entries.iter().all(Json::is_object) => {
            let tables = entries.iter().map(entry).collect::<Option<ArrayOfTables>>();
            tables.map(Item::ArrayOfTables)
        }
        other => value(other).map(Item::Value),
    }
}

/// One table of an array: what is below it has dotted keys.
fn entry(json: &Json) -> Option<Table> {
    table(json.as_object()?, 2)
}

fn table(fields: &Map<String, Json>, depth: usize) -> Option<Table> {
    let mut table = Table::new();
    for (name, field) in fields {
        table.insert(name, item(field, depth + 1)?);
    }
    Some(table)
}

fn value(json: &Json) -> Option<Value> {
    match json {
        Json::Null => None,
        Json::Bool(flag) => Some(Value::from(*flag)),
        Json::Number(number) if number.is_f64() => number.as_f64().map(Value::from),
        Json::Number(number) => number.as_i64().map(Value::from),
        Json::String(text) => Some(Value::from(text.as_str())),
        Json::Array(entries) => entries.iter().map(value).collect::<Option<Array>>().map(Value::Array),
        Json::Object(fields) => {
            let mut table = InlineTable::new();
            for (name, field) in fields {
                table.insert(name, value(field)?);
            }
            Some(Value::InlineTable(table))
        }
    }
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
