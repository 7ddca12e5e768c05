//! What a policy would have done with a recorded past, and what that would have cost.
//!
//! A recording ([`traces`], [`metrics`]) is replayed ([`run`]) on a host that shows only what a node would show under
//! the limits of the replay ([`host`]); the daemon's own functions decide ([`crate::replay`]), and the decisions are
//! judged against the recording ([`score`]). The same file and policy give exactly the same result. The output: a table
//! ([`report`]), the decisions ([`allocations`]) and a page of charts ([`html`]).
//!
//! Differences from the daemon: containers do not compete for the node, the anomaly detector is not trained (it can
//! only delay a shrink), and only limits, usage and running out of memory are observed.

pub mod allocations;
mod command;
mod error;
pub mod host;
pub mod html;
pub mod metrics;
pub mod recording;
pub mod report;
pub mod run;
pub mod score;
pub mod traces;

pub use command::{BacktestArgs, command};
pub use error::{BacktestError, TraceError};
