//! The cost of decisions, judged against the recorded demand.
//!
//! A decision made at a sample applies from the next sample on; the past cannot be resized. With `d` the mean usage of
//! a step, `P` the provisioned size, `a` the allocation and `h` the length of the step in hours:
//!
//! | figure | formula |
//! | --- | --- |
//! | need | `n = min(d · (1 + headroom), max(d, P))`: means hide bursts, and nobody used more than there was |
//! | unserved core-hours | `Σ max(n − a, 0) · h`, charged in the step where it was missed |
//! | slack | `Σ max(a − d, 0) / Σ d` |
//! | memory shortages | each run of steps with `d > a` counts one for every hour begun; it ends after five minutes without, however short the steps are |
//! | resizes | steps whose allocation differs from the step before, by resource |
//! | ideal | an allocation of exactly the need, rounded up and not below the floor, moved for free |
//! | cost | `core_hour · allocated core-hours + gib_hour · allocated GiB-hours + unserved · unserved core-hours + shortage · shortages + resize · resizes` |
//!
//! The headroom of 15 % is that of Autopilot (Rzadca et al., EuroSys 2020) and the Vertical Pod Autoscaler. J is the
//! cost of the decisions divided by the cost of the ideal; 1 cannot be reached.

use serde::{Deserialize, Serialize};

use super::recording::{Recording, Step};
use crate::recommend::RecommendConfig;
use crate::replay::{CpuClass, Size};

const MIB_PER_GIB: f64 = 1024.0;
/// A shortage is over after so many hours without: five minutes, a step of the recordings that are compared. Otherwise a
/// use around the limit would count once for every measurement.
const CALM_HOURS: f64 = 5.0 / 60.0;
const SECONDS_PER_HOUR: f64 = 3600.0;
/// Rounding up must not add a step because of an error in the last digit.
const ROUNDING: f64 = 1e-9;
/// Allocations that differ by less are equal, in cores and in MiB.
const SAME_CORES: f64 = 1e-6;
const SAME_MIB: f64 = 0.5;

/// How decisions are judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Whether CPU comes in whole cores or in hundredths.
    pub cpu_class: CpuClass,
    /// The need of an idle container, in cores and MiB.
    pub floor: Size,
    /// Largest multiple of the provisioned size that can be allocated; infinite if a policy sets the maximum.
    pub most_times_provisioned: f64,
    /// CPU needed above the mean usage, as a share of it.
    pub headroom: f64,
    /// Seconds from the first sample that are not judged: learning needs a past.
    pub warm_up_seconds: f64,
    /// A step is throttled when more than this share of its need was not served.
    pub throttled_share: f64,
}

/// The CPU need of an idle container.
fn least_cores(cpu_class: CpuClass) -> f64 {
    cpu_class.control().fewest_cores()
}

impl Rules {
    /// The rules of the benchmark: three days are not judged, and twice the provisioned size is the maximum.
    pub fn benchmark(cpu_class: CpuClass) -> Self {
        Self {
            cpu_class,
            floor: Size { cores: least_cores(cpu_class), memory_mib: 64.0 },
            most_times_provisioned: 2.0,
            headroom: 0.15,
            warm_up_seconds: 3.0 * 86_400.0,
            throttled_share: 0.05,
        }
    }

    /// The same rules with this CPU class.
    #[must_use]
    pub fn in_class(&self, cpu_class: CpuClass) -> Self {
        Self { cpu_class, floor: Size { cores: least_cores(cpu_class), ..self.floor }, ..*self }
    }

    /// The size a host would set for `wanted`: rounded up, then kept within the limits.
    pub fn effective(&self, wanted: Size, provisioned: Size) -> Size {
        let quantum = match self.cpu_class {
            CpuClass::Fractional => 0.01,
            CpuClass::Integer => 1.0,
        };
        let round = |value: f64, quantum: f64, low: f64, provisioned: f64| {
            let most = (self.most_times_provisioned * provisioned / quantum).floor() * quantum;
            ((value / quantum - ROUNDING).ceil() * quantum).clamp(low, most.max(low))
        };
        Size {
            cores: round(wanted.cores, quantum, self.floor.cores, provisioned.cores),
            memory_mib: round(wanted.memory_mib, 1.0, self.floor.memory_mib, provisioned.memory_mib),
        }
    }

