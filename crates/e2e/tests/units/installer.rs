//! `install.sh` and `uninstall.sh` below a directory of their own; with users and services they are tested in the
//! virtual machine (`cargo xtask test --vm`).

use std::fs;

use crate::{Installation, project};

const CONFIG: &str = "etc/lxc_autoscale_ml/lxc_monitor.toml";

fn shipped(file: &str) -> String {
    fs::read_to_string(project().join(file)).unwrap()
}

#[test]
fn an_upgrade_keeps_the_configuration_and_shows_the_new_one() {
    let installation = Installation::new();
    installation.install(&[]);
    assert_eq!(installation.read(CONFIG), shipped("config/lxc_monitor.toml"));

    installation.write(CONFIG, "interval_seconds = 30\n");
    let said = installation.install(&[]);
    assert!(said.contains("kept your lxc_monitor.toml"), "{said}");
    assert_eq!(installation.read(CONFIG), "interval_seconds = 30\n");
    assert!(installation.at(&format!("{CONFIG}.new")).exists());
    assert!(
        !installation.at("etc/lxc_autoscale_ml/lxc_autoscale_ml.toml.new").exists(),
        "unchanged files have no twin"
    );

    installation.write(CONFIG, &shipped("config/lxc_monitor.toml"));
    installation.install(&[]);
    assert!(!installation.at(&format!("{CONFIG}.new")).exists(), "nor have those that no longer differ");
}

/// The paths of files from when all daemons ran as root, and the paths that the daemons' own users may write to.
const MOVED: [(&str, &str); 11] = [
    ("var/log/lxc_metrics.json", "var/log/lxc_autoscale_ml/monitor/lxc_metrics.json"),
    ("var/log/lxc_metrics.json.before-1", "var/log/lxc_autoscale_ml/monitor/lxc_metrics.json.before-1"),
    ("var/log/lxc_monitor.log.2", "var/log/lxc_autoscale_ml/monitor/lxc_monitor.log.2"),
    ("var/log/lxc_autoscale_ml.log", "var/log/lxc_autoscale_ml/ml/lxc_autoscale_ml.log"),
    ("var/log/lxc_autoscale_audit.jsonl", "var/log/lxc_autoscale_ml/api/lxc_autoscale_audit.jsonl"),
    ("var/lib/lxc_autoscale_ml/metrics.sqlite", "var/lib/lxc_autoscale_ml/monitor/metrics.sqlite"),
    ("var/lib/lxc_autoscale_ml/metrics.sqlite-wal", "var/lib/lxc_autoscale_ml/monitor/metrics.sqlite-wal"),
    ("var/lib/lxc_autoscale_ml/alerts.json", "var/lib/lxc_autoscale_ml/monitor/alerts.json"),
    ("var/lib/lxc_autoscale_ml/decisions.sqlite", "var/lib/lxc_autoscale_ml/ml/decisions.sqlite"),
    ("var/lib/lxc_autoscale_ml/learnt.checkpoint", "var/lib/lxc_autoscale_ml/ml/learnt.checkpoint"),
    ("var/lib/lxc_autoscale_ml/api.sqlite", "var/lib/lxc_autoscale_ml/api/api.sqlite"),
];

