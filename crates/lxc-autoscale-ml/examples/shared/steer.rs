//! One recorded machine in a closed loop, sized as by the daemon.

use std::sync::Arc;

use jiff::Timestamp;
use lxc_autoscale_ml::backtest::host::Host;
use lxc_autoscale_ml::backtest::recording::{Recording, Step};
use lxc_autoscale_ml::backtest::score::Rules;
use lxc_autoscale_ml::decide::{AnomalyScore, Decisions, Obstacles, Policy};
use lxc_autoscale_ml::observation::Observation;
use lxc_autoscale_ml::recommend::Shared;
use lxc_autoscale_ml::replay::{Replayed, Size, boundless_node, changed, within_provisioned};

/// A step and its state.
pub(crate) struct Moment<'a> {
    pub(crate) step: &'a Step,
    /// Its size in this step.
    pub(crate) had: Size,
    /// The state after the step.
    pub(crate) container: &'a Replayed,
    pub(crate) now: Timestamp,
    pub(crate) decisions: &'a Decisions,
}

/// Whether what was seen is unusual; `None` while too little is known.
type Detector<'a> = dyn FnMut(&Observation) -> Option<AnomalyScore> + 'a;

/// What the daemon adds to the recommendation; nothing by default.
#[derive(Default)]
pub(crate) struct Aids<'a> {
    pub(crate) guarded: bool,
    pub(crate) detector: Option<&'a mut Detector<'a>>,
}

/// Sizes `recording` by `policy` within its provisioned size; `shown` filters what a host would show, and `each` is
/// called for every step.
pub(crate) fn steer(
    recording: &Recording,
    rules: &Rules,
    policy: &Policy,
    shared: Arc<Shared>,
    mut aids: Aids<'_>,
    mut shown: impl FnMut(Observation) -> Observation,
    mut each: impl FnMut(&Moment<'_>),
) {
    let policy = within_provisioned(policy, rules.cpu_class, recording.provisioned);
    let container = Replayed::new(policy, Obstacles::default(), boundless_node(), shared);
    let mut container = if aids.guarded { container.guarded() } else { container };
    let mut host = Host::new(recording.provisioned.cores);
    let mut size = rules.effective(recording.provisioned, recording.provisioned);
    for step in recording.steps() {
        let Ok(now) = Timestamp::from_second(step.sample.at) else { continue };
        let seen = shown(host.serve(&step, size, now));
        container.observe(&seen);
        if let Some(detector) = &mut aids.detector {
            container.judged(detector(&seen));
        }
        let decisions = container.decide(&seen, size, now);
        each(&Moment { step: &step, had: size, container: &container, now, decisions: &decisions });
        size = changed(size, &decisions).unwrap_or(size);
    }
}
