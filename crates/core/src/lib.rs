//! Everything that two or more of the daemons must agree on.
//!
//! In reading order: ids and units; the record of one measurement ([`snapshot`], [`table`], [`missing`], [`run`]);
//! the file that carries it from the monitor to the ml daemon ([`metrics_file`]); what Proxmox stores about a
//! container ([`container_config`]); the node's own files ([`procfs`]); the bodies of the REST API ([`api`]); and
//! what every daemon needs ([`config`], [`mod@nearest`], [`telemetry`], [`mod@local_zone`], [`service`], [`mod@unit`],
//! [`service_user`], [`users`], [`ownership`], [`regular_file`], [`durable`], [`exposition`], [`progress`],
//! [`error_chain`], [`command_output`], [`mod@count`]).

pub mod api;
pub mod command_output;
pub mod config;
pub mod container_config;
pub mod count;
pub mod durable;
pub mod error_chain;
pub mod exposition;
#[cfg(feature = "history-store")]
pub mod history_store;
pub mod local_zone;
pub mod metrics_file;
pub mod missing;
pub mod nearest;
pub mod notification;
pub mod own_process;
pub mod ownership;
pub mod procfs;
pub mod progress;
pub mod record_time;
pub mod records;
pub mod regular_file;
pub mod run;
#[cfg(feature = "schema")]
mod schema;
pub mod service;
pub mod service_user;
pub mod snapshot;
#[cfg(feature = "state-database")]
pub mod state_database;
pub mod table;
pub mod telemetry;
pub mod unit;
pub mod units;
pub mod users;
pub mod vmid;
mod whole_number;

pub use command_output::CommandOutput;
pub use count::count;
pub use error_chain::ErrorChain;
pub use local_zone::local_zone;
pub use nearest::nearest;
pub use record_time::RecordTime;
pub use run::{BootId, Run};
pub use units::{Cores, Mebibytes};
pub use vmid::Vmid;
