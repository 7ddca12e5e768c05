//! The experts: methods to choose a size, of which each container follows the one that suits it.
//!
//! Forecasts are the best of them on average; plain peaks are better for a container that behaves like no other, and
//! they need no model. Which one is followed is decided by cost, per container ([`super::selector`]).

use std::cell::OnceCell;

use jiff::tz::TimeZone;

use super::config::RecommendConfig;
use super::recommendation::Fact;
use super::selector::{Movement, Prices, Wish};
use super::series::{DAY_STEPS, KEPT_STEPS, STEP_SECONDS, SeasonLook, Series};
use crate::forecast::{Candidates, Quantiles};

/// Memory: looks up the coming hour on earlier days, with half an hour of slack on both sides.
pub(super) const MEMORY_LOOK: SeasonLook = SeasonLook { ahead_steps: 12, slack_steps: 6 };
/// CPU: looks up the coming quarter of an hour on earlier days, with ten minutes of slack on both sides, and takes the
/// recent peak over a quarter of the window. A limit can be changed at any time, so there is no need to be early.
pub(super) const CPU_LOOK: SeasonLook = SeasonLook { ahead_steps: 3, slack_steps: 2 };
const CPU_SEASON_WINDOW: f64 = 0.25;
const MIB_PER_GIB: f64 = 1024.0;

/// One method to choose a size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Expert {
    /// The cheapest size by the forecast if a shortage cost this many times the stated price, times a margin.
    Forecast {
        /// Factor of the stated price.
        caution: f64,
        /// Factor of the size.
        margin: f64,
    },
    /// The peak over a multiple of the configured window, with a multiple of the configured headroom.
    Peak {
        /// Factor of the window.
        window: f64,
        /// Factor of the headroom.
        headroom: f64,
    },
    /// Like `Peak`, and the coming time of day on earlier days.
    PeakAndSeason {
        /// Factor of the headroom.
        headroom: f64,
    },
}

/// Forecasts for the whole range of caution around the stated price, peaks over a quarter of the window to twice the
/// window, and the season for containers with a daily pattern.
pub(super) const CPU: [Expert; 9] = [
    Expert::Forecast { caution: 0.25, margin: 1.0 },
    Expert::Forecast { caution: 0.5, margin: 1.0 },
    Expert::Forecast { caution: 1.0, margin: 1.0 },
    Expert::Forecast { caution: 2.5, margin: 1.0 },
    Expert::Peak { window: 0.25, headroom: 1.0 },
    Expert::Peak { window: 0.5, headroom: 1.0 },
    Expert::Peak { window: 1.0, headroom: 1.0 },
    Expert::Peak { window: 2.0, headroom: 1.0 },
    Expert::PeakAndSeason { headroom: 1.0 },
];
/// The CPU expert that is followed at first.
pub(super) const FIRST_CPU: usize = 2;

/// As for CPU; the peaks look back a quarter of a day to a week.
pub(super) const MEMORY: [Expert; 9] = [
    Expert::Forecast { caution: 0.5, margin: 1.0 },
    Expert::Forecast { caution: 1.0, margin: 1.0 },
    Expert::Forecast { caution: 2.0, margin: 1.0 },
    Expert::Forecast { caution: 1.0, margin: 1.15 },
    Expert::PeakAndSeason { headroom: 0.5 },
    Expert::PeakAndSeason { headroom: 1.0 },
    Expert::PeakAndSeason { headroom: 2.0 },
    Expert::Peak { window: 4.0, headroom: 1.0 },
    Expert::Peak { window: 28.0, headroom: 0.25 },
];
/// The memory expert that is followed at first.
pub(super) const FIRST_MEMORY: usize = 1;

/// A CPU limit is changed without interruption, so a shrink that pays off within half an hour is worth it.
pub(super) const CPU_MOVEMENT: Movement = Movement {
    least_growth: 0.05,
    least_shrink: 0.1,
    payback_hours: 0.5,
    shortage_margin: 1.1,
    half_life_seconds: 86_400.0,
};
/// A memory shortage is expensive and spare memory is cheap, so a growth may wait longer, too. Shortages are rare, so
/// costs are remembered for longer: five days.
pub(super) const MEMORY_MOVEMENT: Movement = Movement {
    least_growth: 0.1,
    least_shrink: 0.1,
    payback_hours: 0.5,
    shortage_margin: 1.0,
    half_life_seconds: 5.0 * 86_400.0,
};

/// The input of the experts. Values that take long to compute are computed once for all of them.
pub(super) struct View<'a> {
    config: &'a RecommendConfig,
    series: &'a Series,
    step: i64,
    forecast: Option<&'a Quantiles>,
    look: SeasonLook,
    zone: &'a TimeZone,
    season_peak: OnceCell<Option<f64>>,
    candidates: OnceCell<Candidates>,
}

