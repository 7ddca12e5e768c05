//! Carries out decisions through the API and records them in the ledger.
//!
//! A decision is in the ledger before the API is called. If the ledger cannot be written, no call is made: such a
//! change could not be explained afterwards, and no cool-down would know of it after a restart.

mod applied;
mod boosts;
mod noted;
mod proposals;

use std::collections::{BTreeMap, BTreeSet};
use std::mem::Discriminant;
use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::api::{ScaleCoresRequest, ScaleCpulimitRequest, ScaleRamRequest};
use lxc_autoscale_core::{ErrorChain, Mebibytes, Vmid};

pub use applied::Author;

use crate::act::{ApiClient, CallError, ClientError};
use crate::config::{Config, ProposalsConfig, StateConfig};
use crate::decide::{Action, CpuControl, Decision, Reason, Resource};
use crate::exporter::Instruments;
use crate::guard::{LastingState, LastingStates};
use crate::ledger::{FirstSize, Ledger, LedgerError, Outcome, Quiet};
use crate::pipeline::{Changes, Pipeline, PipelineError, Proposal};
use crate::proposals::Record;
use crate::refusals::{Refusals, is_urgent};
use crate::shadow::KeptShadows;
use crate::trouble::Trouble;

/// How often old entries are removed.
const TRIM_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// Why the executor cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The API's client cannot be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The demand model or a policy cannot be used.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

/// Carries decisions out.
#[derive(Debug)]
pub struct Executor {
    client: ApiClient,
    state: StateConfig,
    asking: ProposalsConfig,
    /// `None` while it cannot be used.
    ledger: Option<Ledger>,
    changes: Changes,
    refusals: Refusals,
    trimmed: Option<Timestamp>,
    /// Accepted decisions that are not carried out yet, as of the beginning of the cycle.
    accepted: BTreeMap<(Vmid, Resource), Record>,
    /// Why an accepted proposal waits, as last recorded.
    held: BTreeMap<i64, Discriminant<Reason>>,
    ledger_trouble: Trouble,
    api_trouble: Trouble,
    boosts_trouble: Trouble,
    instruments: Arc<Instruments>,
    /// Whether the API was found to be unreachable in this cycle.
    api_is_down: bool,
    /// A container whose other changes would only wait in this cycle.
    held_up: Option<Vmid>,
    /// Containers whose last change was not answered in time: they are served last.
    late: BTreeSet<Vmid>,
    /// Outcomes of entries that could not be recorded.
    unsettled: Vec<(i64, Outcome)>,
}

/// The outcome of a decision that was to be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    /// The container.
    pub id: Vmid,
    /// The decision.
    pub decision: Decision,
    /// Its outcome.
    pub outcome: Outcome,
}

/// The size that the API is asked to set.
#[derive(Clone, Debug)]
enum Wanted {
    Cores(ScaleCoresRequest),
    Cpulimit(ScaleCpulimitRequest),
    Memory(ScaleRamRequest),
}

/// What the API did.
struct Set {
    /// The value before.
    before: Option<f64>,
    /// The value read back.
    after: Option<f64>,
    /// Whether we changed it. A call is only repeated after an answer that says that nothing was changed, so what a
    /// repeated one finds was set by somebody else, too.
    is_ours: bool,
}

/// The number of cores rounded up; `None` if it is not a valid one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the bounds of the type")]
fn whole_cores(cores: f64) -> Option<u32> {
    let cores = cores.ceil();
    (0.0..=f64::from(u32::MAX)).contains(&cores).then_some(cores as u32)
}

impl Wanted {
    /// The size that a decision asks for, by the controlled setting; `None` if it is not a valid one.
    fn of(proposal: &Proposal, decision: &Decision) -> Option<Self> {
        let (vm_id, to, has) = (proposal.id, decision.to?, proposal.inputs.allocation);
        match (decision.resource, proposal.in_force.policy.cpu.control) {
            (Resource::Cpu, CpuControl::Cores) => {
                let expected = has.and_then(|has| whole_cores(has.cores.unwrap_or(0.0)));
                Some(Self::Cores(ScaleCoresRequest { vm_id, cores: whole_cores(to)?, expected }))
            }
            // 0 would remove the limit.
            (Resource::Cpu, CpuControl::Cpulimit) => (0.0 < to && to.is_finite()).then(|| {
                let cpulimit = (to * 100.0).round().max(1.0) / 100.0;
                let expected = has.map(|has| has.cpulimit.unwrap_or(0.0));
                Self::Cpulimit(ScaleCpulimitRequest { vm_id, cpulimit, expected })
            }),
            (Resource::Memory, _) => {
                let expected = has.and_then(|has| Mebibytes::from_f64_ceil(has.memory_mib));
                Some(Self::Memory(ScaleRamRequest { vm_id, memory: Mebibytes::from_f64_ceil(to)?, expected }))
            }
        }
    }
}

