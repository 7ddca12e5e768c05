//! Policies that know the future: bounds, not rivals.

use lxc_autoscale_ml::backtest::recording::{Recording, Step};
use lxc_autoscale_ml::backtest::score::{Prices, Rules};
use lxc_autoscale_ml::replay::Size;

const MIB_PER_GIB: f64 = 1024.0;
/// Number of levels on a geometric scale, and of levels at quantiles of the need.
const LEVELS: u32 = 64;

/// The need of each step; 0 if unknown.
fn needs(rules: &Rules, recording: &Recording, steps: &[Step]) -> (Vec<f64>, Vec<f64>) {
    let provisioned = recording.provisioned.cores;
    let cpu = |step: &Step| step.sample.cpu_cores.map_or(0.0, |used| rules.needed_cores(used, provisioned));
    let memory = |step: &Step| step.sample.memory_mib.unwrap_or(0.0);
    (steps.iter().map(cpu).collect(), steps.iter().map(memory).collect())
}

/// The size of each step when the largest need of each coming hour is known and set once for it.
pub(crate) fn next_hour(rules: &Rules, recording: &Recording, steps: &[Step]) -> Vec<Size> {
    const HOUR_STEPS: usize = 12;
    let (cpu, memory) = needs(rules, recording, steps);
    let largest = |needs: &[f64]| needs.iter().copied().fold(0.0, f64::max);
    let hours = cpu.chunks(HOUR_STEPS).zip(memory.chunks(HOUR_STEPS));
    hours
        .flat_map(|(cpu, memory)| {
            let size = Size { cores: largest(cpu), memory_mib: largest(memory) };
            std::iter::repeat_n(size, cpu.len())
        })
        .collect()
}

/// The cheapest size of each step in hindsight, including the cost of changes, on a grid of levels.
///
/// Dynamic programming over the levels. Exact on the grid for CPU; for memory every short step is charged as an event,
/// so that it is slightly above the true optimum.
pub(crate) fn cheapest(rules: &Rules, prices: &Prices, recording: &Recording, steps: &[Step]) -> Vec<Size> {
    let (cpu, memory) = needs(rules, recording, steps);
    let hours: Vec<f64> = steps.iter().map(|step| step.seconds / 3600.0).collect();
    let effective = |level: f64| {
        let got = rules.effective(Size { cores: level, memory_mib: level }, recording.provisioned);
        (got.cores, got.memory_mib)
    };
    let cores = levels(&cpu, rules.floor.cores, |level| effective(level).0);
    let mib = levels(&memory, rules.floor.memory_mib, |level| effective(level).1);
    let cpu_cost = |step: usize, level: f64| {
        let missing = (cpu[step] - level).max(0.0);
        (level * prices.core_hour + missing * prices.unserved_core_hour) * hours[step]
    };
    let memory_cost = |step: usize, level: f64| {
        let shortage = if level < memory[step] { prices.memory_shortage } else { 0.0 };
        level * prices.gib_hour / MIB_PER_GIB * hours[step] + shortage
    };
    let cores = cheapest_path(&cores, steps.len(), prices.resize, cpu_cost);
    let mib = cheapest_path(&mib, steps.len(), prices.resize, memory_cost);
    cores.into_iter().zip(mib).map(|(cores, memory_mib)| Size { cores, memory_mib }).collect()
}

fn levels(needs: &[f64], floor: f64, effective: impl Fn(f64) -> f64) -> Vec<f64> {
    let mut sorted: Vec<f64> = needs.iter().map(|need| need.max(floor)).collect();
    sorted.sort_by(f64::total_cmp);
    let top = sorted.last().copied().unwrap_or(floor).max(floor * 1.0001);
    let part = |index: u32| f64::from(index) / f64::from(LEVELS - 1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of the needs")]
    let quantile = |index: u32| {
        let place = (0.5 + 0.5 * part(index)) * sorted.len().saturating_sub(1) as f64;
        sorted.get(place as usize).copied().unwrap_or(top)
    };
    let geometric = (0..LEVELS).map(|index| floor * (top / floor).powf(part(index)));
    let mut levels: Vec<f64> = geometric.chain((0..LEVELS).map(quantile)).map(effective).collect();
    levels.sort_by(f64::total_cmp);
    levels.dedup_by(|a, b| (*a - *b).abs() < 1e-9);
    levels
}

/// The level of each step that minimises the sum of `cost(step, level)` and of `switch` for each change.
fn cheapest_path(levels: &[f64], steps: usize, switch: f64, cost: impl Fn(usize, f64) -> f64) -> Vec<f64> {
    let mut total: Vec<f64> = vec![0.0; levels.len()];
    let mut from: Vec<Vec<u16>> = Vec::with_capacity(steps);
    let best = |total: &[f64]| (0..total.len()).min_by(|a, b| total[*a].total_cmp(&total[*b])).unwrap_or(0);
    for step in 0..steps {
        let cheapest = best(&total);
        let jump = total[cheapest] + switch;
        let back = (0..levels.len()).map(|level| {
            let origin = if total[level] <= jump || step == 0 { level } else { cheapest };
            u16::try_from(origin).unwrap_or(u16::MAX)
        });
        let back: Vec<u16> = back.collect();
        for (level, amount) in levels.iter().enumerate() {
            total[level] = total[level].min(jump) + cost(step, *amount);
        }
        from.push(back);
    }
    let mut level = best(&total);
    let mut path = vec![0.0; steps];
    for step in (0..steps).rev() {
        path[step] = levels.get(level).copied().unwrap_or_default();
        level = usize::from(from[step][level]);
    }
    path
}
