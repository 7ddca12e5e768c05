//! Exports the measurements to Prometheus.
//!
//! After each cycle the snapshot is published; a scrape writes the newest one as text. In the order of a scrape: the
//! [`families`] and the sources of their samples; the [`page`] that a scrape sees and the pieces in which it is
//! written, in one of the formats of [`lxc_autoscale_core::exposition`], which also serves it.
//!
//! An absent measurement is an absent series, never zero. When the newest cycle is older than
//! [`page::STALE_AFTER_INTERVALS`] intervals, only the series of the monitor itself remain.

pub mod families;
pub mod page;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lxc_autoscale_core::exposition::endpoint::{self, EndpointConfig};
use lxc_autoscale_core::telemetry::LogFile;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::page::{Cycle, Page};
use crate::clock;

/// The address.
///
/// Prometheus' list of exporter ports, 9100 to 9999, is full, and every number in it belongs to another exporter. This
/// port is outside of that range, not used by Proxmox, Ceph or Corosync, and below the ephemeral ports of Linux (32768
/// on).
pub type ExporterConfig = EndpointConfig<15104>;

/// The exporter as the daemon sees it; it ends when this is dropped.
#[derive(Debug)]
pub struct Exporter {
    settings: watch::Sender<ExporterConfig>,
    page: watch::Sender<Arc<Page>>,
    server: JoinHandle<()>,
}

impl Exporter {
    /// Begins to listen, if configured; must be called inside a tokio runtime.
    ///
    /// A failure is logged and retried: measuring matters more than being scraped.
    pub fn start(config: &ExporterConfig, interval: Duration, log: LogFile) -> Self {
        let page = Page { log, ..Page::empty(Timestamp::now(), interval) };
        let (page, newest_page) = watch::channel(Arc::new(page));
        let (settings, newest_settings) = watch::channel(config.clone());
        let server = tokio::spawn(endpoint::serve(newest_settings, newest_page));
        Self { settings, page, server }
    }

    /// Applies new settings; the address changes only if they say so.
    pub fn reconfigure(&mut self, config: &ExporterConfig) {
        self.settings.send_if_modified(|settings| {
            let is_changed = settings != config;
            config.clone_into(settings);
            is_changed
        });
    }

    /// Publishes a cycle that has just ended.
    pub fn publish(&mut self, cycle: Cycle) {
        let mut page = self.page.borrow().after(cycle, clock::now().since_boot);
        if !self.settings.borrow().enabled {
            // Nobody can request it, so it need not be kept.
            page.snapshot = None;
            page.identities = page::Identities::default();
        }
        self.page.send_replace(Arc::new(page));
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[cfg(test)]
mod tests;
