//! The daemons' programs: found beside this one, and built first when it is run from its source by `cargo run`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// The daemons, in the order in which they are started.
pub const DAEMONS: [&str; 3] = ["lxc-monitor", "lxc-autoscale-api", "lxc-autoscale-ml"];

/// Why a daemon's program is not there.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// This program does not know where it lies.
    #[error("cannot tell where this program lies")]
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
    /// A program is not where it should be.
    #[error("`{}` does not exist; install the daemons beside this program, or build them with `cargo build --bins`", .0.display())]
    Missing(PathBuf),
}

/// How this program was started, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Where this program lies.
    pub program: PathBuf,
    /// The cargo that runs it.
    pub cargo: Option<PathBuf>,
}

impl Origin {
    /// Looks at this process.
    ///
    /// # Errors
    /// [`BinaryError::OwnPath`] when the system does not tell.
    pub fn of_this_process() -> Result<Self, BinaryError> {
        let program = std::env::current_exe().map_err(BinaryError::OwnPath)?;
        // `cargo run` names the package it runs; a test runner hands `CARGO` on with another name or none.
        let runs_us = std::env::var_os("CARGO_PKG_NAME").is_some_and(|name| name == env!("CARGO_PKG_NAME"));
        let cargo = std::env::var_os("CARGO").filter(|_| runs_us).map(PathBuf::from);
        Ok(Self { program, cargo })
    }

    /// The directory the daemons should lie in.
    fn directory(&self) -> &Path {
        self.program.parent().unwrap_or(Path::new("/"))
    }

    /// The call that builds the daemons, when cargo runs us from one of its target directories.
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
        // Where the workspace is: a demo may be started from any directory.
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        Some(command)
    }
}

/// Makes sure that the daemons' programs are there, and returns their paths in the order of [`DAEMONS`].
///
/// # Errors
/// [`BinaryError`] when they cannot be built, or one is missing.
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
