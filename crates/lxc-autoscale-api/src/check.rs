//! `lxc-autoscale-api check`: reports what works on this machine, without serving or changing anything.

use std::io::{self, Write};
use std::path::Path;

use lxc_autoscale_core::ErrorChain;
use lxc_autoscale_core::api::{HealthCheck, HealthState};

use crate::backend::rest::{Missing, RestHost};
use crate::backend::{ContainerHost, Opened};
use crate::config::Config;
use crate::configuration::file;
use crate::node;
use crate::routes::health::metrics_check;

/// Runs all checks and writes a line for each; returns the worst state.
///
/// # Errors
/// If `out` cannot be written.
pub async fn run(config: &Config, out: &mut impl Write) -> io::Result<HealthState> {
    let node_name = node::name(&config.paths.proc);
    let mut checks = vec![check_node_name(&node_name)];
    let mut advice = Vec::new();
    let opened = Opened::new(config, node_name.as_deref().ok());
    let is_rest = matches!(opened, Ok(Opened::Rest(_)));
    match opened {
        Ok(Opened::Pct(host)) => {
            checks.push(check_user());
            checks.extend(host.probe().await);
        }
        Ok(Opened::Rest(host)) => {
            checks.extend(host.probe().await);
            advice = privilege_advice(&host).await;
        }
        Err(error) => {
            let detail = ErrorChain(&error).to_string();
            checks.push(HealthCheck { name: "backend".to_owned(), state: HealthState::Unhealthy, detail });
        }
    }
    checks.push(metrics_check(config.metrics.clone()).await);
    checks.push(check_changes_of_configuration(&config.configuration.ml_file, is_rest));
    for HealthCheck { name, state, detail } in &checks {
        let word = match state {
            HealthState::Healthy => "ok",
            HealthState::Degraded => "warning",
            HealthState::Unhealthy => "FAILED",
        };
        writeln!(out, "{word:<8} {name:<14} {detail}")?;
    }
    for line in advice {
        writeln!(out, "{line}")?;
    }
    Ok(checks.iter().map(|check| check.state).max().unwrap_or(HealthState::Unhealthy))
}

fn check_user() -> HealthCheck {
    let uid = rustix::process::geteuid().as_raw();
    let (state, detail) = match uid {
        0 => (HealthState::Healthy, "running as root".to_owned()),
        _ => (HealthState::Unhealthy, format!("running as user {uid}, but pct needs root")),
    };
    HealthCheck { name: "user".to_owned(), state, detail }
}

/// Whether PATCH and PUT of `/config` are possible.
fn check_changes_of_configuration(path: &Path, is_rest: bool) -> HealthCheck {
    let (state, said) = match file::read(path) {
        Err(error) => (HealthState::Degraded, format!("cannot be read: {error}")),
        Ok(file) if is_rest && file.is_roots() => {
            let unit = "the unit for Proxmox's REST API does not run as root";
            (
                HealthState::Healthy,
                format!("is shown at /config, but can only be changed on the node: {unit}"),
            )
        }
        Ok(file) if file.is_replaceable() => (HealthState::Healthy, "can be changed at /config".to_owned()),
        Ok(_) => {
            (HealthState::Degraded, "cannot be changed at /config: this user may not write it".to_owned())
        }
    };
    let detail = format!("`{}` {said}", path.display());
    HealthCheck { name: "ml_config".to_owned(), state, detail }
}

/// The missing privileges of each feature, with the commands that grant them.
async fn privilege_advice(host: &RestHost) -> Vec<String> {
    // If Proxmox does not tell, the check itself has reported why.
    let Ok(found) = host.privileges().await else { return Vec::new() };
    let missing = found.missing();
    let mut lines = Vec::new();
    for Missing { feature, privileges, partly } in &missing {
        let names: Vec<String> = privileges.iter().map(|(path, name)| format!("{name} on {path}")).collect();
        let partly = if *partly { " (granted only on some paths)" } else { "" };
        lines.push(format!("missing to {feature}: {}{partly}", names.join(", ")));
    }
    if !missing.is_empty() {
        lines.push("to grant all of them, run on any node of the cluster:".to_owned());
        let commands = found.granting_commands(host.token());
        lines.extend(commands.into_iter().map(|line| format!("    {line}")));
        let user = host.token().user();
        lines.push(format!(
            "(on these paths, the roles replace those that `{user}` inherits from the paths above)"
        ));
    }
    lines
}

fn check_node_name(name: &Result<String, String>) -> HealthCheck {
    let (state, detail) = match name {
        Ok(name) => (HealthState::Healthy, format!("this is node {name}")),
        Err(reason) => (HealthState::Degraded, reason.clone()),
    };
    HealthCheck { name: "node".to_owned(), state, detail }
}
