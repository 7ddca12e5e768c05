//! Measures the calls of any back end, and notices which containers it has.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lxc_autoscale_core::api::{ClusterStatus, ContainerSettings, HealthCheck, SnapshotInfo};
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::{Mebibytes, Vmid};

use super::watch::{Call, Standing};
use super::{Afterwards, Answer, BackendError, CloneOrder, ContainerHost, Grown, Stored};
use crate::error::backend_status_and_code;
use crate::exporter::{DONE, Instruments};
use crate::params::SnapshotName;

/// A back end whose calls are measured.
#[derive(Debug)]
pub struct Measured {
    host: Arc<dyn ContainerHost>,
    instruments: Arc<Instruments>,
}

impl Measured {
    /// Measures the calls of `host`.
    pub fn new(host: Arc<dyn ContainerHost>, instruments: Arc<Instruments>) -> Self {
        Self { host, instruments }
    }

    fn time<'a, T: Send + 'a>(&'a self, call: &'static str, answer: Answer<'a, T>) -> Answer<'a, T> {
        Box::pin(async move {
            let begun = Instant::now();
            let result = answer.await;
            let code = result.as_ref().map_or_else(|error| backend_status_and_code(error).1, |_| DONE);
            self.instruments.called(call, code, begun.elapsed());
            if let Err(BackendError::NoSuchContainer { vmid }) = &result {
                self.instruments.lost(*vmid);
            }
            result
        })
    }
}

impl ContainerHost for Measured {
    fn containers(&self) -> Answer<'_, Vec<Vmid>> {
        self.time("containers", self.host.containers())
    }

    fn running(&self) -> Answer<'_, Vec<Vmid>> {
        self.time("running", self.host.running())
    }

    fn is_running(&self, vmid: Vmid) -> Answer<'_, bool> {
        self.time("is_running", self.host.is_running(vmid))
    }

    fn stored(&self, vmid: Vmid) -> Answer<'_, Stored> {
        let stored = self.time("stored", self.host.stored(vmid));
        Box::pin(async move {
            let stored = stored.await?;
            self.instruments.saw(vmid);
            Ok(stored)
        })
    }

    fn is_taken(&self, vmid: Vmid) -> Answer<'_, bool> {
        self.time("is_taken", self.host.is_taken(vmid))
    }

    fn snapshots(&self, vmid: Vmid) -> Answer<'_, Vec<SnapshotInfo>> {
        self.time("snapshots", self.host.snapshots(vmid))
    }

    fn settings_in<'a>(&'a self, vmid: Vmid, snapshot: &'a SnapshotName) -> Answer<'a, ContainerConfig> {
        self.time("settings_in", self.host.settings_in(vmid, snapshot))
    }

    fn may_start(&self, vmid: Vmid) -> Answer<'_, ()> {
        self.time("may_start", self.host.may_start(vmid))
    }

    fn settings(&self, vmid: Vmid) -> Answer<'_, ContainerSettings> {
        self.time("settings", self.host.settings(vmid))
    }

    fn cluster(&self) -> Answer<'_, ClusterStatus> {
        self.time("cluster", self.host.cluster())
    }

    fn set_cores(&self, vmid: Vmid, cores: u32) -> Answer<'_, Afterwards> {
        self.time("set_cores", self.host.set_cores(vmid, cores))
    }

    fn set_cpulimit(&self, vmid: Vmid, cores: Option<f64>) -> Answer<'_, Afterwards> {
        self.time("set_cpulimit", self.host.set_cpulimit(vmid, cores))
    }

    fn remove_cores(&self, vmid: Vmid) -> Answer<'_, Afterwards> {
        self.time("remove_cores", self.host.remove_cores(vmid))
    }

    fn set_memory(&self, vmid: Vmid, memory: Mebibytes) -> Answer<'_, Afterwards> {
        self.time("set_memory", self.host.set_memory(vmid, memory))
    }

    fn set_tags<'a>(&'a self, vmid: Vmid, tags: &'a [String]) -> Answer<'a, ()> {
        self.time("set_tags", self.host.set_tags(vmid, tags))
    }

    fn remove_notes(&self, vmid: Vmid) -> Answer<'_, ()> {
        self.time("remove_notes", self.host.remove_notes(vmid))
    }

    fn unprotect(&self, vmid: Vmid) -> Answer<'_, ()> {
        self.time("unprotect", self.host.unprotect(vmid))
    }

    fn grow_rootfs(&self, vmid: Vmid, gib: u32) -> Answer<'_, Grown> {
        self.time("grow_rootfs", self.host.grow_rootfs(vmid, gib))
    }

    fn create_snapshot<'a>(
        &'a self,
        vmid: Vmid,
        name: &'a SnapshotName,
        description: &'static str,
    ) -> Answer<'a, ()> {
        self.time("create_snapshot", self.host.create_snapshot(vmid, name, description))
    }

    fn delete_snapshot<'a>(&'a self, vmid: Vmid, name: &'a SnapshotName) -> Answer<'a, ()> {
        self.time("delete_snapshot", self.host.delete_snapshot(vmid, name))
    }

    fn rollback<'a>(&'a self, vmid: Vmid, name: &'a SnapshotName) -> Answer<'a, ()> {
        self.time("rollback", self.host.rollback(vmid, name))
    }

    fn clone_container<'a>(&'a self, order: &'a CloneOrder) -> Answer<'a, ()> {
        self.time("clone_container", self.host.clone_container(order))
    }

    fn destroy(&self, vmid: Vmid) -> Answer<'_, ()> {
        let destroyed = self.time("destroy", self.host.destroy(vmid));
        Box::pin(async move {
            destroyed.await?;
            self.instruments.lost(vmid);
            Ok(())
        })
    }

    fn unlock(&self, vmid: Vmid) -> Answer<'_, ()> {
        self.time("unlock", self.host.unlock(vmid))
    }

    fn start(&self, vmid: Vmid) -> Answer<'_, ()> {
        self.time("start", self.host.start(vmid))
    }

    fn stop(&self, vmid: Vmid) -> Answer<'_, ()> {
        self.time("stop", self.host.stop(vmid))
    }

    fn shutdown(&self, vmid: Vmid, patience: Duration, force: bool) -> Answer<'_, ()> {
        self.time("shutdown", self.host.shutdown(vmid, patience, force))
    }

    fn reboot(&self, vmid: Vmid, patience: Duration) -> Answer<'_, ()> {
        self.time("reboot", self.host.reboot(vmid, patience))
    }

    fn standing<'a>(&'a self, vmid: Vmid, call: &'a Call) -> Answer<'a, Standing> {
        self.time("standing", self.host.standing(vmid, call))
    }

    fn probe(&self) -> Pin<Box<dyn Future<Output = Vec<HealthCheck>> + Send + '_>> {
        self.host.probe()
    }
}
