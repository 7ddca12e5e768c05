//! What is true of a record of the Python original.
//!
//! It has names in common with ours that mean something else there: memory without tmpfs and shared memory is no working
//! set, and its share of CPU may be the mean since boot. Where a reading failed it wrote zeros. Whoever reads a metrics
//! file gets what means the same as in ours; the rest is unknown, and the monitor's history, which has a place for some
//! of it, reads the text itself.

use crate::snapshot::{ContainerRecord, Snapshot};

/// Removes what our fields would say wrongly, if the original wrote this.
pub(super) fn keep_what_is_true(snapshot: &mut Snapshot) {
    if snapshot.summary.schema_version.is_none() {
        snapshot.containers.values_mut().for_each(keep_what_is_true_of);
    }
}

fn keep_what_is_true_of(record: &mut ContainerRecord) {
    (record.cpu_usage_percent, record.memory_usage_mb, record.process_count) = (None, None, None);
    // On LVM a container reads zero there.
    record.io_stats = None;
    // Without a limit of lxcfs the total is the node's.
    let is_swap_known =
        [record.swap_usage_mb, record.swap_total_mb].into_iter().flatten().any(|mib| 0.0 < mib);
    record.swap_usage_mb = record.swap_usage_mb.filter(|_| is_swap_known);
    record.swap_total_mb = None;
    if record.filesystem_total_gb.is_some_and(|total| total <= 0.0) {
        (record.filesystem_usage_gb, record.filesystem_total_gb, record.filesystem_free_gb) =
            (None, None, None);
    }
    record.network_usage = record.network_usage.filter(|network| 0 < network.rx_bytes.max(network.tx_bytes));
}

#[cfg(test)]
mod tests {
    use crate::metrics_file::parse_record;

    /// Container 104 was read, 105 was not.
    const ORIGINAL: &str = include_str!("../../tests/fixtures/record_of_the_original.json");

    fn read(text: &str) -> Vec<String> {
        let snapshot = parse_record(text.as_bytes()).unwrap();
        let fields = |record| serde_json::to_value(record).unwrap().as_object().unwrap().clone();
        let fields = snapshot.containers.values().map(fields);
        fields.map(|fields| fields.keys().cloned().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn of_the_originals_records_only_what_means_the_same_in_ours_is_read() {
        assert_eq!(
            read(ORIGINAL),
            [
                "filesystem_free_gb filesystem_total_gb filesystem_usage_gb network_usage swap_usage_mb timestamp",
                "timestamp"
            ]
        );
    }

    #[test]
    fn a_record_of_ours_is_read_as_it_stands() {
        let ours = ORIGINAL.replace("\"total_containers\"", "\"schema_version\": 1, \"total_containers\"");
        assert!(read(&ours).iter().all(|fields| fields.contains("memory_usage_mb")), "{ours}");
    }
}
