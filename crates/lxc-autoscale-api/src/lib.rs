//! REST server that resizes, snapshots and clones the LXC containers of the Proxmox node it runs on.
//!
//! In reading order: how the server starts ([`cli`], [`config`], [`server`]); who may use it ([`auth`]); the routes
//! ([`routes`]) with their parameters ([`params`], [`extract`]) and errors ([`error`]); what the mutating routes do
//! ([`actions`], which [`changes`] runs one at a time per container) and what they must not do ([`memory_guard`]);
//! and the two outside parts: the containers ([`backend`]) and the measurements ([`metrics`], [`node`]). [`exporter`]
//! counts all of it for Prometheus.
//!
//! Invariants:
//! - nothing a client sends reaches a program except as a number or a checked name;
//! - what is not known to be safe is not done;
//! - a change that has begun is finished or undone, even if the client leaves;
//! - a change counts as done only when it was read back from the node.

pub mod actions;
pub mod audit;
pub mod auth;
pub mod backend;
mod backups;
mod blocking;
pub mod boosts;
mod budget;
pub mod changes;
pub mod check;
pub mod cli;
pub mod config;
pub mod configuration;
pub mod confirmation;
mod entrance;
pub mod error;
pub mod events;
pub mod exporter;
pub mod extract;
pub mod gate;
mod hundredths;
pub mod invariants;
pub mod jobs;
pub mod key_command;
pub mod ledger;
pub mod looks;
pub mod memory_guard;
pub mod metrics;
pub mod node;
pub mod on_disk;
pub mod openapi;
mod own_name;
pub mod params;
pub mod program;
pub mod routes;
pub mod seats;
pub mod server;
mod setting;
pub mod socket;
pub mod state;
pub mod store;
pub mod tls;
pub mod undo;
pub mod undo_command;
pub mod why;
