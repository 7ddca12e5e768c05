//! One container under one candidate: the allocation it would have, and its score.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::backtest::host::Host;
use crate::backtest::metrics::sample_of;
use crate::backtest::recording::Step;
use crate::backtest::score::{Judge, JudgeKept, Prices, Rules};
use crate::decide::{LastChanges, Mode, NodeSituation, Obstacles, Policy, left_alone_by};
use crate::guard::manual::Manual;
use crate::history::{ContainerHistory, LONGEST_STEP};
use crate::observation::Observation;
use crate::policy::book::Candidate;
use crate::recommend::{RecommendConfig, Shared};
use crate::replay::{CpuClass, Replayed, Size, carried_out, changed};

/// Assumed length of the step before the first one, in seconds.
const FIRST_STEP_SECONDS: f64 = 60.0;
/// Sizes that differ by less are equal, in cores and MiB: `cpulimit` has two digits.
const SAME: f64 = 0.005;

/// One container under one candidate.
#[derive(Debug)]
pub struct Imagined {
    candidate: String,
    begun: Timestamp,
    /// The container's real size when the candidate began.
    provisioned: Size,
    size: Size,
    /// The container's configured size in the newest record that shows one.
    real: Option<Size>,
    /// The sizes set by somebody else that were taken over, of the CPU and of the memory.
    by_hand: [Option<Manual>; 2],
    /// Whether we leave its CPU and its memory alone, so that others make every change.
    is_left: [bool; 2],
    replayed: Replayed,
    host: Host,
    judge: Judge,
    live: Judge,
    /// The prices that both are judged by, where they are not the general ones.
    own_prices: Option<Prices>,
    /// The newest record taken in, and what a host would have shown of it.
    seen: Timestamp,
    shown: Option<Observation>,
    ran_out: bool,
}

/// The state that survives a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Key of the candidate's definition; with another definition it starts anew.
    pub candidate: String,
    /// When it began.
    pub begun: Timestamp,
    /// The newest record judged.
    pub until: Timestamp,
    /// The container's real size at the beginning.
    pub provisioned: Size,
    /// The size it would have under the candidate.
    pub size: Size,
    /// The container's configured size when it was saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub real: Option<Size>,
    /// The sizes set by somebody else that were taken over, of the CPU and of the memory.
    #[serde(default)]
    pub by_hand: Option<[Option<Manual>; 2]>,
    /// When the candidate last changed it.
    pub changes: LastChanges,
    /// The candidate's score.
    pub judged: JudgeKept,
    /// The score of the real sizes in the same time.
    pub live: JudgeKept,
    /// The prices that both are judged by, where they are not those of `[recommend]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_prices: Option<Prices>,
}

/// Any size counts as it is: bounds are up to the policies.
fn rules() -> Rules {
    Rules {
        floor: Size { cores: 0.01, memory_mib: 1.0 },
        most_times_provisioned: f64::INFINITY,
        warm_up_seconds: 0.0,
        ..Rules::benchmark(CpuClass::Fractional)
    }
}

/// A container's size by its configuration, which knows nothing of the node; 0 cores are no limit, as in Proxmox. `None`
/// while it is unknown.
fn configured(container: &ContainerHistory) -> Option<Size> {
    let config = container.configuration()?;
    let pinned = Obstacles::from(config).pinned_cpus().map(f64::from);
    let limits = [pinned.or(config.cores.map(f64::from)), config.cpulimit];
    let cores = limits.into_iter().flatten().reduce(f64::min).unwrap_or(0.0);
    Some(Size { cores, memory_mib: config.memory_mb.as_f64() })
}

/// A container's real size on this node; `None` while it is unknown.
fn live_size(container: &ContainerHistory, node: NodeSituation) -> Option<Size> {
    let size = configured(container)?;
    let limits = [Some(size.cores).filter(|cores| 0.0 < *cores), node.cpus.map(f64::from)];
    let cores = limits.into_iter().flatten().reduce(f64::min)?;
    Some(Size { cores, ..size })
}

/// Notes the last size that somebody set; returns whether that is news. What turned out to be a boost leaves an older one.
fn learn(known: &mut Option<Manual>, last: Option<Manual>) -> bool {
    let is_news = last.is_some_and(|last| known.is_none_or(|known| known.at < last.at));
    if is_news {
        *known = last;
    }
    is_news
}

