//! The parts of the recommendation that can be left out.

use std::sync::Arc;

use lxc_autoscale_ml::config::{Config, ModelConfig};
use lxc_autoscale_ml::decide::Policy;
use lxc_autoscale_ml::forecast::DemandModel;
use lxc_autoscale_ml::observation::Observation;
use lxc_autoscale_ml::recommend::{RecommendConfig, Shared};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The recommendation without a part.
pub(crate) struct Left {
    /// The policy.
    pub(crate) policy: Policy,
    /// What the containers' models share.
    pub(crate) shared: Shared,
    /// Filters what a host would show.
    pub(crate) shown: Box<dyn FnMut(Observation) -> Observation>,
    /// Whether the guards are active, which they are in the daemon.
    pub(crate) guarded: bool,
    /// The detector of unusual behaviour, which the daemon has.
    pub(crate) detector: Option<ModelConfig>,
}

/// Creates the recommendation without a part, from the whole configuration and the demand model, for a container.
pub(crate) type Part = fn(&RecommendConfig, Option<Arc<DemandModel>>, u64) -> Left;

/// The share of a throttled step when only a flag is known, and the share from which the flag is set, as in the
/// benchmark's own driver.
const FLAG: f64 = 0.33;
const FLAGGED_FROM: f64 = 0.02;
/// Noise of a share: a factor whose logarithm is normal with this deviation.
const NOISE: f64 = 0.5;

/// The complete recommendation for a young container, and without the parts that matter for it.
pub(crate) const YOUNG: [(&str, Part); 4] = [
    ("**all of it**", |config, demand, _| blind(config, demand, |seen| seen)),
    ("without what was learnt from other machines", |config, _, _| blind(config, None, |seen| seen)),
    ("the choice by cost from the start on", |config, demand, _| Left {
        shared: Shared::with_demand(config, demand.clone()).choosing_at_once(),
        ..blind(config, demand, |seen| seen)
    }),
    ("the first expert for ever", first_for_ever),
];

/// The complete recommendation, and without each part.
pub(crate) const PARTS: [(&str, Part); 18] = [
    ("**all of it**", |config, demand, _| blind(config, demand, |seen| seen)),
    ("without the demand model", |config, _, _| blind(config, None, |seen| seen)),
    ("without the choice by cost: the first expert for ever", first_for_ever),
    ("without the same time of earlier days", |config, demand, _| {
        blind(&RecommendConfig { season_days: 0, ..config.clone() }, demand, |seen| seen)
    }),
    ("without either", |config, _, _| {
        blind(&RecommendConfig { season_days: 0, ..config.clone() }, None, |seen| seen)
    }),
    ("without preparing for daily rises", |config, demand, _| Left {
        shared: Shared::with_demand(config, demand.clone()).without_daily_rises(),
        ..blind(config, demand, |seen| seen)
    }),
    ("without preparing for weekly peaks", |config, demand, _| Left {
        shared: Shared::with_demand(config, demand.clone()).without_weekly_peaks(),
        ..blind(config, demand, |seen| seen)
    }),
    ("without a price of moving", |config, demand, _| {
        blind(&RecommendConfig { price_resize: 0.0, ..config.clone() }, demand, |seen| seen)
    }),
    ("without signs that CPU was cut off", |config, demand, _| {
        blind(config, demand, |seen| Observation { cpu_throttled_share: None, cores_limit: None, ..seen })
    }),
    ("without signs that memory ran out", |config, demand, _| {
        blind(config, demand, |seen| Observation { oom: seen.oom.map(|_| false), ..seen })
    }),
    ("shrinks from 25 % confidence on", |config, demand, _| careful(config, demand, 25.0)),
    ("shrinks from 50 % confidence on", |config, demand, _| careful(config, demand, 50.0)),
    ("shrinks from 75 % confidence on", |config, demand, _| careful(config, demand, 75.0)),
    ("throttling seen as yes or no only", |config, demand, _| {
        blind(config, demand, |seen| Observation {
            cpu_throttled_share: seen
                .cpu_throttled_share
                .map(|share| if FLAGGED_FROM < share { FLAG } else { 0.0 }),
            ..seen
        })
    }),
    ("throttling seen through noise", |config, demand, id| {
        let mut rng = ChaCha8Rng::seed_from_u64(id);
        blind(config, demand, move |seen| Observation {
            cpu_throttled_share: seen
                .cpu_throttled_share
                .map(|share| (share * (NOISE * normal(&mut rng)).exp()).min(1.0)),
            ..seen
        })
    }),
    ("with the guards", |config, demand, _| Left { guarded: true, ..blind(config, demand, |seen| seen) }),
    ("with the detector", |config, demand, _| watched(config, demand)),
    ("with the guards and the detector", |config, demand, _| Left {
        guarded: true,
        ..watched(config, demand)
    }),
];

/// The complete recommendation with the detector of the built-in configuration.
fn watched(config: &RecommendConfig, demand: Option<Arc<DemandModel>>) -> Left {
    Left { detector: Some(ModelConfig::default()), ..blind(config, demand, |seen| seen) }
}

fn first_for_ever(config: &RecommendConfig, demand: Option<Arc<DemandModel>>, _id: u64) -> Left {
    let shared = Shared::with_demand(config, demand.clone()).without_choice();
    Left { shared, ..blind(config, demand, |seen| seen) }
}

fn blind(
    config: &RecommendConfig,
    demand: Option<Arc<DemandModel>>,
    shown: impl FnMut(Observation) -> Observation + 'static,
) -> Left {
    let policy = Config::default().policy();
    Left {
        policy,
        shared: Shared::with_demand(config, demand),
        shown: Box::new(shown),
        guarded: false,
        detector: None,
    }
}

/// The complete recommendation, with shrinks only from this confidence on.
fn careful(config: &RecommendConfig, demand: Option<Arc<DemandModel>>, min_confidence_percent: f64) -> Left {
    let whole = blind(config, demand, |seen| seen);
    Left { policy: Policy { min_confidence_percent, ..whole.policy }, ..whole }
}

/// A normal number (G. Box, M. Muller, Annals of Mathematical Statistics 29, 1958).
fn normal(rng: &mut impl Rng) -> f64 {
    let (radius, angle): (f64, f64) = (rng.gen_range(f64::MIN_POSITIVE..1.0), rng.gen_range(0.0..1.0));
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}
