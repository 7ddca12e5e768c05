//! Proxmox's REST API of the simulated node: HTTPS, API tokens with privileges, tasks.
//!
//! A request does what `pct` does ([`crate::pve`]). This module has the rest: who is calling and what they may do
//! ([`access`]), which call is meant (`calls`, `looks`), and how Proxmox wraps answers and errors (`wrap`). It is
//! tested against recordings of a real node (Proxmox VE 8.4) and Proxmox's published schema.

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
