//! What has been learnt about one container.

use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::clock::days_before;
use super::config::RecommendConfig;
use super::demand::{CpuDemand, CpuRecovery, Demand, memory_demand};
use super::experts::{self, Expert, View};
use super::histogram::DecayingHistogram;
use super::opinions::{Opinion, Opinions};
use super::recommendation::{Estimate, Evidence, FIRST_DAY_SECONDS, Fact, Recommendation, WeeklyPeak};
use super::restlessness::Restlessness;
use super::selector::{Movement, Prices, Selector, Wish};
use super::series::{DAY_STEPS, Habit, KEPT_STEPS, STEP_SECONDS, SeasonLook, Series, Within, step_of};
use super::shared::Shared;
use super::track_record::TrackRecord;
use super::weeks::{Weeks, hour_of};
use crate::classes::Class;
use crate::confidence::{Chances, Known, Scale, ServedShare};
use crate::forecast::{Quantiles, Recall, ResourceModel};
use crate::observation::Observation;

/// An observation speaks for at most this long before it: longer is a gap, and what happened there is
/// unknown.
const LONGEST_STEP_SECONDS: f64 = 1800.0;
/// How long the very first observation speaks for, since nobody knows when its step began.
const FIRST_STEP_SECONDS: f64 = 60.0;
/// The floor of a shrink of memory looks at the last quarter of an hour: what it is doing now.
const MEMORY_FLOOR_STEPS: i64 = 3;
/// Whatever the experts say, memory has this much room above what is in use: what comes within a minute is
/// forecast by nobody, and running into the limit kills.
const LEAST_MEMORY_MARGIN: f64 = 0.15;
/// In use is what was in the last six hours: with the last minute alone a size follows the noise of it, down in a quiet minute
/// and up again in the next, and runs short oftener (3.8 instead of 3.2 times a month on 20 recorded machines).
const MEMORY_MARGIN_STEPS: i64 = 72;
/// CPU below a hundredth of a core is told apart no further.
const CPU_FIRST_BUCKET: f64 = 0.01;
/// Fewest known steps from which is forecast: an hour, as the demand model was taught.
const LEAST_FORECAST_STEPS: usize = 12;
/// What speaks for a size is looked up for the hour that it shall last, and on the days that tell most.
const HOUR_STEPS: i64 = 12;
/// The kind of a container does not change from hour to hour, and it takes a look at all of its eight days.
const KIND_STEPS: i64 = 6 * HOUR_STEPS;
const SEASON_DAYS: [i64; 4] = [1, 2, 3, 7];
/// A rise of CPU that comes each day is waited for from half an hour before the time at which it came, and twenty minutes
/// beyond it: a limit that is given back just before a late peak is short when that comes. Shorter ones than half an hour,
/// and what follows the rise, are left to the experts.
const CPU_HABIT: Habit = Habit {
    look: SeasonLook { ahead_steps: 6, slack_steps: 4 },
    lasting_steps: 6,
    least_rise: 1.5,
    least_days: 3,
};
/// Memory that comes each day is there an hour before and is held for half an hour beyond it: at most twice as much is given at
/// once, and a job that finds too little of it is killed, each night again. By price alone a large container would be let
/// run short for what an hour of its memory costs. One day is enough to know it from.
const MEMORY_HABIT: Habit = Habit {
    look: SeasonLook { ahead_steps: 6, slack_steps: 6 },
    lasting_steps: 1,
    least_rise: 1.2,
    least_days: 1,
};
/// A weekly peak of CPU is there half an hour before the hour in which it came: it is given in one step.
const CPU_WEEKLY_STEPS: i64 = 6;
/// One of memory an hour before: at most twice as much is given at once.
const MEMORY_WEEKLY_STEPS: i64 = 12;

/// What has been learnt about one container; of bounded size (about 22 kB).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContainerModel {
    /// Not kept over a restart: it follows from the configuration and is given with the next record.
    #[serde(skip, default = "shared_by_default")]
    shared: Arc<Shared>,
    last: Option<Timestamp>,
    observed_seconds: f64,
    cpu: Learnt,
    cpu_recovery: CpuRecovery,
    cpu_history: DecayingHistogram,
    memory: Learnt,
    kind: Kind,
}

