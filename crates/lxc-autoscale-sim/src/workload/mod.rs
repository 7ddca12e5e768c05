//! The workloads of the containers of a simulated node.
//!
//! A [`Workload`] is a pure function of time: what a container wants at a time of its own clock. It is either a named
//! [`Scenario`] or the replay of a real machine ([`trace`]). A [`Plan`] is the file in the tree that assigns
//! workloads to containers. A [`Runner`] adds the only part with state: being killed and restarted.

mod noise;
mod plan;
mod runner;
mod scenario;
pub mod trace;

pub use plan::{FASTEST, Plan, PlanError, Workload, is_speed};
pub use runner::Runner;
pub use scenario::Scenario;
