//! The stated purpose of a request for a change.

use std::fmt;

use axum::http::{HeaderMap, StatusCode};
use lxc_autoscale_core::api::{LedgerEntry, PURPOSE_HEADER};

use crate::error::ApiError;
use crate::openapi::Parameter;

/// Longest purpose, in characters; it is stored in the audit log and in the ledger.
const MAX_CHARS: usize = 100;

/// A purpose, such as `decision 4711`: 1 to 100 visible ASCII characters and blanks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purpose(String);

impl Purpose {
    /// The value of the header; `None` if there is none.
    ///
    /// # Errors
    /// 400 if it has another form.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let Some(value) = headers.get(PURPOSE_HEADER) else { return Ok(None) };
        // Only visible ASCII: nothing that breaks a line, or resembles something else.
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

    /// Whether it names a decision of `lxc-autoscale-ml`.
    pub(crate) fn is_decision(&self) -> bool {
        LedgerEntry::decision_in(&format!("{}: {self}", LedgerEntry::REQUEST)).is_some()
    }

    /// The OpenAPI description of the header.
    pub(crate) fn parameter() -> Parameter {
        let schema = serde_json::json!({
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_CHARS,
            "pattern": "^[!-~]([ -~]*[!-~])?$",
            "description": "What the change is for; stored in the audit log and in the ledger.",
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
