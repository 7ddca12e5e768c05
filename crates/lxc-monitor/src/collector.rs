//! One cycle: find the containers, look at each, make the snapshot.
//!
//! Everything that may hang runs in an [`Isolation`]: Proxmox's cluster file system (it is FUSE and stops
//! answering with its daemon), each container, and apart from that each container's filesystem. What
//! does not answer costs its own values, in this cycle and no longer than it hangs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::snapshot::{
    ContainerRecord, ContainerRecords, NodeRecord, SCHEMA_VERSION, Snapshot, Summary,
};
use lxc_autoscale_core::{ErrorChain, Vmid};

use crate::block_devices::BlockDevices;
use crate::cgroup::Hierarchy;
use crate::clock::{self, record_time};
use crate::config::{CollectionConfig, MonitorConfig, PathsConfig};
use crate::container::{self, Known, Look, Measured, NodeTables, Task};
use crate::discovery::{self, Inventory};
use crate::filesystem;
use crate::isolation::{Isolation, NoAnswer, Threads};
use crate::kept_files::{HandleBudget, KeptFiles};
use crate::kernel_file::ReadError;
use crate::kernel_gaps::{self, CgroupVersion, KernelGap};
use crate::notices::Notices;
use crate::own_limit;
use crate::own_usage::OwnUsage;
use crate::pools::{self, Pools};
use crate::procfs::{Init, Procfs};
use crate::sample::{ContainerSample, Missing, Moment, NodeSample, Reading};
use crate::topology;
use crate::usage::{self, Baseline, NodeFacts, RunningTotals};
use crate::zfs::Datasets;

/// Why nothing configured is known before the first look.
const NOT_READ_YET: &str = "Proxmox's configuration was not read yet";
/// Containers that are read at once; the work is CPU-bound unless something hangs.
const TURNS: usize = 4;
/// Containers that are looked at before their records are made: what a look gives is larger than a record.
const BATCH: usize = 128;
/// Hanging reads of each kind at most, each of which keeps a thread.
const MAX_HANGING: usize = 24;
/// At this interval and longer ones nothing is kept open: twenty files are opened in a fifth of a millisecond, and take
/// 90 KiB of the kernel's memory for as long as they are.
const KEEP_HANDLES_BELOW: Duration = Duration::from_secs(10);
/// Files of the node that are kept open at most; there are seventeen.
const NODE_FILES: u64 = 32;

/// Makes the snapshots; keeps what the next one needs of the last.
#[derive(Debug)]
pub struct Collector {
    paths: PathsConfig,
    collection: CollectionConfig,
    full_look_every: Duration,
    procfs: Procfs,
    node_reads: Isolation<NodeRead>,
    container_reads: Isolation<Vmid>,
    filesystem_reads: Isolation<Vmid>,
    inventory: Arc<Inventory>,
    /// Why it is not of this cycle; `None` where it is.
    not_read: Option<Missing>,
    /// The pool of each container that is in one.
    pools: Reading<Pools>,
    /// What the next rates need of the last samples.
    baselines: ById<Arc<Baseline>>,
    /// The same of those that were not in the newest record of the monitor before, if there is one.
    unrecorded: Option<Arc<Baseline>>,
    /// What was found out about each running container, its open files among it.
    known: ById<Known>,
    handle_budget: Arc<HandleBudget>,
    /// Files of the node; none while they are read, and where reading them hangs.
    node_files: Option<KeptFiles>,
    node: Option<NodeSample>,
    /// What was found out about the node's block devices and datasets.
    block_devices: Arc<BlockDevices>,
    datasets: Arc<Datasets>,
    own_usage: OwnUsage,
    notices: Notices,
    /// What the kernel lacks and the log has said so.
    mentioned: BTreeSet<&'static str>,
}

/// Reads that concern the node as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum NodeRead {
    Inventory,
    Node,
}

/// What is known before any container is looked at.
#[derive(Debug)]
struct Survey {
    node: NodeSample,
    tables: NodeTables,
    hierarchy: Arc<Hierarchy>,
    /// Containers that have control groups; listed only where Proxmox does not tell which ones there are.
    in_groups: BTreeSet<Vmid>,
    /// Containers whose command socket is open; `None` where that is not known.
    sockets: Option<BTreeSet<Vmid>>,
}

