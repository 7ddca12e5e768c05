//! JSON schemas of the types whose serde form is not derived, for the OpenAPI document of the API.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::api::TWO_NAMES;
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

/// A time, or `original`, as `POST /undo` takes it.
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

/// A boost raises one size at least.
pub(crate) fn needs_a_size(schema: &mut Schema) {
    let given = |name: &str| json!({"required": [name], "properties": {name: {"type": "integer"}}});
    schema.insert("anyOf".to_owned(), json!([given("cores"), given("memory")]));
}

/// An undo names one container, or says that it means all.
pub(crate) fn one_or_all(schema: &mut Schema) {
    let one = |name: &str| json!({"required": [name], "properties": {name: {"type": "integer"}, "all": {"const": false}}});
    let [vm_id, lxc_id] = ["vm_id", "lxc_id"].map(one);
    let none = json!({"type": "null"});
    let all =
        json!({"required": ["all"], "properties": {"all": {"const": true}, "vm_id": none, "lxc_id": none}});
    schema.insert("oneOf".to_owned(), json!([vm_id, lxc_id, all]));
}

/// Adds the second names of fields, which serde knows as their aliases; schemars does not see those.
pub(crate) fn two_names(schema: &mut Schema) {
    let mut rules = Vec::new();
    for (name, later) in TWO_NAMES {
        let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
        let Some(mut field) = properties.get(name).cloned() else { continue };
        field["description"] = format!("The same as `{name}`; one of the two names is used.").into();
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
