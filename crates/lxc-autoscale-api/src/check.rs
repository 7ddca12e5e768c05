//! `lxc-autoscale-api check`: reports what works on this machine, without serving or changing anything.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use lxc_autoscale_core::api::{HealthCheck, HealthState};
use lxc_autoscale_core::unit::Unit;
use lxc_autoscale_core::{ErrorChain, service_user, users};

use crate::audit;
use crate::auth::keys::KeyFile;
use crate::backend::rest::{Missing, RestHost};
use crate::backend::{ContainerHost, Opened};
use crate::blocking::OneAtATime;
use crate::config::{BackendChoice, Config, TokenPlace};
use crate::configuration::file;
use crate::node;
use crate::routes::health::{audit_check, keys_check, metrics_check};

mod hints;

/// A check, and what to do about it if it is not healthy.
struct Finding {
    check: HealthCheck,
    hint: Option<&'static str>,
}

impl From<HealthCheck> for Finding {
    fn from(check: HealthCheck) -> Self {
        let hint = hints::about(&check).filter(|_| check.state != HealthState::Healthy);
        Self { check, hint }
    }
}

/// Runs all checks and writes a line for each; returns the worst state.
///
/// It checks what the service uses, also in a shell, to which systemd has passed no token.
///
/// # Errors
/// If `out` cannot be written.
pub async fn run(config: &Config, out: &mut impl Write) -> io::Result<HealthState> {
    let node_name = node::name(&config.paths.proc);
    let unit = Unit::read(&config.paths.unit);
    let token = config.rest.token_of_service(&unit);
    let mut findings: Vec<Finding> = vec![check_node_name(&node_name).into()];
    let mut advice = Vec::new();
    let opened = Opened::with_token(config, token.as_ref(), node_name.as_deref().ok());
    let is_rest = matches!(opened, Ok(Opened::Rest(_)));
    match &opened {
        Ok(back_end) => findings.push(check_back_end(back_end, config.backend, token.as_ref()).into()),
        Err(error) => {
            let detail = ErrorChain(error).to_string();
            let check = HealthCheck { name: "backend".to_owned(), state: HealthState::Unhealthy, detail };
            findings.push(Finding { check, hint: Some(hints::about_setup(error)) });
        }
    }
    match opened {
        Ok(Opened::Pct(host)) => {
            findings.push(check_user(&unit).into());
            findings.extend(host.probe().await.into_iter().map(Finding::from));
        }
        Ok(Opened::Rest(host)) => {
            findings.extend(token.as_ref().and_then(|token| check_token(token, &unit)).map(Finding::from));
            findings.extend(host.probe().await.into_iter().map(Finding::from));
            advice = privilege_advice(&host).await;
            let unasked =
                findings.iter_mut().find(|finding| finding.check.name == "privileges" && advice.is_empty());
            if let Some(Finding { hint: hint @ Some(_), .. }) = unasked {
                *hint = Some("Proxmox does not tell them; see what else failed");
            }
        }
        Err(_) => {}
    }
    let (of_service, alone) = (service_user::user_of(&unit), OneAtATime::default());
    let audit = audit_check(&config.audit, &alone, move |file| match of_service {
        Some(other) => audit::probe_as(file, &other),
        None => audit::probe(file),
    });
    findings.extend(audit.await.map(Finding::from));
    findings.push(check_keys(&config.server.keys_file, &unit).into());
    findings.push(metrics_check(config.metrics.clone()).await.into());
    findings.push(check_changes_of_configuration(&config.configuration.ml_file, is_rest).into());
    for Finding { check: HealthCheck { name, state, detail }, hint } in &findings {
        let word = match state {
            HealthState::Healthy => "ok",
            HealthState::Degraded => "warning",
            HealthState::Unhealthy => "FAILED",
        };
        writeln!(out, "{word:<8} {name:<14} {detail}")?;
        if let Some(hint) = hint {
            writeln!(out, "{:<23} -> {hint}", "")?;
        }
    }
    for line in advice {
        writeln!(out, "{line}")?;
    }
    Ok(findings.iter().map(|finding| finding.check.state).max().unwrap_or(HealthState::Unhealthy))
}

/// Which back end was checked, and why that one.
fn check_back_end(opened: &Opened, choice: BackendChoice, token: Option<&TokenPlace>) -> HealthCheck {
    let why = match (choice, token) {
        (BackendChoice::Pct, _) => "because `backend` says so".to_owned(),
        (_, None) => "because there is no API token (`backend = \"auto\"`)".to_owned(),
        (_, Some(TokenPlace::File(path))) => {
            format!("with the token in `{}` (`rest.token_file`)", path.display())
        }
        (_, Some(TokenPlace::Unit(path))) => {
            format!("with the token in `{}`, which the unit passes to the service", path.display())
        }
        (_, Some(TokenPlace::Credential(_) | TokenPlace::Closed)) => {
            "with the token that systemd has passed".to_owned()
        }
    };
    let detail = format!("{opened}, {why}");
    HealthCheck { name: "backend".to_owned(), state: HealthState::Healthy, detail }
}

fn check_user(unit: &Unit) -> HealthCheck {
    let uid = rustix::process::geteuid().as_raw();
    let (state, detail) = match (uid, unit.user()) {
        (0, Some(user)) => {
            (HealthState::Unhealthy, format!("pct needs root, but the unit runs the service as `{user}`"))
        }
        (0, None) => (HealthState::Healthy, "running as root".to_owned()),
        _ => (HealthState::Unhealthy, format!("running as user {uid}, but pct needs root")),
    };
    HealthCheck { name: "user".to_owned(), state, detail }
}

/// Whether the service can read its keys: it takes only a file that is its own user's alone.
fn check_keys(path: &Path, unit: &Unit) -> HealthCheck {
    let own = rustix::process::geteuid();
    let of_service =
        unit.user().filter(|_| own.is_root()).and_then(|user| users::uid_of(user).ok().flatten());
    let found = KeyFile::new(path.to_owned()).keys_of(of_service.unwrap_or(own.as_raw()));
    keys_check(found.map(|keys| keys.len()))
}

/// What is wrong with a token that is readable here: root can read it, the service's user may not.
fn check_token(token: &TokenPlace, unit: &Unit) -> Option<HealthCheck> {
    let (TokenPlace::File(path), Some(user)) = (token, unit.user()) else { return None };
    let owner = std::fs::metadata(path).ok()?.uid();
    // A user who does not exist is none of the token's troubles; systemd says so.
    let uid = users::uid_of(user).ok().flatten()?;
    let detail = format!(
        "`{}` (`rest.token_file`) does not belong to `{user}`, as whom the unit runs the service",
        path.display()
    );
    (owner != uid).then(|| HealthCheck { name: "token".to_owned(), state: HealthState::Unhealthy, detail })
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
