//! Errors as clients see them: a status, a stable code, and a sentence. Only this module turns errors of the actions
//! into HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use lxc_autoscale_core::ErrorChain;
use lxc_autoscale_core::api::Envelope;

use crate::actions::ActionError;
use crate::actions::clones::RemovalRefused;
use crate::actions::resize::ResizeRefused;
use crate::backend::{BackendError, Existing, Obstacle};
use crate::boosts::BoostRefused;
use crate::changes::ChangeError;
use crate::configuration::ConfigurationError;
use crate::configuration::edit::EditError;
use crate::invariants::Refused;
use crate::ledger::LedgerMismatch;
use crate::looks::TooManyLooks;
use crate::memory_guard::ShrinkRefused;
use crate::params::InvalidName;
use crate::why::WhyError;

/// The error code of an answer, for counting answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode(pub &'static str);

/// The error message of an answer, for recording it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorMessage(pub Arc<str>);

/// A wait in the seconds that clients are told: rounded up, so that whoever comes back after it is served.
pub fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(0 < wait.subsec_nanos())).max(1)
}

/// The answer to a request that failed or was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// Stable code for programs.
    pub code: &'static str,
    /// One sentence for humans.
    pub message: String,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// An error with these parts.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    /// Sets when to try again; clients are told whole seconds ([`whole_seconds`]).
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// 400: a field or query parameter is missing, unknown or malformed.
    pub fn invalid_parameter(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_parameter", message)
    }

    /// 403: the caller is not allowed to do this.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// Status and code for a failed action.
    pub fn status_and_code(error: &ActionError) -> (StatusCode, &'static str) {
        match error {
            ActionError::Backend(error) => backend_status_and_code(error),
            ActionError::Change(error) => change(error),
            ActionError::Shrink(ShrinkRefused::BelowWorkingSet { .. }) => {
                (StatusCode::CONFLICT, "shrink_below_working_set")
            }
            ActionError::Shrink(ShrinkRefused::Blind { .. }) => {
                (StatusCode::CONFLICT, "shrink_without_metrics")
            }
            ActionError::Invariant(refused) | ActionError::SizeInSnapshot { refused, .. } => {
                (invariant(refused), refused.code())
            }
            ActionError::Resize(ResizeRefused::PinnedCpuset { .. }) => {
                (StatusCode::CONFLICT, "pinned_cpuset")
            }
            ActionError::Resize(ResizeRefused::OtherSize { .. }) => (StatusCode::CONFLICT, "size_changed"),
            ActionError::Ledger(mismatch) => (StatusCode::CONFLICT, ledger_mismatch(*mismatch)),
            ActionError::Removal(RemovalRefused::NotAClone { .. }) => (StatusCode::FORBIDDEN, "not_a_clone"),
            ActionError::Removal(RemovalRefused::NotAsShown { .. }) => (StatusCode::CONFLICT, "not_as_shown"),
            ActionError::Configuration(error) => configuration(error),
            ActionError::Boost(BoostRefused::NoMore { .. }) => (StatusCode::CONFLICT, "no_boost"),
            ActionError::Boost(BoostRefused::On { .. }) => (StatusCode::CONFLICT, "boosted"),
            ActionError::Boost(BoostRefused::TooMany { .. }) => (StatusCode::CONFLICT, "too_many_boosts"),
            ActionError::NotApplied { .. } => (StatusCode::BAD_GATEWAY, "not_applied"),
            ActionError::NotRestarted { .. } => (StatusCode::BAD_GATEWAY, "not_restarted"),
            ActionError::LeftBehind { .. } => (StatusCode::BAD_GATEWAY, "left_behind"),
            ActionError::HalfWay { cause, .. } => Self::status_and_code(cause),
        }
    }
}

