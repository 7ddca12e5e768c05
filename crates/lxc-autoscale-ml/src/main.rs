//! `lxc-autoscale-ml`: the command line over the library of the same name.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use jiff::Timestamp;
use lxc_autoscale_core::api::EXIT_NOTHING_KNOWN;
use lxc_autoscale_core::{CommandOutput, ErrorChain, Vmid, config, telemetry};
use lxc_autoscale_ml::backtest::{BacktestArgs, BacktestError};
use lxc_autoscale_ml::cli::{Cli, Command, ConfigArgs, DEFAULT_CONFIG, PolicyCommand, ProposalsAction};
use lxc_autoscale_ml::commands::{
    self, ApplyOptions, Applying, CommandError, Finding, PlanOut, PlanView, Screen, WhyOptions,
};
use lxc_autoscale_ml::config::{Config, SHIPPED};
use lxc_autoscale_ml::config_file::ConfigFile;
use lxc_autoscale_ml::{backtest, daemon, detect_command, stdio, train_command};

/// `plan` found something to change.
const EXIT_CHANGES: u8 = 2;
/// `apply` refused a plan and did nothing.
const EXIT_REFUSED: u8 = 3;
/// `apply` carried out a part of a plan.
const EXIT_PARTLY: u8 = 4;
/// Wrong usage (EX_USAGE of sysexits.h), so that it cannot be taken for [`EXIT_CHANGES`].
const EXIT_USAGE: u8 = 64;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done about a terminal that is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            let command = error.downcast_ref::<CommandError>();
            let told = match (command, error.downcast_ref::<BacktestError>()) {
                (Some(error), _) => error.told(),
                (_, Some(error)) => error.told(),
                _ => ErrorChain(error.as_ref()).to_string(),
            };
            let _ = writeln!(io::stderr(), "lxc-autoscale-ml: {told}");
            let is_unknown = command.is_some_and(CommandError::is_unknown_container);
            if is_unknown { ExitCode::from(EXIT_NOTHING_KNOWN) } else { ExitCode::FAILURE }
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let path = cli.config_path().to_owned();
    let load = || config::load::<Config>(&path);
    // The configuration, and the container that is meant.
    let found = |named| -> Result<(Config, Vmid), Failure> {
        let config = load()?;
        let id = commands::find(&config, named)?;
        Ok((config, id))
    };
    let now = Timestamp::now();
    let screen = Screen::of_stdout(cli.color);
    // Not locked: the daemon's log lines go there too.
    let out = &mut io::BufWriter::new(CommandOutput::stdout());
    match cli.command {
        Command::Run => {
            let (file, config) = ConfigFile::read(&path)?;
            telemetry::init(&config.logging)?;
            runtime()?.block_on(daemon::run(file, config)).inspect_err(|error| {
                tracing::error!("{}", ErrorChain(error));
            })?;
        }
        Command::Once { json } => runtime()?.block_on(commands::once(load()?, now, json, out))?,
        Command::Plan { json, all, out: file } => {
            let view = PlanView { json, all };
            let written = file.as_deref().map(|file| PlanOut { file, config_file: &path });
            let found = commands::plan(&load()?, now, view, written, screen, out);
            out.flush()?;
            return planned(found);
        }
        Command::Apply { file, yes, json } => {
            let options = ApplyOptions { file: &file, config_file: &path, yes, json };
            let applying = runtime()?.block_on(commands::apply(&load()?, options, screen, out))?;
            out.flush()?;
            return Ok(match applying {
                Applying::Done => ExitCode::SUCCESS,
                Applying::Failed => ExitCode::FAILURE,
                Applying::Refused => ExitCode::from(EXIT_REFUSED),
                Applying::Partly => ExitCode::from(EXIT_PARTLY),
            });
        }
        Command::History { id, since, json } => {
            let (config, id) = found(&id)?;
            let told = runtime()?.block_on(commands::history(&config, id, since, now, json, screen, out));
            out.flush()?;
            return nothing_known(told);
        }
        Command::Why { id, json, limit, at } => {
            let (config, id) = found(&id)?;
            let options = WhyOptions { id, json, limit, at: at.map(|at| at.seen_from(now)) };
            let told = commands::why(&config, options, now, screen, out);
            out.flush()?;
            return nothing_known(told);
        }
        Command::Report { since, json } => commands::report(&load()?, since, now, json, screen, out)?,
        Command::Capacity(args) => {
            let config = load()?;
            let id = args.id.as_ref().map(|id| commands::find(&config, id)).transpose()?;
            let like = args.like(id).ok_or("nothing is named to be counted")?;
            commands::capacity(&config, &like, now, args.json, screen, out)?;
        }
        Command::Forecast { id, hours, json } => {
            let (config, id) = found(&id)?;
            commands::forecast(&config, id, now, hours, json, out)?;
        }
        Command::Decisions { json, limit } => commands::decisions(&load()?, json, limit, out)?,
        Command::Config(ConfigArgs { stdin, json }) => {
            let valid = config::show::<Config>(SHIPPED, &path, stdin, json, out)?;
            out.flush()?;
            if valid && !stdin {
                // Its demand model is a file of its own.
                load()?.shared()?;
            }
            return Ok(if valid { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Policy { command } => match command {
            PolicyCommand::Show { id, json, at } => {
                let (config, id) = found(&id)?;
                commands::policy::show(&config, id, at, now, json, out)?;
            }
            PolicyCommand::List { json } => commands::policy::list(&load()?, json, out)?,
            PolicyCommand::Presets { name, json } => commands::policy::presets(name.as_deref(), json, out)?,
        },
        Command::Shadow { json } => commands::shadow(&load()?, json, out)?,
        Command::Proposals { action, json } => {
            proposals(&load()?, action, now, json, out)?;
        }
        Command::Recommend(args) => {
            let config = if cli.config.is_some() { load()? } else { Config::default() };
            let (input, output) = (io::stdin().lock(), io::stdout().lock());
            stdio::run(&config.policy(), config.shared()?, args.cpu_class, input, output)?;
        }
        Command::Backtest(args) => {
            let (file, config) = tried(&args, cli.config.as_deref(), &path)?;
            backtest::command(&args, file, &config, out)?;
        }
        Command::Train(args) => train_command::run(&args.traces, &args.out, args.rounds, out)?,
        Command::Detect(args) => detect_command::run(&args.train, &args.score, args.params(), out)?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn proposals(
    config: &Config,
    action: Option<ProposalsAction>,
    now: Timestamp,
    json: bool,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    match action.unwrap_or(ProposalsAction::List { all: false }) {
        ProposalsAction::List { all } => commands::list_proposals(config, all, json, out),
        ProposalsAction::Accept { numbers } => {
            commands::answer_proposals(config, &numbers, (true, None), now, json, out)
        }
        ProposalsAction::Reject { numbers, reason } => {
            commands::answer_proposals(config, &numbers, (false, reason), now, json, out)
        }
    }
}

/// The exit code of what was told; says so if there is nothing to tell.
fn nothing_known(told: Result<(), CommandError>) -> Result<ExitCode, Failure> {
    match told {
        Err(error) if error.is_nothing_known() => Ok(nothing_to_go_by(&error.told())),
        told => Ok(told.map(|()| ExitCode::SUCCESS)?),
    }
}

/// What `plan` found, as its exit code; says why nothing was decided.
fn planned(found: Result<Finding, CommandError>) -> Result<ExitCode, Failure> {
    match found {
        Ok(Finding::Nothing) => Ok(ExitCode::SUCCESS),
        Ok(Finding::Changes) => Ok(ExitCode::from(EXIT_CHANGES)),
        Ok(Finding::Outdated(why)) => Ok(nothing_to_go_by(&why)),
        Err(error) if error.is_without_measurement() => Ok(nothing_to_go_by(&error.told())),
        Err(error) => Err(error.into()),
    }
}

fn nothing_to_go_by(why: &str) -> ExitCode {
    // If standard error is gone, the exit code still tells.
    let _ = writeln!(io::stderr(), "lxc-autoscale-ml: {why}");
    ExitCode::from(EXIT_NOTHING_KNOWN)
}

/// The configuration that a back-test replays, with its file unless it is built in.
fn tried<'a>(
    args: &'a BacktestArgs,
    named: Option<&'a Path>,
    present: &Path,
) -> Result<(Option<&'a Path>, Config), Failure> {
    let file = args.policy_file(named, Path::new(DEFAULT_CONFIG));
    let config = match file {
        Some(file) => config::load(file)?,
        // The file that is measured into is no part of the policy.
        None if args.reads_configured_file() && present.try_exists()? => {
            Config { metrics: config::load::<Config>(present)?.metrics, ..Config::default() }
        }
        None => Config::default(),
    };
    Ok((file, config))
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
