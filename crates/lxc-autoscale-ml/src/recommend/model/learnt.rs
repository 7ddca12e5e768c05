//! What has been learnt about one resource of a container, and the size that follows.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::evidence::Collected;
use super::panel::Panel;
use crate::confidence::{Chances, Known, Scale, ServedShare};
use crate::forecast::{Quantiles, Recall};
use crate::recommend::clock::days_before;
use crate::recommend::demand::Demand;
use crate::recommend::experts::{Expert, View};
use crate::recommend::random_day::enough_for_random;
use crate::recommend::recommendation::{Estimate, Fact, WeeklyPeak};
use crate::recommend::restlessness::Restlessness;
use crate::recommend::selector::{Selector, Wish};
use crate::recommend::series::{DAY_STEPS, KEPT_STEPS, STEP_SECONDS, Series, Within, step_of};
use crate::recommend::track_record::TrackRecord;
use crate::recommend::weeks::Weeks;

/// Fewest known steps from which is forecast: an hour, as the demand model was taught.
const LEAST_FORECAST_STEPS: usize = 12;
/// What speaks for a size is looked up for the hour that it shall last.
pub(super) const HOUR_STEPS: i64 = 12;
/// The days ago that tell most about what comes at this time of day.
const SEASON_DAYS: [i64; 4] = [1, 2, 3, 7];

/// What has been learnt about one resource.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Learnt {
    pub(super) series: Series,
    #[serde(default)]
    pub(super) weeks: Weeks,
    pub(super) last: Option<Demand>,
    pub(super) record: TrackRecord,
    /// How long it has been measured, gaps not counted. Each resource has its own: a container whose memory
    /// could not be read for a week is not known by its CPU.
    pub(super) known_seconds: f64,
    pub(super) experts: Selector,
    pub(super) outlook: Option<Outlook>,
    /// What was said after the last observation.
    pub(super) standing: Option<Standing>,
    /// Not kept over a restart: it makes the next forecast cheaper, and no other.
    #[serde(skip)]
    pub(super) recall: Recall,
}

/// What the experts wish as long as the step and its value stand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Outlook {
    pub(super) step: i64,
    pub(super) value: f64,
    pub(super) wishes: Vec<Wish>,
    pub(super) forecast: Option<Quantiles>,
    #[serde(default)]
    pub(super) daily: Option<f64>,
    #[serde(default)]
    pub(super) weekly: Option<WeeklyPeak>,
    #[serde(default)]
    pub(super) restlessness: Option<Restlessness>,
    #[serde(default)]
    pub(super) random_day: Option<f64>,
}

/// What the followed expert holds, and what it would take now were moving free.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Standing {
    pub(super) held: Wish,
    pub(super) wish: Wish,
}

/// What a resource is judged by when its size is.
#[derive(Clone, Copy)]
pub(super) struct Yardstick {
    scale: Scale,
    least_served: ServedShare,
}

pub(super) const CPU: Yardstick = Yardstick { scale: Scale::Cpu, least_served: ServedShare::CPU };
pub(super) const MEMORY: Yardstick = Yardstick { scale: Scale::Memory, least_served: ServedShare::MEMORY };

impl Learnt {
    pub(super) fn new(within: Within, experts: &[Expert], first: usize) -> Self {
        Self {
            experts: Selector::new(experts.len(), first),
            outlook: None,
            series: Series::new(within),
            weeks: Weeks::default(),
            last: None,
            record: TrackRecord::default(),
            known_seconds: 0.0,
            standing: None,
            recall: Recall::default(),
        }
    }

    /// Takes in a demand; returns the part of the demand that counts, which is less for a short burst of CPU.
    pub(super) fn observe(&mut self, at_seconds: i64, seconds: f64, demand: Demand, by: Yardstick) -> f64 {
        if let Some(standing) = self.standing {
            self.record.note(seconds, demand.value, standing.held.size, by.least_served);
        }
        let step = step_of(at_seconds);
        if self.series.newest().is_some_and(|newest| newest + KEPT_STEPS < step) {
            // No step from before is left in the series, so the time measured before is no proof any more.
            self.known_seconds = 0.0;
        }
        self.known_seconds += seconds;
        self.last = Some(demand);
        self.series.push(at_seconds, seconds, demand.value)
    }

