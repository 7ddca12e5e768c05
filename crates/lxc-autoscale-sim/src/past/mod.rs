//! A recorded past: what `lxc-monitor` would have written if it had watched the node for days.
//!
//! Learning needs history, and a demonstration cannot wait for it. So the machine that the live kernel will run is
//! first run through some days in coarse steps, and what a monitor would have measured of it is written to the
//! metrics file. The same machine then continues live, so counters, uptimes and workloads continue where the record
//! ends.

mod record;
mod repeat;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::snapshot::Snapshot;

use crate::fleet::Member;
use crate::kernel::limits::Limits;
use crate::kernel::machine::Machine;
use crate::kernel::node::Capacity;
use crate::workload::Plan;

pub use record::Filesystem;
pub use repeat::repeat;

/// Time between two records of the past.
pub const STEP: SignedDuration = SignedDuration::from_mins(5);
/// Length of the steps in which the machine is advanced, in seconds.
const TICK_SECONDS: f64 = 30.0;
const TICKS_PER_STEP: u32 = 10;

/// The description of a recorded past.
#[derive(Clone, Debug)]
pub struct Past<'a> {
    /// The resources of the node.
    pub capacity: Capacity,
    /// Its name.
    pub node_name: &'a str,
    /// Its containers.
    pub members: &'a [Member],
    /// Their workloads. The speed of the plan does not matter: the past is as fast as its clock.
    pub plan: &'a Plan,
    /// The file system that they are on.
    pub filesystem: Filesystem,
    /// When it ends.
    pub end: Timestamp,
    /// How long it lasts.
    pub duration: SignedDuration,
}

/// Why the past cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// The file cannot be written.
    #[error("cannot write the recorded past to `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The clock is near the end of representable time.
    #[error("the recorded past does not fit before the present time")]
    Clock(#[from] jiff::Error),
}

impl Past<'_> {
    /// Simulates the past; `each` receives every snapshot, oldest first. Returns the machine in its final state.
    ///
    /// # Errors
    /// The error of `each`, or [`PastError::Clock`].
    pub fn live_through(
        &self,
        mut each: impl FnMut(&Snapshot) -> Result<(), PastError>,
    ) -> Result<Machine, PastError> {
        let steps = self.duration.as_secs() / STEP.as_secs();
        let begin = self.end.checked_sub(
            STEP.checked_mul(i32::try_from(steps).unwrap_or(i32::MAX)).unwrap_or(self.duration),
        )?;
        let mut machine = Machine::new(self.capacity, begin.as_second() as f64);
        let plan = Plan { speed: 1.0, ..self.plan.clone() };
        let limits: BTreeMap<Vmid, Limits> =
            self.members.iter().map(|member| (member.id, member.limits())).collect();
        let configs: BTreeMap<Vmid, ContainerConfig> = self
            .members
            .iter()
            .map(|member| (member.id, ContainerConfig::parse(&member.config("local-lvm")).0))
            .collect();

        let mut now = begin;
        for _ in 0..steps {
            let before = machine.node.clone();
            for _ in 0..TICKS_PER_STEP {
                machine.tick(&plan, &limits, TICK_SECONDS);
            }
            now = now.checked_add(STEP)?;
            let seen = record::Seen {
                at: now,
                node_name: self.node_name,
                before: &before,
                after: &machine.node,
                limits: &limits,
                configs: &configs,
                filesystem: self.filesystem,
            };
            each(&seen.snapshot())?;
        }
        Ok(machine)
    }

    /// Simulates the past and writes it to the metrics file, in the layout of [`lxc_autoscale_core::metrics_file`].
    ///
    /// # Errors
    /// [`PastError`] if the file cannot be written; then an existing file remains.
    pub fn write(&self, path: &Path) -> Result<Machine, PastError> {
        write_file(path, |each| self.live_through(each))
    }
}

