//! The figures of one policy over all containers.

use lxc_autoscale_ml::backtest::score::{Prices, Sums, ratio};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Bootstrap samples of the containers, for the interval of J.
const DRAWS: usize = 1000;

/// The figures of one policy.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Figures {
    /// Its name.
    pub(crate) policy: String,
    /// Cost divided by the ideal's.
    pub(crate) j: f64,
    /// 95 % of the bootstrap samples give a J in this interval.
    pub(crate) j_interval: (f64, f64),
    /// J of CPU and of memory alone.
    pub(crate) j_cpu: f64,
    pub(crate) j_memory: f64,
    /// Geometric mean of the containers' J: small and large ones count the same.
    pub(crate) geometric_mean: f64,
    /// Cost divided by that of the provisioned sizes.
    pub(crate) of_provisioned: f64,
    /// Allocated but unused, divided by used.
    pub(crate) cpu_slack: f64,
    pub(crate) memory_slack: f64,
    /// Share of the CPU need that was not served.
    pub(crate) cpu_shortfall: f64,
    /// Shortages per container and 30 days.
    pub(crate) shortages: f64,
    /// Changes per container and day.
    pub(crate) cpu_resizes: f64,
    pub(crate) memory_resizes: f64,
}

impl Figures {
    /// From the sums of each container; those that were never judged are left out.
    pub(crate) fn new(policy: &str, containers: &[Sums], prices: &Prices) -> Self {
        let judged: Vec<&Sums> = containers.iter().filter(|sums| 0 < sums.steps).collect();
        let mut all = Sums::default();
        for sums in &judged {
            all.add(sums);
        }
        let cost = all.cost(prices);
        let part = |part: f64, whole: f64| ratio(part, whole).unwrap_or(f64::NAN);
        let days = all.hours / 24.0;
        let logs: f64 = judged.iter().filter_map(|sums| sums.cost(prices).ratio()).map(f64::ln).sum();
        Self {
            policy: policy.to_owned(),
            j: cost.ratio().unwrap_or(f64::NAN),
            j_interval: interval(&judged, prices),
            j_cpu: part(cost.cpu, cost.ideal_cpu),
            j_memory: part(cost.memory, cost.ideal_memory),
            geometric_mean: (logs / judged.len() as f64).exp(),
            of_provisioned: part(cost.total(), cost.provisioned),
            cpu_slack: part(all.cpu.slack, all.cpu.used),
            memory_slack: part(all.memory.slack, all.memory.used),
            cpu_shortfall: part(all.cpu.unserved, all.cpu.needed),
            shortages: part(30.0 * all.memory.shortages as f64, days),
            cpu_resizes: part(all.cpu.resizes as f64, days),
            memory_resizes: part(all.memory.resizes as f64, days),
        }
    }
}

fn interval(containers: &[&Sums], prices: &Prices) -> (f64, f64) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let costs: Vec<_> = containers.iter().map(|sums| sums.cost(prices)).collect();
    let mut draws: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let drawn = (0..costs.len()).map(|_| &costs[rng.gen_range(0..costs.len())]);
            let (cost, ideal) = drawn.fold((0.0, 0.0), |(cost, ideal), one| {
                (cost + one.total(), ideal + one.ideal_cpu + one.ideal_memory)
            });
            ratio(cost, ideal).unwrap_or(f64::NAN)
        })
        .collect();
    draws.sort_by(f64::total_cmp);
    (draws[DRAWS / 40], draws[DRAWS - 1 - DRAWS / 40])
}
