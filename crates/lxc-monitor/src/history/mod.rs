//! The history: roll-ups of the measurements, kept for days to years in one SQLite file.
//!
//! A record ([`mod@record`]) becomes levels and counters ([`readings`], pure), those become samples for a thread (`writer`), which
//! writes them, rolls them up and bounds the file (`store`). Missing data is read from the metrics file. `lxc-monitor
//! history` shows it ([`show`]), `lxc-monitor import` adds other files ([`import`]); both are called by [`command`].

pub mod command;
mod config;
pub mod import;
pub mod readings;
pub mod record;
pub mod show;
pub mod store;
mod writer;

pub use config::HistoryConfig;
pub use writer::History;
