//! How much of the system each unit could affect, according to `systemd-analyze security` (0 is nothing, 10
//! everything).

use std::fs;
use std::process::Command;

use lxc_autoscale_e2e::output;

use crate::project;

/// A unit, with or without a drop-in, as named in the table of `docs/privileges.md`.
const ROWS: [(&str, &str, Option<&str>); 5] = [
    ("`lxc_monitor`", "lxc_monitor", None),
    ("`lxc_monitor`, cgroup v1", "lxc_monitor", Some("cgroup-v1.conf")),
    ("`lxc_autoscale_ml`", "lxc_autoscale_ml", None),
    ("`lxc_autoscale_api`, REST", "lxc_autoscale_api", Some("rest.conf")),
    ("`lxc_autoscale_api`, `pct`", "lxc_autoscale_api", None),
];

/// The version of systemd for which the levels are documented; other versions count other things, too.
const SYSTEMD: &str = "systemd 252 ";

/// The level of a shipped unit, determined without a running systemd.
fn measured(unit: &str, addition: Option<&str>) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let file = format!("{unit}.service");
    let shipped = project().join("systemd");
    fs::copy(shipped.join(&file), directory.path().join(&file)).unwrap();
    if let Some(addition) = addition {
        let additions = directory.path().join(format!("{file}.d"));
        fs::create_dir(&additions).unwrap();
        fs::copy(shipped.join(format!("{file}.d")).join(addition), additions.join(addition)).unwrap();
    }
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--offline=yes", "--no-pager"]).arg(directory.path().join(&file));
    let done = output(&mut analyze);
    let said = String::from_utf8_lossy(&done.stdout);
    let level = said.lines().find_map(|line| {
        let (_, rest) = line.split_once("Overall exposure level for ")?;
        rest.split_whitespace().nth(1)?.parse().ok()
    });
    level.unwrap_or_else(|| panic!("{said}\n{}", String::from_utf8_lossy(&done.stderr)))
}

fn documented(row: &str) -> f64 {
    let text = fs::read_to_string(project().join("docs/privileges.md")).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("| {row} |")));
    let cells: Vec<&str> = line.unwrap_or_else(|| panic!("no row {row}")).split('|').map(str::trim).collect();
    cells[3].parse().unwrap()
}

#[test]
fn the_documented_exposure_is_the_measured_one() {
    let version = output(Command::new("systemd-analyze").arg("--version"));
    let is_the_same = String::from_utf8_lossy(&version.stdout).starts_with(SYSTEMD);
    for (row, unit, addition) in ROWS {
        let (measured, documented) = (measured(unit, addition), documented(row));
        let agrees =
            if is_the_same { (measured - documented).abs() < 0.05 } else { measured <= documented + 0.5 };
        assert!(agrees, "{row}: {measured}, and docs/privileges.md says {documented}");
    }
}

/// `pct` and the storage tools run inside this unit. Restricting anything that is not listed here breaks one of them,
/// which only a real node would show. Each line was weighed (the reasons are in the unit).
#[test]
fn the_api_unit_takes_nothing_from_pct() {
    const WEIGHED: [&str; 9] = [
        "CapabilityBoundingSet=~CAP_AUDIT_CONTROL CAP_AUDIT_READ CAP_AUDIT_WRITE CAP_BLOCK_SUSPEND CAP_LEASE \
         CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_SYSLOG CAP_SYS_BOOT CAP_SYS_PACCT CAP_SYS_TIME CAP_SYS_TTY_CONFIG \
         CAP_WAKE_ALARM",
        "NoNewPrivileges=yes",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        "RestrictRealtime=yes",
        "LockPersonality=yes",
        "SystemCallArchitectures=native",
        "SystemCallFilter=~@clock @cpu-emulation @debug @obsolete @reboot @swap",
        "SystemCallErrorNumber=EPERM",
        "UMask=0022",
    ];
    let unit = fs::read_to_string(project().join("systemd/lxc_autoscale_api.service")).unwrap();
    let (_, sandbox) = unit.split_once("User=root\n").unwrap();
    let (sandbox, _) = sandbox.split_once("\n[Install]").unwrap();
    let settings: Vec<&str> = sandbox.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(settings, WEIGHED);
}

/// systemd kills only the server, so that a running `pct` ends by itself; with Proxmox's REST API there is none. That
/// this works is tested in the virtual machine.
#[test]
fn a_pct_under_way_outlives_the_server() {
    let setting = |file: &str, name: &str| {
        let unit = fs::read_to_string(project().join("systemd").join(file)).unwrap();
        let lines: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix(name)).collect();
        lines.join(" ")
    };
    assert_eq!(setting("lxc_autoscale_api.service", "KillMode="), "process");
    assert_eq!(setting("lxc_autoscale_api.service.d/rest.conf", "KillMode="), "mixed");
}
