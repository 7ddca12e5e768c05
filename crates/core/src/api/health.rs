//! Bodies of `/health` and `/routes`.

use serde::{Deserialize, Serialize};

/// The health of the server, or of a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum HealthState {
    /// It works.
    Healthy,
    /// Containers can be changed, but something is missing.
    Degraded,
    /// Containers cannot be changed.
    Unhealthy,
}

/// Response of `GET /health/check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Health {
    /// The worst of the checks.
    pub state: HealthState,
    /// Version of the server.
    pub version: String,
    /// Changes of containers that are running or waiting.
    pub changes_in_progress: usize,
    /// The individual checks.
    pub checks: Vec<HealthCheck>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HealthCheck {
    /// What was checked: `pct`, `configuration`, `running_state`, `metrics`.
    pub name: String,
    /// The result.
    pub state: HealthState,
    /// Details for humans.
    pub detail: String,
}

/// One entry of `GET /routes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RouteInfo {
    /// HTTP method.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// The lowest role that may use it: `viewer`, `operator` or `admin`.
    pub role: String,
    /// What it does.
    pub description: String,
}
