//! The monitor as a whole: on synthetic trees of both cgroup versions, on misbehaving files, as a program, and on real
//! containers.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "all of this is test code")]

mod alerts;
mod anomaly;
mod exporter;
mod fixture;
mod full_disk;
mod handles;
mod history;
mod program;
mod quiet;
mod real_lxc;
mod second;
mod stalled;
mod trees;
mod versions;
mod volumes;
mod wedged;
