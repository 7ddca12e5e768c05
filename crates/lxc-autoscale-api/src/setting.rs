//! A size of a container that is set by an undo, a boost, or the end of a boost.

use lxc_autoscale_core::api::{ScaledCores, ScaledCpulimit, ScaledRam, SizeOf};
use lxc_autoscale_core::{Mebibytes, Vmid};
use serde::Serialize;

use crate::actions::{ActionError, resize};
use crate::auth::caller::Caller;
use crate::backend::ContainerHost;
use crate::changes::Change;
use crate::config::Config;
use crate::hundredths::hundredths;
use crate::jobs::{Journal, Order, Task};
use crate::ledger;

/// A size to be set.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    vmid: Vmid,
    size: Size,
}

#[derive(Clone, Copy, Debug)]
enum Size {
    /// `None` for all cores of the node.
    Cores(Option<u32>),
    /// 0 for none.
    Cpulimit(f64),
    Memory(Mebibytes),
}

/// The result of setting a size.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Applied {
    /// Of cores.
    Cores(ScaledCores),
    /// Of a CPU limit.
    Cpulimit(ScaledCpulimit),
    /// Of memory.
    Memory(ScaledRam),
}

impl Applied {
    /// Whether anything was changed.
    pub(crate) fn is_change(&self) -> bool {
        match self {
            Self::Cores(scaled) => scaled.changed,
            Self::Cpulimit(scaled) => scaled.changed,
            Self::Memory(scaled) => scaled.changed,
        }
    }
}

impl Setting {
    /// A size in cores or MiB, as in the ledger; `None` if the configuration is to have none.
    ///
    /// # Errors
    /// [`ActionError::NotApplied`] for a size that cannot be set: a root filesystem, or no memory.
    pub(crate) fn new(vmid: Vmid, resource: SizeOf, to: Option<f64>) -> Result<Self, ActionError> {
        let size = match (resource, to) {
            (SizeOf::Cores, None) => Some(Size::Cores(None)),
            (SizeOf::Cores, Some(cores)) => {
                let cores = whole(cores).and_then(|cores| u32::try_from(cores.get()).ok());
                cores.map(|cores| Size::Cores(Some(cores)))
            }
            (SizeOf::Cpulimit, cores) => Some(Size::Cpulimit(cores.unwrap_or(0.0))),
            (SizeOf::Memory, Some(memory)) => whole(memory).map(Size::Memory),
            (SizeOf::Memory, None) | (SizeOf::Rootfs, _) => None,
        };
        let size = size.ok_or_else(|| ActionError::NotApplied {
            found: format!("{} cannot be set to that size", ledger::word(resource)),
        })?;
        Ok(Self { vmid, size })
    }

    /// The change and its order, if `caller` asks for it and `why` is the reason.
    pub(crate) fn asked(&self, caller: &Caller, why: &str) -> (Change, Order) {
        let vmid = self.vmid;
        let (what, shown, task) = match self.size {
            Size::Cores(cores) => {
                let shown = cores.map_or("none".to_owned(), |cores| cores.to_string());
                (SizeOf::Cores, shown, Task::SetCores { vmid, cores })
            }
            Size::Cpulimit(cores) => {
                let shown = if cores == 0.0 { "none".to_owned() } else { cores.to_string() };
                let hundredths = hundredths(cores);
                (SizeOf::Cpulimit, shown, Task::SetCpulimit { vmid, hundredths })
            }
            Size::Memory(memory) => {
                let memory_mib = memory.get();
                (SizeOf::Memory, memory_mib.to_string(), Task::SetMemory { vmid, memory_mib })
            }
        };
        let summary = format!("set the {} of container {vmid} to {shown} ({why})", ledger::word(what));
        let change = Change { summary, vmids: vec![vmid], caller: caller.clone() };
        (change, Order { task, why: why.to_owned() })
    }

    /// Sets the size, through the same guards as any other change.
    ///
    /// # Errors
    /// [`ActionError`].
    pub(crate) async fn apply(
        &self,
        host: &dyn ContainerHost,
        journal: &Journal,
        config: &Config,
    ) -> Result<Applied, ActionError> {
        let vmid = self.vmid;
        Ok(match self.size {
            Size::Cores(Some(cores)) => {
                Applied::Cores(resize::set_cores(host, journal, config, vmid, cores, None).await?.scaled)
            }
            Size::Cores(None) => Applied::Cores(resize::remove_cores(host, journal, config, vmid).await?),
            Size::Cpulimit(cores) => {
                Applied::Cpulimit(resize::set_cpulimit(host, journal, config, vmid, cores, None).await?)
            }
            Size::Memory(memory) => {
                Applied::Memory(resize::set_memory(host, journal, config, vmid, memory, None).await?)
            }
        })
    }
}

/// A size as a whole number; `None` if it cannot be one.
fn whole(size: f64) -> Option<Mebibytes> {
    Mebibytes::from_f64_ceil(size)
}
