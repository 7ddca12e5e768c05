//! Why a call to the API failed, and whether the change may have been made all the same.

use std::time::Duration;

use reqwest::StatusCode;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody answers there: the request was not sent.
    #[error("the API at {url} cannot be reached; is lxc_autoscale_api running?")]
    Unreachable {
        /// The API.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The request was sent and no answer came: the change may have been made.
    #[error("the API at {url} did not answer `{route}`; the change may or may not have been made")]
    Unanswered {
        /// The API.
        url: String,
        /// The route called.
        route: &'static str,
        /// Why.
        source: reqwest::Error,
    },
    /// The API answered that it did not make the change.
    #[error("the API refused `{route}` ({status}, {code}): {message}")]
    Refused {
        /// The route called.
        route: &'static str,
        /// The HTTP status.
        status: StatusCode,
        /// The stable name of the kind of error; `unnamed` if the answer has none.
        code: String,
        /// The API's own words.
        message: String,
        /// How long the API asks us to wait before trying again.
        retry_after: Option<Duration>,
    },
    /// The API reported success in a form we do not understand.
    #[error("the API answered `{route}` with success, but not in a form this version understands")]
    NotUnderstood {
        /// The route called.
        route: &'static str,
        /// What is wrong with the answer.
        source: serde_json::Error,
    },
    /// The API reported success without saying what it did.
    #[error("the API answered `{route}` with success, but without saying what it did")]
    WithoutResult {
        /// The route called.
        route: &'static str,
    },
}

impl CallError {
    /// Whether a retry can help: nobody there, too busy, or a failure behind the API.
    ///
    /// Setting a value is idempotent, so a retry after a 502 or a 503 does no harm. After a 504 the change may still be
    /// under way, and a retry would be refused because of it. Anything else the API refuses for a reason that a second
    /// of waiting does not change.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => matches!(
                *status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE
            ),
            Self::Unanswered { .. } | Self::NotUnderstood { .. } | Self::WithoutResult { .. } => false,
        }
    }

    /// Whether somebody else set or boosted the size after it was measured, and the API therefore did not change it.
    pub fn is_other_size(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if ["size_changed", "boosted"].contains(&code.as_str()))
    }

    /// Whether the change may have been made although the call failed.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::Unreachable { .. } => false,
            Self::Refused { status, .. } => *status == StatusCode::GATEWAY_TIMEOUT,
            Self::Unanswered { .. } | Self::NotUnderstood { .. } | Self::WithoutResult { .. } => true,
        }
    }

    /// Whether the change was not answered in time. The API may be waiting for one container and answer everything else.
    pub fn is_late(&self) -> bool {
        matches!(self, Self::Unanswered { source, .. } if source.is_timeout())
    }

    /// Whether another change of the container is in progress.
    pub fn is_container_busy(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "change_in_progress")
    }

    /// Whether the API itself is out of reach, so that further calls in this cycle are pointless.
    pub fn is_api_down(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Unanswered { .. } => !self.is_late(),
            Self::Refused { status, .. } => {
                matches!(*status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
            }
            Self::NotUnderstood { .. } | Self::WithoutResult { .. } => false,
        }
    }

    /// The kind of failure, in one word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Unanswered { .. } => "unanswered",
            Self::Refused { .. } => "refused",
            Self::NotUnderstood { .. } | Self::WithoutResult { .. } => "not_understood",
        }
    }

    /// How long the API asks us to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_somebody_else_set_is_no_failure_and_other_refusals_are() {
        let refused = |code: &str| CallError::Refused {
            route: "/scale/ram",
            status: StatusCode::CONFLICT,
            code: code.to_owned(),
            message: "memory is 8192".to_owned(),
            retry_after: None,
        };
        assert!(refused("size_changed").is_other_size() && refused("boosted").is_other_size());
        assert!(!refused("locked").is_other_size());
        assert!(!CallError::WithoutResult { route: "/scale/ram" }.is_other_size());
    }
}
