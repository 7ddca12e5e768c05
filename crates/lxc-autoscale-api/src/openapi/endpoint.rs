//! Derives the description of a route from the signature of its handler.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use lxc_autoscale_core::api::{Envelope, Status};
use schemars::generate::{Contract, SchemaSettings};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::faults::{self, Faults};
use crate::auth::caller::Caller;
use crate::error::ApiError;
use crate::extract::{ApiJson, ApiPath, ApiQuery};
use crate::state::AppState;

/// Generates the schemas of a document: those of requests are inlined where they are used, those of responses are
/// components.
#[derive(Debug)]
pub struct Schemas {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Schemas {
    /// The schema of something that is read from a request.
    pub fn request<T: JsonSchema>(&mut self) -> Schema {
        self.requests.subschema_for::<T>()
    }

    /// The schema of something that is written to a response.
    pub fn answer<T: JsonSchema>(&mut self) -> Schema {
        self.answers.subschema_for::<T>()
    }

    /// The schemas that others refer to.
    pub fn into_components(mut self) -> Map<String, Value> {
        self.answers.take_definitions(true)
    }
}

impl Default for Schemas {
    fn default() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.meta_schema = None;
                settings.definitions_path = "/components/schemas".into();
            })
        };
        let requests = settings().with(|settings| {
            settings.inline_subschemas = true;
            settings.contract = Contract::Deserialize;
        });
        let answers = settings().with(|settings| settings.contract = Contract::Serialize);
        Self { requests: requests.into_generator(), answers: answers.into_generator() }
    }
}

/// A parameter in the query, the path or a header.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// `query`, `path` or `header`.
    pub place: &'static str,
    /// Its name.
    pub name: String,
    /// Whether it is required.
    pub required: bool,
    /// Its schema, with a description.
    pub schema: Value,
    /// Whether it stands for several parameters that depend on each other: the fields of its schema.
    pub is_group: bool,
}

/// A successful answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    /// Its status.
    pub status: StatusCode,
    /// `application/json` or another media type.
    pub media_type: &'static str,
    /// The schema of the whole response.
    pub schema: Value,
}

/// The input and output of a handler.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shape {
    /// Its parameters outside the body.
    pub parameters: Vec<Parameter>,
    /// The schema of its body.
    pub body: Option<Value>,
    /// Its successful answers.
    pub answers: Vec<Content>,
    /// The errors that its input can cause.
    pub faults: Vec<Faults>,
}

/// An argument of a handler.
pub trait Input {
    /// Adds what it reads from a request.
    fn describe(shape: &mut Shape, schemas: &mut Schemas);
}

/// What a handler returns.
pub trait Output {
    /// Adds what it writes to the response.
    fn describe(shape: &mut Shape, schemas: &mut Schemas);
}

/// A handler: a function whose arguments and result describe themselves; `A` is the tuple of its arguments.
pub trait Endpoint<A> {
    /// Its input and output.
    fn shape(schemas: &mut Schemas) -> Shape;
}

macro_rules! endpoint {
    ($($argument:ident),*) => {
        impl<F, Fut, R, $($argument),*> Endpoint<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> Fut,
            Fut: Future<Output = R>,
            R: Output,
            $($argument: Input,)*
        {
            fn shape(schemas: &mut Schemas) -> Shape {
                let mut shape = Shape::default();
                $($argument::describe(&mut shape, schemas);)*
                R::describe(&mut shape, schemas);
                shape
            }
        }
    };
}

endpoint!();
endpoint!(A1);
endpoint!(A1, A2);
endpoint!(A1, A2, A3);
endpoint!(A1, A2, A3, A4);
endpoint!(A1, A2, A3, A4, A5);

impl Input for State<AppState> {
    fn describe(_: &mut Shape, _: &mut Schemas) {}
}

impl Input for Caller {
    fn describe(_: &mut Shape, _: &mut Schemas) {}
}

impl Input for HeaderMap {
    fn describe(_: &mut Shape, _: &mut Schemas) {}
}

