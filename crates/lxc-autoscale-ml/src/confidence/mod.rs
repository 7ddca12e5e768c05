//! How likely it is that a decision stays right over the next hour.
//!
//! A decision leaves the container with a size. Over the hour that follows it **stays right** when that size is
//! neither short nor taken back:
//!
//! - *short*: of CPU, when more than 5 % of the hour's work is not served at that size (what a CPU limit cuts off waits,
//!   and the limit is raised in the next step); of memory, when the demand is above the size in any step, for that
//!   kills;
//! - *taken back*: when a growth is followed by a shrink, or a shrink by a growth.
//!
//! That a size is too large for an hour is no mistake: what is kept for a peak is decided by prices
//! ([`crate::recommend`]), not by the hour.
//!
//! The probability is a logistic regression on what is known at that moment ([`GROUNDS`]), one for each resource and
//! for keeping, growing and shrinking, put onto the scale of what really happened by isotonic regression (B. Zadrozny,
//! C. Elkan, "Transforming classifier scores into accurate multiclass probability estimates", KDD 2002). `cargo xtask
//! bench confidence` learns it from recorded machines ([`calibration`]) and judges it on machines it was not learnt
//! from.

pub mod calibration;
mod grounds;
mod model;

pub use grounds::{Chances, GROUNDS, Grounds, Known, Scale};
pub use model::{ByMove, ConfidenceModel, Move, Probability};

/// The share of an hour's demand that must be served for the hour to count as served.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServedShare(f64);

impl ServedShare {
    /// CPU: what waits is served later, so a twentieth may.
    pub const CPU: Self = Self(0.95);
    /// Memory: all of it, in every step.
    pub const MEMORY: Self = Self(1.0);

    /// Whether a time was served in which `wanted` was demanded and `missed` of it could not be had.
    pub fn is_kept(self, wanted: f64, missed: f64) -> bool {
        missed <= (1.0 - self.0) * wanted
    }
}
