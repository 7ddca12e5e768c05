//! The shipped units and scripts, checked by the tools that will read them.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its case must fail")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use lxc_autoscale_e2e::output;

const UNITS: [&str; 3] = ["lxc_monitor", "lxc_autoscale_api", "lxc_autoscale_ml"];
const BINARIES: [&str; 3] = ["lxc-monitor", "lxc-autoscale-api", "lxc-autoscale-ml"];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Directory with stand-ins for the release binaries; what they do does not matter to the installer.
fn binaries(directory: &Path) -> PathBuf {
    let binaries = directory.join("release");
    fs::create_dir(&binaries).unwrap();
    for name in BINARIES {
        fs::write(binaries.join(name), "#!/bin/sh\n").unwrap();
        fs::set_permissions(binaries.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    binaries
}

fn install(root: &Path, binaries: &Path) -> String {
    let mut command = Command::new(project().join("install.sh"));
    let done = output(command.arg("--binaries").arg(binaries).env("DESTDIR", root));
    let text = String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success(), "{text}");
    text
}

#[test]
fn systemd_accepts_the_installed_units() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    install(&root, &binaries(directory.path()));
    for unit in UNITS {
        let installed = root.join(format!("etc/systemd/system/{unit}.service"));
        // The units name binaries and services of a Proxmox node; here the binaries lie below `root`.
        let text = fs::read_to_string(&installed).unwrap();
        let local = directory.path().join(format!("{unit}.service"));
        fs::write(&local, text.replace("/usr/local/bin", &root.join("usr/local/bin").to_string_lossy()))
            .unwrap();
    }
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=one"]);
    verify.args(UNITS.map(|unit| directory.path().join(format!("{unit}.service"))));
    let done = output(&mut verify);
    let complaints = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && complaints.is_empty(), "{complaints}");
}

/// `pct` and the storage tools run inside this unit; these settings break them, which only a real node would show.
#[test]
fn the_api_unit_takes_nothing_from_pct() {
    let unit = fs::read_to_string(project().join("systemd/lxc_autoscale_api.service")).unwrap();
    let settings: Vec<_> = unit.lines().filter(|line| !line.starts_with('#')).collect();
    for prefix in [
        "CapabilityBoundingSet=",
        "Device",
        "InaccessiblePaths=",
        "MemoryDenyWriteExecute=",
        "Private",
        "Protect",
        "ReadOnlyPaths=",
        "Restrict",
        "SystemCallFilter=",
    ] {
        let found: Vec<_> = settings
            .iter()
            .filter(|line| line.starts_with(prefix) && **line != "RestrictRealtime=yes")
            .collect();
        assert!(found.is_empty(), "{found:?}");
    }
    assert!(settings.contains(&"UMask=0022"), "directories that pct makes stay passable");
}

#[test]
fn an_upgrade_keeps_the_configuration_and_shows_the_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let binaries = binaries(directory.path());
    install(&root, &binaries);
    let config = root.join("etc/lxc_autoscale_ml/lxc_monitor.toml");
    assert_eq!(fs::read(&config).unwrap(), fs::read(project().join("config/lxc_monitor.toml")).unwrap());

    fs::write(&config, "interval_seconds = 30\n").unwrap();
    let said = install(&root, &binaries);
    assert!(said.contains("kept your lxc_monitor.toml"), "{said}");
    assert_eq!(fs::read_to_string(&config).unwrap(), "interval_seconds = 30\n");
    assert!(config.with_extension("toml.new").exists());
    assert!(
        !root.join("etc/lxc_autoscale_ml/lxc_autoscale_ml.toml.new").exists(),
        "unchanged files have no twin"
    );

    fs::copy(project().join("config/lxc_monitor.toml"), &config).unwrap();
    install(&root, &binaries);
    assert!(!config.with_extension("toml.new").exists(), "nor have those that no longer differ");
}

#[test]
fn uninstalling_keeps_configuration_until_purged() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    install(&root, &binaries(directory.path()));
    let uninstall = |arguments: &[&str]| {
        let done = output(Command::new(project().join("uninstall.sh")).args(arguments).env("DESTDIR", &root));
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    uninstall(&[]);
    assert!(!root.join("usr/local/bin/lxc-monitor").exists());
    assert!(!root.join("etc/systemd/system/lxc_monitor.service").exists());
    assert!(root.join("etc/lxc_autoscale_ml/lxc_monitor.toml").exists());
    uninstall(&["--purge"]);
    assert!(!root.join("etc/lxc_autoscale_ml").exists());
}

#[test]
fn a_missing_binary_is_a_failed_installation() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(project().join("install.sh"));
    let done =
        output(command.arg("--binaries").arg(directory.path()).env("DESTDIR", directory.path().join("root")));
    assert!(!done.status.success());
    assert!(String::from_utf8_lossy(&done.stderr).contains("no binary"));
}