fn change(error: &ChangeError) -> (StatusCode, &'static str) {
    match error {
        ChangeError::Occupied(_) => (StatusCode::CONFLICT, "change_in_progress"),
        ChangeError::OutOfScope { .. } => (StatusCode::FORBIDDEN, "out_of_scope"),
        ChangeError::RightsEnded { .. } => (StatusCode::FORBIDDEN, "forbidden"),
        ChangeError::TooManyChanges => (StatusCode::SERVICE_UNAVAILABLE, "too_many_changes"),
        ChangeError::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting_down"),
        ChangeError::Abandoned => (StatusCode::REQUEST_TIMEOUT, "abandoned"),
        ChangeError::NotAudited(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_audited"),
        ChangeError::NotRecorded(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_recorded"),
        ChangeError::Cancelled => (StatusCode::CONFLICT, "cancelled"),
        ChangeError::Interrupted { .. } => (StatusCode::BAD_GATEWAY, "interrupted"),
        ChangeError::Crashed | ChangeError::RightsUnknown => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

fn ledger_mismatch(mismatch: LedgerMismatch) -> &'static str {
    match mismatch {
        LedgerMismatch::OtherContainer { .. } => "other_container",
        LedgerMismatch::UnsureContainer { .. } => "unsure_container",
        LedgerMismatch::Changed { .. } => "ledger_changed",
    }
}

fn invariant(refused: &Refused) -> StatusCode {
    match refused {
        Refused::OutOfBounds { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        Refused::Protected { .. } => StatusCode::FORBIDDEN,
        Refused::StepTooLarge { .. }
        | Refused::TooOften { .. }
        | Refused::NodeShort { .. }
        | Refused::NodeUnknown { .. } => StatusCode::CONFLICT,
    }
}

fn configuration(error: &ConfigurationError) -> (StatusCode, &'static str) {
    match error {
        ConfigurationError::Read { .. } => (StatusCode::SERVICE_UNAVAILABLE, "config_unreadable"),
        ConfigurationError::Write { .. } => (StatusCode::SERVICE_UNAVAILABLE, "config_unwritable"),
        ConfigurationError::ReadOnly { .. } => (StatusCode::CONFLICT, "config_read_only"),
        ConfigurationError::Program(_) => (StatusCode::BAD_GATEWAY, "config_check_failed"),
        ConfigurationError::ChangedMeanwhile { .. } => (StatusCode::PRECONDITION_FAILED, "config_changed"),
        ConfigurationError::Protected { .. } => (StatusCode::FORBIDDEN, "protected_key"),
        ConfigurationError::Scoped => (StatusCode::FORBIDDEN, "out_of_scope"),
        ConfigurationError::Edit(EditError::Broken(_)) => (StatusCode::CONFLICT, "config_broken"),
        ConfigurationError::Edit(EditError::NoSuchKey { .. }) => (StatusCode::NOT_FOUND, "no_such_key"),
        ConfigurationError::Edit(EditError::Key { .. } | EditError::Count) => {
            (StatusCode::BAD_REQUEST, "invalid_parameter")
        }
        ConfigurationError::Edit(
            EditError::Both { .. } | EditError::NotATable { .. } | EditError::Value { .. },
        )
        | ConfigurationError::Invalid { .. }
        | ConfigurationError::TooLarge => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_config"),
        ConfigurationError::Ended => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

/// Status and code for an error of a back end.
pub fn backend_status_and_code(error: &BackendError) -> (StatusCode, &'static str) {
    match error {
        BackendError::NoSuchContainer { .. } => (StatusCode::NOT_FOUND, "no_such_container"),
        BackendError::NoSuchSnapshot { .. } => (StatusCode::NOT_FOUND, "no_such_snapshot"),
        BackendError::Locked { .. } => (StatusCode::CONFLICT, "locked"),
        BackendError::Busy { .. } => (StatusCode::CONFLICT, "busy"),
        BackendError::StillRunning { .. } => (StatusCode::CONFLICT, "change_in_progress"),
        BackendError::Exists { kind: Existing::Guest, .. } => (StatusCode::CONFLICT, "container_exists"),
        BackendError::Exists { kind: Existing::Snapshot, .. } => (StatusCode::CONFLICT, "snapshot_exists"),
        BackendError::Unsupported { .. } => (StatusCode::CONFLICT, "not_supported"),
        BackendError::WrongState { state, .. } => (StatusCode::CONFLICT, obstacle(*state)),
        BackendError::NotApplicable { .. } => (StatusCode::CONFLICT, "not_applicable"),
        BackendError::NodeNotReady { .. } => (StatusCode::BAD_GATEWAY, "node_not_ready"),
        BackendError::Unauthorized { .. } => (StatusCode::BAD_GATEWAY, "token_refused"),
        BackendError::NotPermitted { .. } => (StatusCode::BAD_GATEWAY, "not_permitted"),
        BackendError::Unreachable { .. } => (StatusCode::BAD_GATEWAY, "node_unreachable"),
        BackendError::Read { .. } => (StatusCode::BAD_GATEWAY, "node_unreadable"),
        BackendError::ReadTimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, "node_timed_out"),
        BackendError::Spawn { .. } => (StatusCode::BAD_GATEWAY, "pct_unavailable"),
        BackendError::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, "pct_timed_out"),
        BackendError::AnswerLost { .. } => (StatusCode::GATEWAY_TIMEOUT, "answer_lost"),
        BackendError::Cancelled { .. } => (StatusCode::CONFLICT, "cancelled"),
        BackendError::NotRecorded { .. } => (StatusCode::SERVICE_UNAVAILABLE, "not_recorded"),
        BackendError::Failed { .. } => (StatusCode::BAD_GATEWAY, "pct_failed"),
        BackendError::Unreadable { .. } => (StatusCode::BAD_GATEWAY, "pct_unreadable"),
    }
}

fn obstacle(state: Obstacle) -> &'static str {
    match state {
        Obstacle::Running => "running",
        Obstacle::Stopped => "stopped",
        Obstacle::Template => "is_template",
        Obstacle::Protected => "protected",
        Obstacle::NewerSnapshot => "not_newest_snapshot",
        Obstacle::IncompleteSnapshot => "incomplete_snapshot",
        Obstacle::Modified => "modified",
        Obstacle::DiskSize => "disk_size",
        Obstacle::DidNotStop => "did_not_stop",
    }
}

impl From<ActionError> for ApiError {
    fn from(error: ActionError) -> Self {
        let (status, code) = Self::status_and_code(&error);
        Self::new(status, code, ErrorChain(&error).to_string())
    }
}

impl From<BackendError> for ApiError {
    fn from(error: BackendError) -> Self {
        ActionError::from(error).into()
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        ActionError::from(error).into()
    }
}

impl From<TooManyLooks> for ApiError {
    fn from(error: TooManyLooks) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_looks", error.to_string())
    }
}

impl From<WhyError> for ApiError {
    fn from(error: WhyError) -> Self {
        let (status, code) = match error {
            WhyError::NothingKnown { .. } => (StatusCode::NOT_FOUND, "no_decision"),
            WhyError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "why_busy"),
            WhyError::Program(_) => (StatusCode::BAD_GATEWAY, "why_failed"),
        };
        Self::new(status, code, ErrorChain(&error).to_string())
    }
}

impl From<InvalidName> for ApiError {
    fn from(error: InvalidName) -> Self {
        Self::invalid_parameter(error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let message = ErrorMessage(self.message.as_str().into());
        let mut response = (self.status, Json(Envelope::error(self.code, self.message))).into_response();
        response.extensions_mut().insert(ErrorCode(self.code));
        response.extensions_mut().insert(message);
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        response
    }
}
