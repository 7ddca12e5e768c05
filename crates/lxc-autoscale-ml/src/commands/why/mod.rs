//! `why`: the decisions about one container now, recently or at a given time, and what would have changed them.

mod alternatives;
mod numbers;

use std::io::{self, Write};

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::KindOfLoad;
use serde::Serialize;

use self::alternatives::{Reasoning, show_alternatives};
use self::numbers::{show_inputs, show_maximum};
use super::decisions::local_time;
use super::right;
use super::screen::{Screen, Tone};
use super::table::resource;
use super::{CommandError, look, write_json};
use crate::classes::Class;
use crate::config::Config;
use crate::decide::{Action, Decision, Resource};
use crate::explain::{Alternatives, World};
use crate::ledger::{Entry, Inputs, Ledger, Outcome};
use crate::pipeline::Proposal;
use crate::policy::in_force::Kept;
use crate::proposals::Approvals;
use crate::regime::{Shifted, shifts};

/// The options of the command.
#[derive(Clone, Copy, Debug)]
pub struct WhyOptions {
    /// The container.
    pub id: Vmid,
    /// JSON instead of text.
    pub json: bool,
    /// Most past decisions shown.
    pub limit: u32,
    /// The time in question, instead of now.
    pub at: Option<Timestamp>,
}

/// Everything known about why a container has its size.
#[derive(Serialize)]
struct Explanation {
    id: Vmid,
    /// What kind of load it is; absent while that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind_of_load: Option<KindOfLoad>,
    /// The decision now; absent when no measurement names the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<Proposal>,
    /// What would change that.
    #[serde(skip_serializing_if = "Option::is_none")]
    otherwise: Option<Both>,
    /// Its level shifts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shifts: Vec<Shifted>,
    /// Gaps in its measurements.
    #[serde(skip_serializing_if = "Option::is_none")]
    gaps: Option<u64>,
    /// What is missing for the present reasoning, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    /// The last decisions, newest first.
    decisions: Vec<Entry>,
}

/// The alternatives to both decisions.
#[derive(Serialize)]
struct Both {
    cpu: Alternatives,
    memory: Alternatives,
}

/// A past decision, repeated.
#[derive(Serialize)]
struct Past {
    /// What kind of load it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind_of_load: Option<KindOfLoad>,
    #[serde(flatten)]
    entry: Entry,
    #[serde(flatten)]
    reasoning: Reasoning,
    /// The rules that were in force, if they are still kept.
    #[serde(skip)]
    rules: Option<Kept>,
}

/// Shows why a container has its size, at `now` or at the time in question.
///
/// # Errors
/// [`CommandError`] when nothing is known of the container, or the ledger cannot be read. Without a readable metrics
/// file only the present reasoning is missing.
pub fn why(
    config: &Config,
    options: WhyOptions,
    now: Timestamp,
    screen: Screen,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    if let Some(at) = options.at
        && now < at
    {
        return Err(CommandError::YetToCome { at: local_time(at) });
    }
    let path = config.state.ledger();
    let ledger = Ledger::open_read_only(&path)?;
    if let Some(at) = options.at {
        let ledger = ledger.ok_or(CommandError::NoLedger { path })?;
        return then(&ledger, options, at, screen, out);
    }
    let id = options.id;
    let decisions = match ledger {
        Some(ledger) => ledger.of_container(id, options.limit)?,
        None => Vec::new(),
    };
    let mut explanation = Explanation {
        id,
        kind_of_load: None,
        now: None,
        otherwise: None,
        shifts: Vec::new(),
        gaps: None,
        trouble: None,
        decisions,
    };
    match look(config) {
        Ok((pipeline, changes)) => {
            let proposals = pipeline.propose(&changes, &Approvals::default(), now);
            explanation.now = proposals.into_iter().find(|proposal| proposal.id == id);
            explanation.kind_of_load = explanation.now.as_ref().and_then(|now| kind_of_load(&now.inputs));
            let container = pipeline.history().container(id);
            explanation.gaps = container.map(|container| container.gaps);
            explanation.shifts = container.map(|container| shifts(container, now)).unwrap_or_default();
        }
        Err(error) if explanation.decisions.is_empty() => {
            let is_unread = matches!(error, CommandError::Metrics(_));
            let trouble = error.told();
            return Err(if is_unread { CommandError::NothingToRead { id, trouble } } else { error });
        }
        Err(error) => explanation.trouble = Some(error.told()),
    }
    if explanation.now.is_none() && explanation.decisions.is_empty() {
        return Err(CommandError::UnknownContainer { id, file: config.metrics.file.clone() });
    }
    let world = explanation.now.as_ref().map(|proposal| World {
        policy: proposal.in_force.policy.clone(),
        inputs: proposal.inputs.clone(),
        at: now,
    });
    explanation.otherwise = world.as_ref().map(|world| Both {
        cpu: world.alternatives(Resource::Cpu),
        memory: world.alternatives(Resource::Memory),
    });
    if options.json {
        return write_json(out, &explanation);
    }
    explanation.show(world.as_ref(), screen, out)?;
    Ok(())
}