/// What kind of container it is, found anew every [`KIND_STEPS`] where somebody may ask.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Kind {
    period: Option<i64>,
    class: Option<Class>,
}

/// What has been learnt about one resource.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Learnt {
    series: Series,
    #[serde(default)]
    weeks: Weeks,
    last: Option<Demand>,
    record: TrackRecord,
    /// How long it has been measured, gaps not counted. Each resource has its own: a container whose memory
    /// could not be read for a week is not known by its CPU.
    known_seconds: f64,
    experts: Selector,
    outlook: Option<Outlook>,
    /// What was said after the last observation.
    standing: Option<Standing>,
    /// Not kept over a restart: it makes the next forecast cheaper, and no other.
    #[serde(skip)]
    recall: Recall,
}

/// What a model from a checkpoint works with until it is given what it is to work with.
fn shared_by_default() -> Arc<Shared> {
    static SHARED: LazyLock<Arc<Shared>> =
        LazyLock::new(|| Arc::new(Shared::with_shipped(&RecommendConfig::default())));
    Arc::clone(&SHARED)
}

/// What the experts wish as long as the step and its value stand.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Outlook {
    step: i64,
    value: f64,
    wishes: Vec<Wish>,
    forecast: Option<Quantiles>,
    #[serde(default)]
    daily: Option<f64>,
    #[serde(default)]
    weekly: Option<WeeklyPeak>,
    #[serde(default)]
    restlessness: Option<Restlessness>,
}

/// What the followed expert holds, and what it would take now were moving free.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Standing {
    held: Wish,
    wish: Wish,
}

/// The experts of one resource, what they look at and what they are charged with.
struct Panel<'a> {
    experts: &'static [Expert],
    wish: fn(Expert, &View<'_>) -> Option<Wish>,
    look: SeasonLook,
    config: &'a RecommendConfig,
    demand_model: Option<&'a ResourceModel>,
    prices: Prices,
    movement: Movement,
    first_choice_seconds: f64,
    zone: &'a TimeZone,
    /// Which part of the last days shows what comes each day; `None` where the experts alone say so.
    daily: Option<Habit>,
    /// A weekly peak is prepared for so many steps before the hour in which it came.
    weekly_ahead_steps: i64,
    /// The factor of head-room with which what comes each day or each week is prepared for.
    habit_headroom: f64,
    /// The head-room with which a size is held against the last day; `None` where that is not done.
    restless_headroom: Option<f64>,
}

/// What a resource is judged by when its size is.
#[derive(Clone, Copy)]
struct Yardstick {
    scale: Scale,
    least_served: ServedShare,
}

const CPU: Yardstick = Yardstick { scale: Scale::Cpu, least_served: ServedShare::CPU };
const MEMORY: Yardstick = Yardstick { scale: Scale::Memory, least_served: ServedShare::MEMORY };

