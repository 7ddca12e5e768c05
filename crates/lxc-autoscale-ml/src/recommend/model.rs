//! What has been learnt about one container.

mod evidence;
mod learnt;
mod panel;

use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::learnt::{CPU, HOUR_STEPS, Learnt, MEMORY};
use self::panel::{cpu_panel, memory_panel};
use super::config::RecommendConfig;
use super::demand::{CpuDemand, CpuRecovery, memory_demand};
use super::experts::{self, View};
use super::histogram::DecayingHistogram;
use super::opinions::{Opinion, Opinions};
use super::recommendation::{Estimate, FIRST_DAY_SECONDS, Fact, Recommendation};
use super::series::{KEPT_STEPS, STEP_SECONDS, Within, step_of};
use super::shared::Shared;
use super::weeks::hour_of;
use crate::classes::Class;
use crate::forecast::{Quantiles, ResourceModel};
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
/// The kind of a container does not change from hour to hour, and it takes a look at all of its eight days.
const KIND_STEPS: i64 = 6 * HOUR_STEPS;

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

/// What a model from a checkpoint works with until it is given what it is to work with.
fn shared_by_default() -> Arc<Shared> {
    static SHARED: LazyLock<Arc<Shared>> =
        LazyLock::new(|| Arc::new(Shared::with_shipped(&RecommendConfig::default())));
    Arc::clone(&SHARED)
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

    /// What kind of container it was when that was last found out.
    pub fn class(&self) -> Option<Class> {
        self.kind.class
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

#[cfg(test)]
mod tests;
