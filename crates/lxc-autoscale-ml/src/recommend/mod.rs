//! What a container should have, learnt from what it did.
//!
//! Pure and incremental: observations go in one after the other, at whatever pace, and a recommendation can
//! be had at any time. Nothing here reads a clock; time comes from the observations.
//!
//! Demand is recovered from what was seen ([`demand`]: a limit hides it) and kept in steps of five minutes
//! ([`series`]). Several experts make a size of it: the forecast of the demand model at several degrees of
//! prudence, and peaks of several windows (`experts`). Each is charged with the prices that the operator
//! states for what it would have held, missed and moved, and the container follows the one that was cheapest
//! lately ([`selector`]). What was just lacked is answered at once, whatever the experts say, and what comes once a
//! week (`weeks`), which no expert sees, is there before it.
//!
//! CPU forecasts look five minutes ahead: a CPU limit that turns out too low shows at once, costs little and is
//! mended within a step. Memory forecasts look an hour ahead and weigh the price of the limit against the
//! probability of running out, because that kills.

mod config;
pub mod demand;
mod experts;
pub mod histogram;
mod model;
mod opinions;
mod recommendation;
mod restlessness;
pub mod selector;
pub mod series;
mod shared;
mod track_record;
mod weeks;

pub use config::{LEAST_OOM_GROWTH_MIB, LEAST_OOM_GROWTH_PERCENT, RecommendConfig};
pub use demand::CUT_OFF_SHARE;
pub use model::ContainerModel;
pub use opinions::{Opinion, Opinions, cpu_experts, memory_experts};
pub use recommendation::{Estimate, Evidence, FIRST_DAY_SECONDS, Fact, Recommendation, WeeklyPeak};
pub use restlessness::Restlessness;
pub use shared::{Shared, SharedError};
pub(crate) use weeks::{KEPT_HOURS, WEEKS};
