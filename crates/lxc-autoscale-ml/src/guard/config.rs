//! The constants of the guards, each with its reason.

use lxc_autoscale_core::config::{BrokenRule, Validate};
use serde::{Deserialize, Serialize};

/// `[scaling.guard]`: what is watched after a change, what is undone, and when a container is left alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardPolicy {
    /// Measurements after a shrink that must show no harm before the next one.
    pub watch_samples: u32,
    /// Shortest time to watch a shrink, in seconds: the kernel reclaims memory over minutes.
    pub watch_seconds: u64,
    /// A shrink is undone if tasks wait for memory this much more than before it, in percent of the time.
    pub max_pressure_rise_percent: f64,
    /// A shrink is undone if memory is read back (refaults and swap-in) this much faster than before it, in MiB/s. A
    /// hard disk gives about 0.4 MiB/s in random pages of 4 KiB, so 1 MiB/s keeps it busy.
    pub max_read_back_rise_mib_per_second: f64,
    /// A shrink of the CPU is undone if this many more percent of the periods are throttled than before it.
    pub max_throttled_rise_percent: f64,
    /// A shrink is undone if tasks wait for a CPU this much more than before it, in percent of the time, while the
    /// container uses most of its CPU.
    pub max_cpu_pressure_rise_percent: f64,
    /// Longest back-off of memory after shrinks that were undone, in seconds. It starts at twice the cool-down, doubles
    /// each time, and starts anew after a shrink that did no harm.
    pub max_backoff_seconds: u64,
    /// The same for CPU: too little of it costs minutes of waiting and kills no process.
    pub max_cpu_backoff_seconds: u64,
    /// Longest wait for the next shrink after some that were reversed before they had paid off, in seconds.
    pub max_unpaid_seconds: u64,
    /// How long a memory size that proved too small is not tried again, in seconds. A week, so that a weekly load
    /// occurs once before the next try.
    pub remember_seconds: u64,
    /// How long a size set by somebody else is left alone, in seconds.
    pub respect_manual_seconds: u64,
    /// A container that started less than this long ago is neither learnt from nor changed, in seconds.
    pub boot_seconds: u64,
    /// How far a leaking container may still grow, in percent of its size when the leak was noticed.
    pub leak_growth_percent: f64,
    /// Running out of memory repeatedly raises memory at most to this multiple of the size at the first time.
    pub oom_growth_factor: f64,
}

impl Default for GuardPolicy {
    fn default() -> Self {
        Self {
            watch_samples: 5,
            watch_seconds: 300,
            max_pressure_rise_percent: 2.0,
            max_read_back_rise_mib_per_second: 1.0,
            max_throttled_rise_percent: 10.0,
            max_cpu_pressure_rise_percent: 20.0,
            max_backoff_seconds: 86_400,
            max_cpu_backoff_seconds: 3600,
            max_unpaid_seconds: 6 * 3600,
            remember_seconds: 7 * 86_400,
            respect_manual_seconds: 86_400,
            boot_seconds: 300,
            leak_growth_percent: 50.0,
            oom_growth_factor: 4.0,
        }
    }
}

/// The longest time allowed for any of these keys, in seconds: a year.
const LONGEST_SECONDS: u64 = 366 * 86_400;

impl Validate for GuardPolicy {
    fn validate(&self) -> Result<(), BrokenRule> {
        let unless = BrokenRule::unless;
        let some = (1..=60).contains(&self.watch_samples);
        unless(some, "scaling.guard.watch_samples", "must be from 1 to 60")?;
        for (seconds, key) in [
            (self.watch_seconds, "scaling.guard.watch_seconds"),
            (self.max_backoff_seconds, "scaling.guard.max_backoff_seconds"),
            (self.max_cpu_backoff_seconds, "scaling.guard.max_cpu_backoff_seconds"),
            (self.max_unpaid_seconds, "scaling.guard.max_unpaid_seconds"),
            (self.remember_seconds, "scaling.guard.remember_seconds"),
            (self.respect_manual_seconds, "scaling.guard.respect_manual_seconds"),
            (self.boot_seconds, "scaling.guard.boot_seconds"),
        ] {
            unless(seconds <= LONGEST_SECONDS, key, "must be at most 31622400, a year")?;
        }
        let rise = |value: f64| 0.0 < value && value <= 100.0;
        let rule = "must be more than 0 and at most 100";
        unless(rise(self.max_pressure_rise_percent), "scaling.guard.max_pressure_rise_percent", rule)?;
        unless(rise(self.max_throttled_rise_percent), "scaling.guard.max_throttled_rise_percent", rule)?;
        unless(
            rise(self.max_cpu_pressure_rise_percent),
            "scaling.guard.max_cpu_pressure_rise_percent",
            rule,
        )?;
        let rate = self.max_read_back_rise_mib_per_second;
        let key = "scaling.guard.max_read_back_rise_mib_per_second";
        unless(0.0 < rate && rate.is_finite(), key, "must be more than 0")?;
        let growth = self.leak_growth_percent;
        let key = "scaling.guard.leak_growth_percent";
        unless(0.0 <= growth && growth.is_finite(), key, "must not be negative")?;
        let factor = self.oom_growth_factor;
        unless(1.0 <= factor && factor.is_finite(), "scaling.guard.oom_growth_factor", "must be at least 1")
    }
}
