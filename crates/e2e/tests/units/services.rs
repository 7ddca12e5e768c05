//! What `install.sh` and `uninstall.sh` do to services, in a root directory of their own with a stand-in for systemd. The
//! real one is in the virtual machine (`cargo xtask test --vm`), where a service that does not start is not wanted.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::{BINARIES, Installation, UNITS, project, said};

/// What a unit's binary does is what decides whether it starts. `/running/UNIT` holds the version that runs.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$*" >> /calls
for unit; do :; done
running=/running/${unit%.service}
case $1 in
    is-active) test -e "$running" ;;
    stop | disable) rm -f "$running" ;;
    restart)
        rm -f "$running"
        program=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "/etc/systemd/system/$unit")
        "$program" run && "$program" --version > "$running"
        ;;
esac
"#;

/// The directory becomes `/`: the machine's programs, which cannot be written, and everything else its own.
const ENTER: &str = r#"set -eu
cd "$0"
project=$1
shift
for name in bin sbin lib lib64; do ln -sfn "usr/$name" "$name"; done
mkdir -p usr dev project local/bin etc tmp
mount --bind /usr usr
mount -o remount,ro,bind usr
mount --bind local usr/local
mount --bind /dev dev
mount --bind "$project" project
mount -o remount,ro,bind project
exec chroot . /usr/bin/env -i PATH=/stand-in:/usr/bin:/usr/sbin "$@"
"#;

/// A node as the scripts see it.
struct Node {
    installation: Installation,
}

impl Node {
    fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "only root can mount: run this test as root");
        let node = Self { installation: Installation::new() };
        let stand_in = node.at("stand-in");
        for directory in [&stand_in, &node.at("running")] {
            fs::create_dir_all(directory).unwrap();
        }
        node.stand_in("systemctl", SYSTEMCTL);
        for name in [
            "pct",
            "getent",
            "journalctl",
            "systemd-sysusers",
            "systemd-tmpfiles",
            "chown",
            "chgrp",
            "userdel",
            "groupdel",
        ] {
            node.stand_in(name, "#!/bin/sh\n");
        }
        for directory in ["monitor", "ml"] {
            fs::create_dir_all(node.at("var/log/lxc_autoscale_ml").join(directory)).unwrap();
        }
        fs::create_dir_all(node.at("var/lib/lxc_autoscale_ml/notifications")).unwrap();
        node
    }

    fn stand_in(&self, name: &str, text: &str) {
        self.installation.release_text(name, text);
        fs::rename(self.installation.binaries().join(name), self.at("stand-in").join(name)).unwrap();
    }

    /// A file of the node; the node is the directory that the binaries to install are in, too.
    fn at(&self, path: &str) -> PathBuf {
        self.installation.directory.path().join(path)
    }

    fn run(&self, script: &str, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", ENTER]).arg(self.at("")).arg(project());
        said(command.arg(format!("/project/{script}")).args(arguments))
    }

    fn install(&self, arguments: &[&str]) -> (bool, String) {
        self.run("install.sh", &[&["--binaries", "/release"], arguments].concat())
    }

    /// A new version of all binaries, of which these do not start.
    fn release(&self, version: &str, broken: &[&str]) {
        for name in BINARIES {
            self.installation.release(name, version, if broken.contains(&name) { "false" } else { "true" });
        }
    }

    /// The version of each service that runs.
    fn running(&self) -> Vec<(&'static str, String)> {
        let version = |unit: &'static str| {
            let text = fs::read_to_string(self.at("running").join(unit)).ok()?;
            Some((unit, text.split_whitespace().nth(1)?.to_owned()))
        };
        UNITS.into_iter().filter_map(version).collect()
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.at("calls")).unwrap_or_default()
    }
}

fn all(version: &str) -> Vec<(&'static str, String)> {
    UNITS.map(|unit| (unit, version.to_owned())).to_vec()
}

#[test]
fn an_upgrade_whose_services_do_not_start_goes_back_to_those_that_did() {
    let node = Node::new();
    let (succeeds, said) = node.install(&[]);
    assert!(succeeds, "{said}");
    assert_eq!(node.running(), all("0.1.0"), "{said}");
    node.release("0.2.0", &["lxc-autoscale-api"]);
    let (succeeds, said) = node.install(&[]);
    assert!(!succeeds && said.contains("these did not start any more: lxc_autoscale_api"), "{said}");
    assert_eq!(node.running(), all("0.1.0"), "{said}");
    node.release("0.2.0", &[]);
    let (succeeds, said) = node.install(&[]);
    assert!(succeeds, "{said}");
    assert_eq!(node.running(), all("0.2.0"), "{said}");
}

#[test]
fn binaries_that_do_not_run_stop_no_service() {
    let node = Node::new();
    let (succeeds, said) = node.install(&[]);
    assert!(succeeds, "{said}");
    fs::remove_file(node.at("calls")).unwrap();
    node.installation.release_text("lxc-monitor", "some text\n");
    let (succeeds, said) = node.install(&[]);
    assert!(!succeeds && said.contains("lxc-monitor does not run here"), "{said}");
    assert_eq!((node.calls().as_str(), node.running()), ("", all("0.1.0")));
}

#[test]
fn one_service_that_does_not_start_keeps_no_other_from_it() {
    let node = Node::new();
    node.release("0.1.0", &["lxc-monitor"]);
    for (version, patience) in
        [("0.1.0", "a new installation"), ("0.2.0", "an upgrade that changes nothing about it")]
    {
        node.release(version, &["lxc-monitor"]);
        let (succeeds, said) = node.install(&[]);
        assert!(!succeeds && said.contains("these did not start: lxc_monitor"), "{patience}: {said}");
        assert_eq!(node.running(), all(version)[1..], "{patience}: {said}");
        assert!(node.calls().contains("enable --quiet lxc_autoscale_ml.service"), "{patience}");
        assert!(said.contains("scaling.mode is"), "what it does is said all the same: {said}");
    }
}

/// A token that does not work must not cost the node its API.
#[test]
fn a_back_end_that_does_not_start_is_not_kept() {
    let node = Node::new();
    let addition = "etc/systemd/system/lxc_autoscale_api.service.d/rest.conf";
    node.installation.release("lxc-autoscale-api", "0.1.0", &format!("test ! -e /{addition}"));
    assert!(node.install(&[]).0);
    fs::write(node.at("etc/lxc_autoscale_ml/proxmox_token"), "a@pve!b=c\n").unwrap();
    let (succeeds, said) = node.run("install.sh", &["--backend", "rest"]);
    assert!(!succeeds && said.contains("these did not start any more: lxc_autoscale_api"), "{said}");
    assert!(!node.at(addition).exists(), "{said}");
    assert_eq!(node.running(), all("0.1.0"), "{said}");
}

#[test]
fn uninstalling_stops_nothing_before_it_was_told_to() {
    let node = Node::new();
    assert!(node.install(&[]).0);
    let (succeeds, said) = node.run("uninstall.sh", &[]);
    assert!(!succeeds && said.contains("undo --all --to original"), "{said}");
    assert_eq!(node.running(), all("0.1.0"));
    let (succeeds, said) = node.run("uninstall.sh", &["--yes"]);
    assert!(succeeds && node.running().is_empty(), "{said}");
}
