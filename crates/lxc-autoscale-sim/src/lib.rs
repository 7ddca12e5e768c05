//! A simulated Proxmox node: a directory tree that the daemons read as if it were a real node, and the `pct` that
//! changes it.
//!
//! In reading order:
//!
//! - [`node`]: the paths in the tree, and the settings of the node;
//! - [`engine`]: what a machine does for `pct`, implemented for simulated cgroup files and for real LXC containers;
//! - [`kernel`]: the simulated kernel, which enforces limits and advances the counters;
//! - [`workload`]: what the containers do, either by scenario or replayed from real machines;
//! - [`fleet`]: the ten containers of the default node;
//! - [`past`]: days of history for the daemons to learn from;
//! - [`pve`]: Proxmox's part: configuration, locks, pending changes, snapshots, `pct` and `pvesh`;
//! - [`rest`]: the same through Proxmox's REST API;
//! - [`boot`] and [`run`]: creates, boots and runs a node;
//! - [`demo`]: a node with the three daemons on it;
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
