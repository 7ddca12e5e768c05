//! Proxmox's part of a node: configurations, locks, pending changes, snapshots, volumes, tasks, and the two commands
//! that act on them.
//!
//! [`pct::run`] and [`pvesh::run`] are the entry points. A call then passes through the argument grammar ([`getopt`])
//! and the parameter checks ([`schema`]), the commands ([`command`]), the stored configuration ([`config`],
//! [`store`], [`lock`]), and the volumes ([`storage`]). Texts, their order and exit codes are those of Proxmox VE 8.4
//! as recorded.

pub mod command;
pub mod config;
pub mod error;
pub mod getopt;
pub mod lock;
pub mod machine;
pub mod pct;
pub mod pvesh;
pub mod schema;
pub mod storage;
pub mod store;
pub mod task;
pub mod terminal;
pub mod vmstatus;

pub use machine::Machine;
pub use terminal::Terminal;
