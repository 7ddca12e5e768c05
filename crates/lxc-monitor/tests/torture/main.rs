//! The monitor under torture, ten times a second: killed at random moments, with anything in the place of its file, on
//! a full disk, with a clock that is changed; and the history's store, killed and damaged.
//!
//! `LXC_TORTURE_KILLS` sets how often it is killed (`cargo xtask torture` sets 1,000), `LXC_TORTURE_SEED` when.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "all of this is test code")]

#[path = "../monitor/fixture.rs"]
#[allow(dead_code, reason = "the other tests of the monitor use all of it")]
mod fixture;
#[path = "../../../core/tests/torture/python.rs"]
mod python;

mod clock;
mod daemon;
mod kills;
mod random;
mod replaced;
mod store;
