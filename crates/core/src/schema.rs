//! JSON schemas of the types whose serde form is not derived, for the OpenAPI document of the API.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::api::TWO_NAMES;
use crate::missing::Missing;
use crate::table::Table;
use crate::{Cores, RecordTime, Vmid};

impl JsonSchema for Vmid {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Vmid".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": Self::MIN, "maximum": Self::MAX})
    }
}

impl JsonSchema for Cores {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Cores".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number", "minimum": 0})
    }
}

impl JsonSchema for RecordTime {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "RecordTime".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

impl JsonSchema for Missing {
    fn inline_schema() -> bool {
        String::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        String::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

impl<V: JsonSchema, K> JsonSchema for Table<V, K> {
    fn inline_schema() -> bool {
        BTreeMap::<String, V>::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        BTreeMap::<String, V>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, V>::json_schema(generator)
    }
}

/// A time, or `original`, as in `POST /undo`.
#[derive(Debug)]
pub(crate) struct MomentText;

impl JsonSchema for MomentText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MomentText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "anyOf": [{"const": "original"}, {"format": "date-time"}]})
    }
}

/// A boost must raise at least one size.
pub(crate) fn needs_a_size(schema: &mut Schema) {
    let given = |name: &str| json!({"required": [name], "properties": {name: {"type": "integer"}}});
    schema.insert("anyOf".to_owned(), json!([given("cores"), given("memory")]));
}

/// An undo must name one container, or ask for all explicitly.
pub(crate) fn one_or_all(schema: &mut Schema) {
    let one = |name: &str| json!({"required": [name], "properties": {name: {"type": "integer"}, "all": {"const": false}}});
    let [vm_id, lxc_id] = ["vm_id", "lxc_id"].map(one);
    let none = json!({"type": "null"});
    let all =
        json!({"required": ["all"], "properties": {"all": {"const": true}, "vm_id": none, "lxc_id": none}});
    schema.insert("oneOf".to_owned(), json!([vm_id, lxc_id, all]));
}

/// Adds the second names of fields. They are serde aliases, which schemars does not see.
pub(crate) fn two_names(schema: &mut Schema) {
    let mut rules = Vec::new();
    for (name, later) in TWO_NAMES {
        let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
        let Some(mut field) = properties.get(name).cloned() else { continue };
        field["description"] = format!("Another name of `{name}`; use one of the two.").into();
        properties.insert(later.to_owned(), field);
        let required = schema.get_mut("required").and_then(Value::as_array_mut);
        let is_required = required.is_some_and(|required| {
            let before = required.len();
            required.retain(|each| each != name);
            required.len() < before
        });
        rules.push(if is_required {
            json!({"oneOf": [{"required": [name]}, {"required": [later]}]})
        } else {
            json!({"not": {"required": [name, later]}})
        });
    }
    schema.insert("allOf".to_owned(), rules.into());
}

/// A dotted key of bare words, as `/config` accepts it.
fn dotted_key() -> Value {
    json!({"type": "string", "pattern": "^[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*$", "maxLength": crate::api::MAX_KEY_CHARS})
}

/// Values by dotted key.
#[derive(Debug)]
pub(crate) struct ValuesByKey;

impl JsonSchema for ValuesByKey {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ValuesByKey".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": dotted_key(),
            "maxProperties": crate::api::MAX_CHANGES,
            "additionalProperties": {"not": {"type": "null"}},
        })
    }
}

/// Dotted keys.
#[derive(Debug)]
pub(crate) struct DottedKeys;

impl JsonSchema for DottedKeys {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DottedKeys".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "array", "items": dotted_key(), "maxItems": crate::api::MAX_CHANGES})
    }
}

fn sets() -> Value {
    json!({"required": ["set"], "properties": {"set": {"minProperties": 1}}})
}

fn removes() -> Value {
    json!({"required": ["remove"], "properties": {"remove": {"minItems": 1}}})
}

/// A change of a configuration must set or remove something.
pub(crate) fn changes_something(schema: &mut Schema) {
    schema.insert("anyOf".to_owned(), json!([sets(), removes()]));
}

/// A candidate must be either a text or changes, not both.
pub(crate) fn text_or_changes(schema: &mut Schema) {
    let text = json!({
        "required": ["text"],
        "properties": {"set": {"maxProperties": 0}, "remove": {"maxItems": 0}},
    });
    let mut changes = json!({"anyOf": [sets(), removes()]});
    changes["not"] = json!({"required": ["text"]});
    schema.insert("oneOf".to_owned(), json!([text, changes]));
}
