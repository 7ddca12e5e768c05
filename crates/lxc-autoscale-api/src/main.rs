//! The `lxc-autoscale-api` program; see the library for what it does.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use jiff::Timestamp;
use lxc_autoscale_api::audit::{AuditLog, Verdict};
use lxc_autoscale_api::auth::keys::KeyFile;
use lxc_autoscale_api::cli::{AuditCommand, Cli, Command, ConfigArgs};
use lxc_autoscale_api::config::{Config, SHIPPED};
use lxc_autoscale_api::server::{self, ServerError};
use lxc_autoscale_api::{audit, check, key_command, routes, undo_command};
use lxc_autoscale_core::api::HealthState;
use lxc_autoscale_core::{CommandOutput, ErrorChain, config, telemetry};
use tokio::runtime::Runtime;

/// Worker threads of the runtime.
///
/// There are few requests, and they mostly wait for `pct`; work that waits for a disk or the node has threads of its
/// own. With a second worker, the end of each such wait would wake both, one of them for nothing.
const WORKER_THREADS: usize = 1;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Logging may not be set up yet; if stderr is gone too, there is nobody left to tell.
            let _ = writeln!(io::stderr(), "lxc-autoscale-api: {}", ErrorChain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode, ServerError> {
    let command = cli.command.clone();
    // The OpenAPI document does not depend on the configuration.
    let config: Config = match command {
        Command::Openapi => Config::default(),
        // This command reports what is wrong with the configuration, so an error must not end it here.
        Command::Config(args) => return show_config(&cli.config, args),
        _ => config::load(&cli.config)?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build()
        .map_err(ServerError::Runtime)?;
    let outcome = match command {
        Command::Openapi => {
            let written = CommandOutput::stdout().write_all(routes::openapi_text().as_bytes());
            written.map(|()| ExitCode::SUCCESS).map_err(ServerError::Runtime)
        }
        Command::Audit(AuditCommand::Verify) => {
            let verdict =
                audit::verify(&config.audit.file, config.audit.backup_count).map_err(ServerError::Audit)?;
            let mut out = CommandOutput::stdout();
            write_verdict(&verdict, &mut out).map_err(ServerError::Runtime)?;
            if let Some(warning) = audit::compare(&verdict, &config.state.directory, Timestamp::now()) {
                writeln!(out, "{warning}").map_err(ServerError::Runtime)?;
            }
            Ok(if verdict.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Key(command) => {
            let keys = KeyFile::new(config.server.keys_file.clone());
            let log = AuditLog::configured(&config.audit);
            let mut out = CommandOutput::stdout();
            let done = key_command::run(command, &keys, log.as_ref(), Timestamp::now(), &mut out);
            done.map(|()| ExitCode::SUCCESS).map_err(ServerError::Keys)
        }
        Command::Undo(args) => {
            let mut out = CommandOutput::stdout();
            let done = runtime.block_on(undo_command::run(args, &config.server, &mut out));
            let done = done.map_err(ServerError::Undo)?;
            Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Config(args) => show_config(&cli.config, args),
        Command::Run => serve(&runtime, config, cli),
        Command::Check => {
            let worst = runtime.block_on(check::run(&config, &mut CommandOutput::stdout()));
            worst.map_err(ServerError::Runtime).map(|worst| match worst {
                HealthState::Unhealthy => ExitCode::FAILURE,
                HealthState::Healthy | HealthState::Degraded => ExitCode::SUCCESS,
            })
        }
    };
    // A read that hangs in the kernel (`/etc/pve` is FUSE) must not keep the program from ending.
    runtime.shutdown_background();
    outcome
}

fn write_verdict(verdict: &Verdict, out: &mut impl Write) -> io::Result<()> {
    for finding in &verdict.findings {
        writeln!(out, "{finding}")?;
    }
    match (verdict.first, verdict.last, &verdict.last_hash) {
        (Some(first), Some(last), Some(hash)) => {
            let word = if verdict.holds() { "the chain holds" } else { "THE CHAIN IS BROKEN" };
            writeln!(out, "records {first} to {last}: {word}; the last hash is {hash}")
        }
        _ => writeln!(out, "there are no records"),
    }
}

fn show_config(path: &Path, args: ConfigArgs) -> Result<ExitCode, ServerError> {
    let valid = config::show::<Config>(SHIPPED, path, args.stdin, args.json, &mut CommandOutput::stdout())?;
    Ok(if valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn serve(runtime: &Runtime, config: Config, cli: &Cli) -> Result<ExitCode, ServerError> {
    telemetry::init(&config.logging)?;
    runtime.block_on(server::run(config, &cli.config))?;
    Ok(ExitCode::SUCCESS)
}
