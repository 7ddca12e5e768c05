//! The shipped units and scripts, checked by the tools that will read them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set up its case must fail")]

mod exposure;
mod installer;
mod services;

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

/// The files that `install.sh` installs below a directory of its own.
struct Installation {
    directory: tempfile::TempDir,
}

impl Installation {
    fn new() -> Self {
        let installation = Self { directory: tempfile::tempdir().unwrap() };
        for name in BINARIES {
            installation.release(name, "0.1.0", "true");
        }
        installation
    }

    /// Puts a binary into the directory that is installed from, as far as the scripts use one: it says its version,
    /// reads a configuration, and starts, or does not.
    fn release(&self, name: &str, version: &str, run: &str) {
        let refuse = format!("echo '{name}: unknown key `no_such_key`' >&2; exit 1");
        let mode = "sed -n '/^\\[scaling\\]/,/^\\[/s/^mode = /scaling.mode  /p' \"$3\"";
        self.release_text(
            name,
            &format!(
                "#!/bin/sh\ncase $1 in\n--version) echo '{name} {version}' ;;\n\
                 config) if grep -q no_such_key \"$3\"; then {refuse}; fi; {mode} ;;\nrun) {run} ;;\nesac\n"
            ),
        );
    }

    /// Puts something else into its place.
    fn release_text(&self, name: &str, text: &str) {
        let path = self.binaries().join(name);
        fs::create_dir_all(self.binaries()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The directory that is installed from.
    fn binaries(&self) -> PathBuf {
        self.directory.path().join("release")
    }

    /// The directory that represents `/`.
    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// A file below it.
    fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|error| format!("{path}: {error}"))
    }

    /// Whether a script succeeds, with its output.
    fn run(&self, script: &str, arguments: &[&str]) -> (bool, String) {
        said(Command::new(project().join(script)).args(arguments).env("DESTDIR", self.root()))
    }

    #[track_caller]
    fn install(&self, arguments: &[&str]) -> String {
        let (succeeds, said) = self.try_install(arguments);
        assert!(succeeds, "{said}");
        said
    }

    fn try_install(&self, arguments: &[&str]) -> (bool, String) {
        let binaries = self.binaries().display().to_string();
        self.run("install.sh", &[&["--binaries", &binaries], arguments].concat())
    }

    #[track_caller]
    fn uninstall(&self, arguments: &[&str]) -> String {
        let (succeeds, said) = self.run("uninstall.sh", &[&["--yes"], arguments].concat());
        assert!(succeeds, "{said}");
        said
    }
}

/// Whether a command succeeds, with its output. There is no terminal at which it could ask.
fn said(command: &mut Command) -> (bool, String) {
    let done = output(command.stdin(std::process::Stdio::null()));
    (done.status.success(), String::from_utf8(done.stdout).unwrap() + &String::from_utf8_lossy(&done.stderr))
}

/// As called by `install.sh` on a node.
#[test]
fn systemd_makes_the_users_the_directories_and_the_links() {
    let installation = Installation::new();
    installation.install(&[]);
    let root = format!("--root={}", installation.root().display());
    let run = |program: &str, arguments: &[&str]| {
        let done = output(Command::new(program).arg(&root).args(arguments));
        let complaints = String::from_utf8_lossy(&done.stderr).into_owned();
        (done.status.success(), complaints)
    };
    let (succeeds, complaints) = run("systemd-sysusers", &["lxc_autoscale_ml.conf"]);
    if !succeeds && complaints.contains("Permission denied") {
        return;
    }
    assert!(succeeds && !complaints.contains("not a valid"), "{complaints}");
    let (passwd, group) = (installation.read("etc/passwd"), installation.read("etc/group"));
    let members = group.lines().find_map(|line| line.strip_prefix("lxc-autoscale:")).unwrap();
    for user in ["lxc-monitor", "lxc-autoscale-ml", "lxc-autoscale-api"] {
        assert!(passwd.lines().any(|line| line.starts_with(&format!("{user}:"))), "{user}: {passwd}");
        assert!(members.split([':', ',']).any(|member| member == user), "{user}: {group}");
    }

    let (succeeds, complaints) = run("systemd-tmpfiles", &["--create", "lxc_autoscale_ml.conf"]);
    assert!(succeeds, "{complaints}");
    let link = installation.at("var/log/lxc_metrics.json");
    assert_eq!(fs::read_link(link).unwrap(), Path::new("lxc_autoscale_ml/monitor/lxc_metrics.json"));
    let mode = |path: &str| fs::metadata(installation.at(path)).unwrap().permissions().mode() & 0o7777;
    for (path, want) in [
        ("var/log/lxc_autoscale_ml/monitor", 0o750),
        ("var/lib/lxc_autoscale_ml", 0o755),
        ("var/lib/lxc_autoscale_ml/ml", 0o750),
        ("var/lib/lxc_autoscale_ml/notifications", 0o2770),
    ] {
        assert_eq!(mode(path), want, "{path}");
    }
}

#[test]
fn systemd_accepts_the_installed_units() {
    for backend in ["pct", "rest"] {
        let installation = Installation::new();
        installation.write("etc/lxc_autoscale_ml/proxmox_token", "a@pve!b=c\n");
        installation.install(&["--backend", backend]);
        let units = installation.at("etc/systemd/system");
        // The units name binaries and services of a Proxmox node; here, the binaries are below the directory.
        let local = installation.at("usr/local/bin").display().to_string();
        for unit in UNITS {
            let path = units.join(format!("{unit}.service"));
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace("/usr/local/bin", &local)).unwrap();
        }
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no", "--recursive-errors=one"]);
        verify.args(UNITS.map(|unit| units.join(format!("{unit}.service"))));
        let done = output(&mut verify);
        let complaints = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && complaints.is_empty(), "{backend}: {complaints}");
    }
}
