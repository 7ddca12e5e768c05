//! Detectors of unusual behaviour.

pub mod isolation_forest;

pub use isolation_forest::{IsolationForest, IsolationForestError, IsolationForestParams};
