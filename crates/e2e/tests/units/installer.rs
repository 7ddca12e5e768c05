//! `install.sh` and `uninstall.sh` below a directory of their own; with users and services they are tested in the
//! virtual machine (`cargo xtask test --vm`).

use std::fs;
use std::process::Command;

use crate::{BINARIES, Installation, project, said};

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
    let (succeeds, said) = installation.try_install(&["--backend", "rest"]);
    assert!(!succeeds && said.contains("put the API token") && said.contains("install -d -m 0755"), "{said}");
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

/// A back end is chosen long after the binaries were built, often on a node that could not build them.
#[test]
fn another_back_end_takes_no_other_binaries() {
    let installation = Installation::new();
    installation.install(&[]);
    installation.write("etc/lxc_autoscale_ml/proxmox_token", "a@pve!b=c\n");
    for (back_end, is_rest) in [("rest", true), ("pct", false)] {
        let (succeeds, said) = installation.run("install.sh", &["--backend", back_end]);
        assert!(succeeds && said.contains("Keeping the installed binaries"), "{said}");
        let addition = installation.at("etc/systemd/system/lxc_autoscale_api.service.d/rest.conf");
        assert_eq!(addition.exists(), is_rest);
        assert!(installation.read("usr/local/bin/lxc-monitor").contains("lxc-monitor 0.1.0"));
    }
}

/// The binaries are tried, with the configuration that is there, before anything is touched.
#[test]
fn what_would_not_run_replaces_nothing() {
    let installation = Installation::new();
    installation.install(&[]);
    for name in BINARIES {
        installation.release(name, "0.2.0", "true");
    }
    for (text, why) in [
        ("just text\n", "lxc-monitor does not run here"),
        ("#!/nonexistent/interpreter\n", "lxc-monitor does not run here"),
        ("#!/bin/sh\nexit 3\n", "lxc-monitor does not run here"),
        ("#!/bin/sh\necho lxc-autoscale-ml 0.2.0\n", "lxc-monitor is not lxc-monitor: its --version says"),
    ] {
        installation.release_text("lxc-monitor", text);
        let (succeeds, said) = installation.try_install(&[]);
        assert!(!succeeds && said.contains(why), "{text}: {said}");
        assert!(installation.read("usr/local/bin/lxc-monitor").contains("0.1.0"), "{text}");
    }
    installation.release("lxc-monitor", "0.2.0", "true");
    installation.write(CONFIG, "no_such_key = 1\n");
    let (succeeds, said) = installation.try_install(&[]);
    assert!(
        !succeeds && said.contains("unknown key `no_such_key`") && said.contains("Nothing was changed"),
        "{said}"
    );
    for name in BINARIES {
        assert!(installation.read(&format!("usr/local/bin/{name}")).contains("0.1.0"), "{name}");
    }
    assert_eq!(installation.read(CONFIG), "no_such_key = 1\n");
}

#[test]
fn an_upgrade_that_fails_halfway_puts_the_binaries_back() {
    let installation = Installation::new();
    installation.install(&[]);
    for name in BINARIES {
        installation.release(name, "0.2.0", "true");
    }
    // The last unit cannot be written.
    let unit = installation.at("etc/systemd/system/lxc_autoscale_ml.service");
    fs::remove_file(&unit).unwrap();
    fs::create_dir(&unit).unwrap();
    installation.write("etc/systemd/system/lxc_monitor.service", "# mine\n");
    let (succeeds, said) = installation.try_install(&[]);
    assert!(!succeeds && said.contains("putting back what was installed before"), "{said}");
    for name in BINARIES {
        assert!(installation.read(&format!("usr/local/bin/{name}")).contains("0.1.0"), "{name}: {said}");
    }
    assert_eq!(installation.read("etc/systemd/system/lxc_monitor.service"), "# mine\n");
    fs::remove_dir(&unit).unwrap();
    installation.install(&[]);
    assert!(installation.read("usr/local/bin/lxc-monitor").contains("0.2.0"));
}

const ML: &str = "etc/lxc_autoscale_ml/lxc_autoscale_ml.toml";

#[test]
fn a_new_installation_says_what_it_does_and_can_be_told_to_do_less() {
    let shipped = shipped("config/lxc_autoscale_ml.toml");
    for (arguments, mode, says) in [
        (&[][..], "auto", "Containers are resized without asking"),
        (&["--mode", "auto"], "auto", "set mode = \"recommend\" below [scaling]"),
        (&["--mode", "recommend"], "recommend", "No container is resized"),
        (&["--mode", "approve"], "approve", "once you have accepted it"),
    ] {
        let installation = Installation::new();
        let said = installation.install(arguments);
        assert!(said.contains(says) && said.contains(&format!("scaling.mode is \"{mode}\"")), "{said}");
        let (before, after) = shipped.split_once("\nmode = \"auto\"\n").unwrap();
        assert_eq!(installation.read(ML), format!("{before}\nmode = \"{mode}\"\n{after}"), "{arguments:?}");
        // Said once more, it is as it should be already.
        installation.install(arguments);
        assert!(installation.read(ML).contains(&format!("\nmode = \"{mode}\"\n")));
    }
    let (succeeds, said) = Installation::new().try_install(&["--mode", "off"]);
    assert!(!succeeds && said.contains("--mode needs recommend, approve or auto"), "{said}");
}