/// Shows the decisions at a time, their inputs, and what would have changed them.
fn then(
    ledger: &Ledger,
    options: WhyOptions,
    at: Timestamp,
    screen: Screen,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let entries = ledger.of_container_at(options.id, at)?;
    if entries.is_empty() {
        return Err(CommandError::NothingThen { id: options.id, at: local_time(at) });
    }
    let mut past = Vec::with_capacity(entries.len());
    for entry in entries {
        let rules = match &entry.inputs.policy {
            Some(key) => ledger.policy(key)?,
            None => None,
        };
        let reasoning = Reasoning::of(&entry, rules.as_ref().map(|kept| kept.policy.clone()));
        past.push(Past { kind_of_load: kind_of_load(&entry.inputs), entry, reasoning, rules });
    }
    if options.json {
        return write_json(out, &past);
    }
    let title = format!("Container {} at {}", options.id, local_time(at));
    writeln!(out, "{}", screen.paint(Tone::Strong, &title))?;
    for Past { entry, reasoning, rules, .. } in &past {
        writeln!(out)?;
        show_entry(entry, screen, out)?;
        show_right(&entry.decision, &entry.inputs, screen, out)?;
        reasoning.show(entry, screen, out)?;
        heading("From these numbers", screen, out)?;
        let kind = entry.decision.resource;
        show_inputs(&entry.inputs, Some(kind), entry.at, out)?;
        if let Some((most, source)) = rules.as_ref().map(|rules| rules.maximum(kind)) {
            show_maximum(kind, most, &source, out)?;
        }
    }
    Ok(())
}

fn kind_of_load(inputs: &Inputs) -> Option<KindOfLoad> {
    inputs.recommendation.as_ref()?.class.map(Class::kind_of_load)
}

fn heading(text: &str, screen: Screen, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\n{}", screen.paint(Tone::Strong, text))
}

/// One ledger entry in two lines.
fn show_entry(entry: &Entry, screen: Screen, out: &mut impl Write) -> io::Result<()> {
    let kind = resource(entry.decision.resource);
    let line = format!("{}  {kind}: {}", local_time(entry.at), entry.decision);
    writeln!(out, "  {}", screen.paint(tone(&entry.decision), &screen.wrap(&line, 2, 6)))?;
    let times = match entry.times {
        ..=1 => String::new(),
        times => format!(", {times} times until {}", local_time(entry.last_at)),
    };
    let error = entry.outcome.error().map(|error| format!(": {error}")).unwrap_or_default();
    writeln!(out, "      {}", screen.wrap(&format!("{}{times}{error}", entry.outcome.word()), 6, 6))
}

/// How likely the decision and the recommended size were to stay right, side by side.
fn show_right(decision: &Decision, inputs: &Inputs, screen: Screen, out: &mut impl Write) -> io::Result<()> {
    match right::both(decision, inputs.recommended_confidence(decision.resource)) {
        Some(text) => writeln!(out, "      {}", screen.wrap(&text, 6, 6)),
        None => Ok(()),
    }
}

fn tone(decision: &Decision) -> Tone {
    match decision.action {
        Action::Grow => Tone::Grow,
        Action::Shrink => Tone::Shrink,
        Action::Keep => Tone::Plain,
    }
}

impl Explanation {
    fn show(&self, world: Option<&World>, screen: Screen, out: &mut impl Write) -> io::Result<()> {
        let name = self.now.as_ref().and_then(|proposal| proposal.name.as_deref());
        let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
        writeln!(out, "{}", screen.paint(Tone::Strong, &format!("Container {}{name}", self.id)))?;
        match (&self.now, world, &self.otherwise) {
            (Some(proposal), Some(world), Some(otherwise)) => {
                self.show_now(proposal, world, otherwise, screen, out)?;
            }
            _ => match &self.trouble {
                Some(trouble) => writeln!(out, "\nWhat would be decided now is not known: {trouble}")?,
                None => writeln!(out, "\nThe newest measurement does not name it.")?,
            },
        }
        heading("Last decisions", screen, out)?;
        if self.decisions.is_empty() {
            writeln!(out, "  none yet")?;
        }
        for entry in &self.decisions {
            show_entry(entry, screen, out)?;
        }
        Ok(())
    }

    fn show_now(
        &self,
        proposal: &Proposal,
        world: &World,
        otherwise: &Both,
        screen: Screen,
        out: &mut impl Write,
    ) -> io::Result<()> {
        heading("Now", screen, out)?;
        for decision in proposal.decisions.both() {
            let unapplied = decision.action != Action::Keep && !decision.apply;
            let mode = proposal.in_force.policy.mode(decision.resource);
            let note = if unapplied {
                format!("; {}", Outcome::unasked(decision, mode).word())
            } else {
                String::new()
            };
            let line = format!("{}: {decision}{note}", resource(decision.resource));
            writeln!(out, "  {}", screen.paint(tone(decision), &screen.wrap(&line, 2, 6)))?;
            show_right(decision, &proposal.inputs, screen, out)?;
            let alternatives = match decision.resource {
                Resource::Cpu => &otherwise.cpu,
                Resource::Memory => &otherwise.memory,
            };
            let advice = format!("otherwise: {}", alternatives.advice(decision));
            writeln!(out, "      {}", screen.wrap(&advice, 6, 6))?;
        }
        heading("What would change that", screen, out)?;
        show_alternatives(&otherwise.cpu, Resource::Cpu, world, screen, out)?;
        show_alternatives(&otherwise.memory, Resource::Memory, world, screen, out)?;
        heading("From these numbers", screen, out)?;
        show_inputs(&proposal.inputs, None, world.at, out)?;
        for kind in [Resource::Cpu, Resource::Memory] {
            let (most, source) = proposal.in_force.maximum(kind);
            show_maximum(kind, most, &source, out)?;
        }
        for shifted in &self.shifts {
            writeln!(out, "  {:<22}{}", "noticed", screen.wrap(&shifted.text(), 24, 24))?;
        }
        if let Some(gaps) = self.gaps.filter(|gaps| 0 < *gaps) {
            writeln!(out, "  {:<22}{gaps} gaps of more than 15 minutes", "measurements")?;
        }
        Ok(())
    }
}