    /// Asks the experts after a demand was taken in; `demand` is the part that counts, and should have `headroom`.
    pub(super) fn consult(
        &mut self,
        at_seconds: i64,
        seconds: f64,
        demand: f64,
        headroom: f64,
        panel: &Panel<'_>,
    ) {
        self.look_ahead(step_of(at_seconds), panel);
        let Some(outlook) = &self.outlook else { return };
        // A use above the size is a peak from then on.
        let lacked = self.last.map(|last| last.fact).filter(|fact| *fact != Fact::LastUse);
        let need = Wish { size: demand * headroom, fact: lacked.unwrap_or(Fact::RecentPeak), demand };
        self.experts.observe(seconds, &need, &outlook.wishes, &panel.prices, &panel.movement);
        if panel.first_choice_seconds <= self.known_seconds {
            self.experts.choose();
        }
        let followed = outlook.wishes.get(self.experts.followed()).copied();
        let daily = outlook.daily.map(|daily| (daily, Fact::SeasonPeak));
        let weekly = outlook.weekly.map(|weekly| (weekly.value, Fact::WeeklyPeak));
        let standing = self.experts.held().zip(followed).map(|(held, wish)| Standing { held, wish });
        let headroom = panel.habit_headroom;
        // Whichever expert is followed, a habit is kept to; and none sees further than eight days.
        self.standing =
            standing.map(|standing| standing.at_least(daily, headroom).at_least(weekly, headroom));
    }

    /// Asks the experts anew when a step began or its value rose; in between their answers would not change.
    pub(super) fn look_ahead(&mut self, step: i64, panel: &Panel<'_>) {
        let value = self.series.settled(step).unwrap_or(f64::NAN);
        let stands = |last: &Outlook| last.step == step && (last.value - value).abs() < f64::EPSILON;
        if self.outlook.as_ref().is_some_and(stands) {
            return;
        }
        let window = self.window(step);
        let forecast = panel.demand_model.zip(window).and_then(|(model, window)| {
            // The days before have hardly changed since it was asked last.
            model.forecast_after(&window, &mut self.recall)
        });
        let view = View::new(panel.config, &self.series, step, forecast.as_ref(), panel.look, panel.zone);
        let wishes = panel.experts.iter().map(|expert| (panel.wish)(*expert, &view)).collect::<Option<_>>();
        // To the end of the hour: a peak may come in the last minutes of an hour.
        let weekly = panel.weekly_ahead_steps.and_then(|ahead| {
            let end = (step + 1 + ahead) * STEP_SECONDS;
            self.weeks.foreseen_by_hour(step * STEP_SECONDS, end, panel.zone)
        });
        let daily = panel.daily.and_then(|habit| self.series.daily_rise(step, &habit, panel.zone));
        let day = self.series.window_of(step, DAY_STEPS);
        let restlessness = panel
            .restless
            .and_then(|(headroom, price_of_a_change)| Restlessness::of(&day, headroom, price_of_a_change));
        let was_random = self.outlook.as_ref().is_some_and(|outlook| outlook.random_day.is_some());
        let random_day = enough_for_random(&day, || self.series.window(step), was_random);
        let random_day = random_day.map(|enough| enough * panel.habit_headroom);
        self.outlook = wishes.map(|wishes| Outlook {
            step,
            value,
            wishes,
            forecast,
            daily,
            weekly,
            restlessness,
            random_day,
        });
    }

    /// What a forecast at `step` is made from; `None` where too little is known.
    pub(super) fn window(&self, step: i64) -> Option<Vec<f32>> {
        let window = self.series.window(step);
        let known = window.iter().filter(|value| !value.is_nan()).take(LEAST_FORECAST_STEPS).count();
        (LEAST_FORECAST_STEPS <= known).then_some(window)
    }

