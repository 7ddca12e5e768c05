//! The `lxc-autoscale-api` program; see the library for what it does.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use jiff::Timestamp;
use lxc_autoscale_api::auth::keys::KeyFile;
use lxc_autoscale_api::cli::{Cli, Command};
use lxc_autoscale_api::config::Config;
use lxc_autoscale_api::server::{self, ServerError};
use lxc_autoscale_api::{check, key_command};
use lxc_autoscale_core::api::HealthState;
use lxc_autoscale_core::{ErrorChain, config, telemetry};
use tokio::runtime::Runtime;

/// Requests are few and wait for `pct` most of the time.
const WORKER_THREADS: usize = 2;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Logging may not be set up yet; without stderr nobody can be told.
            let _ = writeln!(io::stderr(), "lxc-autoscale-api: {}", ErrorChain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode, ServerError> {
    let config: Config = config::load(&cli.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build()
        .map_err(ServerError::Runtime)?;
    let outcome = match cli.command.clone().unwrap_or(Command::Run) {
        Command::Key(command) => {
            let keys = KeyFile::new(config.server.keys_file.clone());
            let done = key_command::run(command, &keys, Timestamp::now(), &mut io::stdout().lock());
            done.map(|()| ExitCode::SUCCESS).map_err(ServerError::Keys)
        }
        Command::Run => serve(&runtime, config, cli),
        Command::Check => {
            let worst = runtime.block_on(check::run(&config, &mut io::stdout().lock()));
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

fn serve(runtime: &Runtime, config: Config, cli: &Cli) -> Result<ExitCode, ServerError> {
    telemetry::init(&config.logging)?;
    runtime.block_on(server::run(config, &cli.config))?;
    Ok(ExitCode::SUCCESS)
}
