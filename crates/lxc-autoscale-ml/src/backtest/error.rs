//! Why a back-test gave no result.

use std::path::PathBuf;

use lxc_autoscale_core::ErrorChain;
use lxc_autoscale_core::metrics_file::ReadError;

use super::traces::COLUMNS;
use crate::commands::hints;
use crate::policy::PolicyError;
use crate::recommend::SharedError;

/// Why a back-test gave no result.
#[derive(Debug, thiserror::Error)]
pub enum BacktestError {
    /// A file cannot be opened or read.
    #[error("cannot read `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The table of recordings cannot be used.
    #[error("cannot use the traces `{}`", path.display())]
    Traces {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TraceError,
    },
    /// The metrics file cannot be read.
    #[error(transparent)]
    Metrics(#[from] ReadError),
    /// A policy cannot be used, which a checked configuration rules out.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The size of no container in the metrics file is known.
    #[error(
        "no record in `{}` tells what a container has (its configuration or its limits), so there is nothing to compare with",
        path.display()
    )]
    NothingRecorded {
        /// The file.
        path: PathBuf,
    },
    /// A requested container does not exist.
    #[error("container {id} is not in the recording, which has {known}")]
    UnknownContainer {
        /// Its id or name.
        id: String,
        /// Some that do.
        known: String,
    },
    /// Several containers have the requested name.
    #[error("several containers in the recording are named `{name}`: {ids}; give one of these ids")]
    AmbiguousName {
        /// The name.
        name: String,
        /// Their ids.
        ids: String,
    },
    /// The demand model cannot be used.
    #[error(transparent)]
    Shared(#[from] SharedError),
    /// A result cannot be written to a file.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The result cannot be shown.
    #[error("cannot write the result")]
    Output(#[from] std::io::Error),
    /// The result cannot be serialised as JSON.
    #[error("cannot write the result as JSON")]
    Json(#[from] serde_json::Error),
}

impl BacktestError {
    /// The error with its causes, and what to do about it where that is known.
    pub fn told(&self) -> String {
        let hint = match self {
            Self::Metrics(error) => hints::of_metrics(error),
            _ => None,
        };
        hints::with(ErrorChain(self), hint)
    }
}

/// Why a table of recordings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It is not such a table.
    #[error(
        "it is not CSV with the columns timestamp, container_id, provisioned_cores, provisioned_memory_mb, cpu_cores_used, memory_mb_used"
    )]
    Csv(#[source] csv::Error),
    /// A column is missing.
    #[error("the column `{column}` is missing; its first line must name the columns {}", COLUMNS.join(", "))]
    Column {
        /// Its name.
        column: &'static str,
    },
    /// A value is not a valid amount.
    #[error("line {line}: `{column}` is {value}, which is not a valid amount")]
    Amount {
        /// Line number, from 1.
        line: u64,
        /// The column.
        column: &'static str,
        /// Its value.
        value: f64,
    },
    /// A time is invalid.
    #[error("line {line}: the time {timestamp} is out of range")]
    Time {
        /// Line number, from 1.
        line: u64,
        /// The time.
        timestamp: i64,
    },
    /// Two lines have the same time.
    #[error("container {id} has two lines for the time {timestamp}")]
    Twice {
        /// The container.
        id: u64,
        /// The time.
        timestamp: i64,
    },
    /// It has no data.
    #[error("it has no data")]
    Empty,
}
