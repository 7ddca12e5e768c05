//! `lxc-autoscale-sim run`: runs a simulated node until it is told to stop.
//!
//! If the directory has no node, one is created; an existing one is booted again, with its containers and workloads.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use lxc_autoscale_core::service::Signals;

use crate::boot::{BootError, RunningKernel, boot, make};
use crate::fleet;
use crate::kernel::clockwork::{self, KernelError};
use crate::kernel::machine::Machine;
use crate::node::{CgroupVersion, NodeError, NodeLayout, NodeSettings, write_wrappers};
use crate::rest::{RestError, RestServer};
use crate::workload::PlanError;

/// The options of `run`.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The directory of `node/`, the tree, and `bin/`, the commands.
    pub directory: PathBuf,
    /// The cgroup version of a new node.
    pub cgroup: Option<CgroupVersion>,
    /// The duration; `None` to run for ever.
    pub duration: Option<Duration>,
}

/// Why the node cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not be booted.
    #[error("the node cannot be booted")]
    Boot(#[from] BootError),
    /// The tree cannot be read or written.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The workload plan is invalid.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The kernel failed.
    #[error("the simulated kernel failed")]
    Kernel(#[from] KernelError),
    /// Its REST API cannot be served.
    #[error("the REST API cannot be served")]
    Rest(#[from] RestError),
    /// The existing node has another cgroup version.
    #[error("`{}` holds a node with cgroup {found:?}; leave --cgroup out or choose another directory", directory.display())]
    OtherGeneration {
        /// The directory.
        directory: PathBuf,
        /// The version of its node.
        found: CgroupVersion,
    },
    /// The runtime, the signals or standard output do not work.
    #[error("cannot wait for signals or write to standard output")]
    Io(#[from] io::Error),
}

/// Runs the node until SIGTERM, SIGINT or the end of the time.
///
/// # Errors
/// [`RunError`] if it cannot be booted, or fails later.
pub fn run(options: &RunOptions) -> Result<(), RunError> {
    let layout = NodeLayout::new(options.directory.join("node"));
    let settings = prepare(options, &layout)?;
    boot(&layout, true)?;
    let now = Timestamp::now();
    let machine = Machine::new(clockwork::capacity(&settings), now.as_second() as f64);
    let boot_time = u64::try_from(now.as_second()).unwrap_or(0);
    let kernel = RunningKernel::start(layout.clone(), machine, boot_time, clockwork::REBALANCE)?;
    writeln!(
        io::stdout().lock(),
        "node `{}` runs in {}; its commands are in {}",
        settings.name,
        layout.root().display(),
        options.directory.join("bin").display()
    )?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(wait(&kernel, options.duration))?;
    Ok(kernel.stop()?)
}

/// Serves the node's REST API, and through it the nodes `others`, until SIGTERM or SIGINT; each call is appended to
/// `log`, if given.
///
/// # Errors
/// [`RunError`] if it cannot be served.
pub fn serve_rest(
    layout: &NodeLayout,
    others: &[NodeLayout],
    address: SocketAddr,
    log: Option<PathBuf>,
) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::install()?;
        let server = RestServer::bind(layout, others, address, log).await?;
        writeln!(io::stdout().lock(), "https://{}", server.address())?;
        tokio::select! {
            _ = signals.next() => {}
            never = server.serve() => match never {},
        }
        Ok(())
    })
}

/// Creates the node, or opens the existing one.
fn prepare(options: &RunOptions, layout: &NodeLayout) -> Result<NodeSettings, RunError> {
    let bin = options.directory.join("bin");
    if layout.settings_file().is_file() {
        let settings = NodeSettings::load(layout)?;
        if let Some(wanted) = options.cgroup
            && wanted != settings.cgroup
        {
            return Err(RunError::OtherGeneration {
                directory: options.directory.clone(),
                found: settings.cgroup,
            });
        }
        write_wrappers(layout, &bin)?;
        return Ok(settings);
    }
    let members = fleet::members();
    let cgroup = options.cgroup.unwrap_or(CgroupVersion::V2);
    let settings = NodeSettings { cgroup, ..fleet::node_settings() };
    make(layout, &settings, &members, &bin)?;
    fleet::plan(&members, 1, 1.0).save(layout)?;
    Ok(settings)
}

async fn wait(kernel: &RunningKernel, duration: Option<Duration>) -> io::Result<()> {
    let mut signals = Signals::install()?;
    let mut checks = tokio::time::interval(Duration::from_millis(200));
    let end = tokio::time::sleep(duration.unwrap_or(Duration::from_secs(u64::from(u32::MAX))));
    tokio::pin!(end);
    loop {
        tokio::select! {
            // There is no configuration to reload, so SIGHUP ends it like any program that does not handle that
            // signal.
            _ = signals.next() => return Ok(()),
            () = &mut end => return Ok(()),
            _ = checks.tick() => if kernel.has_ended() { return Ok(()) },
        }
    }
}
