//! The API as its users see it, on a node in a temporary directory with a stand-in for `pct`.

mod documented;
mod hostile;
mod node;
mod refusals;
mod sequences;
mod server;
mod timeouts;