/// Writes what `produce` delivers to the metrics file, one snapshot per line; an existing file remains until
/// everything is written.
///
/// # Errors
/// [`PastError`] if the file cannot be written, or the error of `produce`.
pub fn write_file<T>(
    path: &Path,
    produce: impl FnOnce(&mut dyn FnMut(&Snapshot) -> Result<(), PastError>) -> Result<T, PastError>,
) -> Result<T, PastError> {
    let failed = |source: io::Error| PastError::Write { path: path.to_owned(), source };
    let temporary = path.with_extension("json.past");
    let mut file = BufWriter::new(File::create(&temporary).map_err(failed)?);
    file.write_all(b"[").map_err(failed)?;
    let mut separator: &[u8] = b"\n";
    let produced = produce(&mut |snapshot| {
        let line = serde_json::to_vec(snapshot).map_err(|error| failed(error.into()))?;
        file.write_all(separator).and_then(|()| file.write_all(&line)).map_err(failed)?;
        separator = b",\n";
        Ok(())
    })?;
    file.write_all(b"\n]\n").and_then(|()| file.flush()).map_err(failed)?;
    fs::rename(&temporary, path).map_err(failed)?;
    Ok(produced)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lxc_autoscale_core::metrics_file::{Bounds, MetricsReader, MetricsWriter, Recovery};

    use super::*;
    use crate::fleet;
    use crate::kernel::clockwork::capacity;

    fn with_past<T>(hours: i64, body: impl FnOnce(Past<'_>) -> T) -> T {
        let members = fleet::members();
        let plan = fleet::plan(&members, 1, 10.0);
        body(Past {
            capacity: capacity(&fleet::node_settings()),
            node_name: "proxmox",
            members: &members,
            plan: &plan,
            filesystem: Filesystem { total_bytes: 8 << 30, used_bytes: 2 << 30, free_bytes: 5 << 30 },
            end: "2026-11-23T17:20:00Z".parse().unwrap(),
            duration: SignedDuration::from_hours(hours),
        })
    }

    #[test]
    fn the_file_is_one_the_monitor_goes_on_with() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lxc_metrics.json");
        with_past(3, |past| past.write(&path)).unwrap();

        let found = MetricsReader::new(&path).read_new().unwrap();
        assert_eq!((found.snapshots.len(), found.unreadable.len()), (36, 0));
        let last = found.snapshots.last().unwrap();
        assert_eq!(
            last.summary.collection_start_time.to_string().parse::<Timestamp>().unwrap().as_second(),
            1_795_454_400
        );
        assert_eq!(last.containers.len(), 10);

        let bounds = Bounds { max_bytes: 64 << 20, max_age: Duration::from_hours(24 * 30) };
        let (_, recovery) = MetricsWriter::open(&path, bounds).unwrap();
        assert_eq!(recovery, Recovery::Intact);
    }

    #[test]
    fn starved_idle_and_leaking_containers_look_like_it() {
        let mut last = None;
        let machine = with_past(24, |past| {
            past.live_through(|snapshot| {
                last = Some(snapshot.clone());
                Ok(())
            })
        })
        .unwrap();
        let last = last.unwrap();
        let record = |id: u32| &last.containers[&Vmid::try_from(id).unwrap()];
        let usage = |id| record(id).cpu_usage_percent.unwrap();
        assert!(usage(104) > 99.0 && usage(101) < 5.0 && usage(114) < 5.0, "{} {}", usage(104), usage(101));
        assert!(record(104).pressure.cpu.unwrap().some.avg10 > 50.0);
        assert!(record(102).pressure.memory.unwrap().some.total_usec > 1_000_000);
        assert!(record(102).paging.unwrap().refault_file > Some(0));
        assert!(record(104).uptime_seconds > Some(86_000.0));
        let oom_kills: f64 = machine.node.containers.values().map(|ct| ct.memory.events.oom_kill).sum();
        assert_eq!(oom_kills, 0.0, "nobody was killed in the past");
    }

    #[test]
    fn every_field_of_the_original_is_there() {
        with_past(1, |past| {
            past.live_through(|snapshot| {
                for record in snapshot.containers.values() {
                    assert!(record.cpu_usage_percent.is_some() && record.memory_usage_mb.is_some());
                    assert!(record.process_count.is_some() && record.io_stats.is_some());
                    assert!(record.network_usage.is_some() && record.filesystem_usage_gb.is_some());
                    assert!(record.filesystem_total_gb.is_some() && record.filesystem_free_gb.is_some());
                    assert!(record.missing.is_empty());
                }
                Ok(())
            })
        })
        .unwrap();
    }
}
