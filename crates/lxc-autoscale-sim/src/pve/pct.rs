//! `pct`.

use super::command::{COMMANDS, Call, Command};
use super::error::PctError;
use super::machine::Machine;
use super::schema::check_all;
use super::terminal::Terminal;
use crate::node::NodeLayout;

/// The commands of a real `pct` that this node does not have.
const ABSENT: &[&str] = &[
    "console",
    "enter",
    "fsck",
    "fstrim",
    "migrate",
    "mount",
    "move-volume",
    "pull",
    "push",
    "remote-migrate",
    "rescan",
    "restore",
    "resume",
    "suspend",
    "template",
    "unmount",
];
/// Exit status of a Perl program that dies without an error number.
const DIED: u8 = 255;
/// The answer to an unknown command, after the line that names it.
const USAGE: &str = include_str!("pct_usage.txt");

/// Runs one call and returns its exit status.
pub fn run(layout: &NodeLayout, args: &[String], terminal: &mut Terminal<'_>) -> u8 {
    let status = match find(args) {
        Ok(Found::Command(command, args)) => run_command(layout, command, args, terminal),
        Ok(Found::Help) => writeln!(terminal.out, "{}", USAGE.trim_end()).map(|()| 0),
        Err(text) => terminal.err.write_all(text.as_bytes()).map(|()| DIED),
    };
    // A reader that has gone cannot be told anything.
    status.unwrap_or(DIED)
}

/// The arguments as `pct` understands them in the locale that `LC_ALL` names: unless that is one of UTF-8, every byte
/// beyond ASCII becomes a replacement character. Without `LC_ALL`, the locale of the machine is taken for one of UTF-8.
pub fn decoded(args: Vec<String>) -> Vec<String> {
    let is_utf8 = |locale: String| locale.is_empty() || locale.to_ascii_uppercase().contains("UTF-8");
    if std::env::var("LC_ALL").map_or(true, is_utf8) {
        return args;
    }
    let decode = |arg: String| {
        let known = |byte: u8| if byte.is_ascii() { char::from(byte) } else { char::REPLACEMENT_CHARACTER };
        arg.bytes().map(known).collect()
    };
    args.into_iter().map(decode).collect()
}

enum Found<'a> {
    Command(&'static Command, &'a [String]),
    Help,
}

/// Finds the command by its name or a unique prefix.
fn find(args: &[String]) -> Result<Found<'_>, String> {
    let Some((word, rest)) = args.split_first() else {
        return Err(format!("ERROR: no command specified\n{USAGE}"));
    };
    let names = COMMANDS.iter().map(|command| command.name).chain(ABSENT.iter().copied()).chain(["help"]);
    let mut hits: Vec<&str> = names.filter(|name| name.starts_with(word.as_str())).collect();
    if hits.iter().any(|name| name == word) {
        hits.retain(|name| name == word);
    }
    match hits.as_slice() {
        ["help"] => Ok(Found::Help),
        [name] => match COMMANDS.iter().find(|command| command.name == *name) {
            Some(command) => Ok(Found::Command(command, rest)),
            None => Err(format!("pct {name}: this node has no such command, only a real Proxmox node has\n")),
        },
        _ => Err(format!("ERROR: unknown command 'pct {word}'\n{USAGE}")),
    }
}

fn run_command(
    layout: &NodeLayout,
    command: &Command,
    args: &[String],
    terminal: &mut Terminal<'_>,
) -> std::io::Result<u8> {
    match try_command(layout, command, args, terminal) {
        Ok(status) => {
            terminal.out.flush()?;
            Ok(status)
        }
        Err(error) => {
            terminal.err.write_all(error.report(command.usage).as_bytes())?;
            Ok(error.exit())
        }
    }
}

fn try_command(
    layout: &NodeLayout,
    command: &Command,
    args: &[String],
    terminal: &mut Terminal<'_>,
) -> Result<u8, PctError> {
    let grammar = command.grammar();
    let words = grammar.parse(args)?;
    let errors = check_all(&grammar.properties, &words.values);
    if !errors.is_empty() {
        return Err(PctError::Parameters { errors, exit: DIED });
    }
    let machine = Machine::open(layout)?;
    let status = (command.run)(&mut Call { machine: &machine, words, terminal })?;
    let warnings = machine.warnings.get();
    if warnings == 0 {
        return Ok(status);
    }
    writeln!(terminal.err, "Task finished with {warnings} warning(s)!")?;
    // A task that ended with warnings has succeeded, but Proxmox VE 6 exits with 0 only if it ended with `OK`. A
    // resize does not exit by how its task ended.
    let is_failure = machine.settings.is_before((7, 0)) && command.name != "resize";
    Ok(if is_failure { DIED } else { status })
}
