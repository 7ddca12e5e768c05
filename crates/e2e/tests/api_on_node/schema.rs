//! Proxmox's published API schema, reduced to the calls that our client makes (`schema.json` has the type, bounds and
//! values of each parameter and field), and a check of recorded calls and answers against it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

/// The parameters and the result of a call.
#[derive(Debug, Deserialize)]
struct Method {
    parameters: Shape,
    returns: Option<Shape>,
}

/// The constraints on a value, in Proxmox's dialect of JSON schema.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shape {
    r#type: String,
    optional: u8,
    minimum: Option<f64>,
    maximum: Option<f64>,
    #[serde(rename = "maxLength")]
    max_length: Option<usize>,
    r#enum: Vec<String>,
    pattern: Option<String>,
    closed: bool,
    properties: BTreeMap<String, Shape>,
    items: Option<Box<Shape>>,
}

/// A line of the log.
#[derive(Debug, Deserialize)]
struct Called {
    method: String,
    path: String,
    parameters: BTreeMap<String, String>,
    #[serde(default)]
    data: Value,
    error: Option<Value>,
}

fn schema() -> BTreeMap<String, Method> {
    serde_json::from_str(include_str!("schema.json")).unwrap()
}

/// The calls in the schema.
pub(crate) fn methods() -> Vec<&'static str> {
    let names =
        include_str!("schema.json").lines().filter_map(|line| line.strip_prefix('"')?.split_once('"'));
    names.map(|(name, _)| name).collect()
}

/// Checks each call and its answer; returns the methods that were called successfully.
pub(crate) fn check_calls(log: &str) -> BTreeSet<String> {
    let schema = schema();
    let mut seen = BTreeSet::new();
    for line in log.lines() {
        let called: Called = serde_json::from_str(line).unwrap();
        let (name, method, in_path) = find(&schema, &called);
        let mut given = called.parameters.clone();
        given.extend(in_path);
        check_parameters(&method.parameters, &given, line);
        if called.error.is_none() {
            if let Some(returns) = &method.returns {
                check(returns, &called.data, name, line);
            }
            seen.insert(name.to_owned());
        }
    }
    seen
}

/// The method of a call, and the parameters in its path.
fn find<'a>(
    schema: &'a BTreeMap<String, Method>,
    called: &Called,
) -> (&'a str, &'a Method, BTreeMap<String, String>) {
    for (name, method) in schema {
        let (verb, pattern) = name.split_once(' ').unwrap();
        let (wanted, given): (Vec<&str>, Vec<&str>) =
            (pattern.split('/').collect(), called.path.split('/').collect());
        let in_path = |(name, value): (&&str, &&str)| {
            let name = name.strip_prefix('{')?.strip_suffix('}')?;
            Some((name.to_owned(), (*value).to_owned()))
        };
        let fits = wanted.len() == given.len()
            && wanted.iter().zip(&given).all(|(name, value)| name == value || name.starts_with('{'));
        if verb == called.method && fits {
            return (name, method, wanted.iter().zip(&given).filter_map(in_path).collect());
        }
    }
    panic!("Proxmox has no such call: {called:?}");
}

fn check_parameters(shape: &Shape, given: &BTreeMap<String, String>, line: &str) {
    for (name, value) in given {
        let Some(property) = shape.properties.get(name) else { panic!("no parameter `{name}`: {line}") };
        let value = match property.r#type.as_str() {
            "integer" => Value::from(value.parse::<i64>().unwrap_or_else(|_| panic!("`{name}`: {line}"))),
            "number" => Value::from(value.parse::<f64>().unwrap_or_else(|_| panic!("`{name}`: {line}"))),
            "boolean" => Value::from(value.parse::<u8>().unwrap_or_else(|_| panic!("`{name}`: {line}"))),
            _ => Value::from(value.as_str()),
        };
        check(property, &value, name, line);
    }
    for (name, property) in &shape.properties {
        assert!(property.optional == 1 || given.contains_key(name), "`{name}` is missing: {line}");
    }
}

/// Checks a value; `place` says where it is.
fn check(shape: &Shape, value: &Value, place: &str, line: &str) {
    let fits = match shape.r#type.as_str() {
        // Proxmox itself writes the numbers of some fields as strings (`cpulimit`, `/cluster/nextid`).
        "integer" => value.is_i64() || value.as_str().is_some_and(|text| text.parse::<i64>().is_ok()),
        "number" => value.is_number() || value.as_str().is_some_and(|text| text.parse::<f64>().is_ok()),
        "boolean" => value == 0 || value == 1,
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("{place}: type {other} is not known to this check"),
    };
    assert!(fits, "{place} is no {}: {value} in {line}", shape.r#type);
    let number = value.as_f64();
    assert!(number.zip(shape.minimum).is_none_or(|(number, least)| least <= number), "{place}: {line}");
    assert!(number.zip(shape.maximum).is_none_or(|(number, most)| number <= most), "{place}: {line}");
    if let Some(text) = value.as_str() {
        assert!(shape.max_length.is_none_or(|most| text.chars().count() <= most), "{place}: {line}");
        assert!(shape.r#enum.is_empty() || shape.r#enum.iter().any(|word| word == text), "{place}: {line}");
        let pattern = shape.pattern.as_ref().filter(|pattern| !pattern.contains("(?^"));
        if let Some(pattern) = pattern {
            let pattern = regex_lite::Regex::new(&format!("^(?:{pattern})$")).unwrap();
            assert!(pattern.is_match(text), "{place} is not {pattern}: {line}");
        }
    }
    if let (Some(items), Some(list)) = (&shape.items, value.as_array()) {
        for (index, item) in list.iter().enumerate() {
            check(items, item, &format!("{place}[{index}]"), line);
        }
    }
    let Some(fields) = value.as_object() else { return };
    for (name, property) in &shape.properties {
        match fields.get(name) {
            Some(field) => check(property, field, &format!("{place}.{name}"), line),
            None => assert!(property.optional == 1, "{place}.{name} is missing: {line}"),
        }
    }
    let unknown = fields.keys().find(|name| shape.closed && !shape.properties.contains_key(*name));
    assert_eq!(unknown, None, "{place}: {line}");
}
