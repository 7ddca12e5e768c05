//! One container under one candidate: the allocation it would have, and its score.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::backtest::host::Host;
use crate::backtest::metrics::sample_of;
use crate::backtest::recording::Step;
use crate::backtest::score::{Judge, JudgeKept, Rules};
use crate::decide::{LastChanges, NodeSituation, Obstacles, Policy};
use crate::history::{ContainerHistory, LONGEST_STEP};
use crate::observation::Observation;
use crate::policy::book::Candidate;
use crate::recommend::Shared;
use crate::replay::{CpuClass, Replayed, Size, carried_out, changed};

/// Assumed length of the step before the first one, in seconds.
const FIRST_STEP_SECONDS: f64 = 60.0;

/// One container under one candidate.
#[derive(Debug)]
pub struct Imagined {
    candidate: String,
    begun: Timestamp,
    /// The container's real size when the candidate began.
    provisioned: Size,
    size: Size,
    replayed: Replayed,
    host: Host,
    judge: Judge,
    live: Judge,
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
    /// When the candidate last changed it.
    pub changes: LastChanges,
    /// The candidate's score.
    pub judged: JudgeKept,
    /// The score of the real sizes in the same time.
    pub live: JudgeKept,
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

/// A container's real size; `None` while its configuration is unknown.
fn live_size(container: &ContainerHistory, node: NodeSituation) -> Option<Size> {
    let config = container.configuration()?;
    let pinned = Obstacles::from(config).pinned_cpus().map(f64::from);
    let limits = [pinned.or(config.cores.map(f64::from)), config.cpulimit, node.cpus.map(f64::from)];
    let cores = limits.into_iter().flatten().reduce(f64::min)?;
    Some(Size { cores, memory_mib: config.memory_mb.as_f64() })
}

impl Imagined {
    /// Starts with the container's real size, or with the saved state; `None` while neither is known.
    pub fn begin(
        candidate: &Candidate,
        container: &ContainerHistory,
        node: NodeSituation,
        kept: Option<Kept>,
    ) -> Option<Self> {
        let now = container.observation.at;
        let anew = |size| Kept {
            candidate: candidate.key.clone(),
            begun: now,
            until: now,
            provisioned: size,
            size,
            changes: LastChanges::default(),
            judged: JudgeKept::default(),
            live: JudgeKept::default(),
        };
        let kept = kept.or_else(|| live_size(container, node).map(anew))?;
        let provisioned = kept.provisioned;
        Some(Self {
            candidate: kept.candidate,
            begun: kept.begun,
            provisioned,
            size: kept.size,
            replayed: Replayed::going_on(container.model.clone(), kept.changes),
            host: Host::new(provisioned.cores),
            judge: Judge::restored(rules(), provisioned, kept.judged),
            live: Judge::restored(rules(), provisioned, kept.live),
            seen: now,
            shown: None,
            ran_out: false,
        })
    }

    /// Takes in the container's newest record if it is new. Disturbed steps are not judged.
    pub fn take(&mut self, container: &ContainerHistory, node: NodeSituation) {
        let at = container.observation.at;
        if at <= self.seen {
            return;
        }
        let elapsed = at.duration_since(self.seen);
        self.seen = at;
        let Some(live) = live_size(container, node).filter(|_| container.disturbance.is_none()) else {
            return;
        };
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
            changes: self.replayed.changes(),
            judged: self.judge.kept(),
            live: self.live.kept(),
        }
    }
}