/// What came of a read that concerns the node as a whole.
enum NodeAnswer {
    Inventory(Result<InventoryLook, ReadError>),
    Node(Box<NodeLook>),
}

/// What came of a look at the node, what is wrong with the table of command sockets, and the node's files.
type NodeLook = (Reading<(Survey, Option<String>)>, KeptFiles);

/// What came of reading what Proxmox stores: `None` where it is as it was.
type InventoryLook = (Option<Inventory>, Reading<Pools>);

/// What came of the looks at the containers so far, in their order.
#[derive(Debug, Default)]
struct Gathered {
    records: Vec<(Vmid, ContainerRecord)>,
    stopped: Vec<Vmid>,
    unmeasured: Vec<Vmid>,
    waiting: Vec<Waiting>,
}

/// A container of which everything but its root filesystem was read. Its record has its place already, and nothing in it.
#[derive(Debug)]
struct Waiting {
    vmid: Vmid,
    place: usize,
    sample: Box<ContainerSample>,
    known: Known,
    previous: Option<Arc<Baseline>>,
}

/// What came of looking at some containers, in their order.
type Looks = Vec<(Vmid, Result<Look, NoAnswer>)>;

/// What is kept of containers from one cycle to the next, in the order of their ids. What is taken leaves its place behind, and
/// comes back to it: in most cycles there are the same containers.
#[derive(Debug)]
struct ById<T> {
    list: Vec<(Vmid, Option<T>)>,
    /// What has no place in the list.
    added: Vec<(Vmid, Option<T>)>,
    /// The place that was asked for last: who asks goes through the containers in order.
    last: usize,
}

impl<T> ById<T> {
    fn place(&mut self, vmid: Vmid) -> Option<&mut Option<T>> {
        let is_at = |place: &usize| self.list.get(*place).is_some_and(|(known, _)| *known == vmid);
        let near = [self.last, self.last + 1].into_iter().find(is_at);
        let place = match near {
            Some(place) => place,
            None => self.list.binary_search_by_key(&vmid, |(vmid, _)| *vmid).ok()?,
        };
        self.last = place;
        self.list.get_mut(place).map(|(_, value)| value)
    }

    fn take(&mut self, vmid: Vmid) -> Option<T> {
        self.place(vmid)?.take()
    }

    fn put(&mut self, vmid: Vmid, value: T) {
        match self.place(vmid) {
            Some(place) => *place = Some(value),
            None => self.added.push((vmid, Some(value))),
        }
    }

    /// Forgets the places of what was taken and did not come back, and makes places for what was added.
    fn settle(&mut self) {
        let before = self.list.len();
        self.list.retain(|(_, value)| value.is_some());
        if self.list.len() == before && self.added.is_empty() {
            return;
        }
        self.list.append(&mut self.added);
        self.list.sort_by_key(|(vmid, _)| *vmid);
        self.list.shrink_to_fit();
        self.added = Vec::new();
    }

