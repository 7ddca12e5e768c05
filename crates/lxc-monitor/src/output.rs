//! Keeps the exchange file open, and goes on when it cannot be written.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lxc_autoscale_core::ErrorChain;
use lxc_autoscale_core::metrics_file::{Backlog, KeptRecord, MetricsWriter, Recovery, WriteError};
use lxc_autoscale_core::snapshot::Snapshot;

use crate::clock;
use crate::config::OutputConfig;
use crate::notices::Notices;
use crate::outage::{News, Outage};

/// A file that holds less than this is too small for the interval.
const SHORT: Duration = Duration::from_mins(10);

/// The exchange file, open or to be opened at the next snapshot.
#[derive(Debug)]
pub struct Output {
    config: OutputConfig,
    writer: Option<MetricsWriter>,
    /// The snapshots from before the file could be opened.
    waiting: Backlog,
    outage: Outage,
    notices: Notices,
}

impl Output {
    /// Opens the file.
    ///
    /// # Errors
    /// [`WriteError::InUse`] when another monitor has it. Any other trouble is logged and may pass; the file is
    /// tried again at each snapshot.
    pub fn open(config: &OutputConfig) -> Result<Self, WriteError> {
        let mut output = Self {
            config: config.clone(),
            writer: None,
            waiting: Backlog::default(),
            outage: Outage::default(),
            notices: Notices::default(),
        };
        match output.writer() {
            Err(error @ WriteError::InUse { .. }) => Err(error),
            Err(error) => {
                output.report(Some(&error));
                Ok(output)
            }
            Ok(_) => Ok(output),
        }
    }

    /// Takes new settings; another file is opened at the next snapshot.
    pub fn reconfigure(&mut self, config: &OutputConfig) {
        if config.file != self.config.file {
            self.writer = None;
        }
        if let Some(writer) = &mut self.writer {
            writer.set_bounds(config.bounds());
            writer.set_mode(config.readable_by.mode());
        }
        self.config = config.clone();
    }

    /// Publishes one more snapshot; where it is large, what is returned gives it back and nobody need keep it.
    ///
    /// # Errors
    /// [`WriteError`], which was logged if it is news; the next snapshot may succeed.
    pub fn append(&mut self, snapshot: &Arc<Snapshot>) -> Result<Option<Arc<KeptRecord>>, WriteError> {
        let result = match self.writer() {
            Ok(writer) => writer.append_shared(snapshot),
            Err(error) => self.waiting.push(snapshot).map_err(WriteError::from).and(Err(error)),
        };
        self.report(result.as_ref().err());
        let left = self.writer.as_ref().and_then(MetricsWriter::left_by_trim);
        self.notices.warn("metrics file", left.filter(|left| *left < SHORT).map(|_| too_small(&self.config)));
        result
    }

    fn writer(&mut self) -> Result<&mut MetricsWriter, WriteError> {
        if let Some(ref mut writer) = self.writer {
            return Ok(writer);
        }
        let (mut writer, recovery) = MetricsWriter::open(&self.config.file, self.config.bounds())?;
        writer.set_mode(self.config.readable_by.mode());
        writer.take_over(std::mem::take(&mut self.waiting));
        log_recovery(&writer, &recovery);
        Ok(self.writer.insert(writer))
    }

    fn report(&mut self, error: Option<&WriteError>) {
        let trouble = error.map(|error| ErrorChain(error).to_string());
        let news = self.outage.update(trouble.as_deref(), clock::now().since_boot);
        let trouble = trouble.unwrap_or_default();
        match news {
            News::Begun => {
                tracing::error!("{trouble}; measuring goes on, and writing is tried again at each cycle");
            }
            News::Back => tracing::error!(
                "{trouble}; this comes and goes, and is said to be over when every cycle of a minute was written"
            ),
            News::Ended => {
                tracing::info!("the metrics file `{}` is written again", self.config.file.display());
            }
            News::None => {}
        }
    }
}

fn too_small(config: &OutputConfig) -> String {
    format!(
        "when its older half was dropped at {} MiB, `{}` held less than {} minutes: who reads it less often misses snapshots, \
         and it is written anew all the time; set `output.max_size_mib` higher, or `interval_seconds`",
        config.max_size_mib,
        config.file.display(),
        SHORT.as_secs() / 60
    )
}

fn log_recovery(writer: &MetricsWriter, recovery: &Recovery) {
    let path = writer.path().display();
    match recovery {
        Recovery::Created => tracing::info!("created the metrics file `{path}`"),
        Recovery::Replaced { put_aside } => tracing::warn!(
            "what was in the place of the metrics file `{path}` was no file; it is `{}` now, and the file was created",
            put_aside.display()
        ),
        Recovery::Intact => tracing::info!("continuing the metrics file `{path}`"),
        Recovery::Rewritten { kept_records, damage, left_bytes, put_aside } => {
            let kept = kept(*kept_records, *left_bytes, put_aside);
            if let Some(damage) = damage {
                tracing::warn!("the metrics file `{path}` was damaged ({damage}); {kept}");
            } else {
                tracing::info!("rewrote the metrics file `{path}` in the present layout; {kept}");
            }
        }
    }
}

/// What became of the records of a file that was rewritten.
fn kept(records: u64, left_bytes: u64, aside: &Path) -> String {
    let aside = aside.display();
    if left_bytes == 0 {
        return format!("kept {records} records, the old file is `{aside}`");
    }
    format!(
        "kept the newest {records} records; the {} MB before them are in the old file only, `{aside}`, and \
         `lxc-monitor import {aside}` takes them into the history",
        left_bytes / 1_000_000
    )
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
