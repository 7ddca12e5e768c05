//! What a container will need next, learnt from many others and applied to its own past.
//!
//! A demand model forecasts quantiles of the coming peak: of the next five minutes for CPU, of the next hour for
//! memory. It is a sum of regression trees trained with the pinball loss ([`boosting`]) on scale-free features of the
//! last eight days ([`features`]): recent peaks, quantiles of the day, the same time on earlier days.
//! [`crate::recommend`] decides what to do with a forecast, and whether forecasts are good enough to be followed for a
//! container.

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