impl<T: JsonSchema> Input for ApiJson<T> {
    fn describe(shape: &mut Shape, schemas: &mut Schemas) {
        shape.body = Some(schemas.request::<T>().to_value());
        shape.faults.push(faults::BODY);
    }
}

impl<T: JsonSchema> Input for ApiQuery<T> {
    fn describe(shape: &mut Shape, schemas: &mut Schemas) {
        shape.parameters.extend(fields("query", &schemas.request::<T>().to_value()));
        shape.faults.push(faults::PARAMETERS);
    }
}

impl<T: JsonSchema> Input for ApiPath<T> {
    fn describe(shape: &mut Shape, schemas: &mut Schemas) {
        shape.parameters.extend(fields("path", &schemas.request::<T>().to_value()));
        shape.faults.push(faults::PARAMETERS);
    }
}

/// The fields of an object as separate parameters; or as one, if a field excludes another, which a list cannot
/// express.
fn fields(place: &'static str, object: &Value) -> Vec<Parameter> {
    let required = object.get("required").and_then(Value::as_array);
    if let Some(rules) = object.get("allOf").and_then(Value::as_array) {
        let mut schema = object.clone();
        let fields = schema.get_mut("properties").and_then(Value::as_object_mut);
        fields.into_iter().flatten().for_each(|(_, field)| never_null(field));
        let needs_some = required.is_some_and(|names| !names.is_empty());
        return vec![Parameter {
            place,
            name: "parameters".to_owned(),
            required: needs_some || rules.iter().any(|rule| rule.get("oneOf").is_some()),
            schema,
            is_group: true,
        }];
    }
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|each| each == name));
    let properties = object.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flatten()
        .map(|(name, schema)| {
            let mut schema = schema.clone();
            never_null(&mut schema);
            Parameter { place, name: name.clone(), required: is_required(name), schema, is_group: false }
        })
        .collect()
}

/// There is no null outside a body: what may be null may be omitted.
fn never_null(schema: &mut Value) {
    let kinds = schema.get("type").and_then(Value::as_array).cloned().unwrap_or_default();
    if let [kind, null] = kinds.as_slice()
        && null == "null"
    {
        schema["type"] = kind.clone();
    }
}

/// The envelope around data with this schema.
fn envelope(status: Status, data: &Value) -> Value {
    json!({
        "type": "object",
        "properties": {
            "status": {"const": status},
            "message": {"type": "string", "description": "One sentence for humans."},
            "data": data,
        },
        "required": ["status", "message", "data"],
    })
}

/// The envelope of an error with this data and one of these codes.
pub(super) fn error_envelope(data: &Value, codes: &[&str]) -> Value {
    let mut schema = envelope(Status::Error, data);
    schema["properties"]["code"] = json!({"enum": codes, "description": "Stable, for programs."});
    schema["required"] = json!(["status", "message", "data", "code"]);
    schema
}

impl Shape {
    /// Adds a response in our envelope.
    pub fn answer<T: JsonSchema>(&mut self, status: StatusCode, schemas: &mut Schemas) {
        let data = schemas.answer::<T>().to_value();
        let schema = envelope(Status::Success, &data);
        self.answers.push(Content { status, media_type: "application/json", schema });
    }

    /// Adds an error response that carries data.
    pub fn answer_with_failure<T: JsonSchema>(
        &mut self,
        status: StatusCode,
        code: &'static str,
        schemas: &mut Schemas,
    ) {
        let data = schemas.answer::<T>().to_value();
        let schema = error_envelope(&data, &[code]);
        self.answers.push(Content { status, media_type: "application/json", schema });
    }
}

impl<T: JsonSchema> Output for Json<Envelope<T>> {
    fn describe(shape: &mut Shape, schemas: &mut Schemas) {
        shape.answer::<T>(StatusCode::OK, schemas);
    }
}

impl<T: Output> Output for Result<T, ApiError> {
    fn describe(shape: &mut Shape, schemas: &mut Schemas) {
        T::describe(shape, schemas);
    }
}