#[test]
fn an_installation_of_root_goes_on_with_its_files_in_their_new_places() {
    let installation = Installation::new();
    for (from, _) in MOVED {
        installation.write(from, from);
    }
    installation.write("var/log/.lxc_metrics.json.spare", "only a running monitor needs it");
    let before = |text: &str| {
        ["monitor", "ml", "api"].iter().fold(text.to_owned(), |text, user| {
            text.replace(&format!("/var/lib/lxc_autoscale_ml/{user}"), "/var/lib/lxc_autoscale_ml")
        })
    };
    for unit in crate::UNITS {
        let file = format!("{unit}.toml");
        let old = before(&shipped(&format!("config/{file}")));
        assert_ne!(old, shipped(&format!("config/{file}")), "{file} names its own directory");
        installation.write(&format!("etc/lxc_autoscale_ml/{file}"), &(old + "# mine\n"));
    }
    for round in 1..=2 {
        installation.install(&[]);
        for (from, to) in MOVED {
            assert_eq!(installation.read(to), from, "round {round}");
            assert!(!installation.at(from).exists(), "{from}");
        }
    }
    assert!(!installation.at("var/log/.lxc_metrics.json.spare").exists());
    for unit in crate::UNITS {
        let kept = installation.read(&format!("etc/lxc_autoscale_ml/{unit}.toml"));
        assert_eq!(kept, shipped(&format!("config/{unit}.toml")) + "# mine\n", "{unit}");
    }
}

#[test]
fn a_place_that_was_chosen_is_left_alone() {
    let installation = Installation::new();
    let chosen = "[history]\nfile = \"/srv/metrics.sqlite\"\n# file = \"/var/lib/lxc_autoscale_ml/x\"\n";
    installation.write(CONFIG, chosen);
    installation.install(&[]);
    assert_eq!(installation.read(CONFIG), chosen);
}

#[test]
fn uninstalling_puts_files_back_and_keeps_them_until_purged() {
    let installation = Installation::new();
    for (from, _) in MOVED {
        installation.write(from, from);
    }
    installation.install(&[]);
    installation.write("var/log/lxc_autoscale_ml/api/lxc_autoscale_audit.jsonl.lock", "");
    // As systemd-tmpfiles creates it.
    let link = installation.at("var/log/lxc_metrics.json");
    std::os::unix::fs::symlink("lxc_autoscale_ml/monitor/lxc_metrics.json", &link).unwrap();
    installation.uninstall(&[]);
    for gone in [
        "usr/local/bin/lxc-monitor",
        "etc/systemd/system/lxc_monitor.service",
        "etc/sysusers.d/lxc_autoscale_ml.conf",
        "etc/tmpfiles.d/lxc_autoscale_ml.conf",
        "var/log/lxc_autoscale_ml",
    ] {
        assert!(!installation.at(gone).exists(), "{gone}");
    }
    assert!(installation.at(CONFIG).exists());
    for (from, to) in MOVED {
        let kept = if from.starts_with("var/log") { from } else { to };
        assert_eq!(installation.read(kept), from);
    }
    assert!(!link.is_symlink());
    installation.uninstall(&["--purge"]);
    for directory in ["etc/lxc_autoscale_ml", "var/lib/lxc_autoscale_ml"] {
        assert!(!installation.at(directory).exists(), "{directory}");
    }
    assert_eq!(fs::read_dir(installation.at("var/log")).unwrap().count(), 0);
}

#[test]
fn the_rest_back_end_is_taken_with_a_token_only_and_kept_by_an_upgrade() {
    let installation = Installation::new();
    let addition = "etc/systemd/system/lxc_autoscale_api.service.d/rest.conf";
    let binaries = installation.directory.path().join("release").display().to_string();
    let (succeeds, said) = installation.run("install.sh", &["--binaries", &binaries, "--backend", "rest"]);
    assert!(!succeeds && said.contains("put the API token"), "{said}");
    installation.write("etc/lxc_autoscale_ml/proxmox_token", "a@pve!b=c\n");
    for (arguments, is_rest) in [
        (&[][..], false),
        (&["--backend", "rest"], true),
        (&[], true),
        (&["--backend", "pct"], false),
        (&[], false),
    ] {
        installation.install(arguments);
        assert_eq!(installation.at(addition).exists(), is_rest, "{arguments:?}");
    }
}

#[test]
fn a_missing_binary_is_a_failed_installation() {
    let installation = Installation::new();
    let empty = installation.directory.path().display().to_string();
    let (succeeds, said) = installation.run("install.sh", &["--binaries", &empty]);
    assert!(!succeeds && said.contains("no binary"), "{said}");
}