    /// Keeps what is of these containers, which come in the order of their ids.
    fn retain_of<'a>(&mut self, containers: impl Iterator<Item = &'a Vmid>) {
        let mut containers = containers.peekable();
        self.list.retain(|(vmid, _)| {
            while containers.next_if(|other| *other < vmid).is_some() {}
            containers.peek() == Some(&vmid)
        });
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl<T: Clone> ById<T> {
    fn get(&mut self, vmid: Vmid) -> Option<T> {
        self.place(vmid)?.clone()
    }
}

impl<T> Default for ById<T> {
    fn default() -> Self {
        Self { list: Vec::new(), added: Vec::new(), last: 0 }
    }
}

impl Collector {
    /// Prepares to measure with the given settings; reads nothing yet.
    pub fn new(config: &MonitorConfig) -> Self {
        let threads = Threads::new(TURNS);
        Self {
            paths: config.paths.clone(),
            collection: config.collection.clone(),
            full_look_every: config.full_look_every(),
            procfs: Procfs::new(&config.paths.proc),
            node_reads: Isolation::new(&threads, 2, 2),
            container_reads: Isolation::new(&threads, TURNS, MAX_HANGING),
            filesystem_reads: Isolation::new(&threads, TURNS, MAX_HANGING),
            inventory: Arc::new(Inventory::Unknown(Missing::because(NOT_READ_YET))),
            not_read: None,
            pools: Err(Missing::because(NOT_READ_YET)),
            baselines: ById::default(),
            unrecorded: None,
            known: ById::default(),
            handle_budget: handle_budget(config),
            node_files: None,
            node: None,
            block_devices: Arc::default(),
            datasets: Arc::default(),
            own_usage: OwnUsage::begin(),
            notices: Notices::default(),
            mentioned: BTreeSet::new(),
        }
    }

    /// Takes new settings; what was measured under other paths is forgotten.
    pub fn reconfigure(&mut self, config: &MonitorConfig) {
        if self.paths != config.paths {
            self.paths = config.paths.clone();
            self.procfs = Procfs::new(&config.paths.proc);
            self.inventory = Arc::new(Inventory::Unknown(Missing::because(NOT_READ_YET)));
            self.pools = Err(Missing::because(NOT_READ_YET));
            self.baselines.clear();
            self.unrecorded = None;
            self.known.clear();
            self.node_files = None;
            self.node = None;
            (self.block_devices, self.datasets) = (Arc::default(), Arc::default());
        }
        let budget = handle_budget(config);
        if budget.bounds() != self.handle_budget.bounds() {
            // With the handles that were taken from the one before.
            self.known.clear();
            self.node_files = None;
            self.handle_budget = budget;
        }
        self.collection = config.collection.clone();
        self.full_look_every = config.full_look_every();
    }

    /// Goes on with the totals in the newest record of the monitor before.
    ///
    /// Without it, those of a container that goes on running would jump by what was attached or detached since the monitor
    /// before looked at it first.
    pub fn go_on_from(&mut self, newest: &Snapshot) {
        let node = newest.summary.node.as_ref();
        for (vmid, record) in &newest.containers {
            self.baselines.put(*vmid, Baseline::of_record(record, node).into());
        }
        self.baselines.settle();
        self.unrecorded = Some(Baseline::without_record(&newest.summary).into());
    }

    /// Measures everything once.
    pub fn cycle(&mut self) -> Snapshot {
        let begun = clock::now();
        match self.survey() {
            Ok(survey) => self.measure(survey, begun),
            Err(missing) => {
                self.notices.warn("node", Some(missing.to_string()));
                let mut summary = self.summary(begun, 0);
                let missing = [("containers", missing)].into_iter().collect();
                let node = NodeRecord { missing, ..NodeRecord::default() };
                summary.node = Some(node);
                Snapshot { containers: ContainerRecords::new(), summary }
            }
        }
    }

    /// How these containers, in the order of their ids, were configured when that was read last.
    pub fn configurations_of<'a>(
        &'a self,
        containers: &'a [Vmid],
    ) -> impl Iterator<Item = (Vmid, Arc<ContainerConfig>)> + 'a {
        let mut next = 0;
        containers.iter().filter_map(move |vmid| {
            let stored = self.inventory.configuration_at(*vmid, &mut next).ok().flatten()?;
            Some((*vmid, stored))
        })
    }

    /// Reads what Proxmox stores, looks at the node, and finds out which containers there are; usually all on one thread.
    fn survey(&mut self) -> Reading<Survey> {
        let jobs: [(NodeRead, Box<dyn FnOnce() -> NodeAnswer + Send>); 2] = {
            let (inventory, node) = (self.inventory_read(), self.node_read());
            [
                (NodeRead::Inventory, Box::new(move || NodeAnswer::Inventory(inventory()))),
                (NodeRead::Node, Box::new(move || NodeAnswer::Node(Box::new(node())))),
            ]
        };
        let answers = self.node_reads.run_all(jobs, self.limit(), |_, read| read());
        let mut survey = Err(Missing::because(NoAnswer::Failed.to_string()));
        for (which, answer) in answers {
            match (which, answer) {
                (_, Ok(NodeAnswer::Inventory(answer))) => {
                    self.take_inventory(answer.map_err(|error| ErrorChain(&error).to_string()));
                }
                (NodeRead::Inventory, Err(no_answer)) => self.take_inventory(Err(no_answer.to_string())),
                (_, Ok(NodeAnswer::Node(answer))) => {
                    let (answer, files) = *answer;
                    self.node_files = Some(files);
                    survey = answer;
                }
                (NodeRead::Node, Err(no_answer)) => survey = Err(Missing::because(no_answer.to_string())),
            }
        }
        let (survey, trouble) = survey?;
        self.notices.warn("command sockets of the containers", trouble);
        self.notices.warn("node", None);
        self.block_devices = Arc::clone(&survey.tables.block_devices);
        self.datasets = Arc::clone(&survey.tables.datasets);
        self.mention_pressure("the node", !matches!(survey.node.pressure.cpu, Ok(None)));
        Ok(survey)
    }

    /// How `/etc/pve/lxc` and the pools are read.
    fn inventory_read(&self) -> impl FnOnce() -> Result<InventoryLook, ReadError> + Send + use<> {
        let (pve, known) = (self.paths.pve.clone(), Arc::clone(&self.inventory));
        move || Ok((known.changed(&pve, clock::now())?, pools::read(&pve)))
    }

    /// Takes what was read of Proxmox. While it does not answer, the containers are those that it listed last; but how
    /// they were configured then is not of now, and may be what we have changed since.
    fn take_inventory(&mut self, answer: Result<InventoryLook, String>) {
        let trouble = match answer {
            Ok((inventory, pools)) => {
                if let Some(inventory) = inventory {
                    self.inventory = Arc::new(inventory);
                }
                let trouble = pools.as_ref().err().map(ToString::to_string);
                self.pools = pools;
                self.notices.warn("pools", trouble);
                None
            }
            Err(trouble) => Some(trouble),
        };
        self.not_read = trouble.clone().map(Missing::because);
        if let Some(missing) = &self.not_read {
            self.pools = Err(missing.clone());
            if let Inventory::Unknown(_) = &*self.inventory {
                self.inventory = Arc::new(Inventory::Unknown(missing.clone()));
            }
        }
        self.notices.warn("configurations of the containers", trouble);
        if let Inventory::Proxmox(containers) = &*self.inventory {
            for (vmid, stored) in containers {
                let trouble = stored.trouble();
                if trouble.is_some() || !self.notices.is_quiet() {
                    self.notices.warn(&configuration_subject(*vmid), trouble);
                }
            }
        }
    }

    /// How the node is looked at.
    fn node_read(&mut self) -> impl FnOnce() -> NodeLook + Send + use<> {
        let (procfs, paths) = (self.procfs.clone(), self.paths.clone());
        let excluded = self.collection.excluded_devices.clone();
        let full_look_every = self.full_look_every;
        let is_proxmox = matches!(*self.inventory, Inventory::Proxmox(_));
        let (block_devices, datasets) = (Arc::clone(&self.block_devices), Arc::clone(&self.datasets));
        let known_topology = self.node.as_ref().and_then(|node| node.topology.clone().ok()).flatten();
        let files = self.node_files.take().unwrap_or_else(|| node_files(&self.handle_budget));
        let read = move |files: &KeptFiles| -> Reading<(Survey, Option<String>)> {
            let hierarchy =
                Hierarchy::detect(&paths.cgroup).map_err(|error| Missing::because(error.to_string()))?;
            let (sockets, trouble) = match procfs.command_sockets(files, &paths.lxc) {
                Ok(sockets) => (Some(sockets), None),
                Err(error) => (None, Some(ErrorChain(&error).to_string())),
            };
            let mut node = procfs.node(files);
            node.topology = topology::read(files, &paths.sys, known_topology.as_ref());
            let since_boot = clock::now().since_boot;
            let survey = Survey {
                tables: NodeTables {
                    block_devices: BlockDevices::refreshed(
                        files,
                        &block_devices,
                        &paths.proc,
                        &paths.sys,
                        &excluded,
                        since_boot,
                    ),
                    datasets: Arc::new(Datasets::refreshed(&datasets, &paths.proc, since_boot)),
                    network_devices: procfs.network_devices(files).map_err(Missing::from),
                    uptime_seconds: node.uptime_seconds.clone(),
                    facts: NodeFacts {
                        uptime_seconds: node.uptime_seconds.as_ref().ok().copied(),
                        boot: node.boot_id.as_ref().ok().copied(),
                        cpus: node.cpu.as_ref().ok().map(|cpu| cpu.cpus),
                        swap_total: node.memory.as_ref().ok().map(|memory| memory.swap_total),
                    },
                    ticks_per_second: rustix::param::clock_ticks_per_second(),
                    full_look_every,
                },
                node,
                in_groups: if is_proxmox { BTreeSet::new() } else { hierarchy.containers() },
                sockets,
                hierarchy: Arc::new(hierarchy),
            };
            Ok((survey, trouble))
        };
        move || (read(&files), files)
    }

    /// Looks at every container and puts the snapshot together.
    fn measure(&mut self, survey: Survey, begun: Moment) -> Snapshot {
        let Survey { node, tables, hierarchy, in_groups, sockets } = survey;
        let mut containers = discovery::containers(&self.inventory, in_groups, sockets.as_ref());
        if self.not_read.is_some() {
            // One that came since the last list is measured, too, or the sums would be without it.
            for vmid in sockets.iter().flatten() {
                containers.entry(*vmid).or_insert(Some(true));
            }
        }
        self.forget_notices_of_others(&containers);
        self.handle_budget.keep_back_for(containers.len());
        // Containers that are no more: their handles go.
        self.known.retain_of(containers.keys());
        self.baselines.retain_of(containers.keys());
        let tables = Arc::new(tables);
        let mut gathered = Gathered { records: Vec::with_capacity(containers.len()), ..Gathered::default() };
        while !containers.is_empty() {
            let next = containers.keys().nth(BATCH).copied();
            let rest = next.map(|next| containers.split_off(&next));
            let batch = std::mem::replace(&mut containers, rest.unwrap_or_default());
            let looks = self.look_at(batch, &hierarchy, &tables);
            for (vmid, look) in looks {
                self.gather(vmid, look, hierarchy.cgroup_version(), &mut gathered);
            }
            // Where most looks are quiet ones, those of many batches are read together: each time wakes a thread.
            if containers.is_empty() || BATCH <= gathered.waiting.len() {
                self.read_filesystems(&mut gathered, tables.facts, hierarchy.cgroup_version());
            }
        }
        self.known.settle();
        self.baselines.settle();
        let records = ContainerRecords::from(gathered.records);

        let measured: Vec<(Vmid, &ContainerRecord)> =
            records.iter().map(|(vmid, record)| (*vmid, record)).collect();
        let totals = RunningTotals { measured, unmeasured: gathered.unmeasured };
        let mut node_record = usage::node_record(self.node.as_ref(), &node, &totals);
        if let Inventory::Unknown(missing) = &*self.inventory {
            // Only those with a control group or a socket are known: one that is not listed may be stopped or gone.
            node_record.missing.insert("stopped_containers", missing.clone());
        }
        self.mention(&kernel_gaps::of_node(&node_record));
        self.node = Some(node);
        let mut summary = self.summary(begun, records.len());
        summary.stopped_containers = gathered.stopped;
        summary.node = Some(node_record);
        Snapshot { containers: records, summary }
    }

    /// Takes what came of looking at a container.
    fn gather(
        &mut self,
        vmid: Vmid,
        look: Result<Look, NoAnswer>,
        version: CgroupVersion,
        gathered: &mut Gathered,
    ) {
        let previous = self.baselines.take(vmid).or_else(|| self.unrecorded.clone());
        let (trouble, is_known) = match look {
            Ok(Look::Measured(Measured::Whole { mut record, baseline }, known)) => {
                self.keep(vmid, &mut record, baseline, known, version);
                gathered.records.push((vmid, *record));
                (None, true)
            }
            Ok(Look::Measured(Measured::ButFilesystem(sample), known)) => {
                let place = gathered.records.len();
                gathered.records.push((vmid, ContainerRecord::empty(record_time(sample.at.wall))));
                gathered.waiting.push(Waiting { vmid, place, sample, known, previous });
                return;
            }
            Ok(Look::Stopped) => {
                gathered.stopped.push(vmid);
                (None, true)
            }
            Ok(Look::Vanished) => (None, true),
            Ok(Look::Unclear(why)) => (Some(why.to_owned()), false),
            Err(no_answer) => (Some(format!("not measured: {no_answer}")), false),
        };
        if !is_known {
            // It may run: the sums are unknown, and its next rate is one over the longer time.
            gathered.unmeasured.push(vmid);
            if let Some(baseline) = previous {
                self.baselines.put(vmid, baseline);
            }
        }
        self.warn_of(vmid, trouble);
    }

    fn warn_of(&mut self, vmid: Vmid, trouble: Option<String>) {
        if trouble.is_some() || !self.notices.is_quiet() {
            self.notices.warn(&container_subject(vmid), trouble);
        }
    }

    /// Keeps what a look leaves behind, and adds to the record what is known of its container.
    fn keep(
        &mut self,
        vmid: Vmid,
        record: &mut ContainerRecord,
        baseline: Arc<Baseline>,
        known: Known,
        version: CgroupVersion,
    ) {
        let was_read_in_full = known.was_read_in_full();
        self.known.put(vmid, known);
        self.baselines.put(vmid, baseline);
        let has_pressure = record.pressure.cpu.is_some() || record.missing.contains("pressure.cpu");
        self.mention_pressure("containers", has_pressure);
        self.note_pool(vmid, record);
        if was_read_in_full {
            self.mention(&kernel_gaps::of_container(version, record));
        }
    }

    /// Notes the pool of a container, or why it is not known.
    fn note_pool(&self, vmid: Vmid, record: &mut ContainerRecord) {
        match &self.pools {
            Ok(pools) => record.pool = Some(pools.get(&vmid).cloned().unwrap_or_default()),
            Err(missing) => {
                record.missing.insert("pool", missing.clone());
            }
        }
    }

    /// Looks at some containers; already whether one runs is read where it may hang.
    fn look_at(
        &mut self,
        containers: BTreeMap<Vmid, Option<bool>>,
        hierarchy: &Arc<Hierarchy>,
        tables: &Arc<NodeTables>,
    ) -> Looks {
        let mut next = 0;
        let tasks: Vec<(Vmid, Task)> = containers
            .into_iter()
            .map(|(vmid, socket)| {
                let configuration = match &self.not_read {
                    Some(missing) => Err(missing.clone()),
                    None => self.inventory.configuration_at(vmid, &mut next),
                };
                let previous = self.baselines.get(vmid).or_else(|| self.unrecorded.clone());
                (vmid, Task { vmid, socket, configuration, previous, known: self.known.take(vmid) })
            })
            .collect();
        let (procfs, budget) = (self.procfs.clone(), Arc::clone(&self.handle_budget));
        let (hierarchy, tables) = (Arc::clone(hierarchy), Arc::clone(tables));
        let look = move |_, task| container::look(&procfs, &hierarchy, &tables, &budget, task);
        let mut looks: Looks = self.container_reads.run_all(tasks, self.limit(), look);
        // Those of a thread that was left alone come later.
        looks.sort_by_key(|(vmid, _)| *vmid);
        looks
    }

    /// Looks at the filesystems of the containers that wait for it, and makes their records. Of the others it is as it was at the last
    /// full look.
    fn read_filesystems(&mut self, gathered: &mut Gathered, facts: NodeFacts, version: CgroupVersion) {
        let waiting = std::mem::take(&mut gathered.waiting);
        let jobs: Vec<(Vmid, Init)> = waiting
            .iter()
            .filter_map(|waiting| Some((waiting.vmid, waiting.known.init()?.clone())))
            .collect();
        let procfs = self.procfs.clone();
        let read = move |_, init: Init| filesystem::read(&procfs, &init);
        let mut answers = self.filesystem_reads.run_all(jobs, self.limit(), read);
        answers.sort_by_key(|(vmid, _)| *vmid);
        let mut answers = answers.into_iter().peekable();
        for Waiting { vmid, place, mut sample, mut known, previous } in waiting {
            if let Some((_, answer)) = answers.next_if(|(of, _)| *of == vmid) {
                sample.filesystem = answer.unwrap_or_else(|no_answer| {
                    Err(Missing::because(format!("its root filesystem: {no_answer}")))
                });
            }
            if let Ok(filesystem) = sample.filesystem {
                known.keep_filesystem(filesystem);
            }
            let previous = usage::placed(previous.as_ref(), &sample.cgroup.io, &self.block_devices);
            let (mut record, baseline) = usage::container_record(previous.as_deref(), *sample, facts);
            self.keep(vmid, &mut record, baseline.into(), known, version);
            if let Some((_, its_place)) = gathered.records.get_mut(place) {
                *its_place = record;
            }
            self.warn_of(vmid, None);
        }
    }

    /// Says once where there is no pressure information, which is a property of the kernel and not a trouble.
    fn mention_pressure(&mut self, whose: &str, has_pressure: bool) {
        if !has_pressure && self.mentioned.insert("pressure") {
            tracing::info!(
                "there are no pressure values of {whose}: the kernel gives none (boot with psi=1)"
            );
        }
    }

    /// Says once what the kernel does not count.
    fn mention(&mut self, gaps: &[KernelGap]) {
        for gap in gaps {
            if gap.fields.first().is_some_and(|field| self.mentioned.insert(field)) {
                tracing::info!("the kernel does not count {}: {}", gap.name(), gap.why);
            }
        }
    }

    fn forget_notices_of_others(&mut self, containers: &BTreeMap<Vmid, Option<bool>>) {
        if self.notices.is_quiet() {
            return;
        }
        let own: BTreeSet<String> = containers
            .keys()
            .flat_map(|vmid| [container_subject(*vmid), configuration_subject(*vmid)])
            .collect();
        self.notices.retain(|subject| !subject.contains("container ") || own.contains(subject));
    }

    fn summary(&mut self, begun: Moment, measured: usize) -> Summary {
        let own = self.own_usage.since_last();
        let ended = clock::now();
        Summary {
            collection_start_time: record_time(begun.wall),
            collection_end_time: record_time(ended.wall),
            total_containers: measured as u64,
            total_duration_seconds: ended.since_boot.saturating_sub(begun.since_boot).as_secs_f64(),
            monitor_cpu_percent: own.cpu_percent,
            monitor_memory_usage_mb: own.memory_mib,
            schema_version: Some(SCHEMA_VERSION),
            stopped_containers: Vec::new(),
            node: None,
        }
    }

    fn limit(&self) -> Duration {
        self.collection.read_timeout()
    }
}

