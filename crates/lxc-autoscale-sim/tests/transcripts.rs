//! Compares `pct` with the recorded output and behaviour of a real Proxmox VE 8.4.
//!
//! `tests/transcripts/*.txt` are sequences of calls recorded on a real node, one file per subject. Each file is
//! replayed from its beginning on a new simulated node called `pve1` with four CPUs. Lines of a file:
//!
//! | line | meaning |
//! | --- | --- |
//! | `conf ID` and `\| line` | the container has this configuration; its volumes and snapshots exist |
//! | `started ID` | it runs |
//! | `cpuset ID LIST` | its cpuset |
//! | `insert`, `append ID LINE`; `drop ID BEGINNING` | its configuration file is edited by hand |
//! | `hold ID`, `release ID` | somebody holds its lock |
//! | `$ pct …` | a call; `{digest ID}` in it is the digest of the configuration |
//! | `$ rebalance`, `$ cat ID` | one cycle of pvestatd; the configuration file |
//! | `! N`, `!` | its exit status is N, or anything but 0; without such a line it is 0 |
//! | `> line`, `2> line` | its output, exactly; `{*}` stands for what differs from run to run |
//! | `limits ID` and `= FILE VALUE` | limits in the container's cgroup |
//! | `file PATH VALUE` | any file below `/sys/fs/cgroup` |

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set up its case must fail")]

use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};

use lxc_autoscale_core::{Mebibytes, Vmid};
use lxc_autoscale_sim::node::{NodeLayout, NodeSettings, Storage, StorageKind, create_node};
use lxc_autoscale_sim::pve::config::{GuestConfig, Section, digest};
use lxc_autoscale_sim::pve::machine::configured_bytes;
use lxc_autoscale_sim::pve::{Machine, Terminal, pct};

