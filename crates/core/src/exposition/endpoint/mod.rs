//! The listener that Prometheus scrapes, with `/metrics` and `/health`, for daemons that serve nothing else.
//!
//! `config` says whether and where it listens, `server` accepts connections, and `answer` answers requests from the
//! daemon's [`Page`].

mod answer;
mod config;
mod server;

pub use config::EndpointConfig;
pub use server::serve;

use super::Format;

/// What a daemon serves: its counters and its measurements.
pub trait Page: Send + Sync + 'static {
    /// The pieces of an exposition.
    type Pieces: Iterator<Item = String> + Send + Unpin + 'static;

    /// Starts an exposition of the current state. It is called on a thread of its own, because it may read a disk.
    fn exposition(&self, format: Format) -> Self::Pieces;

    /// Whether the daemon is working, for monitoring from outside.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    fn health(&self) -> Result<(), String>;

    /// What is wrong although the daemon is working, a sentence each.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
}
