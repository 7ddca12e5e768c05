//! Flags values that are unusual for this container, this metric and this time of day.
//!
//! A record goes through [`ContainerState::take`] (pure), which cuts time into steps and gives each [`Metric`] to its
//! detector, which is packed in between; [`AnomalyWatch`] is the edge: it fills in the snapshot, writes the log and
//! saves the learnt state. The method, its sources and its measured quality are described in `docs/anomaly-flags.md`.
//!
//! Invariants: a missing value is skipped, nothing is flagged before there is enough history, the state of a container
//! takes at most two KiB, less than one if it is idle, and the same records give the same flags.

mod codec;
mod config;
mod container;
mod detector;
mod metric;
mod observe;
mod profile;
mod rest;
mod store;
mod tail;
mod watch;
mod week;

pub use codec::Damaged;
pub use config::AnomalyConfig;
pub use container::{ContainerState, Event, Settings};
pub use metric::{METRICS, Metric};
pub use store::{StoreError, decode, encode, load, save};
pub use watch::AnomalyWatch;

#[cfg(test)]
mod tests;