impl Learnt {
    fn new(within: Within, experts: &[Expert], first: usize) -> Self {
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

    /// Takes in a demand; returns what counts of it, which for a short burst of CPU is less.
    fn observe(&mut self, at_seconds: i64, seconds: f64, demand: Demand, by: Yardstick) -> f64 {
        if let Some(standing) = self.standing {
            self.record.note(seconds, demand.value, standing.held.size, by.least_served);
        }
        let step = step_of(at_seconds);
        if self.series.newest().is_some_and(|newest| newest + KEPT_STEPS < step) {
            // Nothing is left of what it did before, so what was known of it is no proof any more.
            self.known_seconds = 0.0;
        }
        self.known_seconds += seconds;
        self.last = Some(demand);
        self.series.push(at_seconds, seconds, demand.value)
    }

    /// Asks the experts after a demand was taken in; `demand` of it counts, and should have `headroom`.
    fn consult(&mut self, at_seconds: i64, seconds: f64, demand: f64, headroom: f64, panel: &Panel<'_>) {
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

    /// Asks the experts anew when a step began or its value rose; in between they would say the same.
    fn look_ahead(&mut self, step: i64, panel: &Panel<'_>) {
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
        // To the end of its hour: what comes in the last minutes of it is not over before they are.
        let end = (step + 1 + panel.weekly_ahead_steps) * STEP_SECONDS;
        let weekly = self.weeks.foreseen_by_hour(step * STEP_SECONDS, end, panel.zone);
        let daily = panel.daily.and_then(|habit| self.series.daily_rise(step, &habit, panel.zone));
        let restlessness = panel
            .restless_headroom
            .and_then(|headroom| Restlessness::of(&self.series.window_of(step, DAY_STEPS), headroom));
        self.outlook =
            wishes.map(|wishes| Outlook { step, value, wishes, forecast, daily, weekly, restlessness });
    }

    /// What a forecast at `step` is made from; `None` where too little is known.
    fn window(&self, step: i64) -> Option<Vec<f32>> {
        let window = self.series.window(step);
        let known = window.iter().filter(|value| !value.is_nan()).take(LEAST_FORECAST_STEPS).count();
        (LEAST_FORECAST_STEPS <= known).then_some(window)
    }

    /// Whether at least half of the `window` steps that end with `step` were measured.
    fn knows_recent(&self, step: i64, window: i64) -> bool {
        window <= 2 * self.series.known(step - window + 1, step)
    }

    /// What the confidence in a size that is given at `step` follows from.
    fn chances(&self, step: i64, zone: &TimeZone, by: Yardstick) -> Chances {
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
    fn follows(&self, experts: usize) -> bool {
        let asked = self.outlook.as_ref().is_none_or(|outlook| outlook.wishes.len() == experts);
        asked && self.experts.count() == experts
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sum of positive seconds")]
    fn known_seconds(&self) -> u64 {
        self.known_seconds as u64
    }
}

impl ContainerModel {
    /// A container nothing is known about.
    pub fn new(shared: Arc<Shared>) -> Self {
        let half_life = shared.config().cpu_half_life_hours * 3600.0;
        let cpu_history = DecayingHistogram::new(CPU_FIRST_BUCKET, half_life);
        Self {
            shared,
            last: None,
            observed_seconds: 0.0,
            cpu: Learnt::new(Within::BusiestMinute, &experts::CPU, experts::FIRST_CPU),
            cpu_recovery: CpuRecovery::default(),
            cpu_history,
            memory: Learnt::new(Within::Largest, &experts::MEMORY, experts::FIRST_MEMORY),
            kind: Kind::default(),
        }
    }

    /// Whether a model from a checkpoint is one of this program: it follows as many experts.
    pub fn is_sound(&self) -> bool {
        self.cpu.follows(experts::CPU.len()) && self.memory.follows(experts::MEMORY.len())
    }

    /// Works with this from the next observation on. The half-life of what is known stays.
    pub fn set_shared(&mut self, shared: &Arc<Shared>) {
        if !Arc::ptr_eq(&self.shared, shared) {
            self.shared = Arc::clone(shared);
            // Another model may forecast from here on.
            (self.cpu.recall, self.memory.recall) = Default::default();
            self.cpu.weeks.set_clock();
            self.memory.weeks.set_clock();
        }
    }

    /// What the demand model expects at `now`: the peak of CPU (cores) in the coming step, and of memory (MiB) in
    /// the coming hour. `None` where too little is known.
    pub fn forecasts(&self, now: Timestamp) -> (Option<Quantiles>, Option<Quantiles>) {
        let step = step_of(now.as_second());
        let Some(demand) = self.shared.demand() else { return (None, None) };
        let of = |learnt: &Learnt, model: &ResourceModel| model.forecast(&learnt.window(step)?);
        (of(&self.cpu, &demand.cpu), of(&self.memory, &demand.memory))
    }

    /// The demand of the whole steps before `now`: of CPU (cores) and of memory (MiB), the oldest first, NaN is unknown.
    pub fn whole_steps(&self, now: Timestamp) -> (Vec<f32>, Vec<f32>) {
        let last = step_of(now.as_second()) - 1;
        (self.cpu.series.window(last), self.memory.series.window(last))
    }

    /// What its experts hold and have cost, and the forecast that they look at.
    pub fn opinions(&self) -> Opinions {
        let of = |learnt: &Learnt| {
            let forecast = learnt.outlook.as_ref().and_then(|outlook| outlook.forecast.as_ref());
            learnt.standing.is_some().then(|| Opinion::of(&learnt.experts, forecast))
        };
        Opinions { cpu: of(&self.cpu), memory: of(&self.memory) }
    }

    /// When the container was last observed.
    pub fn last_observed(&self) -> Option<Timestamp> {
        self.last
    }

    /// Takes in the next observation; one that is not newer than the last is ignored.
    pub fn observe(&mut self, observation: &Observation) {
        let at = observation.at;
        let seconds = match self.last {
            Some(last) if at <= last => return,
            Some(last) => at.duration_since(last).as_secs_f64(),
            None => FIRST_STEP_SECONDS,
        };
        self.last = Some(at);
        let seconds = if LONGEST_STEP_SECONDS < seconds { FIRST_STEP_SECONDS } else { seconds };
        self.observed_seconds += seconds;
        let at_seconds = at.as_second();
        let shared = Arc::clone(&self.shared);
        let config = shared.config();
        if let Some(CpuDemand { demand, sure }) = self.cpu_recovery.demand(observation) {
            let counts = self.cpu.observe(at_seconds, seconds, demand, CPU);
            // What is merely tried is found out again within minutes, and no habit.
            let used = if demand.fact == Fact::LastUse { counts } else { sure };
            self.cpu.weeks.note(hour_of(at_seconds), used);
            self.cpu_history.add(at_seconds as f64, seconds, demand.value);
            // A burst of two seconds may wait; what a limit cuts off has waited already.
            let counts = if demand.fact == Fact::LastUse { counts } else { demand.value };
            let headroom = 1.0 + config.cpu_headroom_percent / 100.0;
            self.cpu.consult(at_seconds, seconds, counts, headroom, &cpu_panel(&shared));
        }
        if let Some((demand, used)) = memory_demand(config, observation).zip(observation.memory_used_mib) {
            self.memory.observe(at_seconds, seconds, demand, MEMORY);
            // What is tried after it ran out of memory was not used.
            let held = observation.memory_limit_mib.map_or(f64::INFINITY, |limit| limit.max(used));
            self.memory.weeks.note(hour_of(at_seconds), demand.value.min(held));
            self.memory.consult(at_seconds, seconds, demand.value, 1.0, &memory_panel(&shared));
        }
    }

    /// Whether nothing is remembered of its weeks: it is new, or comes from a checkpoint that knew of none.
    pub fn lacks_weeks(&self) -> bool {
        self.cpu.weeks.is_empty() && self.memory.weeks.is_empty()
    }

    /// Takes the days that it remembers for the newest of its weeks.
    pub fn recall_weeks(&mut self) {
        for learnt in [&mut self.cpu, &mut self.memory] {
            let Some(newest) = learnt.series.newest() else { continue };
            for step in newest - KEPT_STEPS + 1..=newest {
                if let Some(value) = learnt.series.at(step) {
                    learnt.weeks.note(hour_of((step + 1) * STEP_SECONDS), value);
                }
            }
        }
    }

    /// Takes in the peaks of the hour of weeks ago that began then: of CPU (cores) and of memory (MiB).
    pub fn learn_hour(&mut self, begins: Timestamp, cpu: Option<f64>, memory: Option<f64>) {
        let hour = hour_of(begins.as_second() + 1);
        for (learnt, value) in [(&mut self.cpu, cpu), (&mut self.memory, memory)] {
            if let Some(value) = value {
                learnt.weeks.note(hour, value);
                // The experts may have been asked already.
                learnt.outlook = None;
            }
        }
    }

    /// Whether memory is sized for what comes at this time of the week.
    pub fn memory_comes_weekly(&self) -> bool {
        self.memory.weekly().is_some()
    }

    /// Finds out what kind of container it is, where that was not done since the quarter of a day began in which it was
    /// observed last: by what it did before, so that it is the same whenever it is looked at.
    pub fn look_at_kind(&mut self) {
        let Some(last) = self.last else { return };
        let period = step_of(last.as_second()).div_euclid(KIND_STEPS);
        if self.kind.period == Some(period) {
            return;
        }
        let class = {
            let until = period * KIND_STEPS - 1;
            let past = |learnt: &Learnt| learnt.series.window_of(until, KEPT_STEPS - KIND_STEPS);
            Class::of(&past(&self.cpu), &past(&self.memory))
        };
        self.kind = Kind { period: Some(period), class };
    }

    /// What was observed last was unusual: it counts for the present, and for the season once it comes again or lasts.
    pub fn doubt_newest(&mut self) {
        self.cpu.series.doubt_newest();
        self.memory.series.doubt_newest();
    }

    /// What the container should have from `now` on.
    pub fn recommend(&self, now: Timestamp) -> Recommendation {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a sum of positive seconds"
        )]
        let history_seconds = self.observed_seconds as u64;
        Recommendation {
            cpu: self.cpu_estimate(now),
            memory: self.memory_estimate(now),
            history_seconds,
            class: self.kind.class,
        }
    }

    fn cpu_estimate(&self, now: Timestamp) -> Option<Estimate> {
        let config = self.shared.config();
        let step = step_of(now.as_second());
        let window = experts::steps(config.cpu_window_minutes, 1.0);
        let mut evidence = self.cpu.evidence(step, window)?;
        let quantile = self.cpu_history.quantile(config.cpu_quantile());
        evidence.note(Fact::DecayedQuantile, quantile);
        let mut standing = self.cpu.standing?;
        if !self.cpu.knows_recent(step, window) {
            // After a gap the fading history stands in for the hour nobody saw.
            let headroom = 1.0 + config.cpu_headroom_percent / 100.0;
            standing = standing.at_least(evidence.largest(), headroom);
        }
        let floor = self.cpu.series.settled(step);
        Some(self.cpu.estimate(
            standing.held,
            evidence,
            floor,
            self.cpu.chances(step, self.shared.zone(), CPU),
        ))
    }

    fn memory_estimate(&self, now: Timestamp) -> Option<Estimate> {
        let config = self.shared.config();
        let step = step_of(now.as_second());
        let window = experts::steps(config.memory_window_minutes, 1.0);
        let mut evidence = self.memory.evidence(step, window)?;
        let view =
            View::new(config, &self.memory.series, step, None, experts::MEMORY_LOOK, self.shared.zone());
        evidence.note(Fact::SeasonPeak, view.season_peak());
        if self.memory.known_seconds() < FIRST_DAY_SECONDS {
            // All that is known of it: nothing tells yet that what came once does not come again.
            evidence.note(Fact::LastDaysPeak, self.memory.series.recent_peak(step, KEPT_STEPS));
        }
        let last = self.memory.last.map(|last| (last.value, last.fact));
        let recent = self.memory.series.recent_peak(step, MEMORY_MARGIN_STEPS);
        let recent = recent.map(|recent| (recent, Fact::RecentPeak));
        let margin = 1.0 + LEAST_MEMORY_MARGIN;
        let mut standing = self.memory.standing?.at_least(last, margin).at_least(recent, margin);
        if !self.memory.knows_recent(step, window) {
            evidence.note(Fact::LastDaysPeak, self.memory.series.recent_peak(step, KEPT_STEPS));
            let headroom = 1.0 + config.memory_headroom_percent / 100.0;
            standing = standing.at_least(evidence.largest(), headroom);
        }
        let floor = self.memory.series.recent_peak(step, MEMORY_FLOOR_STEPS);
        Some(self.memory.estimate(
            standing.held,
            evidence,
            floor,
            self.memory.chances(step, self.shared.zone(), MEMORY),
        ))
    }
}

impl Learnt {
    /// What was seen last and lately, and what the followed expert made of it.
    fn evidence(&self, step: i64, window: i64) -> Option<Collected> {
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
    fn weekly(&self) -> Option<WeeklyPeak> {
        self.outlook.as_ref()?.weekly
    }

    fn estimate(
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
            chances,
        }
    }
}

impl Standing {
    /// Raised to what the evidence with its head-room asks for.
    fn at_least(self, evidence: Option<(f64, Fact)>, headroom: f64) -> Self {
        match evidence {
            Some((demand, fact)) if self.held.size < demand * headroom => {
                Self { held: Wish { size: demand * headroom, fact, demand }, ..self }
            }
            _ => self,
        }
    }
}

fn cpu_panel(shared: &Shared) -> Panel<'_> {
    Panel {
        experts: &experts::CPU,
        wish: |expert, view| expert.cpu(view),
        look: experts::CPU_LOOK,
        config: shared.config(),
        demand_model: shared.demand().map(|model| &model.cpu),
        prices: experts::cpu_prices(shared.config()),
        movement: experts::CPU_MOVEMENT,
        first_choice_seconds: shared.first_choice_seconds(),
        zone: shared.zone(),
        daily: (0 < shared.config().season_days).then_some(CPU_HABIT),
        weekly_ahead_steps: CPU_WEEKLY_STEPS,
        habit_headroom: 1.0 + shared.config().cpu_headroom_percent / 100.0,
        restless_headroom: Some(1.0 + shared.config().cpu_headroom_percent / 100.0),
    }
}

fn memory_panel(shared: &Shared) -> Panel<'_> {
    Panel {
        experts: &experts::MEMORY,
        wish: |expert, view| expert.memory(view),
        look: experts::MEMORY_LOOK,
        config: shared.config(),
        demand_model: shared.demand().map(|model| &model.memory),
        prices: experts::memory_prices(shared.config()),
        movement: experts::MEMORY_MOVEMENT,
        first_choice_seconds: shared.first_choice_seconds(),
        zone: shared.zone(),
        daily: (0 < shared.config().season_days).then_some(MEMORY_HABIT),
        weekly_ahead_steps: MEMORY_WEEKLY_STEPS,
        habit_headroom: 1.0 + shared.config().memory_headroom_percent / 100.0,
        restless_headroom: None,
    }
}

