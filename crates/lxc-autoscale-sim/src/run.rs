//! `lxc-autoscale-sim run`: a simulated node, until it is told to stop.
//!
//! The node is made when the directory holds none; one that is there is booted again, with the containers and the
//! workloads it has.

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

/// What was asked for.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Holds `node/`, the tree, and `bin/`, the commands.
    pub directory: PathBuf,
    /// Generation of a new node's cgroups.
    pub cgroup: Option<CgroupVersion>,
    /// How long; for ever when absent.
    pub duration: Option<Duration>,
}

/// Why the node does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It did not come up.
    #[error("the node cannot be booted")]
    Boot(#[from] BootError),
    /// The tree cannot be read or written.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// There is no workload plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The kernel failed.
    #[error("the simulated kernel failed")]
    Kernel(#[from] KernelError),
    /// Its REST API cannot be served.
    #[error("the REST API cannot be served")]
    Rest(#[from] RestError),
    /// The node that is there is another one.
    #[error("`{}` holds a node with cgroup {found:?}; leave --cgroup out or choose another directory", directory.display())]
    OtherGeneration {
        /// The directory.
        directory: PathBuf,
        /// What its node has.
        found: CgroupVersion,
    },
    /// The runtime, the signals or standard output do not work.
    #[error("cannot wait for signals or write to standard output")]
    Io(#[from] io::Error),
}

/// Runs the node until SIGTERM, SIGINT or the end of the time.
///
/// # Errors
/// [`RunError`] when it does not come up, or fails later.
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

/// Serves the node's REST API, and through it that of `others`, until SIGTERM or SIGINT; each call is appended to `log` if
/// there is one.
///
/// # Errors
/// [`RunError`] when it cannot be served.
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

/// Makes the node, or opens the one that is there.
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
            // There is no configuration to reload, so a SIGHUP ends it as it ends any program that has none.
            _ = signals.next() => return Ok(()),
            () = &mut end => return Ok(()),
            _ = checks.tick() => if kernel.has_ended() { return Ok(()) },
        }
    }
}
