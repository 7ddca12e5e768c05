//! The commands that show something and exit.

mod apply;
mod capacity;
mod decisions;
mod diff;
mod forecast;
pub mod hints;
mod history;
mod identities;
mod named;
mod once;
mod plan;
pub mod policy;
mod proposals;
mod report;
mod right;
mod screen;
mod shadow;
mod table;
mod why;

use std::io::{self, Write};
use std::path::PathBuf;

use jiff::Timestamp;
use lxc_autoscale_core::metrics_file::ReadError;
use lxc_autoscale_core::progress::Bar;
use lxc_autoscale_core::{ErrorChain, Vmid};
use serde::Serialize;

pub use apply::{ApplyOptions, Applying, apply};
pub use capacity::{Like, capacity};
pub use decisions::decisions;
pub use forecast::forecast;
pub use history::history;
pub use named::{Named, find};
pub use once::once;
pub use plan::{PlanOut, PlanView, plan};
pub use proposals::{answer_proposals, list_proposals};
pub use report::report;
pub use screen::{ColorChoice, Screen};
pub use shadow::shadow;
pub use why::{WhyOptions, why};

use crate::config::Config;
use crate::detect::IsolationForestError;
use crate::execute::StartError;
use crate::guard::LastingStates;
use crate::ledger::{Applied, Ledger, LedgerError};
use crate::pipeline::{Changes, Pipeline};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The metrics file cannot be read.
    #[error(transparent)]
    Metrics(#[from] ReadError),
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The daemon's components cannot be set up.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The detector cannot be trained.
    #[error("the detector of unusual behaviour cannot be trained")]
    Detector(#[from] IsolationForestError),
    /// Nothing is known of the container.
    #[error("nothing is known of container {id}: no measurement in `{}` names it, and no decision was made about it", file.display())]
    UnknownContainer {
        /// The container.
        id: Vmid,
        /// The metrics file.
        file: PathBuf,
    },
    /// Nothing is known of the container, and the measurements cannot be read.
    #[error("nothing is known of container {id}: no decision was made about it, and {trouble}")]
    NothingToRead {
        /// The container.
        id: Vmid,
        /// Why the measurements cannot be read.
        trouble: String,
    },
    /// No container has the name.
    #[error("nothing is known of a container named `{name}`: no measurement in `{}` has that name, and no decision was made about one", file.display())]
    UnknownName {
        /// The name.
        name: String,
        /// The metrics file.
        file: PathBuf,
    },
    /// Several containers have the name.
    #[error("several containers are named `{name}`: {ids}; give one of these ids")]
    AmbiguousName {
        /// The name.
        name: String,
        /// Their ids.
        ids: String,
    },
    /// There was no decision by then.
    #[error("no decision about container {id} is kept from {at} or before")]
    NothingThen {
        /// The container.
        id: Vmid,
        /// The time, in local words.
        at: String,
    },
    /// The time is in the future.
    #[error("{at} is in the future; `--at` tells what was decided, `forecast` what is expected")]
    YetToCome {
        /// The time, in local words.
        at: String,
    },
    /// There is too little data about a container.
    #[error("container {id} has too little data to tell what it needs at its peak")]
    NotKnownEnough {
        /// The container.
        id: Vmid,
    },
    /// There is no such policy.
    #[error("there is no policy `{name}`; `policy list` shows them")]
    UnknownPolicy {
        /// Its name.
        name: String,
    },
    /// No known container has the policy.
    #[error("the policy `{name}` applies to no container with enough data")]
    NobodyOfPolicy {
        /// Its name.
        name: String,
    },
    /// The time zone cannot be loaded any more.
    #[error("`forecast.time_zone` cannot be used")]
    TimeZone(#[source] jiff::Error),
    /// There is no preset of that name.
    #[error("there is no preset `{name}`{}; `policy presets` lists them", near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    UnknownPreset {
        /// The name.
        name: String,
        /// A similar one.
        near: Option<String>,
    },
    /// No decision was ever made.
    #[error("no decision has been made yet: there is no ledger at `{}`", path.display())]
    NoLedger {
        /// Where it would be.
        path: PathBuf,
    },
    /// Some proposals could not be answered.
    #[error("not answered, because only an open proposal can be: {0}")]
    NotOpen(String),
    /// A proposal was given by something other than its number.
    #[error("`{0}` is not the number of a proposal; `proposals list` shows them")]
    NotANumber(String),
    /// The plan cannot be written.
    #[error("cannot write the plan to `{}`", file.display())]
    PlanWrite {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The plan cannot be read.
    #[error("cannot read the plan `{}`", file.display())]
    PlanRead {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not a plan.
    #[error("`{}` is not a plan; `plan --out FILE` writes one", file.display())]
    NoPlan {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The configuration, which is part of a plan, cannot be read.
    #[error("cannot read the configuration `{}`, which a plan goes with", file.display())]
    ConfigurationRead {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody can be asked.
    #[error(
        "the standard input is not a terminal, so nobody can be asked; `--yes` carries the plan out without asking"
    )]
    NobodyToAsk,
    /// Something went wrong during a cycle; the messages.
    #[error("the cycle was not complete: {0}")]
    Incomplete(String),
    /// The result cannot be shown.
    #[error("cannot write the result")]
    Output(#[from] io::Error),
    /// The result cannot be serialised as JSON.
    #[error("cannot write the result as JSON")]
    Json(#[from] serde_json::Error),
}

impl CommandError {
    /// The error with its causes, and what to do about it where that is known.
    pub fn told(&self) -> String {
        let hint = match self {
            Self::Metrics(error) => hints::of_metrics(error),
            Self::Ledger(error) | Self::Start(StartError::Ledger(error)) => hints::of_ledger(error),
            _ => None,
        };
        hints::with(ErrorChain(self), hint)
    }

    /// Whether nothing is known of the container that was asked about.
    pub fn is_unknown_container(&self) -> bool {
        matches!(self, Self::UnknownContainer { .. } | Self::UnknownName { .. } | Self::NothingToRead { .. })
    }

    /// Whether there is no metrics file, so that nothing is known of the present.
    pub fn is_without_measurement(&self) -> bool {
        matches!(self, Self::Metrics(ReadError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether there is nothing to show.
    pub fn is_nothing_known(&self) -> bool {
        matches!(
            self,
            Self::UnknownContainer { .. }
                | Self::UnknownName { .. }
                | Self::NothingToRead { .. }
                | Self::NothingThen { .. }
                | Self::YetToCome { .. }
                | Self::NoLedger { .. }
        )
    }
}

/// Whether there is something to change, which `plan` reports by its exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The measurements are too old to decide anything on, or there are none; the words for it. Without this, a dead
    /// monitor would look like a node on which nothing is to be done.
    Outdated(String),
    /// Nothing would change.
    Nothing,
    /// Something would change.
    Changes,
}

/// Reads and learns the present state, without changing anything.
fn look(config: &Config) -> Result<(Pipeline, Changes), CommandError> {
    let mut pipeline = Pipeline::new(config).map_err(StartError::from)?;
    let (changes, guards, first, applied) = match Ledger::open_read_only(&config.state.ledger())? {
        Some(ledger) => (ledger.last_changes()?, ledger.guards()?, ledger.first_sizes()?, ledger.applied()?),
        None => (Changes::new(), LastingStates::new(), Vec::new(), Vec::new()),
    };
    pipeline.restore_guards(guards, &changes);
    pipeline.know_first_sizes(first);
    // A read-only command does not put the checkpoint aside; it learns anew if it cannot be used.
    if let Err(error) = pipeline.restore(&config.state.checkpoint()) {
        tracing::debug!("{}", ErrorChain(&error));
    }
    // The daemon takes these in at the start of its next cycle.
    for Applied { id, decision, begun, done, after, .. } in applied {
        pipeline.note_change(id, &decision, (begun, done), after);
    }
    load(&mut pipeline, config)?;
    pipeline.learn()?;
    pipeline.judge(Timestamp::now());
    Ok((pipeline, changes))
}

/// Why nothing can be decided on the measurements at `now`, if so.
fn outdated(config: &Config, pipeline: &Pipeline, now: Timestamp) -> Option<String> {
    let (file, most) = (config.metrics.file.display(), config.metrics.max_age_seconds);
    let Some(age) = pipeline.age(now) else {
        return Some(format!("`{file}` holds no measurement; is lxc_monitor running?"));
    };
    let seconds = age.as_secs();
    let is = if seconds < 0 { "s in the future" } else { "s old" };
    (most < seconds.unsigned_abs()).then(|| {
        format!(
            "the newest measurement in `{file}` is {} {is}, more than `metrics.max_age_seconds` ({most}), so nothing \
             is decided on it; is lxc_monitor running?",
            seconds.unsigned_abs()
        )
    })
}

/// Reads the metrics file, with a progress bar.
fn load(pipeline: &mut Pipeline, config: &Config) -> Result<(), ReadError> {
    let bar = Bar::of_bytes(format!("reading {}", config.metrics.file.display()));
    pipeline.load(&bar).map(drop)
}

fn write_json(out: &mut impl Write, value: &impl Serialize) -> Result<(), CommandError> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)?;
    Ok(())
}
