//! JSON schemas of the types whose serde form is not derived, for the OpenAPI document of the API.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;

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
    let one =
        json!({"required": ["vm_id"], "properties": {"vm_id": {"type": "integer"}, "all": {"const": false}}});
    let all = json!({"required": ["all"], "properties": {"all": {"const": true}, "vm_id": {"type": "null"}}});
    schema.insert("oneOf".to_owned(), json!([one, all]));
}
