//! The second disk: the project's binaries, the truth test, what the installer needs, and the script that runs them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::{VmError, file};
use crate::command::{CommandError, cargo, program, run, workspace_root};

/// The scripts that the machine runs, by name.
const SCRIPTS: [(&str, &str); 2] =
    [("run", include_str!("run.sh")), ("services", include_str!("services.sh"))];
const TEST: &str = "truth";
/// The binaries that the installer installs, the stand-in for Proxmox, and the load of the truth test.
const BINARIES: [&str; 5] =
    ["lxc-monitor", "lxc-autoscale-api", "lxc-autoscale-ml", "lxc-autoscale-sim", "truth-load"];

/// Builds the binaries and packs them; returns the disk's file.
pub(super) fn pack(scratch: &Path) -> Result<PathBuf, VmError> {
    run(cargo(["build", "--workspace", "--bins", "--locked"]))?;
    let test = test_program()?;
    let directory = scratch.join("payload");
    // As in cargo's own directory, because tests look for the binaries one level up.
    let (profile, built) = (directory.join("build"), test.ancestors().nth(2).unwrap_or(&test).to_owned());
    let project = directory.join("project");
    for made in [profile.join("deps"), project.clone()] {
        fs::create_dir_all(&made).map_err(file("create", made))?;
    }
    for name in BINARIES {
        copy(&built.join(name), &profile.join(name))?;
    }
    copy(&test, &profile.join("deps").join(TEST))?;
    for name in ["install.sh", "uninstall.sh", "Cargo.toml", "config", "systemd"] {
        run(program("cp", ["-a"]).arg(workspace_root().join(name)).arg(project.join(name)))?;
    }
    for (name, text) in SCRIPTS {
        let script = directory.join(name);
        fs::write(&script, text).map_err(file("write", &script))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).map_err(file("change", &script))?;
    }

    let disk = scratch.join("payload.img");
    run(program("mke2fs", ["-q", "-t", "ext4", "-d"]).arg(&directory).arg(&disk).arg("2G"))?;
    Ok(disk)
}

/// The path of the test's program, as built by cargo.
fn test_program() -> Result<PathBuf, VmError> {
    let mut command = cargo(["test", "--no-run", "--locked", "--message-format=json-render-diagnostics"]);
    command.args(["--package", "lxc-autoscale-e2e", "--test", TEST]).stderr(Stdio::inherit());
    let output = command
        .output()
        .map_err(|source| CommandError::Spawn { command: "cargo test".to_owned(), source })?;
    if !output.status.success() {
        return Err(CommandError::Failed {
            command: "cargo test --no-run".to_owned(),
            status: output.status,
        }
        .into());
    }
    let messages = output.stdout.split(|byte| *byte == b'\n');
    let found = messages.filter_map(executable_of).next_back();
    found.ok_or(VmError::NoTestProgram(TEST))
}

/// The program that a message of cargo is about, if it is that of the test.
fn executable_of(message: &[u8]) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_slice(message).ok()?;
    let is_test = message["target"]["name"] == TEST && message["target"]["kind"][0] == "test";
    is_test.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
}

/// Copies a program, stripped if `strip` is installed, because the emulated machine reads slowly.
fn copy(from: &Path, to: &Path) -> Result<(), VmError> {
    fs::copy(from, to).map_err(file("copy", from))?;
    let _ = program("strip", ["--strip-debug"]).arg(to).stderr(Stdio::null()).status();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tests_own_message_names_its_program() {
        let message = |name: &str, kind: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"name":"{name}","kind":["{kind}"]}},"executable":"/t/deps/truth-1"}}"#
            )
        };
        assert_eq!(
            executable_of(message("truth", "test").as_bytes()),
            Some(PathBuf::from("/t/deps/truth-1"))
        );
        assert_eq!(executable_of(message("truth", "bin").as_bytes()), None);
        assert_eq!(executable_of(message("demo", "test").as_bytes()), None);
        assert_eq!(executable_of(b""), None);
    }
}