impl Executor {
    /// Opens the ledger and reads the last changes; to be followed by [`Executor::settle_interrupted`].
    ///
    /// # Errors
    /// [`StartError`] when the state directory cannot be written.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let (ledger, _) = open(&config.state.ledger())?;
        let executor = Self::with(config, ledger)?;
        Ok(Self { client: executor.client.clone().in_a_hurry(), ..executor })
    }

    fn with(config: &Config, ledger: Ledger) -> Result<Self, StartError> {
        Ok(Self {
            client: ApiClient::new(&config.api.url, config.api.patience())?,
            accepted: BTreeMap::new(),
            held: BTreeMap::new(),
            asking: config.proposals.clone(),
            changes: ledger.last_changes()?,
            refusals: Refusals::default(),
            state: config.state.clone(),
            ledger: Some(ledger),
            trimmed: None,
            ledger_trouble: Trouble::none("the ledger"),
            api_trouble: Trouble::none("the API"),
            boosts_trouble: Trouble::none("what the API tells of boosts"),
            api_is_down: false,
            held_up: None,
            late: BTreeSet::new(),
            instruments: Arc::default(),
            unsettled: Vec::new(),
        })
    }

    /// Uses these counters from now on.
    #[must_use]
    pub fn counting(self, instruments: Arc<Instruments>) -> Self {
        Self { instruments, ..self }
    }

    /// Changes that were under way when the last daemon ended count as made: cool-downs apply, and each shrink is
    /// watched, because it may have happened.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger cannot be used.
    pub fn settle_interrupted(&mut self, pipeline: &mut Pipeline) -> Result<(), LedgerError> {
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        let interrupted = ledger.interrupted()?;
        if interrupted.is_empty() {
            return Ok(());
        }
        tracing::warn!(
            "{} changes were under way when the daemon ended; they count as made",
            interrupted.len()
        );
        for change in &interrupted {
            pipeline.note_interrupted(change.id, &change.decision, change.at);
        }
        // In this order: watching a shrink twice does no harm.
        ledger.keep_guards(pipeline.guards().lasting_states())?;
        ledger.settle_interrupted()?;
        Ok(())
    }

    /// When containers were last changed.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The guards' state saved before a restart.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger cannot be read.
    pub fn guards(&self) -> Result<LastingStates, LedgerError> {
        self.ledger.as_ref().map_or_else(|| Ok(LastingStates::new()), Ledger::guards)
    }

    /// The first known size of each container.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger cannot be read.
    pub fn first_sizes(&self) -> Result<Vec<FirstSize>, LedgerError> {
        self.ledger.as_ref().map_or_else(|| Ok(Vec::new()), Ledger::first_sizes)
    }

    /// Saves the present state of the guards.
    pub fn keep_guards<'a>(&mut self, guards: impl IntoIterator<Item = (Vmid, &'a LastingState)>) {
        if let Some(ledger) = &mut self.ledger
            && let Err(error) = ledger.keep_guards(guards)
        {
            self.lost_ledger(&error);
        }
    }

    /// The candidates' state saved before a restart.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger cannot be read.
    pub fn shadows(&self) -> Result<KeptShadows, LedgerError> {
        self.ledger.as_ref().map_or_else(|| Ok(KeptShadows::new()), Ledger::shadows)
    }

    /// Saves the present state of the candidates.
    pub fn keep_shadows(&mut self, shadows: &KeptShadows) {
        if let Some(ledger) = &mut self.ledger
            && let Err(error) = ledger.keep_shadows(shadows)
        {
            self.lost_ledger(&error);
        }
    }

    /// Writes pending counts, so that they survive the end of the daemon.
    pub fn write_counts(&mut self, now: Timestamp) {
        if let Some(ledger) = &mut self.ledger
            && let Err(error) = ledger.write_stretches(now)
        {
            self.lost_ledger(&error);
        }
    }

    /// The present problem of the API or the ledger.
    pub fn trouble(&self) -> Option<&str> {
        self.ledger_trouble.current().or(self.api_trouble.current())
    }

    /// Whether the ledger and the API have a problem.
    pub fn troubles(&self) -> [(&'static str, bool); 2] {
        [("ledger", &self.ledger_trouble), ("api", &self.api_trouble)]
            .map(|(name, trouble)| (name, trouble.current().is_some()))
    }

    /// Begins a cycle: reopens a lost ledger, detects a clock that was set back, removes old entries.
    pub fn begin_cycle(&mut self, now: Timestamp) {
        (self.api_is_down, self.held_up) = (false, None);
        self.reopen();
        self.notice_set_back(now);
        let is_due = self.trimmed.is_none_or(|last| TRIM_EVERY <= now.duration_since(last).abs());
        if is_due && let Some(ledger) = &mut self.ledger {
            self.trimmed = Some(now);
            match ledger.trim(now - self.state.retention(), self.state.max_decisions) {
                Ok(removed) => tracing::debug!(removed, "old decisions removed"),
                Err(error) => self.lost_ledger(&error),
            }
        }
    }

    fn reopen(&mut self) {
        if self.ledger.is_some() {
            return;
        }
        match open(&self.state.ledger()) {
            Ok((ledger, is_new)) => {
                self.ledger = Some(ledger);
                if is_new {
                    // The new ledger does not contain these entries.
                    self.unsettled.clear();
                }
            }
            Err(error) => self.lost_ledger(&error),
        }
        for (number, outcome) in std::mem::take(&mut self.unsettled) {
            self.settle(number, outcome);
        }
    }

    /// Changes in the future were made before the clock was set back. Otherwise nothing would be changed, and no
    /// shortage of memory answered, until the clock reaches them.
    fn notice_set_back(&mut self, now: Timestamp) {
        let mut is_set_back = false;
        for changes in self.changes.values_mut() {
            is_set_back |= changes.set_back(now);
        }
        if is_set_back {
            tracing::warn!("the clock was set back; changes dated in the future count as made now");
            self.in_ledger(|ledger| ledger.note_set_back(now));
        }
    }

    /// Records the outcome of an entry; one that cannot be written now is written when the ledger can be opened again.
    fn settle(&mut self, number: i64, outcome: Outcome) {
        let Some(ledger) = &mut self.ledger else {
            self.unsettled.push((number, outcome));
            return;
        };
        if let Err(error) = ledger.settle(number, &outcome) {
            self.unsettled.push((number, outcome));
            self.lost_ledger(&error);
        }
    }

    /// Records the decisions that are not carried out, all at once: one write to the disk per cycle.
    pub fn note_quiet(&mut self, proposals: &[Proposal], now: Timestamp) {
        if !self.keep_grounds(proposals, now) {
            return;
        }
        let Some(ledger) = &mut self.ledger else { return };
        let quiet = proposals.iter().flat_map(|proposal| {
            let quiet = proposal.decisions.both().into_iter().filter(|decision| !is_due(decision));
            quiet.map(move |decision| Quiet {
                id: proposal.id,
                decision,
                inputs: &proposal.inputs,
                mode: proposal.in_force.policy.mode(decision.resource),
            })
        });
        match ledger.note(now, quiet) {
            Ok(()) => self.ledger_trouble.is_over(),
            Err(error) => self.lost_ledger(&error),
        }
    }

    /// Stores the rules of the decisions, and the sizes they are the first to find; `false` if the ledger cannot be
    /// written.
    fn keep_grounds(&mut self, proposals: &[Proposal], now: Timestamp) -> bool {
        let Some(ledger) = &mut self.ledger else { return false };
        let rules = proposals
            .iter()
            .filter_map(|proposal| Some((proposal.inputs.policy.as_deref()?, proposal.in_force.as_ref())));
        let found = proposals.iter().flat_map(|proposal| {
            let (id, name) = (proposal.id, proposal.name.as_deref());
            proposal.decisions.both().map(|decision| (id, name, decision))
        });
        match ledger.keep_policies(rules).and_then(|()| ledger.keep_first_sizes(now, found)) {
            Ok(()) => true,
            Err(error) => {
                self.lost_ledger(&error);
                false
            }
        }
    }

    /// The order in which proposals are carried out, one after the other: those first that lack memory now, then other
    /// growths. Among those that are as urgent, a container that kept the daemon waiting comes last.
    pub fn order(&self, proposals: &[Proposal]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..proposals.len()).collect();
        let urgency = |proposal: &Proposal| {
            let due = || proposal.decisions.both().into_iter().filter(|decision| is_due(decision));
            let grows = due().any(|decision| decision.action == Action::Grow);
            (!due().any(is_urgent), self.late.contains(&proposal.id), !grows)
        };
        order.sort_by_key(|index| urgency(&proposals[*index]));
        order
    }

    /// Carries out the due decisions about one container.
    pub async fn carry_out(&mut self, proposal: &Proposal, now: Timestamp) -> Vec<Carried> {
        let id = proposal.id;
        self.keep_grounds(std::slice::from_ref(proposal), now);
        let mut carried = Vec::new();
        let mut due = Vec::new();
        for decision in proposal.decisions.both().into_iter().filter(|decision| is_due(decision)) {
            match self.refusals.hold(id, decision, now) {
                // The ledger has the refusal already.
                Some(error) => {
                    let outcome = Outcome::Failed { error };
                    carried.push(Carried { id, decision: decision.clone(), outcome });
                }
                None => due.push(decision),
            }
        }
        if !due.is_empty() && self.api_trouble.current().is_none() && self.ledger.is_some() {
            announce(id, &due);
        }
        due.sort_by_key(|decision| !is_urgent(decision));
        for decision in due {
            if self.held_up == Some(id) {
                tracing::info!(container = %id, "left to the next cycle, because the container is busy: {decision}");
                continue;
            }
            if self.is_applied_to(id, decision.resource) {
                tracing::info!(container = %id, "skipped, because somebody is applying a plan: {decision}");
                continue;
            }
            let outcome = self.execute(now, proposal, decision).await;
            carried.push(Carried { id: proposal.id, decision: decision.clone(), outcome });
        }
        carried
    }

    async fn execute(&mut self, now: Timestamp, proposal: &Proposal, decision: &Decision) -> Outcome {
        let vmid = proposal.id;
        let begun = |ledger: &mut Ledger| ledger.begin(now, vmid, decision, &proposal.inputs);
        let Some(number) = self.begin(begun) else { return self.not_asked_for() };
        let outcome = self.ask(now, proposal, decision, &format!("decision {number}")).await;
        noted::note(self.changes.entry(vmid).or_default(), decision, &outcome, now);
        self.note_answered(now, vmid, decision, number, &outcome);
        self.settle(number, outcome.clone());
        outcome
    }

    /// The outcome of a decision that cannot be recorded.
    fn not_asked_for(&self) -> Outcome {
        let trouble = self.ledger_trouble.current().unwrap_or("the ledger cannot be written");
        Outcome::Failed { error: format!("not asked for: {trouble}") }
    }

    /// Records a call before it is made; `None` if that is impossible.
    fn begin(&mut self, begin: impl FnOnce(&mut Ledger) -> Result<i64, LedgerError>) -> Option<i64> {
        match begin(self.ledger.as_mut()?) {
            Ok(number) => {
                self.ledger_trouble.is_over();
                Some(number)
            }
            Err(error) => {
                self.lost_ledger(&error);
                None
            }
        }
    }

    /// `purpose` names the decision in the API's audit log.
    async fn ask(
        &mut self,
        now: Timestamp,
        proposal: &Proposal,
        decision: &Decision,
        purpose: &str,
    ) -> Outcome {
        let vmid = proposal.id;
        if self.api_is_down {
            return Outcome::Failed {
                error: format!("not sent: the API at {} is out of reach", self.client.url()),
            };
        }
        let Some(wanted) = Wanted::of(proposal, decision) else {
            return Outcome::Failed { error: "not sent: the target is no number".to_owned() };
        };
        let (label, unit) = words(decision.resource);
        match self.call(&wanted, purpose).await {
            Ok(Set { before, after, is_ours }) => {
                self.api_trouble.is_over();
                self.refusals.is_over(vmid, decision.resource);
                self.late.remove(&vmid);
                if !is_ours {
                    tracing::info!("Left {label} of LXC ID {vmid}, which had that size already.");
                    return Outcome::Already { size: after };
                }
                let shown = after.or(decision.to).unwrap_or_default();
                // As the product's first description has it, units included: programs that read logs know this line.
                tracing::info!("Successfully scaled {label} for LXC ID {vmid} to {shown} {unit} units.");
                Outcome::Done { before, after }
            }
            Err(error) => {
                let is_down = error.is_api_down() || (error.is_late() && !self.client.is_there().await);
                self.call_failed(now, vmid, decision, &error, is_down)
            }
        }
    }

    /// Sets the size.
    async fn call(&self, wanted: &Wanted, purpose: &str) -> Result<Set, CallError> {
        match wanted {
            Wanted::Cores(request) => {
                let answer = self.client.scale_cores(request, purpose).await?;
                let (before, after) = (answer.before.map(f64::from), answer.after.map(f64::from));
                Ok(Set { before, after, is_ours: answer.changed })
            }
            Wanted::Cpulimit(request) => {
                let answer = self.client.scale_cpulimit(request, purpose).await?;
                let (before, after) = (answer.before, answer.after);
                Ok(Set { before, after, is_ours: answer.changed })
            }
            Wanted::Memory(request) => {
                let answer = self.client.scale_ram(request, purpose).await?;
                let mib = |size: Option<Mebibytes>| size.map(Mebibytes::as_f64);
                let (before, after) = (mib(answer.before), mib(answer.after));
                Ok(Set { before, after, is_ours: answer.changed })
            }
        }
    }

    fn call_failed(
        &mut self,
        now: Timestamp,
        vmid: Vmid,
        decision: &Decision,
        error: &CallError,
        is_down: bool,
    ) -> Outcome {
        self.instruments.call_failed(error);
        let text = ErrorChain(error).to_string();
        if error.is_late() {
            self.late.insert(vmid);
        } else {
            self.late.remove(&vmid);
        }
        let is_busy = error.is_late() || error.is_container_busy();
        if is_busy {
            self.held_up = Some(vmid);
        }
        if is_down {
            self.api_is_down = true;
            self.api_trouble.is(text.clone());
        } else {
            self.api_trouble.is_over();
            let (label, _) = words(decision.resource);
            let is_news = self.refusals.note(vmid, decision, (&text, is_busy), now);
            if is_news && error.is_other_size() {
                // Intended, not a failure: the next measurement shows the size that somebody else set.
                tracing::info!("Left {label} of LXC ID {vmid} as somebody else has just set it: {text}");
            } else if is_news {
                tracing::error!("Failed to scale {label} for LXC ID {vmid}: {text}");
            } else {
                tracing::debug!("Failed to scale {label} for LXC ID {vmid} again: {text}");
            }
        }
        if error.may_have_happened() {
            Outcome::Unknown { error: text }
        } else if error.is_other_size() {
            Outcome::Overtaken { error: text }
        } else {
            Outcome::Failed { error: text }
        }
    }

    fn lost_ledger(&mut self, error: &LedgerError) {
        self.ledger_trouble.is(format!("{}; nothing is resized meanwhile", ErrorChain(error)));
        // It is reopened in the next cycle, or replaced by a new one if it is broken.
        self.ledger = None;
    }
}

