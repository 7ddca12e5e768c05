//! Decisions about recorded machines, and their outcomes.

use std::sync::Arc;

use lxc_autoscale_ml::backtest::recording::Recording;
use lxc_autoscale_ml::backtest::score::Rules;
use lxc_autoscale_ml::confidence::calibration::Row;
use lxc_autoscale_ml::confidence::{Grounds, Move, ServedShare};
use lxc_autoscale_ml::config::Config;
use lxc_autoscale_ml::decide::{Decision, Policy};
use lxc_autoscale_ml::forecast::DemandModel;
use lxc_autoscale_ml::recommend::{Estimate, RecommendConfig, Shared};
use lxc_autoscale_ml::replay::CpuClass;

use crate::parallel::in_parallel;
use crate::steer::{Aids, steer};

/// Nothing is shrunk in a container's first hours, so for its first three days the outcome of tight sizes is learnt
/// from recommendations, too.
const YOUNG_SECONDS: u64 = 3 * 86_400;
/// The following hour is judged.
const HOUR_SECONDS: i64 = 3600;
/// An hour of which less than this is known is not judged.
const LEAST_KNOWN_SECONDS: f64 = 3300.0;

/// A decision and its outcome.
pub(crate) struct Said {
    /// The machine.
    pub(crate) id: u64,
    /// The kind of change.
    pub(crate) made: Move,
    /// How long the resource had been measured, in seconds.
    pub(crate) known_seconds: u64,
    /// Its grounds.
    pub(crate) grounds: Grounds,
    /// The stated confidence.
    pub(crate) stated_percent: f64,
    /// Whether it was decided; otherwise only the outcome of the recommended size was evaluated.
    pub(crate) is_decision: bool,
    /// Whether it stayed right; `None` if the following hour is unknown.
    pub(crate) right: Option<bool>,
}

impl Said {
    pub(crate) fn row(&self) -> Option<Row> {
        Some(Row { grounds: self.grounds, right: self.right? })
    }
}

/// One step of one resource, and the decision after it.
struct Step {
    at: i64,
    seconds: f64,
    demand: Option<f64>,
    made: Move,
    /// The size from now on.
    size: f64,
    known_seconds: u64,
    stated_percent: f64,
    grounds: Option<Grounds>,
    /// The recommended size, and its grounds as if it were in force.
    recommended: Option<(f64, Grounds)>,
}

/// The decisions about CPU and memory of all `recordings`, each in a closed loop.
pub(crate) fn both_resources(
    recordings: &[Recording],
    demand: impl Fn(u64) -> Option<Arc<DemandModel>> + Sync,
) -> [Vec<Said>; 2] {
    let mut both = [Vec::new(), Vec::new()];
    for steered in in_parallel(recordings, |recording| one(recording, demand(recording.id))) {
        both.iter_mut().zip(steered).for_each(|(all, said)| all.extend(said));
    }
    both
}

fn one(recording: &Recording, demand: Option<Arc<DemandModel>>) -> [Vec<Said>; 2] {
    let rules = Rules::benchmark(CpuClass::Fractional);
    let shared = Arc::new(Shared::with_demand(&RecommendConfig::default(), demand));
    // Shrinks of low confidence are evaluated, too; otherwise their outcomes could not be learnt.
    let policy = Policy { min_confidence_percent: 0.0, ..Config::default().policy() };
    let (mut cpu, mut memory) = (Vec::new(), Vec::new());
    steer(
        recording,
        &rules,
        &policy,
        shared,
        Aids::default(),
        |seen| seen,
        |moment| {
            let recommended = moment.container.model().recommend(moment.now);
            let step = |demand, had: f64, decision: &Decision, estimate: Option<Estimate>| {
                let size = decision.to.filter(|_| decision.apply).unwrap_or(had);
                Step {
                    at: moment.step.sample.at,
                    seconds: moment.step.seconds,
                    demand,
                    made: Move::between(had, size),
                    size,
                    known_seconds: estimate.as_ref().map_or(0, |estimate| estimate.known_seconds),
                    stated_percent: decision.confidence_percent,
                    recommended: estimate.as_ref().and_then(|estimate| {
                        let target = estimate.target;
                        Some((target, estimate.chances.grounds(target, target)?))
                    }),
                    grounds: estimate.and_then(|estimate| estimate.chances.grounds(had, size)),
                }
            };
            let (sample, decisions) = (moment.step.sample, moment.decisions);
            cpu.push(step(sample.cpu_cores, moment.had.cores, &decisions.cpu, recommended.cpu));
            memory.push(step(
                sample.memory_mib,
                moment.had.memory_mib,
                &decisions.memory,
                recommended.memory,
            ));
        },
    );
    [judge(recording.id, &cpu, ServedShare::CPU), judge(recording.id, &memory, ServedShare::MEMORY)]
}

fn judge(id: u64, steps: &[Step], least_served: ServedShare) -> Vec<Said> {
    let mut all = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let Some(grounds) = step.grounds else { continue };
        let coming = &steps[index + 1..];
        let end = coming.partition_point(|later| later.at <= step.at + HOUR_SECONDS);
        let coming = &coming[..end];
        let opposite = match step.made {
            Move::Keep => None,
            Move::Grow => Some(Move::Shrink),
            Move::Shrink => Some(Move::Grow),
        };
        let taken_back = coming.iter().any(|later| Some(later.made) == opposite);
        all.push(Said {
            id,
            made: step.made,
            known_seconds: step.known_seconds,
            grounds,
            is_decision: true,
            stated_percent: step.stated_percent,
            right: is_served(coming, step.size, least_served).map(|served| served && !taken_back),
        });
        let young = step.recommended.filter(|_| step.known_seconds < YOUNG_SECONDS);
        all.extend(young.map(|(target, grounds)| Said {
            id,
            made: Move::Keep,
            known_seconds: step.known_seconds,
            grounds,
            is_decision: false,
            stated_percent: step.stated_percent,
            right: is_served(coming, target, least_served),
        }));
    }
    all
}

/// Whether `size` would have served the coming hour; `None` if too little of it is known.
fn is_served(coming: &[Step], size: f64, least_served: ServedShare) -> Option<bool> {
    let (mut seconds, mut wanted, mut missed) = (0.0, 0.0, 0.0);
    for step in coming {
        let Some(demand) = step.demand else { continue };
        seconds += step.seconds;
        wanted += demand * step.seconds;
        missed += (demand - size).max(0.0) * step.seconds;
    }
    (LEAST_KNOWN_SECONDS <= seconds).then(|| least_served.is_kept(wanted, missed))
}
