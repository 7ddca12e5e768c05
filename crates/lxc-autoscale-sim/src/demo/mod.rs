//! `lxc-autoscale-sim demo`: the node with the three real daemons, to watch them and to test them.
//!
//! In reading order: the directories ([`paths`]) and the daemons' configurations ([`configs`]); the daemons' programs
//! ([`binaries`]) and their supervision ([`supervisor`]); the node, simulated or real ([`stage`], [`real`]); what is
//! observed ([`watch`], [`decisions`]), shown ([`table`]) and reported ([`report`]); and the whole sequence
//! ([`show`]).
//!
//! ## What "healthy" means
//!
//! The demo treats the daemons as systemd does: one that ends is restarted after a short wait. A daemon is healthy if
//! it is working at the end and has never failed by itself, neither with an exit status nor by a signal it caused
//! (SIGSEGV, SIGABRT and the like). Being killed from outside (SIGKILL, SIGTERM, SIGINT, SIGHUP) does not count
//! against it, so that you can try that.

pub mod binaries;
pub mod configs;
pub mod decisions;
pub mod paths;
pub mod real;
pub mod report;
pub mod show;
pub mod stage;
pub mod supervisor;
pub mod table;
pub mod watch;

pub use show::{DemoError, DemoOptions, run};
