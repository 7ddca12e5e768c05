//! Finds the daemons' programs next to this one; if this one is run by `cargo run`, builds them first.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// The daemons, in the order in which they are started.
pub const DAEMONS: [&str; 3] = ["lxc-monitor", "lxc-autoscale-api", "lxc-autoscale-ml"];

/// Why a daemon's program cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// The path of this program is not known.
    #[error("cannot determine the path of this program")]
    OwnPath(#[source] io::Error),
    /// Cargo cannot be started.
    #[error("cannot run `{}` to build the daemons", cargo.display())]
    Cargo {
        /// The program.
        cargo: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The daemons do not compile.
    #[error("building the daemons failed ({0})")]
    Build(ExitStatus),
    /// A program does not exist.
    #[error("`{}` does not exist; install the daemons beside this program, or build them with `cargo build --bins`", .0.display())]
    Missing(PathBuf),
}

/// How this program was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The path of this program.
    pub program: PathBuf,
    /// The cargo that runs it, if any.
    pub cargo: Option<PathBuf>,
}

impl Origin {
    /// Determines it for this process.
    ///
    /// # Errors
    /// [`BinaryError::OwnPath`] if the system does not tell.
    pub fn of_this_process() -> Result<Self, BinaryError> {
        let program = std::env::current_exe().map_err(BinaryError::OwnPath)?;
        // `cargo run` sets the name of the package that it runs; a test runner passes `CARGO` on with another name or
        // none.
        let runs_us = std::env::var_os("CARGO_PKG_NAME").is_some_and(|name| name == env!("CARGO_PKG_NAME"));
        let cargo = std::env::var_os("CARGO").filter(|_| runs_us).map(PathBuf::from);
        Ok(Self { program, cargo })
    }

    /// The directory in which the daemons are expected.
    fn directory(&self) -> &Path {
        self.program.parent().unwrap_or(Path::new("/"))
    }

    /// The command that builds the daemons, if cargo runs this program from one of its target directories.
    fn build_command(&self) -> Option<Command> {
        let cargo = self.cargo.as_ref()?;
        let profile = self.directory().file_name()?.to_str()?;
        let mut command = Command::new(cargo);
        command.arg("build");
        match profile {
            "debug" => {}
            "release" => {
                command.arg("--release");
            }
            other => {
                command.args(["--profile", other]);
            }
        }
        for daemon in DAEMONS {
            command.args(["-p", daemon]);
        }
        // In the workspace, because a demo may be started from any directory.
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        Some(command)
    }
}

/// Makes sure that the daemons' programs exist, and returns their paths in the order of [`DAEMONS`].
///
/// # Errors
/// [`BinaryError`] if they cannot be built, or one is missing.
pub fn find_or_build(origin: &Origin) -> Result<[PathBuf; 3], BinaryError> {
    if let Some(mut command) = origin.build_command() {
        let cargo = origin.cargo.clone().unwrap_or_default();
        let status = command.status().map_err(|source| BinaryError::Cargo { cargo, source })?;
        if !status.success() {
            return Err(BinaryError::Build(status));
        }
    }
    let programs = DAEMONS.map(|name| origin.directory().join(name));
    match programs.iter().find(|program| !program.is_file()) {
        Some(missing) => Err(BinaryError::Missing(missing.clone())),
        None => Ok(programs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(program: &str, cargo: Option<&str>) -> Option<String> {
        let origin = Origin { program: program.into(), cargo: cargo.map(PathBuf::from) };
        let command = origin.build_command()?;
        let words: Vec<_> = command.get_args().map(|word| word.to_str().unwrap().to_owned()).collect();
        Some(words.join(" "))
    }

    #[test]
    fn the_daemons_are_built_in_the_profile_we_are_in() {
        let packages = "-p lxc-monitor -p lxc-autoscale-api -p lxc-autoscale-ml";
        let built = |program| arguments(program, Some("/bin/cargo")).unwrap();
        assert_eq!(built("/src/target/debug/lxc-autoscale-sim"), format!("build {packages}"));
        assert_eq!(built("/src/target/release/lxc-autoscale-sim"), format!("build --release {packages}"));
        assert_eq!(built("/src/target/tuned/lxc-autoscale-sim"), format!("build --profile tuned {packages}"));
        assert_eq!(arguments("/usr/bin/lxc-autoscale-sim", None), None);
    }

    #[test]
    fn an_installed_program_without_the_daemons_says_which_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let origin = Origin { program: directory.path().join("lxc-autoscale-sim"), cargo: None };
        let error = find_or_build(&origin).unwrap_err();
        assert!(error.to_string().contains("lxc-monitor` does not exist"), "{error}");
        for name in DAEMONS {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(find_or_build(&origin).unwrap()[0], directory.path().join("lxc-monitor"));
    }
}