    /// Cores a step needs.
    pub fn needed_cores(&self, used: f64, provisioned: f64) -> f64 {
        (used * (1.0 + self.headroom)).min(used.max(provisioned))
    }
}

/// The prices, in any one currency.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prices {
    /// One core for an hour.
    pub core_hour: f64,
    /// One GiB of memory for an hour.
    pub gib_hour: f64,
    /// One core-hour of unserved work.
    pub unserved_core_hour: f64,
    /// One shortage of memory.
    pub memory_shortage: f64,
    /// One change of size.
    pub resize: f64,
}

impl From<&RecommendConfig> for Prices {
    /// The operator's prices.
    fn from(config: &RecommendConfig) -> Self {
        Self {
            core_hour: config.price_core_hour,
            gib_hour: config.price_gib_hour,
            unserved_core_hour: config.price_unserved_core_hour,
            memory_shortage: config.price_memory_shortage,
            resize: config.price_resize,
        }
    }
}

/// Sums over the judged steps of one container or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// Steps that were judged.
    pub steps: u64,
    /// Their length, in hours.
    pub hours: f64,
    /// CPU.
    pub cpu: CpuSums,
    /// Memory.
    pub memory: MemorySums,
}

/// CPU over the judged steps, in core-hours unless stated otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuSums {
    /// As provisioned.
    pub provisioned: f64,
    /// Allocated.
    pub allocated: f64,
    /// Used.
    pub used: f64,
    /// Needed.
    pub needed: f64,
    /// Allocated and not used.
    pub slack: f64,
    /// Needed and not allocated.
    pub unserved: f64,
    /// Allocated by the ideal.
    pub ideal: f64,
    /// Steps that were throttled.
    pub throttled_steps: u64,
    /// Changes.
    pub resizes: u64,
}

/// Memory over the judged steps, in GiB-hours unless stated otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemorySums {
    /// As provisioned.
    pub provisioned: f64,
    /// Allocated.
    pub allocated: f64,
    /// Used.
    pub used: f64,
    /// Allocated and not used.
    pub slack: f64,
    /// Used and not allocated.
    pub short: f64,
    /// Allocated by the ideal.
    pub ideal: f64,
    /// Steps with a shortage.
    pub short_steps: u64,
    /// Shortages, one for every hour begun.
    pub shortages: u64,
    /// Changes.
    pub resizes: u64,
}

/// The cost of sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// CPU.
    pub cpu: f64,
    /// Memory.
    pub memory: f64,
    /// The ideal's CPU.
    pub ideal_cpu: f64,
    /// The ideal's memory.
    pub ideal_memory: f64,
    /// The provisioned sizes for all the time.
    pub provisioned: f64,
}

impl Cost {
    /// Adds another container's, at whatever prices that was.
    pub fn add(&mut self, other: &Self) {
        self.cpu += other.cpu;
        self.memory += other.memory;
        self.ideal_cpu += other.ideal_cpu;
        self.ideal_memory += other.ideal_memory;
        self.provisioned += other.provisioned;
    }

    /// The total.
    pub fn total(&self) -> f64 {
        self.cpu + self.memory
    }

    /// J: the cost divided by the ideal's; `None` if the ideal costs nothing, because nothing was judged.
    pub fn ratio(&self) -> Option<f64> {
        ratio(self.total(), self.ideal_cpu + self.ideal_memory)
    }

    /// J of the provisioned sizes.
    pub fn provisioned_ratio(&self) -> Option<f64> {
        ratio(self.provisioned, self.ideal_cpu + self.ideal_memory)
    }
}

/// `part / whole`; `None` if `whole` is zero.
pub fn ratio(part: f64, whole: f64) -> Option<f64> {
    (0.0 < whole).then(|| part / whole)
}

