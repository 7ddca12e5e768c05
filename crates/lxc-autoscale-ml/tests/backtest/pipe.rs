//! The pipe and the back-test make the same decisions when driven with the same steps.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use jiff::Timestamp;
use lxc_autoscale_ml::backtest::host::Host;
use lxc_autoscale_ml::backtest::traces;
use lxc_autoscale_ml::replay::Size;

use crate::files::{Traces, backtest, lines, table};

#[test]
fn the_pipe_decides_what_the_back_test_decides() {
    let all = lines(1, 3);
    let recording = traces::parse(table(&all).as_bytes()).unwrap().remove(0);
    let mut child = Command::new(env!("CARGO_BIN_EXE_lxc-autoscale-ml"))
        .args(["recommend", "--stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut host = Host::new(recording.provisioned.cores);
    let mut size = recording.provisioned;
    let first = recording.samples[0].at;
    let mut by_pipe = vec![(first, 200, size.cores, size.memory_mib)];
    for step in recording.steps() {
        let at = step.sample.at;
        let seen = host.serve(&step, size, Timestamp::from_second(at).unwrap());
        let line = serde_json::json!({"timestamp": at, "containers": [{
            "id": 200, "cores": size.cores, "memory_mb": size.memory_mib,
            "provisioned_cores": 4, "provisioned_memory_mb": 4096,
            "cpu_cores_used": seen.cpu_cores_used, "cpu_throttled": seen.cpu_throttled_share,
            "memory_mb_used": seen.memory_used_mib, "oom": seen.oom,
        }]});
        writeln!(input, "{line}").unwrap();
        let mut answer = String::new();
        output.read_line(&mut answer).unwrap();
        let answer: BTreeMap<String, [f64; 2]> = serde_json::from_str(&answer).unwrap();
        if let Some([cores, memory_mib]) = answer.get("200") {
            size = Size { cores: *cores, memory_mib: *memory_mib };
            by_pipe.push((at, 200, (cores * 1e4).round() / 1e4, *memory_mib));
        }
    }
    drop(input);
    assert!(child.wait().unwrap().success());
    let traces = Traces::of(&all);
    backtest(&["--traces", traces.csv(), "--allocations", traces.out()]);
    assert!(10 < by_pipe.len());
    assert_eq!(traces.decisions(), by_pipe);
}
