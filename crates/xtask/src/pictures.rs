//! The pictures of the documentation that show the program itself: made with the program of this checkout and a browser.

use std::io;
use std::path::{Path, PathBuf};

use crate::command::{CommandError, cargo, program, run, workspace_root};
use crate::packages;

/// The recordings that come with the project.
const TRACES: &str = "crates/lxc-autoscale-sim/traces";
/// Where the page of a back-test is shown.
const BACKTEST: &str = "docs/backtest.png";
/// So wide that nothing of the table is cut off, and down to the charts of the first container.
const WINDOW: &str = "--window-size=1000,1090";

/// Why a picture was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PictureError {
    /// A command failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A file cannot be read or written.
    #[error("cannot use `{}`: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Makes all of them.
pub(crate) fn make() -> Result<(), PictureError> {
    packages::ensure(packages::FOR_PICTURES)?;
    let directory =
        tempfile::tempdir().map_err(|source| PictureError::File { path: "/tmp".into(), source })?;
    let (traces, page) = (directory.path().join("traces.csv"), directory.path().join("page.html"));
    let text = joined(&workspace_root().join(TRACES))?;
    std::fs::write(&traces, text).map_err(|source| PictureError::File { path: traces.clone(), source })?;
    let mut backtest = cargo(["run", "--locked", "--quiet", "--bin", "lxc-autoscale-ml", "--", "backtest"]);
    // In whole cores, as an installation gives them, unless told otherwise.
    backtest.args(["--built-in", "--cpu-class", "integer", "--traces"]).arg(&traces);
    run(backtest.arg("--html").arg(&page))?;
    // A page of our own, without anything from elsewhere: root, whom the browser's sandbox refuses, may show it.
    let mut browser =
        program("chromium", ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]);
    browser.args(["--force-device-scale-factor=1", WINDOW]);
    browser.arg(format!("--user-data-dir={}", directory.path().join("profile").display()));
    browser.arg(format!("--screenshot={}", workspace_root().join(BACKTEST).display()));
    Ok(run(browser.arg(format!("file://{}", page.display())))?)
}

/// All recordings of a directory as one file.
fn joined(directory: &Path) -> Result<String, PictureError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| PictureError::File { path, source }
    };
    let entries = std::fs::read_dir(directory).map_err(failed(directory))?;
    let files = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut files = files.collect::<Result<Vec<_>, _>>().map_err(failed(directory))?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "csv"));
    files.sort();
    let mut all = String::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(failed(&file))?;
        let text = if all.is_empty() { &text } else { text.split_once('\n').map_or("", |(_, rows)| rows) };
        all.push_str(text);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recordings_have_one_header_and_all_rows() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [("2.csv", "at,use\n3,4\n"), ("1.csv", "at,use\n1,2\n"), ("README.md", "none")] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        assert_eq!(joined(directory.path()).unwrap(), "at,use\n1,2\n3,4\n");
    }
}