impl Sums {
    /// The cost.
    pub fn cost(&self, prices: &Prices) -> Cost {
        let (cpu, memory) = (&self.cpu, &self.memory);
        Cost {
            cpu: prices.core_hour * cpu.allocated
                + prices.unserved_core_hour * cpu.unserved
                + prices.resize * cpu.resizes as f64,
            memory: prices.gib_hour * memory.allocated
                + prices.memory_shortage * memory.shortages as f64
                + prices.resize * memory.resizes as f64,
            ideal_cpu: prices.core_hour * cpu.ideal,
            ideal_memory: prices.gib_hour * memory.ideal,
            provisioned: prices.core_hour * cpu.provisioned + prices.gib_hour * memory.provisioned,
        }
    }

    /// Adds another container's.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.hours += other.hours;
        let (cpu, more) = (&mut self.cpu, &other.cpu);
        cpu.provisioned += more.provisioned;
        cpu.allocated += more.allocated;
        cpu.used += more.used;
        cpu.needed += more.needed;
        cpu.slack += more.slack;
        cpu.unserved += more.unserved;
        cpu.ideal += more.ideal;
        cpu.throttled_steps += more.throttled_steps;
        cpu.resizes += more.resizes;
        let (memory, more) = (&mut self.memory, &other.memory);
        memory.provisioned += more.provisioned;
        memory.allocated += more.allocated;
        memory.used += more.used;
        memory.slack += more.slack;
        memory.short += more.short;
        memory.ideal += more.ideal;
        memory.short_steps += more.short_steps;
        memory.shortages += more.shortages;
        memory.resizes += more.resizes;
    }
}

impl CpuSums {
    fn add(&mut self, rules: &Rules, used: f64, size: f64, provisioned: f64, hours: f64) {
        let need = rules.needed_cores(used, provisioned);
        let unserved = (need - size).max(0.0);
        let cores = |cores| Size { cores, memory_mib: 0.0 };
        self.provisioned += provisioned * hours;
        self.allocated += size * hours;
        self.used += used * hours;
        self.needed += need * hours;
        self.slack += (size - used).max(0.0) * hours;
        self.unserved += unserved * hours;
        self.ideal += rules.effective(cores(need), cores(provisioned)).cores * hours;
        self.throttled_steps += u64::from(rules.throttled_share * need < unserved);
    }
}

impl MemorySums {
    fn add(&mut self, rules: &Rules, used: f64, size: f64, provisioned: f64, hours: f64) {
        let per_gib = hours / MIB_PER_GIB;
        let mib = |memory_mib| Size { cores: 0.0, memory_mib };
        self.provisioned += provisioned * per_gib;
        self.allocated += size * per_gib;
        self.used += used * per_gib;
        self.slack += (size - used).max(0.0) * per_gib;
        self.short += (used - size).max(0.0) * per_gib;
        self.ideal += rules.effective(mib(used), mib(provisioned)).memory_mib * per_gib;
        self.short_steps += u64::from(size < used);
    }
}

/// Judges the decisions about one container, step by step.
#[derive(Clone, Debug)]
pub struct Judge {
    rules: Rules,
    provisioned: Size,
    begin: Option<i64>,
    last: Option<Size>,
    /// Length of the present shortage, in hours.
    short_hours: f64,
    /// How long memory has been enough since, in hours.
    calm_hours: f64,
    sums: Sums,
}

/// The state of a judge that must survive a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JudgeKept {
    begin: Option<i64>,
    last: Option<Size>,
    short_hours: f64,
    #[serde(default)]
    calm_hours: f64,
    /// The sums so far.
    pub sums: Sums,
}

impl Judge {
    /// Restores the saved state.
    pub fn restored(rules: Rules, provisioned: Size, kept: JudgeKept) -> Self {
        let JudgeKept { begin, last, short_hours, calm_hours, sums } = kept;
        Self { rules, provisioned, begin, last, short_hours, calm_hours, sums }
    }

    /// Judges by this headroom from the next step on.
    pub fn set_headroom(&mut self, headroom: f64) {
        self.rules.headroom = headroom;
    }