impl Imagined {
    /// Starts with the container's real size, or with the saved state; `None` while neither is known.
    ///
    /// Of sizes `by_hand` that somebody else set, only later ones are news; an older saved state has not kept them.
    pub fn begin(
        candidate: &Candidate,
        container: &ContainerHistory,
        node: NodeSituation,
        kept: Option<Kept>,
        by_hand: [Option<Manual>; 2],
    ) -> Option<Self> {
        let now = container.observation.at;
        let anew = |size| Kept {
            candidate: candidate.key.clone(),
            begun: now,
            until: now,
            provisioned: size,
            size,
            real: configured(container),
            by_hand: None,
            changes: LastChanges::default(),
            judged: JudgeKept::default(),
            live: JudgeKept::default(),
            own_prices: None,
        };
        let kept = kept.or_else(|| live_size(container, node).map(anew))?;
        let provisioned = kept.provisioned;
        let by_hand = kept.by_hand.unwrap_or(by_hand);
        let mut replayed = Replayed::going_on(container.model.clone(), kept.changes);
        replayed.respect(by_hand);
        Some(Self {
            candidate: kept.candidate,
            begun: kept.begun,
            provisioned,
            size: kept.size,
            real: kept.real,
            by_hand,
            is_left: [false; 2],
            replayed,
            host: Host::new(provisioned.cores),
            judge: Judge::restored(rules(), provisioned, kept.judged),
            live: Judge::restored(rules(), provisioned, kept.live),
            own_prices: kept.own_prices,
            seen: now,
            shown: None,
            ran_out: false,
        })
    }

    /// Takes in the container's newest record if it is new. Disturbed steps are not judged.
    ///
    /// A size `by_hand` that somebody else set is taken over, as the daemon would have it, too; and so is any change of
    /// what we leave alone.
    pub fn take(&mut self, container: &ContainerHistory, node: NodeSituation, by_hand: [Option<Manual>; 2]) {
        let at = container.observation.at;
        if at <= self.seen {
            return;
        }
        let elapsed = at.duration_since(self.seen);
        self.seen = at;
        let live = live_size(container, node);
        if let (Some(live), Some(configured)) = (live, configured(container)) {
            self.follow(live, configured, by_hand);
        }
        let Some(live) = live.filter(|_| container.disturbance.is_none()) else { return };
        let after_gap = LONGEST_STEP < elapsed;
        let seconds = if after_gap { FIRST_STEP_SECONDS } else { elapsed.as_secs_f64() };
        let step = Step { sample: sample_of(&container.observation), seconds, after_gap };
        self.live.step(&step, live);
        self.judge.step(&step, self.size);
        let mut shown = self.host.serve(&step, self.size, at);
        // The host has no pressure; if memory suffices it equals the real pressure.
        let suffices = shown.oom == Some(false);
        shown.memory_pressure_percent = container.observation.memory_pressure_percent.filter(|_| suffices);
        self.replayed.observe(&shown);
        self.ran_out |= shown.oom == Some(true);
        self.shown = Some(shown);
    }

    /// Takes over what somebody else set.
    fn follow(&mut self, live: Size, configured: Size, by_hand: [Option<Manual>; 2]) {
        let real = self.real.replace(configured);
        let [cpu, memory] = self.is_left;
        let differs = |before: f64, now: f64| SAME < (before - now).abs();
        let cpu = cpu && real.is_some_and(|real| differs(real.cores, configured.cores));
        let memory = memory && real.is_some_and(|real| differs(real.memory_mib, configured.memory_mib));
        let [known_cpu, known_memory] = &mut self.by_hand;
        let [cpu_by_hand, memory_by_hand] = by_hand;
        if learn(known_cpu, cpu_by_hand) || cpu {
            self.size.cores = live.cores;
        }
        if learn(known_memory, memory_by_hand) || memory {
            self.size.memory_mib = live.memory_mib;
        }
        self.replayed.respect(by_hand);
    }

    /// Notes which resources the policy in force leaves to others.
    pub fn leave_to_others(&mut self, live: &Policy, obstacles: &Obstacles) {
        let is_alone = left_alone_by(live, obstacles).is_some();
        self.is_left = [live.cpu.mode, live.memory.mode].map(|mode| is_alone || mode == Mode::Off);
    }

    /// Judges both the candidate and what really is by these prices and this headroom, as the back-test judges a container:
    /// those that are in force for it under the candidate.
    pub fn judge_by(&mut self, in_force: &RecommendConfig, general: &RecommendConfig) {
        let prices = Prices::from(in_force);
        self.own_prices = Some(prices).filter(|prices| *prices != Prices::from(general));
        let headroom = in_force.cpu_headroom_percent / 100.0;
        self.judge.set_headroom(headroom);
        self.live.set_headroom(headroom);
    }

    /// Decides at `now` under this policy and assumes that the decisions are carried out.
    pub fn decide(
        &mut self,
        policy: Policy,
        shared: &Arc<Shared>,
        obstacles: Obstacles,
        node: NodeSituation,
        now: Timestamp,
    ) {
        self.replayed.set_rules(carried_out(policy), obstacles, node, shared);
        let Some(mut seen) = self.shown.clone() else { return };
        seen.oom = if self.ran_out { Some(true) } else { seen.oom };
        self.ran_out = false;
        let decisions = self.replayed.decide(&seen, self.size, now);
        if let Some(size) = changed(self.size, &decisions) {
            self.size = size;
        }
    }

    /// The state that must survive a restart.
    pub fn kept(&self) -> Kept {
        Kept {
            candidate: self.candidate.clone(),
            begun: self.begun,
            until: self.seen,
            provisioned: self.provisioned,
            size: self.size,
            real: self.real,
            by_hand: Some(self.by_hand),
            changes: self.replayed.changes(),
            judged: self.judge.kept(),
            live: self.live.kept(),
            own_prices: self.own_prices,
        }
    }
}
