//! What a change through the API takes beyond the `pct` call it consists of.
//!
//! A change of cores is one call of `pct set`; all else that the server does is what it adds: the request, who asks, what
//! the container has before and afterwards, the invariants, the audit log and `api.sqlite`. The same call is made bare and
//! through the API by turns, so that both meet the same machine; and so are the waits for the disk that are part of it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lxc_autoscale_core::Vmid;

use crate::disk::Disk;
use crate::load::{Call, Connection, Failure, quantile};
use crate::plain::Plain;
use crate::stage::Stage;

/// Latencies by turns, and what lies between them.
#[derive(Debug)]
pub(crate) struct Overhead {
    /// Of the bare calls, the shortest first.
    pub(crate) bare: Vec<Duration>,
    /// Of the changes through the API, the shortest first.
    pub(crate) through_api: Vec<Duration>,
    /// Of the disk alone, with the waits of a change; the shortest first.
    pub(crate) disk: Vec<Duration>,
    /// Calls of `pct` that the changes through the API consisted of.
    pub(crate) calls: u64,
}

impl Overhead {
    /// What a share of the changes through the API take at most, beyond the same share of the bare calls.
    pub(crate) fn at(&self, share: f64) -> Duration {
        quantile(&self.through_api, share).saturating_sub(quantile(&self.bare, share))
    }
}

/// Makes so many changes each way.
///
/// # Errors
/// When one of them fails.
pub(crate) async fn measure(stage: &Stage, vmid: Vmid, changes: usize) -> Result<Overhead, Failure> {
    // A connection that rests is closed: those who count have one of their own each time.
    let count = async || stage.pct_calls(&mut Connection::new(stage.address())).await;
    let mut disk = Disk::new(stage.directory())?;
    let [mut bare, mut through_api, mut waits] = [const { Vec::new() }; 3];
    let before = count().await?;
    let mut plain = Plain::connect(stage.address())?;
    for _ in 0..changes {
        // Each way changes what the other one has left.
        bare.push(set_cores(stage, vmid, 1)?);
        through_api.push(plain.send(&Call::set_cores(vmid, 2))?);
        waits.push(disk.wait()?);
    }
    let calls = count().await? - before;
    bare.sort_unstable();
    through_api.sort_unstable();
    waits.sort_unstable();
    Ok(Overhead { bare, through_api, disk: waits, calls })
}

/// The call as the server makes it.
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
