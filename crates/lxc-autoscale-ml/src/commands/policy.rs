//! `policy`: the rules in force for a container and their sources, the policies, the presets.

use std::io::Write;

use jiff::Timestamp;
use lxc_autoscale_core::metrics_file::MetricsReader;
use lxc_autoscale_core::snapshot::Snapshot;
use lxc_autoscale_core::{ErrorChain, Vmid};
use serde::Serialize;

use super::identities::identities;
use super::table::Table;
use super::{CommandError, hints, write_json};
use crate::config::Config;
use crate::decide::{Allocation, Mode, Obstacles, Policy, Reason, Resource, left_alone_by};
use crate::execute::StartError;
use crate::ledger::{FirstSize, Ledger};
use crate::pipeline::PipelineError;
use crate::policy::in_force::{Effective, Source};
use crate::policy::presets::{Preset, Presets, Setting};
use crate::policy::selector::Match;
use crate::policy::{Given, Identity, PolicyBook, Pool};

/// Everything in force for one container.
#[derive(Serialize)]
struct Shown {
    id: Vmid,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    tags: Vec<String>,
    /// Empty if it is in none; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<String>,
    /// What is unknown about the container, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    /// Its tags without effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    idle_tags: Vec<String>,
    /// Why it is left alone, if the rules are unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    unclear: Option<String>,
    /// The layers above the general tables, lowest first.
    layers: Vec<String>,
    /// The resulting modes.
    modes: Modes,
    /// What turns both off, whatever the modes in the configuration say.
    #[serde(skip_serializing_if = "Option::is_none")]
    off_by: Option<String>,
    values: Vec<Effective>,
}

/// For each resource, the more cautious of `scaling.mode` and its own.
#[derive(Serialize)]
struct Modes {
    cpu: Mode,
    memory: Mode,
}

/// The containers of the newest measurement, or `wanted` alone, and why they are unknown, if so.
fn known(config: &Config, wanted: Option<Vmid>) -> (Vec<Identity>, Option<String>) {
    match identities(config, wanted) {
        Ok(identities) => (identities, None),
        Err(error) => (Vec::new(), Some(hints::with(ErrorChain(&error), hints::of_metrics(&error)))),
    }
}

/// The sizes that somebody gave the container, as the daemon knows them; before its first cycle, what it has.
fn given(config: &Config, identity: &Identity) -> Result<Given, CommandError> {
    let Some(ledger) = Ledger::open_read_only(&config.state.ledger())? else {
        return Ok(present(config, identity.id).unwrap_or_default());
    };
    let known = ledger.guards()?.get(&identity.id).map(|kept| kept.given()).unwrap_or_default();
    let firsts = ledger.first_sizes()?;
    let first = |resource| {
        let is_its =
            |it: &&FirstSize| it.id == identity.id && it.resource == resource && it.name == identity.name;
        firsts.iter().find(is_its).map(|it| it.size)
    };
    let present = present(config, identity.id).unwrap_or_default();
    Ok(Given {
        cores: known.cores.or_else(|| first(Resource::Cpu)).or(present.cores),
        memory_mib: known.memory_mib.or_else(|| first(Resource::Memory)).or(present.memory_mib),
    })
}

fn newest(config: &Config) -> Option<Snapshot> {
    MetricsReader::read_newest_by(&config.metrics.file, &config.metrics.believed()).ok().flatten()
}

/// What the container has by the newest measurement.
fn present(config: &Config, id: Vmid) -> Option<Given> {
    let newest = newest(config)?;
    let allocation = Allocation::from(newest.containers.get(&id)?.configuration.as_deref()?);
    let all = newest.summary.node.as_ref().and_then(|node| node.cpus).map(f64::from);
    let cores = allocation.cores_by_configuration().or(all);
    Some(Given { cores, memory_mib: Some(allocation.memory_mib) })
}

/// What turns a container off, whatever its modes are: a key, a tag, rules that are not known, or what is known of it now.
fn off_by(policy: &Policy, obstacles: &Obstacles) -> Option<String> {
    left_alone_by(policy, obstacles).map(|reason| match reason {
        Reason::Ignored => Source::Ignored.to_string(),
        Reason::TaggedOff { tag } => format!("tag {tag}"),
        Reason::Template => "template".to_owned(),
        Reason::Stopped => "stopped".to_owned(),
        Reason::Locked { lock } => format!("lock {lock}"),
        Reason::PolicyUnclear { .. } => "the rules for it are not clear".to_owned(),
        other => other.to_string(),
    })
}