    /// The state to save.
    pub fn kept(&self) -> JudgeKept {
        let Self { begin, last, short_hours, calm_hours, sums, .. } = *self;
        JudgeKept { begin, last, short_hours, calm_hours, sums }
    }

    /// A judge without any steps.
    pub fn new(rules: Rules, provisioned: Size) -> Self {
        Self::restored(rules, provisioned, JudgeKept::default())
    }

    /// Judges a step that was served under the limits `size`.
    pub fn step(&mut self, step: &Step, size: Size) {
        let begin = *self.begin.get_or_insert(step.sample.at);
        if ((step.sample.at - begin) as f64) < self.rules.warm_up_seconds {
            return;
        }
        let size = self.rules.effective(size, self.provisioned);
        let hours = step.seconds / SECONDS_PER_HOUR;
        self.sums.steps += 1;
        self.sums.hours += hours;
        if let Some(last) = self.last.replace(size) {
            self.sums.cpu.resizes += u64::from(SAME_CORES < (size.cores - last.cores).abs());
            self.sums.memory.resizes += u64::from(SAME_MIB < (size.memory_mib - last.memory_mib).abs());
        }
        if let Some(used) = step.sample.cpu_cores {
            self.sums.cpu.add(&self.rules, used, size.cores, self.provisioned.cores, hours);
        }
        if let Some(used) = step.sample.memory_mib {
            self.sums.memory.add(&self.rules, used, size.memory_mib, self.provisioned.memory_mib, hours);
            self.shortage(size.memory_mib < used, hours);
        }
    }

    fn shortage(&mut self, is_short: bool, hours: f64) {
        if !is_short {
            self.calm_hours += hours;
            if CALM_HOURS <= self.calm_hours + ROUNDING {
                self.short_hours = 0.0;
            }
            return;
        }
        self.calm_hours = 0.0;
        let begun = |hours: f64| (hours - ROUNDING).ceil();
        let before = begun(self.short_hours);
        self.short_hours += hours;
        self.sums.memory.shortages += u64::from(before < begun(self.short_hours));
    }

    /// The sums so far.
    pub fn sums(&self) -> Sums {
        self.sums
    }
}

/// Judges decisions made elsewhere: each applies from the first sample after it on, and before the first one the
/// container has its provisioned size. Both are in the order of time.
pub fn judge(rules: Rules, recording: &Recording, decisions: &[(i64, Size)]) -> Sums {
    let mut judge = Judge::new(rules, recording.provisioned);
    let mut size = recording.provisioned;
    let mut coming = decisions.iter().peekable();
    for step in recording.steps() {
        while let Some((_, next)) = coming.next_if(|(at, _)| *at < step.sample.at) {
            size = *next;
        }
        judge.step(&step, size);
    }
    judge.sums()
}

#[cfg(test)]
mod tests {
    use super::super::recording::Sample;
    use super::*;
    use crate::decide::{NodeSituation, Obstacles};
    use crate::policy::Pool;

    const PRICES: Prices = Prices {
        core_hour: 1.0,
        gib_hour: 0.11,
        unserved_core_hour: 20.0,
        memory_shortage: 10.0,
        resize: 0.02,
    };

    fn rules() -> Rules {
        Rules { warm_up_seconds: 0.0, ..Rules::benchmark(CpuClass::Fractional) }
    }

    fn recording(samples: &[(f64, f64)]) -> Recording {
        let at = |(index, (cpu, memory)): (usize, &(f64, f64))| Sample {
            at: 300 * i64::try_from(index).unwrap(),
            cpu_cores: Some(*cpu),
            memory_mib: Some(*memory),
            is_disturbed: false,
        };
        Recording {
            id: 1,
            pool: Pool::Unknown,
            name: None,
            provisioned: Size { cores: 2.0, memory_mib: 1024.0 },
            cpu_class: None,
            obstacles: Obstacles::default(),
            node: NodeSituation::default(),
            samples: samples.iter().enumerate().map(at).collect(),
        }
    }

