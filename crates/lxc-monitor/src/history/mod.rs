//! The history: roll-ups of what was measured, kept for days to years in one SQLite file.
//!
//! A snapshot becomes levels and counters ([`readings`], pure), those become samples and wait for a thread
//! (`writer`), which writes them, rolls them up and keeps the file in its bounds (`store`). What it lacks it reads
//! from the metrics file. `lxc-monitor history` shows it ([`show`]), `lxc-monitor import` adds what
//! other files hold ([`import`]); both are called by [`command`].

pub mod command;
mod config;
pub mod import;
pub mod readings;
pub mod show;
pub mod store;
mod writer;

pub use config::HistoryConfig;
pub use writer::History;
