//! The experts: ways to a size, of which each container follows the one that suits it.
//!
//! Forecasts are the best of them on average; plain peaks are better in a container that does what no other
//! did, and they need no model. Which one is followed is decided by cost, container by container
//! ([`super::selector`]).

use std::cell::OnceCell;

use super::config::RecommendConfig;
use super::recommendation::Fact;
use super::selector::{Movement, Prices, Wish};
use super::series::{DAY_STEPS, KEPT_STEPS, STEP_SECONDS, Series};
use crate::forecast::{Candidates, Quantiles};

/// Memory: the season is looked up for the coming hour, half an hour less punctual on both sides.
pub(super) const MEMORY_LOOK: SeasonLook = SeasonLook { ahead_steps: 12, slack_steps: 6 };
/// CPU: what earlier days needed in the coming quarter of an hour, ten minutes less punctual on both sides, and the
/// recent peak of a quarter of the window. A limit is raised in passing, so there is no need to be there earlier.
pub(super) const CPU_LOOK: SeasonLook = SeasonLook { ahead_steps: 3, slack_steps: 2 };
const CPU_SEASON_WINDOW: f64 = 0.25;
const MIB_PER_GIB: f64 = 1024.0;

/// One way to a size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Expert {
    /// What is cheapest by the forecast if running short cost this many times the stated price, times a margin.
    Forecast {
        /// Times the stated price.
        caution: f64,
        /// Of the amount.
        margin: f64,
    },
    /// The peak of this multiple of the configured window, with this multiple of the configured head-room.
    Peak {
        /// Times the window.
        window: f64,
        /// Times the head-room.
        headroom: f64,
    },
    /// As `Peak`, and the coming hour on earlier days.
    PeakAndSeason {
        /// Times the head-room.
        headroom: f64,
    },
}

/// Forecasts for the whole range of prudence around the stated price, peaks of a quarter of the window to twice the
/// window, and the season for those whose day repeats itself.
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

/// As for CPU; the peaks look back from a quarter of a day to a week.
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

/// A CPU limit is changed in passing, so a shrink that pays within half an hour is worth it.
pub(super) const CPU_MOVEMENT: Movement = Movement {
    least_growth: 0.05,
    least_shrink: 0.1,
    payback_hours: 0.5,
    shortage_margin: 1.1,
    half_life_seconds: 86_400.0,
};
/// Memory is dear to miss and cheap to keep, so a growth may wait longer, too. Its shortages are rare, so its costs
/// are remembered for longer: five days.
pub(super) const MEMORY_MOVEMENT: Movement = Movement {
    least_growth: 0.1,
    least_shrink: 0.1,
    payback_hours: 0.5,
    shortage_margin: 1.0,
    half_life_seconds: 5.0 * 86_400.0,
};

/// Which part of earlier days is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SeasonLook {
    /// What they needed in so many steps from this time of day on,
    ahead_steps: i64,
    /// and in so many more on both sides.
    slack_steps: i64,
}

/// What the experts look at. What takes a while to find out is found out once for all of them.
pub(super) struct View<'a> {
    config: &'a RecommendConfig,
    series: &'a Series,
    step: i64,
    forecast: Option<&'a Quantiles>,
    look: SeasonLook,
    season_peak: OnceCell<Option<f64>>,
    candidates: OnceCell<Candidates>,
}

impl<'a> View<'a> {
    /// A look at `series` when `step` is the newest, and at earlier days as `look` says.
    pub(super) fn new(
        config: &'a RecommendConfig,
        series: &'a Series,
        step: i64,
        forecast: Option<&'a Quantiles>,
        look: SeasonLook,
    ) -> Self {
        let (season_peak, candidates) = (OnceCell::new(), OnceCell::new());
        Self { config, series, step, forecast, look, season_peak, candidates }
    }

    /// The most at the coming time of day on the last days.
    pub(super) fn season_peak(&self) -> Option<f64> {
        let SeasonLook { ahead_steps, slack_steps } = self.look;
        let days = i64::from(self.config.season_days);
        *self.season_peak.get_or_init(|| self.series.season_peak(self.step, days, ahead_steps, slack_steps))
    }

    /// The peak of the last `count` steps, times `factor`.
    fn peak(&self, count: i64, factor: f64) -> Option<Wish> {
        let fact = if DAY_STEPS <= count { Fact::LastDaysPeak } else { Fact::RecentPeak };
        Some(wish(self.series.recent_peak(self.step, count)?, factor, fact))
    }
}

impl Expert {
    /// The wish for CPU, in cores; `None` while nothing is known.
    pub(super) fn cpu(self, view: &View<'_>) -> Option<Wish> {
        let config = view.config;
        let headroom = |times: f64| 1.0 + times * config.cpu_headroom_percent / 100.0;
        match (self, view.forecast) {
            (Self::Forecast { caution, margin }, Some(forecast)) => {
                // The newsvendor's rule: what is kept free costs in all the time it is not used.
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

    /// The wish for memory, in MiB; `None` while nothing is known.
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

/// The recent peak, or what is coming by earlier days if that is more.
fn peak_or_season(view: &View<'_>, window: i64, factor: f64) -> Option<Wish> {
    let peak = view.series.recent_peak(view.step, window);
    match (peak, view.season_peak()) {
        (Some(peak), Some(season)) if peak < season => Some(wish(season, factor, Fact::SeasonPeak)),
        (Some(peak), _) => Some(wish(peak, factor, Fact::RecentPeak)),
        (None, season) => Some(wish(season?, factor, Fact::SeasonPeak)),
    }
}

/// What CPU costs.
pub(super) fn cpu_prices(config: &RecommendConfig) -> Prices {
    Prices {
        held_hour: config.price_core_hour,
        missing_hour: config.price_unserved_core_hour,
        shortage: 0.0,
        resize: config.price_resize,
    }
}

/// What memory costs.
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

/// Steps of a multiple of a window, at least one and at most what is kept.
pub(super) fn steps(minutes: u32, times: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a small number of minutes")]
    let seconds = (f64::from(minutes) * 60.0 * times) as i64;
    ((seconds + STEP_SECONDS - 1).div_euclid(STEP_SECONDS)).clamp(1, KEPT_STEPS - DAY_STEPS)
}
