//! How likely it is that a decision stays right over the next hour.
//!
//! A decision leaves the container with a size. It **stays right** over the following hour if that size is neither
//! short nor reversed:
//!
//! - *short*: for CPU, when more than 5 % of the hour's work is not served at that size (throttled work waits, and the
//!   limit is raised in the next step); for memory, when the demand exceeds the size in any step, because that kills
//!   processes;
//! - *reversed*: when a growth is followed by a shrink, or a shrink by a growth.
//!
//! A size that is too large for an hour is no mistake: prices decide how much is held for a peak
//! ([`crate::recommend`]), not the hour.
//!
//! The probability is a logistic regression on the state at that moment ([`GROUNDS`]), one for each resource and for
//! keeping, growing and shrinking, calibrated by isotonic regression (B. Zadrozny, C. Elkan, "Transforming classifier
//! scores into accurate multiclass probability estimates", KDD 2002). `cargo xtask bench confidence` trains it on
//! recorded machines ([`calibration`]) and evaluates it on other machines.

pub mod calibration;
mod grounds;
mod model;

pub use grounds::{Chances, GROUNDS, Grounds, Known, Scale};
pub use model::{ByMove, ConfidenceModel, Move, Probability};

/// The share of an hour's demand that must be served for the hour to count as served.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServedShare(f64);

impl ServedShare {
    /// CPU: waiting work is served later, so a twentieth may wait.
    pub const CPU: Self = Self(0.95);
    /// Memory: all of it, in every step.
    pub const MEMORY: Self = Self(1.0);

    /// Whether a time with the demand `wanted`, of which `missed` was not available, counts as served.
    pub fn is_kept(self, wanted: f64, missed: f64) -> bool {
        missed <= (1.0 - self.0) * wanted
    }
}