#[test]
fn the_mode_of_a_configuration_that_was_edited_is_its_owners() {
    let installation = Installation::new();
    installation.write(ML, "[scaling]\nmode = \"approve\"\n");
    let (succeeds, said) = installation.try_install(&["--mode", "recommend"]);
    assert!(!succeeds && said.contains("set scaling.mode = \"recommend\" there"), "{said}");
    assert!(!installation.at("usr/local/bin/lxc-monitor").exists(), "nothing was begun");
    let said = installation.install(&["--mode", "approve"]);
    assert!(said.contains("kept your lxc_autoscale_ml.toml"), "{said}");
    assert_eq!(installation.read(ML), "[scaling]\nmode = \"approve\"\n");
    // One that nobody has edited is as good as new.
    installation.write(ML, &shipped("config/lxc_autoscale_ml.toml"));
    let said = installation.install(&["--mode", "recommend"]);
    assert!(said.contains("No container is resized"), "{said}");
}

/// Whoever comes from the Python original believes that the containers it was to ignore are ignored.
#[test]
fn a_configuration_of_the_original_is_said_to_be_none() {
    for (list, ids) in [
        ("ignore_lxc: [\"101\", 102] # 7 of ours\n", "ignore = [101, 102]"),
        (
            "ignore_lxc:\n  - \"101\"\n# not 9\n- 102 # web\n\n  - '2001'\ninterval_seconds: 600\n",
            "ignore = [101, 102, 2001]",
        ),
        ("ignore_lxc: [\n  \"101\",\n]\nscaling:\n  total_cores: 4\n", "ignore = [101]"),
        ("ignore_lxc:\n", "ignore = []"),
    ] {
        let installation = Installation::new();
        installation
            .write("etc/lxc_autoscale_ml/lxc_autoscale_ml.yaml", &format!("log_level: DEBUG\n{list}"));
        let said = installation.install(&[]);
        assert!(said.contains("Your old lxc_autoscale_ml.yaml is not read"), "{said}");
        assert!(
            said.contains("ignore_lxc is now containers.ignore") && said.contains(&format!("{ids}\n")),
            "{list}{said}"
        );
    }
    let said = Installation::new().install(&[]);
    assert!(!said.contains("is not read"), "{said}");
}

/// A machine that cannot build says so before it tries, and says what to install.
#[test]
fn what_a_build_needs_is_looked_for_first() {
    let installation = Installation::new();
    let tools = installation.directory.path().join("tools");
    fs::create_dir(&tools).unwrap();
    for name in ["bash", "cat", "cut", "dirname", "env", "rm", "sed", "sort"] {
        std::os::unix::fs::symlink(format!("/usr/bin/{name}"), tools.join(name)).unwrap();
    }
    let install = || {
        let mut command = Command::new(project().join("install.sh"));
        let environment =
            [("DESTDIR", installation.root()), ("PATH", tools.clone()), ("HOME", tools.clone())];
        said(command.env_clear().envs(environment))
    };
    let tool = |name: &str, says: &str| {
        installation.release_text(name, &format!("#!/bin/sh\necho '{says}'\n"));
        fs::rename(installation.binaries().join(name), tools.join(name)).unwrap();
    };
    let cargo = |version: &str| tool("cargo", &format!("cargo {version} (0000 2020-01-01)"));
    let (succeeds, said) = install();
    assert!(
        !succeeds && said.contains("or newer) is needed to build: curl") && said.contains("sh.rustup.rs"),
        "{said}"
    );
    cargo("1.63.0");
    let (succeeds, said) = install();
    assert!(!succeeds && said.contains("cargo 1.63.0 is too old, Rust 1."), "{said}");
    cargo("1.1000.0");
    let (succeeds, said) = install();
    assert!(!succeeds && said.contains("no cc found): apt install gcc"), "{said}");
    // A compiler that finds no library of this name repeats the name.
    tool("cc", "libc.a");
    let (succeeds, said) = install();
    assert!(
        !succeeds && said.contains("(libc.a) is needed to build the monitor: apt install libc6-dev"),
        "{said}"
    );
    assert!(!installation.root().exists(), "nothing was begun");
}

/// Once the program is gone, nobody knows which sizes there were before.
#[test]
fn uninstalling_asks_while_sizes_can_still_be_put_back() {
    let installation = Installation::new();
    installation.write("etc/lxc_autoscale_ml/proxmox_token", "autoscale@pve!scaler=8a8e6a5e-0000\n");
    installation.install(&[]);
    for arguments in [&[][..], &["--purge"]] {
        let (succeeds, said) = installation.run("uninstall.sh", arguments);
        assert!(!succeeds && said.contains("nothing was removed: say --yes"), "{said}");
        assert!(said.contains("lxc-autoscale-api undo --all --to original"), "{said}");
        assert!(installation.at("usr/local/bin/lxc-autoscale-api").exists());
    }
    let said = installation.uninstall(&[]);
    assert!(said.contains("lxc-autoscale-api undo --all --to original"), "{said}");
    for remains in ["pveum user token remove 'autoscale@pve' 'scaler'", "pveum user delete", "proxmox_token"]
    {
        assert!(said.contains(remains), "{said}");
    }
    assert!(!said.contains("8a8e"), "{said}");
    let said = installation.uninstall(&["--purge"]);
    assert!(!said.contains("undo --all") && said.contains("pveum user token remove"), "{said}");
    assert!(!installation.at("etc/lxc_autoscale_ml").exists());
}
