//! What a request that changes something is for, in the words of whoever sends it.

use std::fmt;

use axum::http::{HeaderMap, StatusCode};
use lxc_autoscale_core::api::PURPOSE_HEADER;

use crate::error::ApiError;
use crate::openapi::Parameter;

/// Longest purpose; it stands in the audit log and in the ledger.
const MAX_CHARS: usize = 100;

/// Such as `decision 4711`: one to 100 visible ASCII characters, blanks between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purpose(String);

impl Purpose {
    /// What the header says; nothing without one.
    ///
    /// # Errors
    /// 400 for what has another form.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let Some(value) = headers.get(PURPOSE_HEADER) else { return Ok(None) };
        // Visible ASCII alone: nothing that breaks a line, or looks like something else.
        match value.to_str().map(str::trim) {
            Ok(text) if !text.is_empty() && text.len() <= MAX_CHARS && !text.contains('\t') => {
                Ok(Some(Self(text.to_owned())))
            }
            _ => {
                let message =
                    format!("the header `{PURPOSE_HEADER}` takes 1 to {MAX_CHARS} visible ASCII characters");
                Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_parameter", message))
            }
        }
    }

    /// What the OpenAPI document says of the header.
    pub(crate) fn parameter() -> Parameter {
        let schema = serde_json::json!({
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_CHARS,
            "pattern": "^[!-~]([ -~]*[!-~])?$",
            "description": "What the change is for; kept in the audit log and in the ledger.",
        });
        let name = PURPOSE_HEADER.to_owned();
        Parameter { place: "header", name, required: false, schema, is_group: false }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
