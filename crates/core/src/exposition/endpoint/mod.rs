//! Where Prometheus reads a daemon: `/metrics` and `/health` at an address of its own, for daemons that serve nothing else.
//!
//! `config` says whether and where, `server` listens, `answer` answers with what the daemon's [`Page`] holds.

mod answer;
mod config;
mod server;

pub use config::EndpointConfig;
pub use server::serve;

use super::Format;

/// What is served: what a daemon counts and has measured.
pub trait Page: Send + Sync + 'static {
    /// An exposition on its way, piece by piece.
    type Pieces: Iterator<Item = String> + Send + Unpin + 'static;

    /// Begins to write what there is now; may read a disk, as it is called on a thread for that.
    fn exposition(&self, format: Format) -> Self::Pieces;

    /// Whether the daemon does its work, for whoever watches it from outside.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    fn health(&self) -> Result<(), String>;
}
