//! The guards on a node that enforces limits: as functions, and in the daemon with a real file and a real server.

// Clippy recognises test functions, but not the fixtures between them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a fixture that fails ends its test")]

mod api;
mod daemon;
mod host;
mod shrinks;
mod steered;
