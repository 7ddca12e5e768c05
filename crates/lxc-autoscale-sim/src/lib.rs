//! A Proxmox node that is not there: a directory tree the daemons read as if it were one, and the `pct`
//! that changes it.
//!
//! In reading order:
//!
//! - [`node`]: where things lie in the tree, and what the node is;
//! - [`engine`]: what a machine does for `pct`, once on simulated cgroup files and once on real LXC containers;
//! - [`kernel`]: the simulated kernel, which makes limits bite and advances the counters;
//! - [`workload`]: what the containers do, by name or replayed from real machines;
//! - [`fleet`]: the ten containers of the node that is made when none is given;
//! - [`past`]: days of history for the daemons to learn from;
//! - [`pve`]: Proxmox's side of it, which is configuration, locks, pending changes, snapshots, `pct` and `pvesh`;
//! - [`rest`]: the same through Proxmox's REST API;
//! - [`boot`] and [`run`]: a node of its own, made, booted and kept going;
//! - [`demo`]: the node with the three daemons on it;
//! - [`commands`] and [`cli`]: the command line.

#![cfg_attr(test, allow(clippy::float_cmp, reason = "tests compare with numbers that are exact in binary"))]

pub mod boot;
pub mod cli;
pub mod commands;
pub mod demo;
pub mod engine;
pub mod fleet;
pub mod kernel;
pub mod node;
pub mod past;
pub mod pve;
pub mod rest;
pub mod run;
pub mod workload;
