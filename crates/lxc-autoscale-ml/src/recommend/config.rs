//! The constants of the recommendation, each with its reason.

use std::path::PathBuf;

use lxc_autoscale_core::config::{BrokenRule, Validate};
use serde::{Deserialize, Serialize};

/// A container that ran out of memory gets at least this much more, in percent of its limit …
pub const LEAST_OOM_GROWTH_PERCENT: f64 = 20.0;
/// … and at least this many MiB: what a small service needs to start again.
pub const LEAST_OOM_GROWTH_MIB: f64 = 100.0;

/// The constants of the recommendation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecommendConfig {
    /// Price of one core held free for an hour. Only its ratio to the next price matters.
    pub price_core_hour: f64,
    /// Price of one core-hour of work that had to wait.
    pub price_unserved_core_hour: f64,
    /// Price of one GiB of memory held for an hour.
    pub price_gib_hour: f64,
    /// Price of running short of memory once.
    pub price_memory_shortage: f64,
    /// Price of one change of size.
    pub price_resize: f64,
    /// File of a demand model; empty for the one that comes with the program.
    pub demand_model: PathBuf,
    /// CPU headroom above demand, in percent: means over minutes hide bursts within them.
    pub cpu_headroom_percent: f64,
    /// CPU: window of the recent peak, in minutes. Short, because a CPU limit that is too low shows at once and costs
    /// little.
    pub cpu_window_minutes: u32,
    /// CPU: half-life of the decaying history, in hours. With a day, every hour of it counts.
    pub cpu_half_life_hours: f64,
    /// Memory headroom above demand, in percent: wide, because a memory limit that is too low kills processes.
    pub memory_headroom_percent: f64,
    /// Memory: window of the recent peak, in minutes.
    pub memory_window_minutes: u32,
    /// Number of past days on which the coming time of day is looked up; 0 for none. With 1, the day before confirms what
    /// was unusual on that day.
    pub season_days: u32,
    /// Least growth of memory after it ran out, in percent of the limit.
    pub oom_growth_percent: f64,
    /// Least growth of memory after it ran out, in MiB.
    pub oom_growth_mib: f64,
    /// Share of time with tasks waiting for memory from which more is needed, in percent.
    pub memory_pressure_percent: f64,
}

impl Default for RecommendConfig {
    fn default() -> Self {
        Self {
            price_core_hour: 1.0,
            price_unserved_core_hour: 20.0,
            price_gib_hour: 0.11,
            price_memory_shortage: 10.0,
            price_resize: 0.02,
            demand_model: PathBuf::new(),
            cpu_headroom_percent: 15.0,
            cpu_window_minutes: 60,
            cpu_half_life_hours: 24.0,
            memory_headroom_percent: 30.0,
            memory_window_minutes: 360,
            season_days: 3,
            oom_growth_percent: 30.0,
            oom_growth_mib: 100.0,
            memory_pressure_percent: 10.0,
        }
    }
}

impl RecommendConfig {
    /// The quantile of demand that is cheapest to serve: headroom costs whenever it is unused, a shortage costs the
    /// rest of the time (the newsvendor's rule).
    pub fn cpu_quantile(&self) -> f64 {
        (1.0 - self.price_core_hour / self.price_unserved_core_hour).clamp(0.0, 1.0)
    }

    /// How many times its usual price a change costs, each in hours of a core.
    pub(crate) fn price_of_a_change(&self) -> f64 {
        let usual = Self::default();
        (self.price_resize / self.price_core_hour) / (usual.price_resize / usual.price_core_hour)
    }
}

impl Validate for RecommendConfig {
    fn validate(&self) -> Result<(), BrokenRule> {
        let unless = BrokenRule::unless;
        let positive = |value: f64| 0.0 < value && value.is_finite();
        // Sums of costs must neither overflow nor vanish.
        let price = |value: f64| (1e-6..=1e6).contains(&value);
        let percent = |value: f64| (0.0..=1000.0).contains(&value);
        let more = "must be more than 0";
        let payable = "must be 0.000001 to 1000000";
        unless(price(self.price_core_hour), "recommend.price_core_hour", payable)?;
        unless(price(self.price_unserved_core_hour), "recommend.price_unserved_core_hour", payable)?;
        let dear = self.price_core_hour < self.price_unserved_core_hour;
        let rule = "must be more than `recommend.price_core_hour`: else it is cheapest to serve nothing";
        unless(dear, "recommend.price_unserved_core_hour", rule)?;
        unless(price(self.price_gib_hour), "recommend.price_gib_hour", payable)?;
        unless(price(self.price_memory_shortage), "recommend.price_memory_shortage", payable)?;
        let free = (0.0..=1e6).contains(&self.price_resize);
        unless(free, "recommend.price_resize", "must be 0 to 1000000")?;
        let range = "must be 0 to 1000";
        unless(percent(self.cpu_headroom_percent), "recommend.cpu_headroom_percent", range)?;
        unless(percent(self.memory_headroom_percent), "recommend.memory_headroom_percent", range)?;
        let window = |minutes| (5..=7 * 24 * 60).contains(&minutes);
        let rule = "must be 5 minutes to 7 days";
        unless(window(self.cpu_window_minutes), "recommend.cpu_window_minutes", rule)?;
        unless(window(self.memory_window_minutes), "recommend.memory_window_minutes", rule)?;
        unless(positive(self.cpu_half_life_hours), "recommend.cpu_half_life_hours", more)?;
        unless(self.season_days <= 7, "recommend.season_days", "must be 0 to 7")?;
        unless(percent(self.oom_growth_percent), "recommend.oom_growth_percent", range)?;
        let least = "must be at least 20: a container that ran out of memory is never given less";
        unless(LEAST_OOM_GROWTH_PERCENT <= self.oom_growth_percent, "recommend.oom_growth_percent", least)?;
        let growth = LEAST_OOM_GROWTH_MIB <= self.oom_growth_mib && self.oom_growth_mib.is_finite();
        let least = "must be at least 100: a container that ran out of memory is never given less";
        unless(growth, "recommend.oom_growth_mib", least)?;
        let pressure = 0.0 < self.memory_pressure_percent && self.memory_pressure_percent <= 100.0;
        unless(pressure, "recommend.memory_pressure_percent", "must be more than 0 and at most 100")
    }
}