/// What the newest measurement knows of a container that may forbid changes.
fn obstacles_now(newest: &Snapshot, id: Vmid) -> Obstacles {
    let settings = newest.containers.get(&id).and_then(|record| record.configuration.as_deref());
    let stopped = newest.summary.stopped_containers.contains(&id);
    Obstacles { stopped, ..settings.map(Obstacles::from).unwrap_or_default() }
}

fn book(config: &Config) -> Result<PolicyBook, CommandError> {
    Ok(config.policy_book().map_err(PipelineError::from).map_err(StartError::from)?)
}

/// Shows the rules in force for `id` now or `at` another time, with the source of each value.
///
/// # Errors
/// [`CommandError`] when a policy or the ledger cannot be used, or the result cannot be written. Without a measurement
/// of the container, only policies that select by id are shown.
pub fn show(
    config: &Config,
    id: Vmid,
    at: Option<Timestamp>,
    now: Timestamp,
    json: bool,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let book = book(config)?;
    let (known, trouble) = known(config, Some(id));
    let known = known.into_iter().next();
    let unnamed = known.is_none().then(|| "no measurement names it, so only its id is known".to_owned());
    let identity = known.unwrap_or_else(|| Identity::of(id));
    let in_force = book.in_force(&identity, at.unwrap_or(now)).with_given(given(config, &identity)?);
    // Whether it is locked, a template or stopped is known of now only.
    let newest = at.is_none().then(|| newest(config)).flatten();
    let obstacles = newest.map(|newest| obstacles_now(&newest, id)).unwrap_or_default();
    let off_by = off_by(&in_force.policy, &Obstacles { tags: identity.tags.clone(), ..obstacles });
    let mode = |mode| if off_by.is_some() { Mode::Off } else { mode };
    let shown = Shown {
        id,
        name: identity.name.clone(),
        tags: identity.tags.clone(),
        pool: match identity.pool.clone() {
            Pool::In(pool) => Some(pool),
            Pool::None => Some(String::new()),
            Pool::Unknown => None,
        },
        trouble: trouble.or(unnamed),
        idle_tags: book.idle_tags(&identity),
        unclear: in_force.policy.unclear.clone(),
        layers: in_force.layers.iter().map(ToString::to_string).collect(),
        modes: Modes { cpu: mode(in_force.policy.cpu.mode), memory: mode(in_force.policy.memory.mode) },
        off_by,
        values: in_force.effective(),
    };
    if json { write_json(out, &shown) } else { shown.write(out).map_err(CommandError::from) }
}

impl Shown {
    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        let name = self.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        let pool = match self.pool.as_deref() {
            Some("") => "none",
            Some(pool) => pool,
            None => "not known",
        };
        let tags = if self.tags.is_empty() { "none".to_owned() } else { self.tags.join(", ") };
        writeln!(out, "Container {}{name}, tags {tags}, pool {}", self.id, pool)?;
        for note in self.trouble.iter().chain(&self.idle_tags) {
            writeln!(out, "Note: {note}")?;
        }
        if let Some(unclear) = &self.unclear {
            writeln!(out, "It is left alone: {unclear}")?;
        }
        let layers = if self.layers.is_empty() { "none".to_owned() } else { self.layers.join(" < ") };
        writeln!(out, "On top of the general tables, the strongest last: {layers}")?;
        let Modes { cpu, memory } = &self.modes;
        if let Some(off_by) = &self.off_by {
            writeln!(out, "Resulting mode: off ({off_by})\n")?;
        } else {
            writeln!(
                out,
                "Resulting mode: CPU {}, memory {} (the more careful of `scaling.mode` and the resource's own)\n",
                cpu.word(),
                memory.word()
            )?;
        }
        let mut table = Table::headed(&["KEY", "VALUE", "FROM"]);
        for Effective { key, value, source } in &self.values {
            table.row(vec![(*key).to_owned(), value.to_string(), source.to_string()]);
        }
        table.write(out)
    }
}

