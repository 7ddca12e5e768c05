//! The half of the benchmark that runs inside the namespaces: sets up the stage, runs each contestant, and prints.

use std::path::Path;
use std::time::Duration;

use super::contestants::{COMMANDS_PER_SAMPLE, PCT_SECONDS, floor, forked, monitor, ours};
use super::files::{Files, Reading};
use super::groups::MAX_CONTAINERS;
use super::measure::Used;
use super::stage::{Looks, Stage};
use super::table::{self, Row};
use super::{MonitorBenchError, OPTIONAL_FEATURES, Options, against, netdata};
use crate::say;

/// Measures everything; the other half removes `directory`.
pub(crate) fn run(directory: &Path, options: &Options) -> Result<(), MonitorBenchError> {
    let mut sizes = options.containers.clone();
    sizes.sort_unstable();
    sizes.dedup();
    if sizes.iter().any(|size| !(1..=MAX_CONTAINERS).contains(size)) {
        let why = format!("--containers must be from 1 to {MAX_CONTAINERS}");
        return Err(MonitorBenchError::Contestant(why));
    }
    let time = Duration::from_secs(options.seconds.max(1));
    let mut stage = Stage::set_up(directory)?;
    if let Some(other) = &options.against {
        return against::compare(&mut stage, other, &sizes, time, options.turns);
    }
    let fork = forked(&stage)?;
    let mut rows = Vec::new();
    let mut files: Option<Files> = None;
    for containers in sizes {
        say(&format!("{containers} containers"));
        stage.grow_to(containers)?;
        let files = match &mut files {
            Some(files) => files,
            // On the smallest stage, because strace makes everything slow.
            none => none.insert(Files::trace(&stage)?),
        };
        if rows.is_empty() {
            list(files);
        }
        let mut add = |contestant, (used, cycles): (Used, u64)| {
            let row = Row::measured(contestant, containers, used, cycles);
            say(&format!("  {row}"));
            rows.push(row);
        };
        add(table::OURS, ours(&stage, &monitor(), &options.without, Looks::AsShipped, time)?);
        let optional = OPTIONAL_FEATURES.map(str::to_owned);
        add(table::OURS_RATES_ONLY, ours(&stage, &monitor(), &optional, Looks::AsShipped, time)?);
        add(table::OURS_ALL_FILES, ours(&stage, &monitor(), &optional, Looks::AllFull, time)?);
        add(table::PREAD_FLOOR, floor(&stage, files, Reading::AsOften, "pread", time)?);
        let only_quiet = "floor: pread, only the files of each cycle";
        add(only_quiet, floor(&stage, files, Reading::OfEachCycle, "pread", time)?);
        add(table::ALL_FILES_FLOOR, floor(&stage, files, Reading::AllEachCycle, "pread", time)?);
        add("floor: open, read, close", floor(&stage, files, Reading::AsOften, "open", time)?);
        if options.without_netdata {
            say("netdata is left out");
        } else {
            add(table::NETDATA, netdata::run(&stage, time)?);
        }
        rows.push(Row::computed(
            "9 forked commands (0.7 s each)",
            containers,
            fork.as_secs_f64()
                .mul_add(f64::from(COMMANDS_PER_SAMPLE), PCT_SECONDS * f64::from(COMMANDS_PER_SAMPLE)),
        ));
    }
    table::print(&rows, &stage.hierarchies().describe(), fork)?;
    match &options.json {
        Some(path) => std::fs::write(path, table::json(&rows)).map_err(MonitorBenchError::io("write", path)),
        None => Ok(()),
    }
}

fn list(files: &Files) {
    let in_each = files.of_container.iter().filter(|file| file.every == 1).count();
    say(&format!(
        "a cycle reads {} files of the node and {in_each} of each container; {} more of it are read at full looks:",
        files.of_node.len(),
        files.of_container.len() - in_each
    ));
    files.of_node.iter().for_each(|path| say(&format!("  {path}")));
    for file in &files.of_container {
        let every = if file.every == 1 { String::new() } else { format!(", in one cycle of {}", file.every) };
        say(&format!("  {}{every}", file.template));
    }
}
