//! Finds calls of `pct` that nobody waits for any more, because they took too long or outlived the server process
//! that made them.

use std::io;
use std::path::Path;

/// The procfs of this machine: the processes are real even if the node is simulated.
pub(super) const PROCFS: &str = "/proc";

/// Whether a process is running whose command line ends with the words of `command` after the first one, `pct`.
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
        if ends_in(&line, &wanted) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a command line from procfs, whose arguments each end with a zero byte, ends with these words. (A
/// description is one argument of several words.)
fn ends_in(line: &[u8], wanted: &[&str]) -> bool {
    let words: Vec<&[u8]> =
        line.strip_suffix(&[0]).unwrap_or(line).split(|byte| [0, b' '].contains(byte)).collect();
    let wanted: Vec<&[u8]> = wanted.iter().map(|word| word.as_bytes()).collect();
    // The program itself must come before them.
    wanted.len() < words.len() && !wanted.is_empty() && words.ends_with(&wanted)
}

#[cfg(test)]
mod tests {
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
        assert!(!ends_in(b"", &["set"]));
        assert!(!ends_in(b"set\x00104\0", &["set", "104"]), "no program before it");
    }

    #[test]
    fn this_process_is_found_and_another_is_not() {
        let line = std::fs::read("/proc/self/cmdline").unwrap();
        let words: Vec<String> =
            line.split(|byte| *byte == 0).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
        if let [_, arguments @ .., _] = words.as_slice()
            && !arguments.is_empty()
            && arguments.iter().all(|word| !word.contains(' '))
        {
            assert!(is_running(Path::new(PROCFS), &format!("pct {}", arguments.join(" "))).unwrap());
        }
        assert!(!is_running(Path::new(PROCFS), "pct set 104 -cores 987654321").unwrap());
    }
}
