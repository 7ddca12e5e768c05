//! The simulated kernel: what becomes of a demand under limits, on a node of finite size.
//!
//! In reading order: the demand ([`demand`]) and the limits ([`limits`]); the three resource models ([`cpu`],
//! [`memory`], [`io`]) and the pressure they cause ([`psi`]); one container ([`container`]), the whole node
//! ([`node`]), and the node with the services that run on it ([`machine`]). All of these are pure: a tick takes a
//! duration, demands and limits, and updates counters. Then come the parts with side effects: the counters in the
//! format of files ([`files`]), writing them so that no reader ever sees an incomplete one ([`tree`]), reading the
//! limits that `pct` wrote ([`limit_files`]), and the loop that drives everything ([`clockwork`]).
//!
//! ## Invariants of the model
//!
//! - No container is served more CPU than its quota, its cpuset and its share of the node.
//! - After a tick, no container's memory is above its limit: clean cache goes first, then memory to swap, then a
//!   process.
//! - Counters never decrease, and every stall that a model causes is in its pressure file.

pub mod clockwork;
pub mod container;
pub mod cpu;
pub mod demand;
pub mod files;
pub mod io;
pub mod limit_files;
pub mod limits;
pub mod machine;
pub mod memory;
pub mod node;
pub mod psi;
pub mod tree;
