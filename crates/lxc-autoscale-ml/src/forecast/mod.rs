//! What a container will need next, learnt from many others and looked up in its own past.
//!
//! A demand model forecasts quantiles of the coming peak: of the next five minutes for CPU, of the next hour for
//! memory. It is a sum of regression trees under the pinball loss ([`boosting`]) over scale-free looks at the last
//! eight days ([`features`]): recent peaks, quantiles of the day, the same time on earlier days. What to do with a
//! forecast is not decided here but in [`crate::recommend`], which also watches whether forecasts deserve to be
//! followed in each container.

pub mod boosting;
mod day;
mod demand_model;
pub mod features;
pub mod outlook;
mod quantiles;
mod scorer;
pub mod training;
mod trees;

pub use demand_model::{DemandModel, LearntModel, LearntResource, ModelError, Recall, ResourceModel};
pub use quantiles::{Candidates, Quantiles};
pub use trees::{Ensemble, Node, Tree};
