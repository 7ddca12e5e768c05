//! `docs/commands.md` names every command of the three programs with every option, and none that does not exist.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this is test code")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use lxc_autoscale_e2e::binary;

/// Options of every command, which are not repeated in each row.
const COMMON: [&str; 4] = ["--help", "--config", "--version", "--color"];

/// The help text of a program or one of its commands.
fn help(program: &str, command: &[&str]) -> String {
    let output = Command::new(binary(program)).args(command).arg("--help").output().unwrap();
    assert!(output.status.success(), "{program} {command:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands of a program.
fn commands(program: &str) -> Vec<String> {
    let text = help(program, &[]);
    let listed =
        text.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// The options in a text.
fn options(text: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let words = text.split(|c| !is_part(c)).filter(|word| word.starts_with("--") && 2 < word.len());
    words.filter(|word| !COMMON.contains(word)).collect()
}

/// The first columns of the tables below a heading, each with its command, which is the words before the first
/// argument.
fn documented<'a>(page: &'a str, program: &str) -> BTreeMap<Vec<&'a str>, &'a str> {
    let section = page.split_once(&format!("## {program}\n")).unwrap().1.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let is_word = |word: &&str| {
        !word.starts_with('-') && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    rows.map(|(usage, _)| (usage.split(' ').take_while(is_word).collect(), usage)).collect()
}

#[test]
fn every_command_is_documented_with_its_options() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/commands.md");
    let page = std::fs::read_to_string(page).unwrap();
    for program in ["lxc-monitor", "lxc-autoscale-ml", "lxc-autoscale-api"] {
        let (rows, offered) = (documented(&page, program), commands(program));
        assert!(!offered.is_empty(), "{program}");
        for command in &offered {
            let of_it: Vec<_> = rows.iter().filter(|(words, _)| words[0] == command).collect();
            assert!(!of_it.is_empty(), "no row for {program} {command}");
            for option in options(&help(program, &[command])) {
                let is_told = of_it.iter().any(|(_, usage)| options(usage).contains(&option));
                assert!(is_told, "the row of {program} {command} lacks {option}");
            }
        }
        for (words, usage) in rows {
            assert!(offered.iter().any(|offered| offered == words[0]), "there is no {program} {words:?}");
            let text = help(program, &words);
            for option in options(usage) {
                assert!(options(&text).contains(&option), "{program} {words:?} has no {option}");
            }
        }
    }
}
