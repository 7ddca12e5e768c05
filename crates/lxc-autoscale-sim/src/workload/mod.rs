//! What the containers of a simulated node do all day.
//!
//! A [`Workload`] is a pure function of time: how much a container wants at a moment of its own clock. It is either
//! a named [`Scenario`] or the replay of a real machine ([`trace`]). A [`Plan`] is the file in the tree that says
//! which container does what; a [`Runner`] adds the one thing that has a memory, being killed and coming back.

mod noise;
mod plan;
mod runner;
mod scenario;
pub mod trace;

pub use plan::{FASTEST, Plan, PlanError, Workload, is_speed};
pub use runner::Runner;
pub use scenario::Scenario;
