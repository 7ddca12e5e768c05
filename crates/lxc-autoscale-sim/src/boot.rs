//! Creates a node with its containers and boots it, for `run` and for `demo`.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use lxc_autoscale_core::Vmid;

use crate::fleet::{self, Member};
use crate::kernel::clockwork::{Clockwork, KernelError};
use crate::kernel::machine::Machine as KernelMachine;
use crate::node::{
    EngineKind, NodeError, NodeLayout, NodeSettings, add_container, create_node, write_atomically,
    write_wrappers,
};
use crate::pve::Machine;
use crate::pve::error::PctError;

/// Why the node did not come up.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The tree cannot be read or written.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A container could not be created or started.
    #[error("container {id} cannot be {action}")]
    Container {
        /// The container.
        id: Vmid,
        /// The action that failed.
        action: &'static str,
        /// Why not.
        source: PctError,
    },
    /// The node could not be opened.
    #[error("the node cannot be opened")]
    Open(#[source] PctError),
}

/// Creates the node, its containers, and the commands in `bin`. Nothing runs yet.
///
/// # Errors
/// [`BootError`] if a file cannot be written or a container cannot be created.
pub fn make(
    layout: &NodeLayout,
    settings: &NodeSettings,
    members: &[Member],
    bin: &Path,
) -> Result<(), BootError> {
    create_node(layout, settings)?;
    // The node's only block device is not built on others, so this is empty.
    let devices = layout.root().join("sys/dev/block");
    fs::create_dir_all(&devices).map_err(NodeError::file("create", &devices))?;
    write_wrappers(layout, bin)?;
    for member in members {
        let storage = settings.storages.last().map_or("local", |storage| storage.id.as_str());
        add_container(layout, member.id, &member.config(storage))?;
    }
    let users = layout.etc_pve().join("user.cfg");
    if settings.engine == EngineKind::Simulated && !users.exists() {
        write_atomically(&users, &fleet::user_cfg())?;
    }
    let machine = Machine::open(layout).map_err(BootError::Open)?;
    for member in members {
        let id = member.id;
        let made = guest(&machine, id).and_then(|guest| Ok(machine.engine.create(&guest)?));
        made.map_err(|source| BootError::Container { id, action: "made", source })?;
    }
    Ok(())
}

/// Boots the node: removes what seems to run since an earlier boot, and starts the containers with `onboot`.
///
/// # Errors
/// [`BootError`] if a container does not start.
pub fn boot(layout: &NodeLayout, simulated: bool) -> Result<(), BootError> {
    let machine = Machine::open(layout).map_err(BootError::Open)?;
    let running = machine.engine.running().map_err(|error| BootError::Open(error.into()))?;
    for &id in running.ids() {
        let ended = machine.engine.kill(id).map_err(PctError::from);
        ended.map_err(|source| BootError::Container { id, action: "ended", source })?;
    }
    if simulated {
        write_atomically(&layout.proc().join("uptime"), "0.00 0.00\n")?;
    }
    for id in machine.store.list()? {
        start_on_boot(&machine, id).map_err(|source| BootError::Container {
            id,
            action: "started",
            source,
        })?;
    }
    Ok(())
}

fn start_on_boot(machine: &Machine, id: Vmid) -> Result<(), PctError> {
    let loaded = machine.store.load(id, &mut std::io::sink())?;
    if loaded.config.current.summary().onboot {
        machine.engine.start(&machine.guest(id, &loaded.config.current)?)?;
    }
    Ok(())
}

fn guest(machine: &Machine, id: Vmid) -> Result<crate::engine::Guest, PctError> {
    let loaded = machine.store.load(id, &mut std::io::sink())?;
    machine.guest(id, &loaded.config.current)
}

/// The simulated kernel, running in a thread of its own.
#[derive(Debug)]
pub struct RunningKernel {
    stop: Arc<AtomicBool>,
    /// Taken when the thread is joined.
    thread: Option<JoinHandle<Result<(), KernelError>>>,
}

impl RunningKernel {
    /// Starts it. `machine` is the state of the node so far, which is visible in the tree when this returns.
    ///
    /// # Errors
    /// [`KernelError`] if the tree cannot be taken over.
    pub fn start(
        layout: NodeLayout,
        machine: KernelMachine,
        boot_time_seconds: u64,
        rebalance: Duration,
    ) -> Result<Self, KernelError> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let (shown, is_shown) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut clockwork = Clockwork::new(layout, machine, boot_time_seconds, rebalance)?;
            // The caller may have stopped waiting; then `stop` is set as well.
            let _ = shown.send(());
            drop(shown);
            clockwork.run(&seen)
        });
        match is_shown.recv() {
            Ok(()) => Ok(Self { stop, thread: Some(thread) }),
            // The thread ended before it had written anything.
            Err(_) => Err(thread
                .join()
                .map_or(KernelError::Crashed, |ended| ended.err().unwrap_or(KernelError::Crashed))),
        }
    }

    /// Whether it has ended by itself, which happens only on errors.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops it and waits for its end.
    ///
    /// # Errors
    /// The error that had ended it.
    pub fn stop(mut self) -> Result<(), KernelError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), KernelError> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap_or(Err(KernelError::Crashed)))
    }
}

impl Drop for RunningKernel {
    /// Makes sure that it never continues writing into a tree that is about to be removed.
    fn drop(&mut self) {
        // The caller that drops it reports an error of its own.
        let _ = self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::clockwork;
    use crate::node::{create_node, remove_tree};

    #[test]
    fn a_kernel_that_is_dropped_writes_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let layout = NodeLayout::new(directory.path().join("node"));
        let settings = NodeSettings::default();
        create_node(&layout, &settings).unwrap();
        boot(&layout, true).unwrap();
        let machine = KernelMachine::new(clockwork::capacity(&settings), 0.0);
        let kernel = RunningKernel::start(layout.clone(), machine, 0, clockwork::REBALANCE).unwrap();
        let shared = Arc::clone(&kernel.stop);
        drop(kernel);
        assert_eq!(Arc::strong_count(&shared), 1, "its thread has ended");
        remove_tree(layout.root()).unwrap();
        assert!(!layout.root().exists());
    }
}
