//! The guards on a node where limits bite: as functions, and as the daemon with a real file and a real server.

// Clippy knows test functions, and not the fixtures between them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a fixture that fails ends its test")]

mod api;
mod daemon;
mod host;
mod shrinks;
mod steered;
