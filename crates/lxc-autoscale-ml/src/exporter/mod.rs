//! The daemon's Prometheus endpoints: `/metrics`, and `/health`.
//!
//! [`Instruments`] count during cycles; [`families`] turns them into metrics. A separate thread answers, because a
//! cycle may take seconds, and one that hangs must show. The number of series is bounded: there are no labels per
//! container.

pub mod families;
mod instruments;

use std::iter::{self, Once};
use std::sync::Arc;
use std::thread::JoinHandle;

use lxc_autoscale_core::exposition::endpoint::{EndpointConfig, Page, serve};
use lxc_autoscale_core::exposition::{Format, write_all};
use tokio::sync::watch;

pub use instruments::{Instruments, Newest};

/// The address: beside the monitor's port, whose configuration gives the reason.
pub type ExporterConfig = EndpointConfig<15105>;

/// The exporter as the daemon sees it; it ends when this is dropped.
#[derive(Debug)]
pub struct Exporter {
    /// The thread ends when the sender is dropped.
    settings: Option<watch::Sender<ExporterConfig>>,
    thread: Option<JoinHandle<()>>,
}

impl Exporter {
    /// Begins to listen, if configured.
    ///
    /// A failure is logged and does not keep the daemon from scaling.
    pub fn start(config: &ExporterConfig, instruments: Arc<Instruments>) -> Self {
        let (settings, newest_settings) = watch::channel(config.clone());
        let serving = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => {
                    let (_page, page) = watch::channel(instruments);
                    runtime.block_on(serve(newest_settings, page));
                }
                Err(error) => tracing::error!(%error, "cannot serve metrics to Prometheus"),
            }
        };
        let thread = std::thread::Builder::new().name("exporter".to_owned()).spawn(serving);
        let thread =
            thread.inspect_err(|error| tracing::error!(%error, "cannot serve metrics to Prometheus"));
        Self { settings: Some(settings), thread: thread.ok() }
    }

    /// Applies new settings; the address changes only if they say so.
    pub fn reconfigure(&self, config: &ExporterConfig) {
        if let Some(settings) = &self.settings {
            settings.send_if_modified(|settings| {
                let is_changed = settings != config;
                config.clone_into(settings);
                is_changed
            });
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.settings = None;
        // It removes the socket file; any other reason for its end was logged.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Page for Instruments {
    type Pieces = Once<String>;

    fn exposition(&self, format: Format) -> Once<String> {
        iter::once(write_all(families::ALL, self, format))
    }

    fn health(&self) -> Result<(), String> {
        Self::health(self)
    }
}
