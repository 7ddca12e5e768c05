//! Finds calls of `pct` that nobody waits for any more, because they took too long or outlived the server process
//! that made them.
//!
//! Proxmox does the work of most calls in a worker, a process of its own session that goes on if `pct` itself dies.
//! Its title names its task: `task UPID:<node>:<pid>:<pstart>:<start>:<type>:<id>:<user>:`.

use std::io;
use std::path::Path;

use super::run::ELIDED;

/// The procfs of this machine: the processes are real even if the node is simulated.
pub(super) const PROCFS: &str = "/proc";

/// Whether a process is running whose command line ends with the words of `command` after the first one, `pct`, or
/// whose title says that it is a worker for such a call.
///
/// `pct` is a script, so its interpreter comes first; the path it was called by does not matter.
pub(super) fn is_running(proc: &Path, command: &str) -> io::Result<bool> {
    let wanted: Vec<&str> = command.split(' ').skip(1).collect();
    for entry in std::fs::read_dir(proc)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        // A process that has ended meanwhile is not running.
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let is_meant = ends_in(&line, &wanted) || is_worker(&line, &wanted);
        if is_meant && is_ours(proc, &entry.path()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a process has our user and our numbers of processes. Others, and what runs within a container, can give
/// themselves any command line.
fn is_ours(proc: &Path, process: &Path) -> bool {
    let numbers = |process: &Path| std::fs::read_link(process.join("ns/pid"));
    let user = effective_user(process);
    user.is_some()
        && user == effective_user(&proc.join("self"))
        && numbers(process).is_ok_and(|theirs| numbers(&proc.join("self")).is_ok_and(|ours| ours == theirs))
}

/// The effective user of a process as the kernel says in its `status`: the owner of its directory is root while it
/// cannot be traced.
fn effective_user(process: &Path) -> Option<u32> {
    let status = std::fs::read(process.join("status")).ok()?;
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    std::str::from_utf8(line).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Whether a command line from procfs, whose arguments each end with a zero byte, ends with these words. (A
/// description is one argument of several words.) A word that was elided stands for any number of words.
fn ends_in(line: &[u8], wanted: &[&str]) -> bool {
    let words: Vec<&[u8]> =
        line.strip_suffix(&[0]).unwrap_or(line).split(|byte| [0, b' '].contains(byte)).collect();
    let wanted: Vec<&[u8]> = wanted.iter().map(|word| word.as_bytes()).collect();
    let mut parts = wanted.split(|word| *word == ELIDED.as_bytes());
    let first = parts.next().unwrap_or_default();
    let Some(last) = parts.next_back() else {
        // The program itself must come before them.
        return wanted.len() < words.len() && !wanted.is_empty() && words.ends_with(&wanted);
    };
    // Only one argument of a call is ever elided.
    let Some(before) = words.len().checked_sub(last.len()).filter(|_| words.ends_with(last)) else {
        return false;
    };
    words[..before].iter().enumerate().skip(1).any(|(at, _)| words[at..before].starts_with(first))
}

/// Whether a command line from procfs is the title of a worker for a call of these words: a verb, and the id of the
/// container it is about. A worker that somebody else has started for the same through Proxmox is waited for, too.
fn is_worker(line: &[u8], wanted: &[&str]) -> bool {
    let (Some(verb), Some(id)) = (wanted.first(), wanted.get(1)) else { return false };
    let title = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let Some(task) = std::str::from_utf8(title).ok().and_then(|title| title.strip_prefix("task UPID:"))
    else {
        return false;
    };
    let parts: Vec<&str> = task.split(':').collect();
    let [_, _, _, _, kind, of, ..] = parts.as_slice() else { return false };
    of == id && kinds(verb).contains(kind)
}

/// The types of task that a call of `pct` may start.
fn kinds(verb: &str) -> &'static [&'static str] {
    match verb {
        "clone" => &["vzclone"],
        "snapshot" => &["vzsnapshot"],
        "delsnapshot" => &["vzdelsnapshot"],
        "rollback" => &["vzrollback"],
        "destroy" => &["vzdestroy"],
        "resize" => &["resize"],
        "start" => &["vzstart", "hastart"],
        "stop" => &["vzstop", "hastop"],
        "shutdown" => &["vzshutdown", "hastop"],
        "reboot" => &["vzreboot"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_call_is_known_by_its_words() {
        let line = b"/usr/bin/perl\x00-T\x00/usr/sbin/pct\x00set\x00104\x00-cores\x004\x00";
        for (command, found) in [
            ("pct set 104 -cores 4", true),
            ("pct set 104 -cores 5", false),
            ("pct set 104 -cores", false),
            ("pct", false),
        ] {
            let wanted: Vec<&str> = command.split(' ').skip(1).collect();
            assert_eq!(ends_in(line, &wanted), found, "{command}");
        }
        let described = b"/usr/sbin/pct\x00snapshot\x00104\x00mine\x00--description\x00made by us\x00";
        let wanted = "snapshot 104 mine --description made by us".split(' ').collect::<Vec<_>>();
        assert!(ends_in(described, &wanted) && !ends_in(described, &wanted[..4]));
        let copied = b"/usr/sbin/pct\x00clone\x00104\x00105\x00--description\x00some private\nnotes\x00--full\x001\x00";
        for (command, found) in [
            ("clone 104 105 --description \u{2026} --full 1", true),
            ("clone 104 106 --description \u{2026} --full 1", false),
            ("clone 104 105 --description \u{2026} --full 0", false),
        ] {
            assert_eq!(ends_in(copied, &command.split(' ').collect::<Vec<_>>()), found, "{command}");
        }
        assert!(!ends_in(b"", &["set"]));
        assert!(!ends_in(b"set\x00104\0", &["set", "104"]), "no program before it");
    }

    #[test]
    fn a_worker_is_known_by_its_title() {
        let is_for = |title: &str, command: &str| {
            is_worker(title.as_bytes(), &command.split(' ').skip(1).collect::<Vec<_>>())
        };
        let title =
            |kind: &str| format!("task UPID:pve1:0000079D:00020F88:6B048BB9:{kind}:104:root@pam:\0\0\0");
        for (command, kind) in [
            ("pct clone 104 105 --full 1", "vzclone"),
            ("pct snapshot 104 mine", "vzsnapshot"),
            ("pct delsnapshot 104 mine", "vzdelsnapshot"),
            ("pct rollback 104 mine", "vzrollback"),
            ("pct destroy 104 --purge 1", "vzdestroy"),
            ("pct resize 104 rootfs +1G", "resize"),
            ("pct start 104", "vzstart"),
            ("pct stop 104", "vzstop"),
            ("pct shutdown 104 --timeout 60", "vzshutdown"),
            ("pct reboot 104", "vzreboot"),
        ] {
            assert!(is_for(&title(kind), command), "{command}");
            assert!(!is_for(&title("vzdump"), command), "{command}");
            assert!(!is_for(&title(kind), &command.replace("104", "204")), "{command}");
        }
        assert!(!is_for(&title("vzclone"), "pct set 104 -cores 2"));
        assert!(!is_for("task UPID:pve1", "pct clone 104 105"));
        assert!(!is_for("/usr/bin/pct\0clone\x00104", "pct clone 104 105"));
    }

    /// Whether a process with these words is found while it runs, as the user that `with` makes it.
    fn is_found_running(words: &[&str], with: impl Fn(&mut Command)) -> bool {
        let command = format!("pct {}", words.join(" "));
        let is_found = || is_running(Path::new(PROCFS), &command).unwrap();
        assert!(!is_found());
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo up; read line"]).args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        with(&mut shell);
        let mut running = shell.spawn().unwrap();
        // A process that has just been started may have no words yet.
        let mut up = String::new();
        BufReader::new(running.stdout.take().unwrap()).read_line(&mut up).unwrap();
        let found = is_found();
        // By its id, and before anything can fail.
        running.kill().unwrap();
        running.wait().unwrap();
        assert!(!is_found());
        found
    }

    #[test]
    fn a_process_is_found_for_as_long_as_it_runs() {
        // Nobody else is called with just these words.
        let own = std::process::id().to_string();
        assert!(is_found_running(&["60", "7", &own], |_| ()));
    }

    /// Anybody may give a process any words.
    #[test]
    fn a_process_of_another_user_is_not_waited_for() {
        const NOBODY: u32 = 65_534;
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let own = std::process::id().to_string();
        assert!(!is_found_running(&["60", "8", &own], |shell| {
            shell.uid(NOBODY);
        }));
    }
}
