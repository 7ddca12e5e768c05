//! Other autoscalers on the same workload, reimplemented from their publications.
//!
//! Each decides after a step from what a host showed of it, never from the recorded demand.

use lxc_autoscale_ml::observation::Observation;
use lxc_autoscale_ml::recommend::histogram::DecayingHistogram;
use lxc_autoscale_ml::replay::Size;

const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;
/// Headroom of both Autopilot and the Vertical Pod Autoscaler.
const MARGIN: f64 = 1.15;

/// An autoscaler of one container.
pub(crate) trait Peer {
    /// The size from the next step on.
    fn decide(&mut self, step: &Shown<'_>) -> Size;
}

/// What a peer sees of a step.
pub(crate) struct Shown<'a> {
    pub(crate) at: i64,
    pub(crate) seconds: f64,
    pub(crate) seen: &'a Observation,
    pub(crate) size: Size,
}

impl Shown<'_> {
    fn cpu(&self) -> Option<f64> {
        self.seen.cpu_cores_used
    }

    fn memory(&self) -> Option<f64> {
        self.seen.memory_used_mib
    }
}

/// A new size, unless it differs by less than a tenth.
fn unless_close(wanted: Option<f64>, now: f64) -> f64 {
    wanted.filter(|wanted| 0.1 * now < (wanted - now).abs()).unwrap_or(now)
}

/// The largest values of a sliding window.
struct Window {
    seconds: i64,
    values: std::collections::VecDeque<(i64, f64)>,
}

impl Window {
    fn new(seconds: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "whole hours")]
        let seconds = seconds as i64;
        Self { seconds, values: std::collections::VecDeque::new() }
    }

    fn push(&mut self, at: i64, value: Option<f64>) {
        if let Some(value) = value {
            while self.values.back().is_some_and(|(_, known)| *known <= value) {
                self.values.pop_back();
            }
            self.values.push_back((at, value));
        }
        while self.values.front().is_some_and(|(then, _)| then + self.seconds <= at) {
            self.values.pop_front();
        }
    }

    fn peak(&self) -> Option<f64> {
        self.values.front().map(|(_, value)| *value)
    }
}

/// Keeps the provisioned size.
pub(crate) struct AsProvisioned;

impl Peer for AsProvisioned {
    fn decide(&mut self, step: &Shown<'_>) -> Size {
        step.size
    }
}

/// The Python original of this product with its shipped configuration: 4 cores and 8192 MB, always. Its two
/// predictions (-1 and +1) are both true in Python, so that every one of its decisions scales up to its maximum.
pub(crate) struct Original;

impl Peer for Original {
    fn decide(&mut self, _: &Shown<'_>) -> Size {
        Size { cores: 4.0, memory_mib: 8192.0 }
    }
}

/// The sibling product, proxmox-lxc-autoscale, with its defaults: whole cores in steps of one or two above 80 % usage,
/// back below 20 %, at most four; memory in steps of 256 MB and more above 70 %, back below 20 %; smaller steps at
/// night.
pub(crate) struct Sibling;

impl Peer for Sibling {
    fn decide(&mut self, step: &Shown<'_>) -> Size {
        const MOST_CORES: f64 = 4.0;
        let (cores, memory) = (step.size.cores.ceil(), step.size.memory_mib);
        let hour = step.at.rem_euclid(86_400) / 3600;
        let piece = if (6..22).contains(&hour) { 256.0 } else { (256.0_f64 * 0.8).trunc() };
        let cpu_percent = step.cpu().map_or(50.0, |used| 100.0 * used / cores);
        let memory_percent = step.memory().map_or(50.0, |used| 100.0 * used / memory);
        let more = ((cpu_percent - 80.0) / 2.0).trunc().clamp(1.0, 2.0);
        let less = ((20.0 - cpu_percent) / 2.0).trunc().max(1.0).min(cores - 1.0).max(1.0);
        let cores = if 80.0 < cpu_percent && cores + more <= MOST_CORES {
            cores + more
        } else if cpu_percent < 20.0 && 1.0 < cores {
            (cores - less).max(1.0)
        } else {
            cores
        };
        let more = ((memory_percent - 70.0) * 256.0 / 1.5).trunc().max(piece);
        let less = ((20.0 - memory_percent) / 2.0).trunc().max(1.0).min(memory - 256.0).max(piece);
        let memory_mib = if 70.0 < memory_percent {
            memory + more
        } else if memory_percent < 20.0 && 256.0 < memory {
            memory - less
        } else {
            memory
        };
        Size { cores, memory_mib }
    }
}

/// The maximum of the last day plus 15 %; shrinks only by more than a tenth. The simplest rule that works.
pub(crate) struct MovingMax {
    cpu: Window,
    memory: Window,
}

impl MovingMax {
    pub(crate) fn new() -> Self {
        Self { cpu: Window::new(DAY), memory: Window::new(DAY) }
    }
}

