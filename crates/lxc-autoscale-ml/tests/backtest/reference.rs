//! Compares the judge with an independent implementation, if there is one.
//!
//! `REFERENCE_SCORER=/path/to/score.py REFERENCE_PYTHON=python3 cargo nextest run -p lxc-autoscale-ml reference` runs
//! it (a Python program with pandas that implements the same model; `REFERENCE_TRACES` names other traces). Without it,
//! only the unit tests check the formulae.

use std::path::Path;
use std::process::Command;

use lxc_autoscale_ml::backtest::score::{Prices, Rules, Sums, judge};
use lxc_autoscale_ml::backtest::traces;
use lxc_autoscale_ml::recommend::RecommendConfig;
use lxc_autoscale_ml::replay::{CpuClass, Size};

use crate::files::{Traces, backtest};

#[test]
fn the_reference_scorer_agrees_to_four_digits() {
    let Some(scorer) = std::env::var_os("REFERENCE_SCORER") else { return };
    let python = std::env::var_os("REFERENCE_PYTHON").unwrap_or_else(|| "python3".into());
    let own = Traces::new(4, 9);
    let given = std::env::var("REFERENCE_TRACES").ok();
    let csv = given.as_deref().unwrap_or(own.csv());
    backtest(&["--traces", csv, "--allocations", own.out()]);
    let json = own.path("figures.json");
    let status = Command::new(python)
        .arg(scorer)
        .args(["score", "--traces", csv, "--allocations", own.out(), "--json", &json])
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    let reference: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    for (class, name) in [(CpuClass::Fractional, "fractional"), (CpuClass::Integer, "integer")] {
        let ours = figures(csv, &own, class);
        for (figure, value) in ours {
            let want = reference[name]["metrics"][figure].as_f64().unwrap();
            assert!(
                (value - want).abs() <= 1e-4 * want.abs().max(1e-3),
                "{name} {figure}: {value}, reference {want}"
            );
        }
    }
}

/// Our figures under the reference's names.
fn figures(csv: &str, out: &Traces, class: CpuClass) -> Vec<(&'static str, f64)> {
    let prices = Prices::from(&RecommendConfig::default());
    let decisions = out.decisions();
    let mut all = Sums::default();
    let mut logs = Vec::new();
    for recording in traces::read(Path::new(csv)).unwrap() {
        let own = decisions.iter().filter(|decision| decision.1 == recording.id);
        let own: Vec<(i64, Size)> = own
            .map(|(at, _, cores, memory_mib)| (*at, Size { cores: *cores, memory_mib: *memory_mib }))
            .collect();
        let sums = judge(Rules::benchmark(class), &recording, &own);
        if sums.steps != 0 {
            logs.push(sums.cost(&prices).ratio().unwrap().ln());
        }
        all.add(&sums);
    }
    let (cost, days) = (all.cost(&prices), all.hours / 24.0);
    vec![
        ("headline", cost.ratio().unwrap()),
        ("headline_cpu", cost.cpu / cost.ideal_cpu),
        ("headline_mem", cost.memory / cost.ideal_memory),
        ("headline_geomean", (logs.iter().sum::<f64>() / logs.len() as f64).exp()),
        ("cost_vs_provisioned", cost.total() / cost.provisioned),
        ("cpu_slack", all.cpu.slack / all.cpu.used),
        ("cpu_shortfall", all.cpu.unserved / all.cpu.needed),
        ("cpu_throttled_share", all.cpu.throttled_steps as f64 / all.steps as f64),
        ("cpu_resizes_per_ct_day", all.cpu.resizes as f64 / days),
        ("mem_slack", all.memory.slack / all.memory.used),
        ("mem_shortfall", all.memory.short / all.memory.used),
        ("mem_short_share", all.memory.short_steps as f64 / all.steps as f64),
        ("mem_events_per_ct_month", 30.0 * all.memory.shortages as f64 / days),
        ("mem_resizes_per_ct_day", all.memory.resizes as f64 / days),
    ]
}
