//! Real LXC containers whose memory constantly rises and falls, managed by the three daemons: no shrink may kill
//! anything.
//!
//! It runs for `CHURN_MINUTES` (an hour for `docs/guards.md`), and is skipped if that is not set. It needs the
//! control groups `lxc/100` and following for itself, like the shorter test on real containers.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its case must fail")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lxc_autoscale_e2e::{Process, binary, can_run_containers, eventually, short_directory};

const CONTAINERS: u32 = 6;
/// Files of 5 to 60 MiB in a tmpfs, each kept for some seconds: memory that cannot be reclaimed.
const CHURN: &str = "mkdir -p /tmp/churn && mount -t tmpfs -o size=80m churn /tmp/churn; n=0; \
    while :; do n=$((n+1)); s=$(awk -v n=$n 'BEGIN{srand(n*7);print int(rand()*55)+5}'); \
    dd if=/dev/zero of=/tmp/churn/x bs=1M count=$s 2>/dev/null; sleep $((n % 7 + 1)); \
    rm -f /tmp/churn/x; sleep $((n % 3 + 1)); done";

#[test]
fn memory_churn_under_shrinks_kills_nothing() {
    let minutes = std::env::var("CHURN_MINUTES").ok().and_then(|text| text.parse::<u64>().ok());
    let Some(minutes) = minutes.filter(|_| can_run_containers()) else {
        println!("skipped: needs CHURN_MINUTES, root and Debian's lxc");
        return;
    };
    let length = Duration::from_mins(minutes);
    let directory = short_directory();
    let report = directory.path().join("r.json");
    let mut command = Command::new(binary("lxc-autoscale-sim"));
    command
        .args(["demo", "--engine", "lxc", "--ct", &CONTAINERS.to_string()])
        .args(["--seconds", &length.as_secs().to_string(), "--dir"])
        .arg(directory.path());
    let mut demo = Process::start(command.arg("--report").arg(&report), &directory.path().join("demo.out"));
    let pct = directory.path().join("bin/pct");
    let runs = |id: u32| Command::new(&pct).args(["exec", &id.to_string(), "--", "true"]).output().ok();
    let churning: Vec<Process> = (100..100 + CONTAINERS)
        .map(|id| {
            let limit = Duration::from_mins(5);
            eventually("the container runs", limit, || runs(id).filter(|output| output.status.success()));
            let mut exec = Command::new(&pct);
            exec.args(["exec", &id.to_string(), "--", "sh", "-c", CHURN]);
            Process::start(&mut exec, &directory.path().join(format!("churn-{id}.out")))
        })
        .collect();

    let status = demo.wait(length + Duration::from_mins(5));
    assert!(status.success(), "{status}\n{}", demo.output());
    drop(churning);
    let report = read(&report);
    println!("{report:#}");
    assert_eq!(report["oom_kills"], 0, "{report:#}");
    assert!(0 < report["resizes_down"].as_u64().unwrap(), "nothing was shrunk: {report:#}");
}

fn read(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}
