//! `apply`: carries out exactly what a plan says, or refuses.
//!
//! Everything is checked before anything is done: the plan as a whole ([`Plan::check`]), then each change against a new
//! decision with all guards, from the present size and state read through the API. After one refusal nothing is done,
//! and each change is checked once more before its call. A running daemon continues meanwhile: it leaves alone what is
//! being applied, and takes it over as a change of its own.

use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use jiff::Timestamp;
use lxc_autoscale_core::snapshot::ContainerState;
use lxc_autoscale_core::{ErrorChain, Vmid};
use serde::Serialize;

use super::decisions::local_time;
use super::diff::{self, INDENT, Line};
use super::plan::{configuration, node};
use super::screen::{Screen, Tone};
use super::table::resource;
use super::{CommandError, look, outdated, write_json};
use crate::config::Config;
use crate::decide::{Allocation, Obstacles, Resource, decide};
use crate::execute::{Author, Executor};
use crate::figures::counted;
use crate::ledger::{LedgerError, Outcome, StateLock};
use crate::pipeline::{Pipeline, Proposal};
use crate::plan::{Now, Plan, PlannedChange, Refusal};
use crate::proposals::Approvals;
use crate::who;

/// A plan that is to be applied.
#[derive(Clone, Copy, Debug)]
pub struct ApplyOptions<'a> {
    /// The plan's file.
    pub file: &'a Path,
    /// The configuration that is in force.
    pub config_file: &'a Path,
    /// Do not ask.
    pub yes: bool,
    /// JSON instead of text.
    pub json: bool,
}

/// The outcome of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Applying {
    /// All of it was done, or there was nothing to do.
    Done,
    /// Something has changed since it was made, or nobody confirmed it: nothing was done.
    Refused,
    /// Some of it was done.
    Partly,
    /// None of it was done, although it was attempted.
    Failed,
}

/// The outcome of a plan, as JSON.
#[derive(Debug, Serialize)]
struct Report<'a> {
    plan: &'a str,
    result: Applying,
    /// Why all of it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    changes: Vec<Answer<'a>>,
}

/// The outcome of one change.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    id: Vmid,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    resource: Resource,
    from: Option<f64>,
    to: Option<f64>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    /// Its outcome; absent if it was not attempted.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
}

/// What is needed to check a change and to carry it out.
struct Applier {
    executor: Executor,
    pipeline: Pipeline,
    proposals: BTreeMap<Vmid, Proposal>,
    /// The newest ledger entry when the decisions were made.
    entry: i64,
    /// Held while no daemon runs.
    alone: Option<StateLock>,
}

/// Carries out the plan, or refuses.
///
/// # Errors
/// [`CommandError`] when the plan, the metrics file or the ledger cannot be read, or nobody can be asked. The outcome
/// of the changes is no error of the command but an [`Applying`].
pub async fn apply(
    config: &Config,
    options: ApplyOptions<'_>,
    screen: Screen,
    out: &mut impl Write,
) -> Result<Applying, CommandError> {
    let plan = read(options.file)?;
    let mut report = Report { plan: &plan.id, result: Applying::Done, refused: None, changes: Vec::new() };
    if let Err(refusal) = plan.check(&circumstances(config, options.config_file)?) {
        report.refused = Some(refusal.to_string());
    } else {
        if !options.json {
            show(&plan, screen, out)?;
            out.flush()?;
        }
        if !plan.changes.is_empty() && !options.yes && !ask(&plan)? {
            report.refused = Some("not confirmed".to_owned());
        }
    }
    if report.refused.is_some() {
        report.result = Applying::Refused;
    } else if !plan.changes.is_empty() {
        carry_out(config, &plan, &options, &mut report, screen, out).await?;
    }
    if options.json {
        write_json(out, &report)?;
    } else {
        report.summary(&plan, screen, out)?;
    }
    Ok(report.result)
}