impl<'a> View<'a> {
    /// The view of `series` when `step` is the newest; `look` says which part of earlier days is used, by the clock of
    /// `zone`.
    pub(super) fn new(
        config: &'a RecommendConfig,
        series: &'a Series,
        step: i64,
        forecast: Option<&'a Quantiles>,
        look: SeasonLook,
        zone: &'a TimeZone,
    ) -> Self {
        let (season_peak, candidates) = (OnceCell::new(), OnceCell::new());
        Self { config, series, step, forecast, look, zone, season_peak, candidates }
    }

    /// The peak at the coming time of day on the last days.
    pub(super) fn season_peak(&self) -> Option<f64> {
        let days = i64::from(self.config.season_days);
        *self.season_peak.get_or_init(|| self.series.season_peak(self.step, days, self.look, self.zone))
    }

    /// The peak of the last `count` steps, times `factor`.
    fn peak(&self, count: i64, factor: f64) -> Option<Wish> {
        let fact = if DAY_STEPS <= count { Fact::LastDaysPeak } else { Fact::RecentPeak };
        Some(wish(self.series.recent_peak(self.step, count)?, factor, fact))
    }
}

impl Expert {
    /// The wish for CPU, in cores; `None` while there is no data.
    pub(super) fn cpu(self, view: &View<'_>) -> Option<Wish> {
        let config = view.config;
        let headroom = |times: f64| 1.0 + times * config.cpu_headroom_percent / 100.0;
        match (self, view.forecast) {
            (Self::Forecast { caution, margin }, Some(forecast)) => {
                // The newsvendor's rule: headroom costs whenever it is unused.
                let missing = caution * config.price_unserved_core_hour;
                let level = (1.0 - config.price_core_hour / missing).clamp(0.0, 1.0);
                Some(wish(forecast.at(level), margin * headroom(1.0), Fact::Forecast))
            }
            (Self::Forecast { .. }, None) => Self::Peak { window: 1.0, headroom: 1.0 }.cpu(view),
            (Self::Peak { window, headroom: times }, _) => {
                view.peak(steps(config.cpu_window_minutes, window), headroom(times))
            }
            (Self::PeakAndSeason { headroom: times }, _) => {
                let window = steps(config.cpu_window_minutes, CPU_SEASON_WINDOW);
                peak_or_season(view, window, headroom(times))
            }
        }
    }

    /// The wish for memory, in MiB; `None` while there is no data.
    pub(super) fn memory(self, view: &View<'_>) -> Option<Wish> {
        let config = view.config;
        let headroom = |times: f64| 1.0 + times * config.memory_headroom_percent / 100.0;
        match (self, view.forecast) {
            (Self::Forecast { caution, margin }, Some(forecast)) => {
                let unit = config.price_gib_hour / MIB_PER_GIB;
                let candidates = view.candidates.get_or_init(|| forecast.candidates());
                let size = candidates.cheapest(unit, caution * config.price_memory_shortage);
                Some(wish(size, margin, Fact::Forecast))
            }
            (Self::Forecast { .. }, None) => Self::PeakAndSeason { headroom: 1.0 }.memory(view),
            (Self::Peak { window, headroom: times }, _) => {
                view.peak(steps(config.memory_window_minutes, window), headroom(times))
            }
            (Self::PeakAndSeason { headroom: times }, _) => {
                let window = steps(config.memory_window_minutes, 1.0);
                peak_or_season(view, window, headroom(times))
            }
        }
    }
}

/// The recent peak, or that of the coming time on earlier days if it is higher.
fn peak_or_season(view: &View<'_>, window: i64, factor: f64) -> Option<Wish> {
    let peak = view.series.recent_peak(view.step, window);
    match (peak, view.season_peak()) {
        (Some(peak), Some(season)) if peak < season => Some(wish(season, factor, Fact::SeasonPeak)),
        (Some(peak), _) => Some(wish(peak, factor, Fact::RecentPeak)),
        (None, season) => Some(wish(season?, factor, Fact::SeasonPeak)),
    }
}

/// The prices of CPU.
pub(super) fn cpu_prices(config: &RecommendConfig) -> Prices {
    Prices {
        held_hour: config.price_core_hour,
        missing_hour: config.price_unserved_core_hour,
        shortage: 0.0,
        resize: config.price_resize,
    }
}

/// The prices of memory.
pub(super) fn memory_prices(config: &RecommendConfig) -> Prices {
    Prices {
        held_hour: config.price_gib_hour / MIB_PER_GIB,
        missing_hour: 0.0,
        shortage: config.price_memory_shortage,
        resize: config.price_resize,
    }
}

fn wish(demand: f64, factor: f64, fact: Fact) -> Wish {
    Wish { size: demand * factor, fact, demand }
}

/// The number of steps in a multiple of a window, at least one and at most those that are kept.
pub(super) fn steps(minutes: u32, times: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a small number of minutes")]
    let seconds = (f64::from(minutes) * 60.0 * times) as i64;
    ((seconds + STEP_SECONDS - 1).div_euclid(STEP_SECONDS)).clamp(1, KEPT_STEPS - DAY_STEPS)
}
