//! What a container should have, learnt from what it did.
//!
//! Pure and incremental: observations go in one after the other, at whatever pace, and a recommendation can
//! be had at any time. Nothing here reads a clock; time comes from the observations.
//!
//! ## CPU
//!
//! The most it demanded in the last hour plus head-room, and never less than what it just lacked. A short
//! window is affordable because a CPU limit that turns out too low shows at once ([`demand`]), costs little
//! and is mended within a step. After a gap, when the last hour is not known, the quantile of the fading
//! history that the prices of waste and of waiting ask for stands in.
//!
//! ## Memory
//!
//! The most of the last six hours and of the coming hour on the last three days, plus a wide margin: running
//! out of memory kills, and the jobs that need most of it come by the clock.

mod config;
pub mod demand;
pub mod histogram;
mod model;
mod recommendation;
pub mod series;
mod track_record;

pub use config::RecommendConfig;
pub use model::ContainerModel;
pub use recommendation::{Estimate, Evidence, Fact, Recommendation};
