//! `lxc-autoscale-api check`: what works on this machine, without serving or changing anything.

use std::io::{self, Write};

use lxc_autoscale_core::api::{HealthCheck, HealthState};

use crate::backend::ContainerHost;
use crate::backend::pct::PctHost;
use crate::config::Config;
use crate::node;
use crate::routes::health::metrics_check;

/// Looks at everything and writes a line for each; returns the worst of it.
///
/// # Errors
/// When `out` cannot be written.
pub async fn run(config: &Config, out: &mut impl Write) -> io::Result<HealthState> {
    let mut checks = vec![check_user(), check_node_name(config)];
    checks.extend(PctHost::new(config.pct.clone(), config.paths.clone()).probe().await);
    checks.push(metrics_check(config.metrics.clone()).await);
    for HealthCheck { name, state, detail } in &checks {
        let word = match state {
            HealthState::Healthy => "ok",
            HealthState::Degraded => "warning",
            HealthState::Unhealthy => "FAILED",
        };
        writeln!(out, "{word:<8} {name:<14} {detail}")?;
    }
    Ok(checks.iter().map(|check| check.state).max().unwrap_or(HealthState::Unhealthy))
}

fn check_user() -> HealthCheck {
    let uid = rustix::process::geteuid().as_raw();
    let (state, detail) = match uid {
        0 => (HealthState::Healthy, "this is root".to_owned()),
        _ => (HealthState::Unhealthy, format!("this is user {uid}, and pct needs root")),
    };
    HealthCheck { name: "user".to_owned(), state, detail }
}

fn check_node_name(config: &Config) -> HealthCheck {
    let (state, detail) = match node::name(&config.paths.proc) {
        Ok(name) => (HealthState::Healthy, format!("this is node {name}")),
        Err(reason) => (HealthState::Degraded, reason),
    };
    HealthCheck { name: "node".to_owned(), state, detail }
}
