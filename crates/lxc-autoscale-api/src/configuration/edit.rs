//! Edits a TOML text so that comments and order are kept. Pure.

use std::collections::BTreeMap;
use std::ops::Range;

use lxc_autoscale_core::api::{ConfigChange, ConfigSetting, MAX_CHANGES, MAX_KEY_CHARS};
use serde_json::{Map, Value as Json};
use toml_edit::{
    Array, ArrayOfTables, Document, DocumentMut, InlineTable, Item, Table, TableLike, TomlError, Value,
};

/// Why a text cannot be changed as requested.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The current text is not TOML.
    #[error("the file is not TOML, so none of its keys can be changed; repair it on the node")]
    Broken(#[source] Box<TomlError>),
    /// A key is malformed.
    #[error(
        "`{key}` is not a dotted key such as `scaling.cpu.max_cores`: words of letters, digits, `_` and `-`, joined by \
         dots, at most {MAX_KEY_CHARS} characters"
    )]
    Key {
        /// The beginning of the key.
        key: String,
    },
    /// The request names no key, or too many.
    #[error("`set` and `remove` must name at least one key together, and at most {MAX_CHANGES} each")]
    Count,
    /// A key is both set and removed.
    #[error("`{key}` is in both `set` and `remove`")]
    Both {
        /// The key.
        key: String,
    },
    /// The key to be removed is not in the file.
    #[error("`{key}` is not in the file")]
    NoSuchKey {
        /// The key.
        key: String,
    },
    /// The key has a parent that holds no keys.
    #[error("`{key}` cannot be set: `{part}` in it is neither a table nor the number of a table")]
    NotATable {
        /// The key.
        key: String,
        /// The part of the key that names the parent.
        part: String,
    },
    /// TOML cannot represent the value.
    #[error("the value of `{key}` contains a null or an integer beyond 64 bits, which TOML cannot represent")]
    Value {
        /// The key.
        key: String,
    },
}

/// A dotted key in its parts; there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DottedKey<'a> {
    text: &'a str,
    parts: Vec<&'a str>,
}

/// Something with keys, or with numbers from 1.
enum Place<'a> {
    Table(&'a mut dyn TableLike),
    Tables(&'a mut ArrayOfTables),
    Inline(&'a mut Array),
}

/// The text after setting and removing these keys.
///
/// # Errors
/// [`EditError`]; then nothing is changed.
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

/// Checks a request by itself, independent of the file.
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

/// The values that differ between two configurations, by key.
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
        // `split` returns at least one part.
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

/// Checks that a text is TOML.
///
/// # Errors
/// [`EditError::Broken`].
pub fn parsed(text: &str) -> Result<(), EditError> {
    parse(text.to_owned()).map(|_| ())
}

fn parse(text: String) -> Result<Document<String>, EditError> {
    Document::parse(text).map_err(|error| EditError::Broken(Box::new(error)))
}

/// The index for the number of a table.
fn index(part: &str) -> Option<usize> {
    part.parse::<usize>().ok()?.checked_sub(1)
}

/// Removes a key from the text. The comment above it stays, because it describes the key whatever its value is.
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

/// The lines of a key and its value, if these lines contain nothing else.
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

/// Follows `path`, and creates missing tables if `make` is set.
fn place<'a>(
    from: Place<'a>,
    path: &[&str],
    key: &DottedKey<'_>,
    make: bool,
) -> Result<Place<'a>, EditError> {
    let Some((first, rest)) = path.split_first() else { return Ok(from) };
    // The last part is not in `path`.
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

/// An empty table for new keys. `[scaling.cpu]` and `[policy.web]` get headers, deeper tables dotted keys, as in the
/// shipped file.
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
                // A comment after a value belongs to its key.
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

/// An object becomes a table, a list of objects an array of tables, and everything else a value; `depth` tables are
/// above it.
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

/// One table of an array; everything below it has dotted keys.
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
