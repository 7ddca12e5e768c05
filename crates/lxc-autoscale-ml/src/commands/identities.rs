//! The identities of the containers in the metrics file, without learning from it.

use std::collections::BTreeMap;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::metrics_file::{MetricsReader, ReadError};
use lxc_autoscale_core::progress::Bar;
use lxc_autoscale_core::snapshot::{ContainerRecord, Snapshot};

use crate::config::Config;
use crate::history::identity;
use crate::policy::Identity;

/// The containers of the newest measurement, or `wanted` alone, as far as the metrics file identifies them.
///
/// What the newest measurement does not contain, such as the name of a stopped container, is looked up in all of them.
///
/// # Errors
/// [`ReadError`] when the file cannot be read.
pub(super) fn identities(config: &Config, wanted: Option<Vmid>) -> Result<Vec<Identity>, ReadError> {
    let file = &config.metrics.file;
    let newest = match MetricsReader::read_newest_by(file, &config.metrics.believed()) {
        Ok(newest) => newest,
        // Another layout, or the newest record is damaged: the others may be usable.
        Err(ReadError::NotAMetricsFile { .. }) => None,
        Err(error) => return Err(error),
    };
    let ids: Option<Vec<Vmid>> = wanted.map(|id| vec![id]).or_else(|| newest.as_ref().map(present));
    if let (Some(ids), Some(newest)) = (&ids, &newest) {
        let told = |id: &Vmid| newest.containers.get(id).filter(|record| tells_all(record));
        let all: Option<Vec<Identity>> =
            ids.iter().map(|id| told(id).map(|record| identity(*id, record, None))).collect();
        if let Some(all) = all {
            return Ok(all);
        }
    }
    let mut known: BTreeMap<Vmid, Identity> = BTreeMap::new();
    let bar = Bar::of_bytes(format!("reading {}", file.display()));
    let mut reader = MetricsReader::new(file).believing(config.metrics.believed());
    reader.each_new_watched(&bar, |record| {
        // Unreadable records identify nobody.
        let Ok(snapshot) = record else { return };
        for (id, record) in &snapshot.containers {
            if ids.as_ref().is_none_or(|ids| ids.contains(id)) {
                let now = identity(*id, record, known.get(id));
                known.insert(*id, now);
            }
        }
    })?;
    Ok(known.into_values().collect())
}

/// The existing containers, running or not.
fn present(snapshot: &Snapshot) -> Vec<Vmid> {
    snapshot.containers.keys().chain(&snapshot.summary.stopped_containers).copied().collect()
}

/// Whether the identity is complete.
fn tells_all(record: &ContainerRecord) -> bool {
    record.configuration.is_some() && record.pool.is_some()
}