impl Peer for MovingMax {
    fn decide(&mut self, step: &Shown<'_>) -> Size {
        self.cpu.push(step.at, step.cpu());
        self.memory.push(step.at, step.memory());
        let follow = |peak: Option<f64>, now: f64| match peak.map(|peak| MARGIN * peak) {
            Some(wanted) if now < wanted || wanted < 0.9 * now => wanted,
            _ => now,
        };
        Size {
            cores: follow(self.cpu.peak(), step.size.cores),
            memory_mib: follow(self.memory.peak(), step.size.memory_mib),
        }
    }
}

/// Autopilot's moving window (Rzadca et al., EuroSys 2020, section 3.2.2): the 95th percentile of the CPU load,
/// weighted by load and halved every 12 hours; the memory peak of a day; 15 % on both.
pub(crate) struct Autopilot {
    cpu: DecayingHistogram,
    memory: Window,
}

impl Autopilot {
    pub(crate) fn new() -> Self {
        Self { cpu: DecayingHistogram::new(0.01, 12.0 * HOUR), memory: Window::new(DAY) }
    }
}

impl Peer for Autopilot {
    fn decide(&mut self, step: &Shown<'_>) -> Size {
        if let Some(used) = step.cpu() {
            self.cpu.add(step.at as f64, step.seconds * used.max(1e-6), used);
        }
        self.memory.push(step.at, step.memory());
        let cpu = self.cpu.quantile(0.95).map(|load| MARGIN * load);
        Size {
            cores: unless_close(cpu, step.size.cores),
            memory_mib: unless_close(self.memory.peak().map(|peak| MARGIN * peak), step.size.memory_mib),
        }
    }
}

/// The Vertical Pod Autoscaler's recommender and updater with their defaults (kubernetes/autoscaler,
/// vertical-pod-autoscaler: `estimator.go`, `recommender.go`, `update_priority_calculator.go`), with its target as the
/// limit: the 90th percentile of a histogram halved every 24 hours, for memory the daily peaks, and 15 %. It moves when
/// the size is outside of its bounds (50th to 95th percentile, widened while there is little data), or after 12 hours
/// by a tenth. An OOM kill counts as a fifth or 100 MB more.
pub(crate) struct Vpa {
    cpu: DecayingHistogram,
    memory: DecayingHistogram,
    /// End of the present day, and its peak.
    day: Option<(i64, f64)>,
    begin: Option<i64>,
    seen_seconds: f64,
    moved: i64,
}

impl Vpa {
    pub(crate) fn new() -> Self {
        Self {
            cpu: DecayingHistogram::new(0.01, DAY),
            memory: DecayingHistogram::new(10.0, DAY),
            day: None,
            begin: None,
            seen_seconds: 0.0,
            moved: i64::MIN / 2,
        }
    }

    fn remember_memory(&mut self, at: i64, used: f64) {
        match &mut self.day {
            Some((end, peak)) if at < *end => {
                if *peak < used {
                    self.memory.add(*end as f64, -1.0, *peak);
                    self.memory.add(*end as f64, 1.0, used);
                    *peak = used;
                }
            }
            _ => {
                let end = at + 86_400;
                self.memory.add(end as f64, 1.0, used);
                self.day = Some((end, used));
            }
        }
    }
}

impl Peer for Vpa {
    fn decide(&mut self, step: &Shown<'_>) -> Size {
        const LEAST_CORES: f64 = 0.025;
        const LEAST_MIB: f64 = 250.0;
        let begin = *self.begin.get_or_insert(step.at);
        self.seen_seconds += step.seconds;
        if let Some(used) = step.cpu() {
            self.cpu.add(step.at as f64, step.seconds, used);
        }
        let ran_out = step.seen.oom == Some(true);
        if let Some(used) = step.memory() {
            let peak = self.day.map_or(0.0, |(_, peak)| peak).max(used).max(step.size.memory_mib);
            self.remember_memory(step.at, if ran_out { (1.2 * peak).max(peak + 100.0) } else { used });
        }
        let days = (((step.at - begin) as f64).min(self.seen_seconds) / DAY).max(1e-6);
        let (widen_up, widen_down) = (1.0 + 1.0 / days, (1.0 + 0.001 / days).powi(-2));
        let of = |histogram: &DecayingHistogram, least: f64| {
            let at =
                |level: f64, factor: f64| histogram.quantile(level).map(|q| (MARGIN * q * factor).max(least));
            Some((at(0.5, widen_down)?, at(0.9, 1.0)?, at(0.95, widen_up)?))
        };
        let (Some(cpu), Some(memory)) = (of(&self.cpu, LEAST_CORES), of(&self.memory, LEAST_MIB)) else {
            return step.size;
        };
        let now = step.size;
        let outside = |now: f64, (low, _, high): (f64, f64, f64)| now < low || high < now;
        let differs =
            (cpu.1 - now.cores).abs() / now.cores + (memory.1 - now.memory_mib).abs() / now.memory_mib;
        let is_due = 12 * 3600 <= step.at - self.moved && 0.1 <= differs;
        let killed = ran_out && 0.0 < differs;
        if outside(now.cores, cpu) || outside(now.memory_mib, memory) || is_due || killed {
            self.moved = step.at;
            return Size { cores: cpu.1, memory_mib: memory.1 };
        }
        now
    }
}