/// Checks all changes and, if none is refused, carries them out one after the other.
async fn carry_out<'a>(
    config: &Config,
    plan: &'a Plan,
    options: &ApplyOptions<'_>,
    report: &mut Report<'a>,
    screen: Screen,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let mut applier = Applier::start(config)?;
    // The answer may have taken a while.
    if let Err(refusal) = plan.check(&circumstances(config, options.config_file)?) {
        report.refused = Some(refusal.to_string());
    } else if let Some(why) = outdated(config, &applier.pipeline, Timestamp::now()) {
        report.refused = Some(why);
        report.result = Applying::Refused;
        return Ok(());
    }
    for change in &plan.changes {
        let refusal = applier.check(change).await.err();
        report.changes.push(Answer::refused(change, refusal.as_ref()));
    }
    if report.refused.is_some() || report.changes.iter().any(|answer| answer.refused.is_some()) {
        report.result = Applying::Refused;
        return Ok(());
    }
    let (who, how) = (who::caller(), format!("plan {}", plan.id));
    for (change, answer) in plan.changes.iter().zip(&mut report.changes) {
        match applier.check(change).await {
            Ok(proposal) => {
                let author = Author { who: &who, how: &how };
                answer.outcome = Some(applier.carry_out(&proposal, change, author).await);
            }
            Err(refusal) => answer.refused = Some(refusal.to_string()),
        }
        if !options.json {
            answer.show(screen, out)?;
            out.flush()?;
        }
    }
    let done = report.changes.iter().filter(|answer| answer.is_done()).count();
    report.result = match done {
        _ if done == report.changes.len() => Applying::Done,
        0 => Applying::Failed,
        _ => Applying::Partly,
    };
    Ok(())
}

impl Applier {
    /// Reads the present state, and works alone or beside a daemon.
    fn start(config: &Config) -> Result<Self, CommandError> {
        let alone = match StateLock::take(&config.state.directory) {
            Ok(lock) => Some(lock),
            Err(LedgerError::InUse { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let mut executor = if alone.is_some() {
            Executor::start(config)?
        } else {
            let path = config.state.ledger();
            Executor::beside(config)?.ok_or(CommandError::NoLedger { path })?
        };
        let entry = executor.newest_entry()?;
        let (mut pipeline, changes) = look(config)?;
        if alone.is_some() {
            executor.settle_interrupted(&mut pipeline)?;
        }
        let proposals = pipeline.propose(&changes, &Approvals::everything(), Timestamp::now());
        let proposals = proposals.into_iter().map(|proposal| (proposal.id, proposal)).collect();
        Ok(Self { executor, pipeline, proposals, entry, alone })
    }

    /// Decides anew with what Proxmox reports now, and checks that the change is allowed; returns that decision.
    async fn check(&self, change: &PlannedChange) -> Result<Proposal, Refusal> {
        let resource = change.decision.resource;
        let changed = self.executor.is_changed_after(change.id, resource, self.entry);
        if changed.map_err(|error| Refusal::Unread(ErrorChain(&error).to_string()))? {
            return Err(Refusal::UnderWay);
        }
        let mut proposal = self.proposals.get(&change.id).cloned().ok_or(Refusal::Gone)?;
        let status = self.executor.status(change.id).await;
        let status = status.map_err(|error| Refusal::Unread(ErrorChain(&error).to_string()))?;
        let inputs = &mut proposal.inputs;
        inputs.allocation = Some(Allocation::from(&status.allocation));
        inputs.obstacles = Obstacles::from(&status.allocation);
        inputs.obstacles.stopped = status.state != ContainerState::Running;
        let policy = &proposal.in_force.policy;
        proposal.decisions = decide(policy, &inputs.situation(), &inputs.node, Timestamp::now());
        change.check(&proposal)?;
        Ok(proposal)
    }

    async fn carry_out(
        &mut self,
        proposal: &Proposal,
        change: &PlannedChange,
        author: Author<'_>,
    ) -> Outcome {
        let (decision, begun) = (change.ordered(), Timestamp::now());
        let outcome = self.executor.carry_out_for(proposal, &decision, author, begun).await;
        let after = match outcome {
            Outcome::Done { after, .. } => after,
            Outcome::Unknown { .. } => None,
            _ => return outcome,
        };
        if self.alone.is_some() {
            // Without a daemon, this ensures that the shrink is watched when one starts.
            self.pipeline.note_change(change.id, &decision, (begun, Timestamp::now()), after);
            self.executor.keep_guards(self.pipeline.guards().lasting_states());
        }
        outcome
    }
}

impl<'a> Answer<'a> {
    fn refused(change: &'a PlannedChange, refusal: Option<&Refusal>) -> Self {
        Self {
            id: change.id,
            name: change.name.as_deref(),
            resource: change.decision.resource,
            from: change.decision.from,
            to: change.decision.to,
            refused: refusal.map(ToString::to_string),
            outcome: None,
        }
    }

    fn is_done(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Done { .. } | Outcome::Already { .. }))
    }

    fn show(&self, screen: Screen, out: &mut impl Write) -> io::Result<()> {
        let error = self.refused.as_deref().or(self.outcome.as_ref().and_then(Outcome::error));
        let (word, tone) = match &self.outcome {
            Some(outcome) => (outcome.word(), if self.is_done() { Tone::Shrink } else { Tone::Bad }),
            None => ("not done", Tone::Bad),
        };
        let name = self.name.map(|name| format!(" {name}")).unwrap_or_default();
        let head = format!("{}{name}, {}: {word}", self.id, resource(self.resource));
        let text = error.map_or_else(|| head.clone(), |error| format!("{head}: {error}"));
        writeln!(out, "{}", screen.paint(tone, &screen.wrap(&text, 0, INDENT)))
    }
}

impl Report<'_> {
    fn summary(&self, plan: &Plan, screen: Screen, out: &mut impl Write) -> io::Result<()> {
        if self.result == Applying::Refused {
            let refused = self.changes.iter().filter(|answer| answer.refused.is_some());
            for answer in refused {
                answer.show(screen, out)?;
            }
            let why = self.refused.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            let text = format!("Plan {} is refused, and nothing was done{why}.", plan.id);
            return writeln!(out, "{}", screen.paint(Tone::Bad, &screen.wrap(&text, 0, INDENT)));
        }
        let done = self.changes.iter().filter(|answer| answer.is_done()).count();
        let text = match self.changes.len() {
            0 => format!("Plan {} has nothing to do.", plan.id),
            1 => format!("Plan {}: {done} of 1 change is done.", plan.id),
            all => format!("Plan {}: {done} of {all} changes are done.", plan.id),
        };
        let tone = if done == self.changes.len() { Tone::Strong } else { Tone::Bad };
        writeln!(out, "{}", screen.paint(tone, &text))
    }
}