    /// Whether at least half of the `window` steps that end with `step` were measured.
    pub(super) fn knows_recent(&self, step: i64, window: i64) -> bool {
        window <= 2 * self.series.known(step - window + 1, step)
    }

    /// What the confidence in a size that is given at `step` follows from.
    pub(super) fn chances(&self, step: i64, zone: &TimeZone, by: Yardstick) -> Chances {
        let Some(outlook) = &self.outlook else { return Chances::default() };
        let season = |days| {
            let then = days_before(step * STEP_SECONDS, days, zone).div_euclid(STEP_SECONDS);
            self.series.peak(then + 1, then + HOUR_STEPS)
        };
        Chances::new(Known {
            scale: by.scale,
            known_seconds: self.known_seconds,
            last: self.series.settled(step),
            hour_peak: self.series.recent_peak(step, HOUR_STEPS),
            day_peak: self.series.recent_peak(step, DAY_STEPS),
            season_peak: SEASON_DAYS.into_iter().filter_map(season).reduce(f64::max),
            wishes: outlook.wishes.iter().map(|wish| wish.size).collect(),
            forecast: outlook.forecast.clone(),
            record: self.record.share(),
        })
    }

    /// Whether it has so many experts.
    pub(super) fn follows(&self, experts: usize) -> bool {
        let asked = self.outlook.as_ref().is_none_or(|outlook| outlook.wishes.len() == experts);
        asked && self.experts.count() == experts
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sum of positive seconds")]
    pub(super) fn known_seconds(&self) -> u64 {
        self.known_seconds as u64
    }

    /// The last demand, the recent peak, the forecast that the followed expert used, and the weekly peak.
    pub(super) fn evidence(&self, step: i64, window: i64) -> Option<Collected> {
        let last = self.last?;
        let mut evidence = Collected::default();
        evidence.note(last.fact, Some(last.value));
        evidence.note(Fact::RecentPeak, self.series.recent_peak(step, window));
        let wish = self.standing?.wish;
        evidence.note(wish.fact, (wish.fact == Fact::Forecast).then_some(wish.demand));
        evidence.note(Fact::WeeklyPeak, self.weekly().map(|weekly| weekly.value));
        Some(evidence)
    }

    /// What comes at this time of the week.
    pub(super) fn weekly(&self) -> Option<WeeklyPeak> {
        self.outlook.as_ref()?.weekly
    }

    pub(super) fn estimate(
        &self,
        held: Wish,
        mut evidence: Collected,
        floor: Option<f64>,
        chances: Chances,
    ) -> Estimate {
        let floor = floor.unwrap_or(held.size);
        // What was just lacked explains a target that was taken for it or for less.
        let explains = |last: &Demand| last.fact != Fact::LastUse && held.demand <= last.value;
        let lacked = self.last.filter(explains);
        if lacked.is_none() {
            evidence.decided(held);
        }
        let target = held.size.max(floor);
        Estimate {
            target,
            floor,
            confidence_percent: chances.percent(target, target).unwrap_or_default(),
            known_seconds: self.known_seconds(),
            basis: lacked.map_or(held.fact, |last| last.fact),
            evidence: evidence.all,
            weekly: self.weekly(),
            restlessness: self.outlook.as_ref().and_then(|outlook| outlook.restlessness.clone()),
            random_day: self.outlook.as_ref().and_then(|outlook| outlook.random_day),
            chances,
        }
    }
}

impl Standing {
    /// Raised to what the evidence with its headroom asks for.
    pub(super) fn at_least(self, evidence: Option<(f64, Fact)>, headroom: f64) -> Self {
        match evidence {
            Some((demand, fact)) if self.held.size < demand * headroom => {
                Self { held: Wish { size: demand * headroom, fact, demand }, ..self }
            }
            _ => self,
        }
    }
}
