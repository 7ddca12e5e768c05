//! Why a back-test gave no result.

use std::path::PathBuf;

use lxc_autoscale_core::metrics_file::ReadError;

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
    /// The table of recordings is of no use.
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
    /// The metrics file names no container whose size is known.
    #[error(
        "no record in `{}` tells what a container has (its configuration or its limits), so there is nothing to compare with",
        path.display()
    )]
    NothingRecorded {
        /// The file.
        path: PathBuf,
    },
    /// A container that was asked for is not there.
    #[error("container {id} is not in the recording; it names {known}")]
    UnknownContainer {
        /// The container.
        id: u64,
        /// Some that are.
        known: String,
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
    /// The result cannot be put into JSON.
    #[error("cannot write the result as JSON")]
    Json(#[from] serde_json::Error),
}

/// Why a table of recordings is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It is not the table it should be.
    #[error(
        "it is not CSV with the columns timestamp, container_id, provisioned_cores, provisioned_memory_mb, cpu_cores_used, memory_mb_used"
    )]
    Csv(#[source] csv::Error),
    /// A value is no amount.
    #[error("line {line}: `{column}` is {value}, which is no amount")]
    Amount {
        /// Line number, from 1.
        line: u64,
        /// The column.
        column: &'static str,
        /// Its value.
        value: f64,
    },
    /// A time makes no sense.
    #[error("line {line}: the time {timestamp} is out of range")]
    Time {
        /// Line number, from 1.
        line: u64,
        /// The time.
        timestamp: i64,
    },
    /// Two lines are about the same time.
    #[error("container {id} has two lines for the time {timestamp}")]
    Twice {
        /// The container.
        id: u64,
        /// The time.
        timestamp: i64,
    },
    /// There is nothing in it.
    #[error("it holds no line")]
    Empty,
}
