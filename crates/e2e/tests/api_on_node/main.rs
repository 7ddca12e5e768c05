//! The real server on a simulated node: through `pct`, and through Proxmox's REST API.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up its case must fail; clippy sees no test in what tests share"
)]

mod budget;
mod cluster;
mod copies;
mod disks;
mod documented;
mod generations;
mod lost;
mod node;
mod prometheus;
mod rest;
mod schema;
mod schemathesis;
