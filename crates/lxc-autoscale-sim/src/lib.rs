//! A Proxmox node that is not there: a directory tree the daemons read as if it were one, and the `pct`
//! that changes it.
//!
//! In reading order:
//!
//! - [`node`]: where things lie in the tree, and what the node is;
//! - [`engine`]: what a machine does for `pct`, once on simulated cgroup files and once on real LXC containers;
//! - [`pve`]: Proxmox's side of it, which is configuration, locks, pending changes, snapshots, `pct` and `pvesh`;
//! - [`cli`]: the command line.

pub mod cli;
pub mod engine;
pub mod node;
pub mod pve;