/// Opens the ledger for writing; logs that a broken one was put aside, and returns whether a new one replaces it.
fn open(path: &Path) -> Result<(Ledger, bool), LedgerError> {
    let (ledger, aside) = Ledger::open(path)?;
    if let Some(aside) = &aside {
        tracing::error!(
            "the ledger `{}` was broken; it now lies at `{}` and a new one is begun: earlier decisions and \
             cool-downs are not known any more",
            path.display(),
            aside.display()
        );
    }
    Ok((ledger, aside.is_some()))
}

/// Whether it is to be carried out.
pub(crate) fn is_due(decision: &Decision) -> bool {
    decision.apply && decision.action != Action::Keep
}

/// The names of a resource and its unit in the product's first description.
fn words(resource: Resource) -> (&'static str, &'static str) {
    match resource {
        Resource::Cpu => ("CPU", "CPU"),
        Resource::Memory => ("RAM", "RAM"),
    }
}

/// The log line of the product's first description, with the lower of the confidences.
fn announce(id: Vmid, due: &[&Decision]) {
    let of = |resource| due.iter().find(|decision| decision.resource == resource);
    let [cpu, memory] = [Resource::Cpu, Resource::Memory].map(|resource| {
        match of(resource).map(|decision| decision.action) {
            Some(Action::Grow) => "Scale Up",
            Some(Action::Shrink) => "Scale Down",
            Some(Action::Keep) | None => "No Scaling",
        }
    });
    let confidence = due.iter().map(|decision| decision.confidence_percent).fold(100.0, f64::min);
    tracing::info!(
        "Applying scaling actions for container {}: CPU - {cpu}, RAM - {memory} | Confidence: {confidence:.2}%",
        id
    );
}
