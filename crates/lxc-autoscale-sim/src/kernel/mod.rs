//! The simulated kernel: what becomes of a demand when limits and a node of finite size stand against it.
//!
//! In reading order: what is asked for ([`demand`]) and what is allowed ([`limits`]); the three resource models
//! ([`cpu`], [`memory`], [`io`]) and the pressure they cause ([`psi`]); one container ([`container`]), the whole
//! node ([`node`]), and the node with the services that run on it ([`machine`]). All of it is pure: a tick takes
//! a duration, demands and limits, and leaves counters.
//! Then the edge: how the counters look in files ([`files`]), how those reach the tree so that no reader ever
//! sees half of one ([`tree`]), the limits that `pct` wrote ([`limit_files`]), and the loop that turns it all
//! ([`clockwork`]).
//!
//! ## What the model keeps
//!
//! - No container is served more CPU than its quota, its cpuset and its share of the node.
//! - After a tick no container's memory is above its limit: clean cache went first, then swap, then a process.
//! - Counters never run backwards, and every stall a model causes is in its pressure file.

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
