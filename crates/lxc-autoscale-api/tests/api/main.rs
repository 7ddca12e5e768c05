//! The API as its users see it, on a node in a temporary directory with a substitute for `pct`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy.toml allows these in tests, but sees no test in the functions that tests share"
)]

mod any_requests;
mod boosts;
mod disk;
mod documented;
mod events;
mod exporter;
mod health;
mod hostile;
mod interrupted_copies;
mod invariants;
mod jobs;
mod leaving;
mod ledger;
mod names;
mod network;
mod node;
mod openapi;
mod peers;
mod places;
mod power;
mod refusals;
mod removals;
mod restart;
mod retention;
mod roles;
mod sequences;
mod server;
mod timeouts;
mod trail;
mod waiting;
mod why;
mod wire;
