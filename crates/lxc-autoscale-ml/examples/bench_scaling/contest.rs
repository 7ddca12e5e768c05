//! Every policy on every container.

use std::sync::Arc;

use jiff::Timestamp;
use lxc_autoscale_ml::backtest::host::Host;
use lxc_autoscale_ml::backtest::recording::{Recording, Step};
use lxc_autoscale_ml::backtest::run::{Bounds, Replay};
use lxc_autoscale_ml::backtest::score::{Judge, Prices, Rules, Sums, judge};
use lxc_autoscale_ml::config::Config;
use lxc_autoscale_ml::recommend::Shared;
use lxc_autoscale_ml::replay::{CpuClass, Size};

use crate::crosswise::Crosswise;
use crate::figures::Figures;
use crate::oracle;
use crate::parallel::in_parallel;
use crate::peers::{AsProvisioned, Autopilot, MovingMax, Original, Peer, Shown, Sibling, Vpa};

/// A sizing policy.
#[derive(Clone, Copy)]
enum Policy {
    /// Our own, by the daemon's functions, with its built-in configuration and the shipped model. Without the guards,
    /// which are not part of the recommendation and which the others do not have.
    Product,
    /// The same with the guards, as in the daemon.
    Guarded,
    /// The same with a demand model trained on other machines.
    Stranger,
    /// Another product.
    Peer(fn() -> Box<dyn Peer>),
    /// A policy that knows the future.
    Oracle(fn(&Rules, &Prices, &Recording, &[Step]) -> Vec<Size>),
}

/// The policies in the order of the table, with their displayed names.
const POLICIES: [(&str, Policy); 11] = [
    ("**lxc-autoscale-ml**, learnt from other machines", Policy::Stranger),
    ("**lxc-autoscale-ml**", Policy::Product),
    ("**lxc-autoscale-ml** with its guards", Policy::Guarded),
    ("moving maximum of 24 h × 1.15", Policy::Peer(|| Box::new(MovingMax::new()))),
    ("Autopilot-style (CPU p95, memory 24 h peak)", Policy::Peer(|| Box::new(Autopilot::new()))),
    ("VPA-style, limit = target", Policy::Peer(|| Box::new(Vpa::new()))),
    ("sibling (thresholds, its defaults)", Policy::Peer(|| Box::new(Sibling))),
    ("original (4 cores, 8192 MB)", Policy::Peer(|| Box::new(Original))),
    ("as provisioned", Policy::Peer(|| Box::new(AsProvisioned))),
    (
        "oracle: the next hour known",
        Policy::Oracle(|rules, _, recording, steps| oracle::next_hour(rules, recording, steps)),
    ),
    ("oracle: cheapest in hindsight", Policy::Oracle(oracle::cheapest)),
];

/// Figures of all policies on these recordings, in the order of the table; the models in `learnt` were not trained on
/// the machines they are used for.
pub(crate) fn figures(recordings: &[Recording], class: CpuClass, learnt: Option<&Crosswise>) -> Vec<Figures> {
    let config = Config::default();
    let prices = Prices::from(&config.recommend);
    let rules = Rules::benchmark(class);
    let replay = Replay {
        bounds: Bounds::Provisioned(Box::new(config.policy())),
        shared: Arc::new(Shared::with_shipped(&config.recommend)),
        rules,
        interval_seconds: 0,
        with_guards: false,
        with_forecasts: false,
    };
    POLICIES
        .iter()
        .filter(|(_, policy)| learnt.is_some() || !matches!(policy, Policy::Stranger))
        .map(|(name, policy)| {
            let sums = in_parallel(recordings, |recording| match policy {
                Policy::Product => product(&replay, recording),
                Policy::Guarded => product(&Replay { with_guards: true, ..replay.clone() }, recording),
                Policy::Stranger => {
                    let demand = learnt.map(|learnt| learnt.stranger(recording.id));
                    let shared = Arc::new(Shared::with_demand(&config.recommend, demand));
                    product(&Replay { shared, ..replay.clone() }, recording)
                }
                Policy::Peer(make) => peer(rules, make().as_mut(), recording),
                Policy::Oracle(sizes) => {
                    let steps: Vec<Step> = recording.steps().collect();
                    let sizes = sizes(&rules, &prices, recording, &steps);
                    let mut judge = Judge::new(rules, recording.provisioned);
                    steps.iter().zip(&sizes).for_each(|(step, size)| judge.step(step, *size));
                    judge.sums()
                }
            });
            Figures::new(name, &sums, &prices)
        })
        .collect()
}

fn product(replay: &Replay, recording: &Recording) -> Sums {
    let outcome = replay.one(recording);
    let decisions: Vec<(i64, Size)> = outcome.changes.iter().map(|change| (change.at, change.size)).collect();
    judge(replay.rules, recording, &decisions)
}

fn peer(rules: Rules, peer: &mut dyn Peer, recording: &Recording) -> Sums {
    let mut host = Host::new(recording.provisioned.cores);
    let mut judge = Judge::new(rules, recording.provisioned);
    let mut size = rules.effective(recording.provisioned, recording.provisioned);
    for step in recording.steps() {
        let at = step.sample.at;
        let Ok(now) = Timestamp::from_second(at) else { continue };
        let seen = host.serve(&step, size, now);
        judge.step(&step, size);
        let wanted = peer.decide(&Shown { at, seconds: step.seconds, seen: &seen, size });
        size = rules.effective(wanted, recording.provisioned);
    }
    judge.sums()
}