/// Evidence in the order it was looked at.
#[derive(Default)]
struct Collected {
    all: Vec<Evidence>,
}

impl Collected {
    fn note(&mut self, fact: Fact, value: Option<f64>) {
        self.all.extend(value.map(|value| Evidence { fact, value }));
    }

    /// What decided is shown as it was then: a size stays when a change would not pay.
    fn decided(&mut self, held: Wish) {
        match self.all.iter_mut().find(|evidence| evidence.fact == held.fact) {
            Some(evidence) => evidence.value = held.demand,
            None => self.note(held.fact, Some(held.demand)),
        }
    }

    /// The largest; among equals the one noted first, which is the more immediate.
    fn largest(&self) -> Option<(f64, Fact)> {
        let larger = |best: Evidence, next: &Evidence| {
            // The series keeps seven digits.
            if best.value * (1.0 + 1e-6) < next.value { *next } else { best }
        };
        let (first, rest) = self.all.split_first()?;
        let best = rest.iter().fold(*first, larger);
        Some((best.value, best.fact))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 / DAY * DAY + seconds).unwrap()
    }

    fn seen(seconds: i64, cpu: f64, memory: f64) -> Observation {
        Observation {
            cpu_cores_used: Some(cpu),
            cpu_throttled_share: Some(0.0),
            cores_limit: Some(64.0),
            memory_used_mib: Some(memory),
            memory_limit_mib: Some(65536.0),
            oom: Some(false),
            ..Observation::unknown(at(seconds))
        }
    }

    /// A model that saw `use_at(seconds)` every `step` seconds for `days`.
    fn learnt(days: i64, step: i64, use_at: impl Fn(i64) -> (f64, f64)) -> (ContainerModel, Timestamp) {
        let mut model = ContainerModel::new(Arc::new(Shared::with_shipped(&RecommendConfig::default())));
        let mut now = 0;
        while now < days * DAY {
            now += step;
            let (cpu, memory) = use_at(now);
            model.observe(&seen(now, cpu, memory));
        }
        (model, at(now))
    }

    #[test]
    fn nothing_seen_is_nothing_recommended() {
        let model = ContainerModel::new(Arc::new(Shared::with_shipped(&RecommendConfig::default())));
        assert_eq!(
            model.recommend(at(0)),
            Recommendation { cpu: None, memory: None, history_seconds: 0, class: None }
        );
    }

    #[test]
    fn a_steady_container_gets_its_use_and_head_room_whatever_the_pace() {
        for step in [2, 60, 300] {
            let days = if step == 2 { 1 } else { 3 };
            let (model, now) = learnt(days, step, |_| (0.8, 400.0));
            let got = model.recommend(now);
            let (cpu, memory) = (got.cpu.unwrap(), got.memory.unwrap());
            assert!((0.88..0.97).contains(&cpu.target), "{cpu:?}");
            assert!((459.9..521.0).contains(&memory.target), "{memory:?}");
            assert!((cpu.floor - 0.8).abs() < 1e-3 && (memory.floor - 400.0).abs() < 1e-3);
            assert!(90.0 < cpu.confidence_percent, "{cpu:?}");
        }
    }

    #[test]
    fn memory_is_there_before_the_hour_that_needs_it() {
        // Every day from 03:00 to 04:00 a job needs 3000 MiB; asked at 02:30 of the fourth day.
        let job = |seconds: i64| if (3 * 3600..4 * 3600).contains(&(seconds % DAY)) { 3000.0 } else { 300.0 };
        let mut model = ContainerModel::new(Arc::new(Shared::with_shipped(&RecommendConfig::default())));
        let end = 3 * DAY + 2 * 3600 + 1800;
        for seconds in (300..=end).step_by(300) {
            model.observe(&seen(seconds, 0.1, job(seconds)));
        }
        let memory = model.recommend(at(end)).memory.unwrap();
        assert!(matches!(memory.basis, Fact::SeasonPeak | Fact::Forecast), "{memory:?}");
        assert!((3000.0..6000.0).contains(&memory.target), "{memory:?}");
        // The peak of the season is no reason against a shrink now; what is used now is.
        assert!((memory.floor - 300.0).abs() < 1.0, "{memory:?}");
    }

    #[test]
    fn a_cut_off_container_is_recommended_more_than_it_shows() {
        let (mut model, now) = learnt(1, 300, |_| (0.5, 200.0));
        let mut cut = seen(DAY + 300, 1.0, 512.0);
        (cut.cpu_throttled_share, cut.cores_limit) = (Some(0.5), Some(1.0));
        (cut.oom, cut.memory_limit_mib) = (Some(true), Some(512.0));
        model.observe(&cut);
        let got = model.recommend(now + jiff::SignedDuration::from_secs(300));
        let (cpu, memory) = (got.cpu.unwrap(), got.memory.unwrap());
        let tells =
            |estimate: &Estimate, fact| estimate.evidence.iter().any(|evidence| evidence.fact == fact);
        assert!(
            tells(&cpu, Fact::ThrottledDemand) && tells(&memory, Fact::OutOfMemory),
            "{cpu:?} {memory:?}"
        );
        assert_eq!(cpu.basis, Fact::ThrottledDemand, "{cpu:?}");
        assert!(2.29 < cpu.target && 665.0 < memory.target, "{cpu:?} {memory:?}");
    }

    #[test]
    fn after_a_gap_the_history_speaks() {
        let (mut model, _) = learnt(2, 300, |seconds| (if seconds % 3600 < 600 { 2.0 } else { 0.2 }, 200.0));
        // Off for a day, and idle in its first five minutes.
        model.observe(&seen(3 * DAY, 0.05, 200.0));
        let cpu = model.recommend(at(3 * DAY)).cpu.unwrap();
        assert_eq!(cpu.basis, Fact::DecayedQuantile);
        assert!((2.0..2.5).contains(&cpu.target), "{cpu:?}");
        assert!(model.recommend(at(3 * DAY)).history_seconds < 2 * 86_400 + 600, "a gap is no history");
    }

    #[test]
    fn what_ran_before_a_pause_still_needs_its_memory() {
        let (mut model, _) = learnt(2, 300, |_| (0.5, 3000.0));
        // Stopped for five days, longer than the season looks back; a minute after its start it uses little.
        let start = 7 * DAY;
        model.observe(&seen(start, 0.1, 60.0));
        let memory = model.recommend(at(start)).memory.unwrap();
        assert_eq!((memory.basis, memory.target), (Fact::LastDaysPeak, 3900.0));
        // Half a window later its present is known, and speaks for itself.
        for minutes in 1..=720 {
            model.observe(&seen(start + minutes * 60, 0.1, 60.0));
        }
        let memory = model.recommend(at(start + 720 * 60)).memory.unwrap();
        assert!(memory.target < 100.0, "{memory:?}");
    }

    /// Nine hours ago it used 2500 MiB for two: longer than the window of recent peaks, and all that is known.
    #[test]
    fn on_the_first_day_all_that_was_seen_counts() {
        let burst = |seconds: i64| if seconds < 2 * 3600 { 2500.0 } else { 300.0 };
        for (hours, want) in [(11, 2500.0), (20, 2500.0), (30, 300.0)] {
            let mut model = ContainerModel::new(Arc::new(Shared::with_shipped(&RecommendConfig::default())));
            for seconds in (60..=hours * 3600).step_by(60) {
                model.observe(&seen(seconds, 0.5, burst(seconds)));
            }
            let memory = model.recommend(at(hours * 3600)).memory.unwrap();
            assert!((memory.seen() - want).abs() < 1.0, "{hours} h: {memory:?}");
        }
    }

    #[test]
    fn experts_are_told_apart_once_a_day_was_measured() {
        let shared = Arc::new(Shared::with_shipped(&RecommendConfig::default()));
        // Every quarter of an hour a burst that a forecast of the next five minutes does not foresee.
        let bursts = |minute: i64| if minute % 15 == 14 { 6.0 } else { 0.2 };
        let followed_after = |shared: &Arc<Shared>, hours: i64| {
            let mut model = ContainerModel::new(Arc::clone(shared));
            for minute in 0..60 * hours {
                model.observe(&seen(60 * (minute + 1), bursts(minute), 300.0));
            }
            model.cpu.experts.followed()
        };
        assert_eq!(followed_after(&shared, 23), experts::FIRST_CPU);
        assert_ne!(followed_after(&Arc::new(shared.choosing_at_once()), 23), experts::FIRST_CPU);
        assert_ne!(followed_after(&shared, 25), experts::FIRST_CPU);
        assert_eq!(followed_after(&Arc::new(shared.without_choice()), 25), experts::FIRST_CPU);
    }

    #[test]
    fn a_resource_is_known_by_its_own_measurements_only() {
        let mut model = ContainerModel::new(Arc::new(Shared::with_shipped(&RecommendConfig::default())));
        for minute in 0..600 {
            let mut one = seen(60 * minute, 0.5, 300.0);
            one.memory_used_mib = one.memory_used_mib.filter(|_| 590 <= minute);
            model.observe(&one);
        }
        let got = model.recommend(at(600 * 60));
        let (cpu, memory) = (got.cpu.unwrap(), got.memory.unwrap());
        assert_eq!((cpu.known_seconds, memory.known_seconds), (36_000, 600));
        assert!(memory.confidence_percent < cpu.confidence_percent, "{memory:?}");
    }

    #[test]
    fn nothing_is_left_of_a_container_after_a_long_pause() {
        let (mut model, _) = learnt(2, 300, |_| (0.5, 3000.0));
        model.observe(&seen(30 * DAY, 0.1, 60.0));
        let got = model.recommend(at(30 * DAY));
        assert!(got.cpu.unwrap().known_seconds <= 60 && got.memory.unwrap().known_seconds <= 60);
    }

    #[test]
    fn an_observation_from_the_past_is_ignored() {
        let (mut model, now) = learnt(1, 300, |_| (0.5, 200.0));
        let before = model.recommend(now);
        model.observe(&seen(DAY - 600, 50.0, 50_000.0));
        assert_eq!(model.recommend(now), before);
    }

    proptest! {
        /// Finite, not below what is used, and never less sure than nothing or surer than certain.
        #[test]
        fn estimates_make_sense(
            steps in proptest::collection::vec((1i64..4000, 0.0f64..64.0, 0.0f64..60000.0, 0.0f64..1.0, any::<bool>()), 1..80),
        ) {
            let mut model = ContainerModel::new(Arc::new(Shared::with_shipped(&RecommendConfig::default())));
            let mut now = 0;
            for (seconds, cpu, memory, share, oom) in steps {
                now += seconds;
                let mut one = seen(now, cpu, memory);
                (one.cpu_throttled_share, one.oom, one.cores_limit) = (Some(share), Some(oom), Some(cpu.max(0.1)));
                model.observe(&one);
                let got = model.recommend(at(now));
                for (estimate, used) in [(got.cpu.unwrap(), cpu), (got.memory.unwrap(), memory)] {
                    prop_assert!(estimate.target.is_finite() && used <= estimate.target * (1.0 + 1e-6));
                    prop_assert!(estimate.floor <= estimate.target * (1.0 + 1e-6), "{estimate:?}");
                    prop_assert!((0.0..=100.0).contains(&estimate.confidence_percent));
                }
            }
        }
    }
}
