//! `train`: trains a demand model on recorded machines.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::columns;
use crate::forecast::ModelError;
use crate::forecast::training::{RecordingError, read_recordings, train};

/// Why no model was made.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The recordings cannot be opened.
    #[error("cannot read `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The recordings cannot be used.
    #[error("cannot learn from `{}`", path.display())]
    Recordings {
        /// The file.
        path: PathBuf,
        /// Why.
        source: RecordingError,
    },
    /// The model cannot be stored.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model or the report cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Trains on `traces` and writes the model to `out`; describes the training data on `report`.
///
/// # Errors
/// [`TrainError`]; the file of an earlier model is then unchanged.
pub fn run(traces: &Path, out: &Path, rounds: usize, report: &mut impl Write) -> Result<(), TrainError> {
    let open = |source| TrainError::Open { path: traces.to_owned(), source };
    let unusable = |source| TrainError::Recordings { path: traces.to_owned(), source };
    let write = |source| TrainError::Write { path: out.to_owned(), source };
    let recordings = read_recordings(columns::open(traces).map_err(open)?).map_err(unusable)?;
    let bytes = train(&recordings, rounds).map_err(unusable)?.to_bytes()?;
    // To a temporary file first, so that a full disk does not harm the model in use.
    let mut beside = out.to_owned().into_os_string();
    beside.push(".new");
    std::fs::write(&beside, &bytes).and_then(|()| std::fs::rename(&beside, out)).map_err(write)?;
    let steps: usize = recordings.iter().map(|recording| recording.cpu.len()).sum();
    let machines = recordings.len();
    writeln!(
        report,
        "learnt from {machines} machines, {steps} steps; {} bytes in `{}`",
        bytes.len(),
        out.display()
    )
    .map_err(write)
}
