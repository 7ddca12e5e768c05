//! Proxmox's REST API of the simulated node: HTTPS, API tokens with privileges, tasks.
//!
//! What a request does is what `pct` does ([`crate::pve`]); here is what stands around it: who asks and may
//! ([`access`]), which call is meant (`calls`, `looks`), and how Proxmox wraps answers and errors (`wrap`).
//! Held to recordings of a real node (Proxmox VE 8.4) and to Proxmox's published schema.

pub mod access;
mod calls;
mod certificate;
mod looks;
pub mod pveum;
mod server;
mod task_looks;
mod tasks;
mod wrap;

pub use server::{RestError, RestServer};
