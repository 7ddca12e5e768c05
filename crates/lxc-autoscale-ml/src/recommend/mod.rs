//! The size that a container should have, learnt from its behaviour.
//!
//! Pure and incremental: observations go in one after the other, at any rate, and a recommendation is available at any
//! time. Nothing here reads a clock; time comes from the observations.
//!
//! Demand is estimated from usage ([`demand`]: a limit hides it) and kept in steps of five minutes ([`series`]).
//! Several experts turn it into a size: the forecast of the demand model at several degrees of caution, and peaks over
//! several windows (`experts`). Each is charged the operator's prices for the resources it would have held and lacked
//! and for its changes, and the container follows the one that was cheapest lately ([`selector`]). A shortage is
//! answered at once, whatever the experts say, and a weekly peak (`weeks`), which no expert sees, is prepared for.
//!
//! CPU forecasts look five minutes ahead: a CPU limit that is too low shows at once, costs little and is corrected
//! within a step. Memory forecasts look an hour ahead and weigh the price of the limit against the probability of
//! running out, because running out kills processes.

mod clock;
mod config;
pub mod demand;
mod experts;
pub mod histogram;
mod model;
mod opinions;
mod random_day;
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
