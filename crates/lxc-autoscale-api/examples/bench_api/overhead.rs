//! The time that a change through the API takes in addition to its `pct` call.
//!
//! A change of cores is one call of `pct set`. Everything else that the server does is overhead: the request,
//! identifying the caller, reading the container before and afterwards, the invariants, the audit log and
//! `api.sqlite`. Bare calls, changes through the API, and the disk waits that are part of a change alternate, so that
//! all of them run under the same conditions.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lxc_autoscale_core::Vmid;

use crate::disk::Disk;
use crate::load::{Call, Connection, Failure, quantile};
use crate::plain::Plain;
use crate::stage::Stage;

/// The latencies, measured alternately.
#[derive(Debug)]
pub(crate) struct Overhead {
    /// Bare calls, in ascending order.
    pub(crate) bare: Vec<Duration>,
    /// Changes through the API, in ascending order.
    pub(crate) through_api: Vec<Duration>,
    /// The disk alone, with the waits of a change, in ascending order.
    pub(crate) disk: Vec<Duration>,
    /// Number of `pct` calls made by the changes through the API.
    pub(crate) calls: u64,
}

impl Overhead {
    /// The difference between the latencies that this share of API changes and of bare calls do not exceed.
    pub(crate) fn at(&self, share: f64) -> Duration {
        quantile(&self.through_api, share).saturating_sub(quantile(&self.bare, share))
    }
}

/// Makes this many changes in each way.
///
/// # Errors
/// If one of them fails.
pub(crate) async fn measure(stage: &Stage, vmid: Vmid, changes: usize) -> Result<Overhead, Failure> {
    // An idle connection is closed, so each count uses a new one.
    let count = async || stage.pct_calls(&mut Connection::new(stage.address())).await;
    let mut disk = Disk::new(stage.directory())?;
    let [mut bare, mut through_api, mut waits] = [const { Vec::new() }; 3];
    let before = count().await?;
    let mut plain = Plain::connect(stage.address())?;
    let quiet = stage.quiet()?;
    for _ in 0..changes {
        // Each way changes what the other one has left.
        bare.push(set_cores(stage, vmid, 1)?);
        through_api.push(plain.send(&Call::set_cores(vmid, 2))?);
        waits.push(disk.wait()?);
    }
    drop(quiet);
    let calls = count().await? - before;
    bare.sort_unstable();
    through_api.sort_unstable();
    waits.sort_unstable();
    Ok(Overhead { bare, through_api, disk: waits, calls })
}

/// The same call as the server makes.
fn set_cores(stage: &Stage, vmid: Vmid, cores: u32) -> Result<Duration, Failure> {
    let mut command = Command::new(stage.pct());
    command.arg("set").arg(vmid.to_string()).arg("-cores").arg(cores.to_string());
    command.stdin(Stdio::null());
    let begun = Instant::now();
    let done = command.output()?;
    let took = begun.elapsed();
    if done.status.success() {
        Ok(took)
    } else {
        Err(String::from_utf8_lossy(&done.stderr).into_owned().into())
    }
}
