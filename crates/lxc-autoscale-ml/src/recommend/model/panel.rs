//! The experts of each resource, what they look at and what they are charged with.

use jiff::tz::TimeZone;

use crate::forecast::ResourceModel;
use crate::recommend::config::RecommendConfig;
use crate::recommend::experts::{self, Expert, View};
use crate::recommend::selector::{Movement, Prices, Wish};
use crate::recommend::series::{Habit, SeasonLook};
use crate::recommend::shared::Shared;

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

/// The experts of one resource, what they look at and what they are charged with.
pub(super) struct Panel<'a> {
    pub(super) experts: &'static [Expert],
    pub(super) wish: fn(Expert, &View<'_>) -> Option<Wish>,
    pub(super) look: SeasonLook,
    pub(super) config: &'a RecommendConfig,
    pub(super) demand_model: Option<&'a ResourceModel>,
    pub(super) prices: Prices,
    pub(super) movement: Movement,
    pub(super) first_choice_seconds: f64,
    pub(super) zone: &'a TimeZone,
    /// Which part of the last days shows what comes each day; `None` where the experts alone say so.
    pub(super) daily: Option<Habit>,
    /// A weekly peak is prepared for so many steps before the hour in which it came; `None` where it is not.
    pub(super) weekly_ahead_steps: Option<i64>,
    /// The factor of headroom with which what comes each day, each week or at random is prepared for.
    pub(super) habit_headroom: f64,
    /// The factor of headroom with which a size is held against the last day, and how many times its usual price a change
    /// costs; `None` where that is not done.
    pub(super) restless: Option<(f64, f64)>,
}

pub(super) fn cpu_panel(shared: &Shared) -> Panel<'_> {
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
        daily: shared.prepares_daily().then_some(CPU_HABIT),
        weekly_ahead_steps: shared.prepares_weekly().then_some(CPU_WEEKLY_STEPS),
        habit_headroom: 1.0 + shared.config().cpu_headroom_percent / 100.0,
        restless: Some((
            1.0 + shared.config().cpu_headroom_percent / 100.0,
            shared.config().price_of_a_change(),
        )),
    }
}

pub(super) fn memory_panel(shared: &Shared) -> Panel<'_> {
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
        daily: shared.prepares_daily().then_some(MEMORY_HABIT),
        weekly_ahead_steps: shared.prepares_weekly().then_some(MEMORY_WEEKLY_STEPS),
        habit_headroom: 1.0 + shared.config().memory_headroom_percent / 100.0,
        restless: None,
    }
}