/// The handles that may be kept open from cycle to cycle; none where cycles are so rare that opening costs less than the
/// memory they take.
fn handle_budget(config: &MonitorConfig) -> Arc<HandleBudget> {
    if KEEP_HANDLES_BELOW <= config.interval() {
        return HandleBudget::of(0);
    }
    HandleBudget::of_process(own_limit::memory_limit(&config.paths.proc, &config.paths.cgroup))
}

/// The files of the node, which are few: they are kept open where those of containers are.
fn node_files(of_containers: &HandleBudget) -> KeptFiles {
    if of_containers.total() == 0 {
        return KeptFiles::for_one_look();
    }
    let budget = HandleBudget::of(NODE_FILES);
    budget.keep_back_for(0);
    KeptFiles::new(&budget)
}

fn configuration_subject(vmid: Vmid) -> String {
    format!("configuration of container {vmid}")
}

fn container_subject(vmid: Vmid) -> String {
    format!("container {vmid}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// From cycle to cycle it holds what was put last, and nothing of containers that were taken out or left out.
        #[test]
        fn what_is_kept_by_id_is_what_was_put_last(
            cycles in proptest::collection::vec(proptest::collection::btree_map(0_u32..30, any::<(u8, bool)>(), 0..20), 1..8)
        ) {
            let (mut kept, mut want) = (ById::default(), BTreeMap::new());
            for cycle in cycles {
                let ids: Vec<Vmid> = cycle.keys().map(|number| Vmid::try_from(100 + number).unwrap()).collect();
                kept.retain_of(ids.iter());
                let mut next = BTreeMap::new();
                for (number, (value, comes_back)) in cycle {
                    let vmid = Vmid::try_from(100 + number).unwrap();
                    prop_assert_eq!(kept.get(vmid), want.get(&vmid).copied());
                    prop_assert_eq!(kept.take(vmid), want.remove(&vmid));
                    if comes_back {
                        kept.put(vmid, value);
                        next.insert(vmid, value);
                    }
                }
                kept.settle();
                want = next;
                prop_assert!(kept.list.iter().map(|(vmid, value)| (*vmid, value.unwrap())).eq(want.clone()));
            }
        }
    }
}