fn read(file: &Path) -> Result<Plan, CommandError> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| CommandError::PlanRead { file: file.to_owned(), source })?;
    serde_json::from_str(&text).map_err(|source| CommandError::NoPlan { file: file.to_owned(), source })
}

fn circumstances(config: &Config, config_file: &Path) -> Result<Now, CommandError> {
    Ok(Now { at: Timestamp::now(), node: node(config)?, configuration: configuration(config_file)? })
}

fn show(plan: &Plan, screen: Screen, out: &mut impl Write) -> io::Result<()> {
    let lines: Vec<Line<'_>> = plan.changes.iter().map(line_of).collect();
    diff::show(&lines, screen, out)?;
    let (counts, added) = diff::sums(&plan.changes.iter().map(|change| &change.decision).collect::<Vec<_>>());
    let times = format!("made {}, good until {}", local_time(plan.made_at), local_time(plan.expires_at));
    writeln!(out, "\nPlan {}, {times}: {counts}; {added}.", plan.id)
}

fn line_of(change: &PlannedChange) -> Line<'_> {
    let name = change.name.as_deref().unwrap_or_default();
    let recommended_percent = change.recommended_confidence_percent;
    Line { id: change.id, name, decision: &change.decision, recommended_percent, note: String::new() }
}

/// Asks on the terminal.
fn ask(plan: &Plan) -> Result<bool, CommandError> {
    if !io::stdin().is_terminal() {
        return Err(CommandError::NobodyToAsk);
    }
    // Standard output may be read by a program that does not want the question.
    let mut terminal = io::stderr();
    write!(terminal, "Carry out {}? [y/N] ", counted(plan.changes.len(), "change", "changes"))?;
    terminal.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