/// One policy as `policy list` shows it.
#[derive(Serialize)]
struct Listed {
    policy: String,
    precedence: i32,
    selects: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    preset: Option<String>,
    schedules: usize,
    /// Containers of the newest measurement that it applies to.
    containers: Vec<Vmid>,
}

/// Lists the policies with the containers they apply to.
///
/// # Errors
/// [`CommandError`] when a policy cannot be used or the result cannot be written; without a readable metrics file the
/// containers are missing.
pub fn list(config: &Config, json: bool, out: &mut impl Write) -> Result<(), CommandError> {
    let book = book(config)?;
    let (identities, trouble) = known(config, None);
    let listed: Vec<Listed> = of_book(&book, &identities);
    if json {
        return write_json(out, &listed);
    }
    if let Some(trouble) = trouble {
        writeln!(out, "Which containers there are is not known: {trouble}\n")?;
    }
    if listed.is_empty() {
        writeln!(out, "There is no policy; the general tables are in force for every container.")?;
        return Ok(());
    }
    let mut table = Table::headed(&["POLICY", "PRECEDENCE", "PRESET", "SCHEDULES", "CONTAINERS", "SELECTS"]);
    for row in &listed {
        let ids: Vec<String> = row.containers.iter().map(ToString::to_string).collect();
        table.row(vec![
            row.policy.clone(),
            row.precedence.to_string(),
            row.preset.clone().unwrap_or_else(|| "-".to_owned()),
            row.schedules.to_string(),
            if ids.is_empty() { "none".to_owned() } else { ids.join(" ") },
            row.selects.clone(),
        ]);
    }
    table.write(out)?;
    Ok(())
}

fn of_book(book: &PolicyBook, identities: &[Identity]) -> Vec<Listed> {
    let policies = book.policies().iter();
    policies
        .map(|policy| {
            let is_for = |who: &&Identity| matches!(policy.selector.matches(who), Match::Yes(_));
            Listed {
                policy: policy.name.clone(),
                precedence: policy.precedence,
                selects: policy.selector.to_string(),
                preset: policy.preset.clone(),
                schedules: policy.schedules.len(),
                containers: identities.iter().filter(is_for).map(|who| who.id).collect(),
            }
        })
        .collect()
}

/// One preset as `policy presets` shows it.
#[derive(Serialize)]
struct ShownPreset<'a> {
    preset: &'a str,
    title: &'a str,
    group: &'a str,
    names: &'a [String],
    settings: &'a [Setting],
}

impl<'a> From<(&'a str, &'a Preset)> for ShownPreset<'a> {
    fn from((name, preset): (&'a str, &'a Preset)) -> Self {
        let Preset { title, group, names, settings, .. } = preset;
        Self { preset: name, title, group, names, settings }
    }
}

/// Lists the presets, or shows everything about one.
///
/// # Errors
/// [`CommandError`] when there is no such preset or the result cannot be written.
pub fn presets(name: Option<&str>, json: bool, out: &mut impl Write) -> Result<(), CommandError> {
    let presets = Presets::shipped().map_err(|error| StartError::from(PipelineError::from(error)))?;
    let Some(name) = name else {
        let all: Vec<ShownPreset<'_>> = presets.all().map(ShownPreset::from).collect();
        if json {
            return write_json(out, &all);
        }
        let mut table = Table::headed(&["PRESET", "APPLICATION", "GROUP", "SETS"]);
        for preset in &all {
            let (name, title, group) =
                (preset.preset.to_owned(), preset.title.to_owned(), preset.group.to_owned());
            table.row(vec![name, title, group, format!("{} keys", preset.settings.len())]);
        }
        table.write(out)?;
        writeln!(out, "\n`policy presets NAME` tells what one sets, and why.")?;
        return Ok(());
    };
    let Some(preset) = presets.get(name) else {
        let near = presets.nearest(name).map(str::to_owned);
        return Err(CommandError::UnknownPreset { name: name.to_owned(), near });
    };
    let shown = ShownPreset::from((name, preset));
    if json {
        return write_json(out, &shown);
    }
    writeln!(out, "{name}: {} ({})", shown.title, shown.group)?;
    writeln!(out, "Usual names: {}\n", shown.names.join(", "))?;
    for Setting { key, value, reason } in shown.settings {
        writeln!(out, "{key} = {value}\n    {reason}")?;
    }
    Ok(())
}