    #[track_caller]
    fn close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-9, "{got} instead of {want}");
    }

    #[test]
    fn a_decision_counts_from_the_next_sample_on() {
        let sums =
            judge(rules(), &recording(&[(0.5, 512.0); 4]), &[(300, Size { cores: 1.0, memory_mib: 600.0 })]);
        close(sums.cpu.allocated, (2.0 + 2.0 + 1.0 + 1.0) / 12.0);
        close(sums.memory.allocated, (1024.0 + 1024.0 + 600.0 + 600.0) / 1024.0 / 12.0);
        assert_eq!((sums.cpu.resizes, sums.memory.resizes, sums.memory.shortages), (1, 1, 0));
        close(sums.cpu.ideal, 4.0 * 0.58 / 12.0);
        let cost = sums.cost(&PRICES);
        close(cost.cpu, 0.5 + 0.02);
        close(cost.ratio().unwrap(), (cost.cpu + cost.memory) / (4.0 * (0.58 + 0.055) / 12.0));
    }

    #[test]
    fn what_is_missed_is_charged_and_needs_end_at_what_was_provisioned() {
        // Needs 2.0 (not 2.3), gets 1.
        let sums =
            judge(rules(), &recording(&[(2.0, 64.0); 2]), &[(0, Size { cores: 1.0, memory_mib: 64.0 })]);
        close(sums.cpu.unserved, 1.0 / 12.0);
        assert_eq!(sums.cpu.throttled_steps, 1);
        // Usage above the provisioned size is needed as it is.
        close(rules().needed_cores(2.5, 2.0), 2.5);
    }

    #[test]
    fn a_shortage_counts_for_every_hour_begun() {
        let short = Size { cores: 1.0, memory_mib: 100.0 };
        for (steps, want) in [(1, 1), (12, 1), (13, 2), (24, 2), (25, 3)] {
            let sums = judge(rules(), &recording(&vec![(0.1, 200.0); steps + 1]), &[(0, short)]);
            assert_eq!((sums.memory.shortages, sums.memory.short_steps), (want, steps as u64), "{steps}");
        }
    }

    /// A measurement a minute, of which every other one is short.
    #[test]
    fn a_use_around_the_limit_is_one_shortage_until_five_minutes_are_calm() {
        let short = Size { cores: 1.0, memory_mib: 100.0 };
        for (calm, want) in [(1, 1), (4, 1), (5, 2), (30, 2)] {
            let flapping = (0..10).map(|minute| if minute % 2 == 0 { 50.0 } else { 200.0 });
            let used: Vec<f64> =
                flapping.clone().chain(std::iter::repeat_n(50.0, calm - 1)).chain(flapping).collect();
            let mut recording = recording(&used.iter().map(|mib| (0.1, *mib)).collect::<Vec<_>>());
            for (minute, sample) in (1..).zip(&mut recording.samples) {
                sample.at = 60 * minute;
            }
            assert_eq!(judge(rules(), &recording, &[(0, short)]).memory.shortages, want, "{calm}");
        }
    }

    #[test]
    fn the_warm_up_is_not_judged() {
        let rules = Rules { warm_up_seconds: 900.0, ..rules() };
        assert_eq!(judge(rules, &recording(&[(0.5, 512.0); 5]), &[]).steps, 2);
    }

    #[test]
    fn what_is_asked_for_is_rounded_up_and_kept_within_the_limits() {
        let effective = |class, cores, memory_mib| {
            let got = Rules::benchmark(class)
                .effective(Size { cores, memory_mib }, Size { cores: 2.0, memory_mib: 1024.0 });
            (got.cores, got.memory_mib)
        };
        assert_eq!(effective(CpuClass::Integer, 1.2, 100.2), (2.0, 101.0));
        assert_eq!(effective(CpuClass::Integer, 0.1, 1.0), (1.0, 64.0));
        assert_eq!(effective(CpuClass::Fractional, 0.001, 9999.0), (0.1, 2048.0));
        assert_eq!(effective(CpuClass::Fractional, 9.0, 512.0), (4.0, 512.0));
    }
}
