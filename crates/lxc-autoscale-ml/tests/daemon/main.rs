//! The daemon as a whole: a metrics file in, requests to an API out, with real files and a real server.

// Clippy recognises test functions, but not the fixtures between them.
#![expect(clippy::unwrap_used, reason = "a fixture that fails ends its test")]

mod api;
mod apply;
mod approval;
mod busy;
mod by_hand;
mod command_line;
mod containers;
mod cycles;
mod exporter;
mod first_start;
mod large;
mod node;
mod policies;
mod restarts;
mod set_back;
mod shadow;
mod troubles;
