//! `lxc-autoscale-sim demo`: the node and the three real daemons, for watching and for proving.
//!
//! In reading order: where everything lies ([`paths`]) and how the daemons are configured ([`configs`]); the daemons'
//! programs ([`binaries`]) and their lives ([`supervisor`]); the node they act on, simulated or real ([`stage`],
//! [`real`]); what is watched of it ([`watch`], [`decisions`]), shown ([`table`]) and written down ([`report`]); and the
//! order of it all ([`show`]).
//!
//! ## What "healthy" means
//!
//! The demo treats the daemons as systemd does: one that ends is started again after a short wait. A daemon is
//! healthy when it does its work at the end and never failed of its own accord, neither with an exit status nor by
//! a signal it brought upon itself (SIGSEGV, SIGABRT and the like). Being killed from outside (SIGKILL, SIGTERM,
//! SIGINT, SIGHUP) says nothing about its health, so that it can be tried.

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