#[test]
fn pct_answers_as_recorded() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut differences = Vec::new();
    let mut calls = 0;
    for file in files {
        let mut replay = Replay::new(&file);
        replay.run(&fs::read_to_string(&file).unwrap());
        calls += replay.calls;
        differences.extend(replay.differences);
    }
    assert!(300 < calls, "only {calls} calls were found");
    assert!(
        differences.is_empty(),
        "{} of {calls} calls differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

/// One file being replayed.
struct Replay {
    name: String,
    _directory: tempfile::TempDir,
    machine: Machine,
    held: Option<File>,
    calls: usize,
    differences: Vec<String>,
}

/// The output of a call, and how it ended.
#[derive(Debug, Default)]
struct Outcome {
    status: u8,
    out: String,
    err: String,
}

impl Replay {
    fn new(file: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layout = NodeLayout::new(directory.path());
        let storage = |id: &str, kind, gibibytes: u64| Storage {
            id: id.to_owned(),
            kind,
            size: Mebibytes::new(gibibytes * 1024),
        };
        let settings = NodeSettings {
            name: "pve1".to_owned(),
            cpus: 4,
            storages: vec![
                storage("local", StorageKind::Dir, 10),
                storage("local-lvm", StorageKind::LvmThin, 10),
            ],
            lock_timeout_seconds: 0,
            ..NodeSettings::default()
        };
        create_node(&layout, &settings).unwrap();
        Self {
            name: file.file_name().unwrap().to_string_lossy().into_owned(),
            _directory: directory,
            machine: Machine::open(&layout).unwrap(),
            held: None,
            calls: 0,
            differences: Vec::new(),
        }
    }

    fn run(&mut self, text: &str) {
        let mut lines = text.lines().enumerate().peekable();
        while let Some((index, line)) = lines.next() {
            let words: Vec<&str> = line.splitn(3, ' ').collect();
            let mut follow = |prefixes: &[&str]| {
                let mut block = Vec::new();
                while let Some((_, next)) =
                    lines.next_if(|(_, next)| prefixes.iter().any(|p| next.starts_with(p)))
                {
                    block.push(next);
                }
                block
            };
            match words.as_slice() {
                [""] | ["#", ..] => {}
                ["conf", id] => self.configure(id, &follow(&["|"])),
                ["started", id] => self.start(id),
                ["cpuset", id, list] => {
                    let group = self.machine.layout.cgroup().join("lxc").join(id);
                    for file in ["cpuset.cpus", "cpuset.cpus.effective"] {
                        fs::write(group.join(file), format!("{list}\n")).unwrap();
                    }
                }
                ["insert", id, line] => self.edit(id, |text| format!("{line}\n{text}")),
                ["append", id, line] => self.edit(id, |text| format!("{text}{line}\n")),
                ["drop", id, beginning] => self.edit(id, |text| {
                    text.split_inclusive('\n').filter(|line| !line.starts_with(beginning)).collect()
                }),
                ["hold", id] => {
                    let file = File::create(self.machine.layout.config_lock(vmid(id))).unwrap();
                    file.lock().unwrap();
                    self.held = Some(file);
                }
                ["release", _] => self.held = None,
                ["$", ..] => {
                    let outcome = self.call(line);
                    let want = follow(&["!", ">", "2>"]);
                    self.compare(index + 1, line, &outcome, &want);
                }
                ["limits", id] => {
                    let want = follow(&["="]);
                    self.compare_limits(index + 1, id, &want);
                }
                ["file", path, rest @ ..] => {
                    let found = fs::read_to_string(self.machine.layout.cgroup().join(path)).unwrap();
                    let want = rest.first().copied().unwrap_or_default();
                    if found.trim_end() != want {
                        self.differ(index + 1, line, &format!("found {found:?}"));
                    }
                }
                _ => panic!("{}:{}: unknown line {line:?}", self.name, index + 1),
            }
        }
    }

    fn configure(&mut self, id: &str, block: &[&str]) {
        let text = lines(block.iter().map(|line| line.trim_start_matches('|').trim_start()));
        fs::write(self.machine.layout.config(vmid(id)), &text).unwrap();
        let (config, warnings) = GuestConfig::parse(&text);
        assert_eq!(warnings, Vec::<String>::new(), "{} conf {id}", self.name);
        let volumes = &self.machine.volumes;
        let sections = std::iter::once((None, &config.current))
            .chain(config.snapshots.iter().map(|(name, section)| (Some(name), section)));
        let is_ours = |section: &Section| section.volume("rootfs");
        for (snapshot, section) in sections {
            let volume = is_ours(section).unwrap();
            volumes.open(&volume, configured_bytes(section.get("rootfs").unwrap())).unwrap();
            if let Some(name) = snapshot {
                volumes.snapshot(&volume, name, &mut std::io::sink()).unwrap();
            }
        }
    }

    fn start(&mut self, id: &str) {
        let outcome = self.call(&format!("$ pct start {id}"));
        assert_eq!((outcome.status, outcome.err.as_str()), (0, ""), "{}: start {id}", self.name);
    }

    fn edit(&self, id: &str, change: impl FnOnce(&str) -> String) {
        let path = self.machine.layout.config(vmid(id));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, change(&text)).unwrap();
    }

    fn call(&mut self, line: &str) -> Outcome {
        self.calls += 1;
        let line = self.with_digests(line.trim_start_matches("$ "));
        if line == "rebalance" {
            let log = self.machine.rebalance().unwrap();
            return Outcome { out: lines(&log), ..Outcome::default() };
        }
        if let Some(id) = line.strip_prefix("cat ") {
            let out = fs::read_to_string(self.machine.layout.config(vmid(id))).unwrap();
            return Outcome { out, ..Outcome::default() };
        }
        let args = split(line.strip_prefix("pct").unwrap());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut terminal = Terminal { out: &mut out, err: &mut err };
        let status = pct::run(&self.machine.layout, &args, &mut terminal);
        Outcome { status, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
    }

    fn with_digests(&self, line: &str) -> String {
        let Some((before, rest)) = line.split_once("{digest ") else { return line.to_owned() };
        let (id, after) = rest.split_once('}').unwrap();
        let bytes = fs::read(self.machine.layout.config(vmid(id))).unwrap();
        format!("{before}{}{after}", digest(&bytes))
    }

    fn compare(&mut self, number: usize, call: &str, outcome: &Outcome, want: &[&str]) {
        let mut status = "0".to_owned();
        let (mut out, mut err) = (String::new(), String::new());
        for line in want {
            if let Some(line) = line.strip_prefix("2>") {
                err.push_str(line.strip_prefix(' ').unwrap_or(line));
                err.push('\n');
            } else if let Some(line) = line.strip_prefix('>') {
                out.push_str(line.strip_prefix(' ').unwrap_or(line));
                out.push('\n');
            } else {
                line.trim_start_matches('!').trim().clone_into(&mut status);
            }
        }
        let is_status =
            if status.is_empty() { outcome.status != 0 } else { outcome.status.to_string() == status };
        if !is_status {
            self.differ(
                number,
                call,
                &format!("exit status {} instead of {status}\n{outcome:?}", outcome.status),
            );
        }
        for (stream, want, found) in [("output", out, &outcome.out), ("errors", err, &outcome.err)] {
            if !matches(&want, found) {
                self.differ(number, call, &format!("{stream}\n--- recorded\n{want}--- found\n{found}---"));
            }
        }
    }

    fn compare_limits(&mut self, number: usize, id: &str, want: &[&str]) {
        let group = self.machine.layout.cgroup().join("lxc").join(id);
        assert!(!want.is_empty(), "{}:{number}: no limits", self.name);
        for line in want {
            let (file, value) = line.trim_start_matches("= ").split_once(' ').unwrap();
            let found = fs::read_to_string(group.join(file)).unwrap_or_default();
            if found.trim_end() != value {
                self.differ(number, line, &format!("found {found:?}"));
            }
        }
    }

    fn differ(&mut self, number: usize, what: &str, text: &str) {
        self.differences.push(format!("{}:{number}: {what}: {text}", self.name));
    }
}

/// A text that consists of whole lines.
fn lines(lines: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    lines.into_iter().flat_map(|line| [line.as_ref().to_owned(), "\n".to_owned()]).collect()
}

fn vmid(text: &str) -> Vmid {
    text.parse().unwrap()
}

/// Splits a line into words as a shell does, with single and double quotes.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Compares line by line; `{*}` in a recorded line matches anything.
fn matches(want: &str, found: &str) -> bool {
    let (want, found): (Vec<&str>, Vec<&str>) = (want.lines().collect(), found.lines().collect());
    want.len() == found.len() && want.iter().zip(found).all(|(want, found)| line_matches(want, found))
}

fn line_matches(want: &str, found: &str) -> bool {
    let Some((before, after)) = want.split_once("{*}") else { return want == found };
    let Some(rest) = found.strip_prefix(before) else { return false };
    let mut ends = (0..=rest.len()).filter(|&end| rest.is_char_boundary(end));
    ends.any(|end| line_matches(after, &rest[end..]))
}
