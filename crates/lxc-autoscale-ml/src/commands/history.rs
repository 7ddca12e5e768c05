//! `history`: what was done to one container, and the outcome.

mod by_hand;

use std::io::Write;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::{ErrorChain, Vmid};
use serde::Serialize;

use self::by_hand::ByHand;
use super::decisions::local_time;
use super::screen::{Screen, Tone};
use super::table::{amount, resource};
use super::{CommandError, write_json};
use crate::config::Config;
use crate::decide::{Action, Resource};
use crate::figures::counted;
use crate::ledger::{Entry, Ledger, Outcome};

/// Columns of the chart if the width of the screen is unknown.
const COLUMNS: usize = 80;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A decision to change something.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    entry: &'a Entry,
    /// Who wanted it, and by which way; absent for the daemon's own changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    wanted_by: Option<String>,
}

/// A history, as JSON.
#[derive(Serialize)]
struct Past<'a> {
    id: Vmid,
    since: Timestamp,
    /// Changes that were made, tried or shown, oldest first.
    decisions: Vec<Line<'a>>,
    /// Sizes that somebody else set, oldest first.
    by_hand: Vec<ByHand>,
    /// Why it is not known who set them.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    /// Number of decisions to keep the size; repetitions are written once an hour.
    kept: usize,
}

/// Shows the decisions about `id` in the time `ago` before `now`, with its sizes.
///
/// # Errors
/// [`CommandError`] when the ledger cannot be read or nothing was ever decided about the container.
pub async fn history(
    config: &Config,
    id: Vmid,
    ago: SignedDuration,
    now: Timestamp,
    json: bool,
    screen: Screen,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let path = config.state.ledger();
    let ledger = Ledger::open_read_only(&path)?.ok_or(CommandError::NoLedger { path })?;
    let since = now.checked_sub(ago).unwrap_or(Timestamp::MIN);
    let entries = ledger.of_container_since(id, since)?;
    if entries.is_empty() && ledger.of_container(id, 1)?.is_empty() {
        return Err(CommandError::UnknownContainer { id, file: config.metrics.file.clone() });
    }
    let mut by_hand = by_hand::of(&entries, since);
    let asked = by_hand::ask_who(config, id, &mut by_hand).await;
    let trouble = asked.err().map(|error| ErrorChain(&error).to_string());
    let mut past = Past { id, since, decisions: Vec::new(), by_hand, trouble, kept: 0 };
    for entry in &entries {
        if entry.decision.action == Action::Keep {
            past.kept += 1;
            continue;
        }
        let wanted_by = ledger.author(entry.number)?.map(|(who, how)| format!("{who}, {how}"));
        past.decisions.push(Line { entry, wanted_by });
    }
    if json {
        return write_json(out, &past);
    }
    let title = format!("Container {id} since {}", local_time(since));
    writeln!(out, "{}", screen.paint(Tone::Strong, &title))?;
    for kind in [Resource::Memory, Resource::Cpu] {
        chart(&entries, kind, (since, now), screen, out)?;
    }
    writeln!(out)?;
    let mut by_hand = past.by_hand.iter().peekable();
    for line in &past.decisions {
        while let Some(set) = by_hand.next_if(|set| set.at <= line.entry.at) {
            set.show(screen, out)?;
        }
        show(line, screen, out)?;
    }
    for set in by_hand {
        set.show(screen, out)?;
    }
    if let Some(trouble) = &past.trouble {
        writeln!(out, "Note: who set these sizes is not known, because the API does not tell: {trouble}")?;
    }
    let (changes, kept) = (past.decisions.len(), past.kept);
    writeln!(
        out,
        "{} decided; {} that it keeps its size.",
        counted(changes, "change", "changes"),
        counted(kept, "entry", "entries")
    )?;
    Ok(())
}

fn show(line: &Line<'_>, screen: Screen, out: &mut impl Write) -> std::io::Result<()> {
    let decision = &line.entry.decision;
    let tone = match (&line.entry.outcome, decision.action) {
        (Outcome::Failed { .. } | Outcome::Unknown { .. }, _) => Tone::Bad,
        (Outcome::Already { .. } | Outcome::Overtaken { .. }, _) => Tone::Plain,
        (_, Action::Grow) => Tone::Grow,
        _ => Tone::Shrink,
    };
    let head = format!(
        "{}  {:<6}  {} → {}  {}",
        local_time(line.entry.at),
        resource(decision.resource),
        amount(decision.resource, decision.from),
        amount(decision.resource, decision.to),
        line.entry.outcome.word()
    );
    writeln!(out, "{}", screen.paint(tone, &head))?;
    let mut why = line.entry.reason.clone();
    if let Some(error) = line.entry.outcome.error() {
        why = format!("{why}; {error}");
    }
    if 1 < line.entry.times {
        why = format!("{why}; {} times until {}", line.entry.times, local_time(line.entry.last_at));
    }
    if let Some(wanted_by) = &line.wanted_by {
        why = format!("{why}; wanted by {wanted_by}");
    }
    writeln!(out, "    {}", screen.wrap(&why, 4, 4))
}

/// Its sizes over time, as recorded by decisions; blank before the first one.
fn chart(
    entries: &[Entry],
    kind: Resource,
    (since, now): (Timestamp, Timestamp),
    screen: Screen,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let sizes: Vec<(i64, f64)> = entries
        .iter()
        .filter(|entry| entry.decision.resource == kind)
        .flat_map(|entry| {
            let before = entry.decision.from.map(|from| (entry.at.as_second(), from));
            let after = match entry.outcome {
                Outcome::Done { after: size, .. } | Outcome::Already { size } => {
                    size.map(|size| (entry.at.as_second(), size))
                }
                _ => None,
            };
            before.into_iter().chain(after)
        })
        .collect();
    let least = sizes.iter().map(|(_, size)| *size).fold(f64::INFINITY, f64::min);
    let most = sizes.iter().map(|(_, size)| *size).fold(0.0, f64::max);
    if sizes.is_empty() {
        return writeln!(out, "{:<6}  no decision in this time", resource(kind));
    }
    let columns = screen.columns(COLUMNS).saturating_sub(36).clamp(10, 72);
    let span = (now.as_second() - since.as_second()).max(1);
    let bar = |column: usize| {
        let part = (column + 1) as f64 / columns as f64;
        let until = since.as_second() as f64 + span as f64 * part;
        let size = sizes.iter().take_while(|(at, _)| *at as f64 <= until).last()?.1;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 7")]
        let level = (size / most.max(f64::MIN_POSITIVE) * 7.0).round().clamp(0.0, 7.0) as usize;
        BARS.get(level).copied()
    };
    let bars: String = (0..columns).map(|column| bar(column).unwrap_or(' ')).collect();
    let range = if (most - least).abs() < 1e-9 {
        amount(kind, Some(most))
    } else {
        format!("{} to {}", amount(kind, Some(least)), amount(kind, Some(most)))
    };
    writeln!(out, "{:<6}  {bars}  {range}", resource(kind))
}
