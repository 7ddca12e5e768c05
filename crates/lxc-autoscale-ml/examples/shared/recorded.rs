//! Recorded traces.

use std::error::Error;
use std::path::Path;

use lxc_autoscale_ml::backtest::recording::Recording;
use lxc_autoscale_ml::backtest::traces;

/// The recordings of the simulated node; their origin is documented beside them.
pub(crate) fn shipped() -> Result<Vec<Recording>, Box<dyn Error>> {
    read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../lxc-autoscale-sim/traces"))
}

/// The recordings of a file, or of all CSV files of a directory.
pub(crate) fn read_all(path: &Path) -> Result<Vec<Recording>, Box<dyn Error>> {
    if !path.is_dir() {
        return Ok(traces::read(path)?);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let plain =
            file.extension().is_some_and(|extension| extension == "gz").then(|| file.with_extension(""));
        if plain.as_ref().unwrap_or(&file).extension().is_some_and(|extension| extension == "csv") {
            files.push(file);
        }
    }
    files.sort();
    let mut recordings = Vec::new();
    for file in files {
        recordings.extend(traces::read(&file)?);
    }
    if recordings.is_empty() {
        Err(format!("`{}` holds no traces", path.display()).into())
    } else {
        Ok(recordings)
    }
}
