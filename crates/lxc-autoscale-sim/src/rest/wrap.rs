//! Wraps answers as Proxmox does: `/api2/json` has errors in the reason phrase, `/api2/extjs` in the body.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::pve::error::PctError;

/// Why a call failed, as HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The status.
    pub(super) status: u16,
    /// The text, whose first line becomes the reason phrase.
    pub(super) text: String,
    /// The error of each parameter.
    pub(super) errors: BTreeMap<String, String>,
}

impl Failure {
    /// A failure with a single text.
    pub(super) fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), errors: BTreeMap::new() }
    }

    /// Invalid parameters.
    pub(super) fn parameters(errors: BTreeMap<String, String>) -> Self {
        Self { status: 400, text: "Parameter verification failed.".to_owned(), errors }
    }

    /// A missing privilege.
    pub(super) fn permission(path: &str, privileges: &str) -> Self {
        Self::new(403, format!("Permission check failed ({path}, {privileges})"))
    }

    /// The reason phrase: one line.
    pub(super) fn reason(&self) -> &str {
        self.text.lines().next().unwrap_or("Internal Server Error")
    }
}

impl From<PctError> for Failure {
    fn from(error: PctError) -> Self {
        match error {
            PctError::Parameters { errors, .. } => Self::parameters(errors),
            // Locked, missing, modified: every error of this kind is a 500.
            other => Self::new(500, other.text()),
        }
    }
}

impl From<crate::node::NodeError> for Failure {
    fn from(error: crate::node::NodeError) -> Self {
        PctError::from(error).into()
    }
}

/// The form of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `/api2/json`.
    Json,
    /// `/api2/extjs`.
    Extjs,
}

/// A wrapped answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wrapped {
    pub(super) status: u16,
    pub(super) reason: Option<String>,
    pub(super) body: Value,
}

/// Wraps the result of a call. With `says_message` (from 8.4 on), the text is also in the body of `/api2/json`.
pub(super) fn wrap(result: Result<Value, Failure>, format: Format, says_message: bool) -> Wrapped {
    let failure = match result {
        Ok(data) => {
            let body = match format {
                Format::Json => json!({"data": data}),
                Format::Extjs => json!({"success": 1, "data": data}),
            };
            return Wrapped { status: 200, reason: None, body };
        }
        Err(failure) => failure,
    };
    let mut body = Map::from_iter([("data".to_owned(), Value::Null)]);
    if !failure.errors.is_empty() {
        body.insert("errors".to_owned(), json!(failure.errors));
    }
    if format == Format::Extjs || says_message {
        body.insert("message".to_owned(), json!(format!("{}\n", failure.text.trim_end())));
    }
    if format == Format::Extjs {
        body.insert("success".to_owned(), json!(0));
        body.insert("status".to_owned(), json!(failure.status));
        return Wrapped { status: 200, reason: None, body: body.into() };
    }
    Wrapped { status: failure.status, reason: Some(failure.reason().to_owned()), body: body.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_recorded() {
        let missing = || Failure::new(500, "Configuration file 'nodes/pve1/lxc/999.conf' does not exist");
        let wrapped = wrap(Err(missing()), Format::Json, true);
        assert_eq!((wrapped.status, wrapped.reason.as_deref()), (500, Some(missing().text.as_str())));
        let text = "Configuration file 'nodes/pve1/lxc/999.conf' does not exist\n";
        assert_eq!(wrapped.body, json!({"data": null, "message": text}));
        assert_eq!(wrap(Err(missing()), Format::Json, false).body, json!({"data": null}));
        assert_eq!(
            wrap(Err(missing()), Format::Extjs, false),
            Wrapped {
                status: 200,
                reason: None,
                body: json!({"data": null, "message": text, "success": 0, "status": 500})
            }
        );
        let error = PctError::parameter("cores", "value must have a minimum value of 1");
        let wrapped = wrap(Err(error.into()), Format::Json, true);
        assert_eq!(
            (wrapped.status, wrapped.reason.as_deref()),
            (400, Some("Parameter verification failed."))
        );
        assert_eq!(
            wrapped.body,
            json!({"data": null, "errors": {"cores": "value must have a minimum value of 1"},
                   "message": "Parameter verification failed.\n"})
        );
        assert_eq!(wrap(Ok(Value::Null), Format::Json, true).body, json!({"data": null}));
    }
}
