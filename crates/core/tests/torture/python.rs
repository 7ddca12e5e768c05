//! An independent reader that reads all the time: Python's `json.load`.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Reads the file again and again until standard input says to stop.
const PROGRAM: &str = r#"
import json, select, sys
reads = bad = gaps = absent = 0
first_bad = ""
print("reading", flush=True)
stopped = False
while not stopped:
    stopped = select.select([sys.stdin], [], [], 0.001)[0]
    try:
        with open(sys.argv[1]) as file:
            snapshots = json.load(file)
    except FileNotFoundError:
        absent += reads != 0
        continue
    except ValueError as error:
        bad += 1
        first_bad = first_bad or str(error)
        continue
    reads += 1
    numbers = [snapshot["summary"]["total_containers"] for snapshot in snapshots] if sys.argv[2] else []
    gaps += any(later != earlier + 1 for earlier, later in zip(numbers, numbers[1:]))
print(json.dumps({"reads": reads, "bad": bad, "gaps": gaps, "absent": absent, "first_bad": first_bad}))
"#;

/// A running reader.
pub(crate) struct PythonReader(Child);

impl PythonReader {
    /// Starts reading; the file may be created later. With `is_numbered`, each snapshot must follow the one before
    /// it.
    pub(crate) fn start(path: &Path, is_numbered: bool) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", PROGRAM])
            .arg(path)
            .arg(if is_numbered { "numbered" } else { "" })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; "reading\n".len()];
        child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        Self(child)
    }

    /// Stops reading; returns how often it has read, and fails if it ever read anything but complete JSON without
    /// gaps.
    #[track_caller]
    pub(crate) fn finish(mut self) -> u64 {
        self.0.stdin.take().unwrap().write_all(b"stop\n").unwrap();
        let output = self.0.wait_with_output().unwrap();
        let seen: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        for what in ["bad", "gaps", "absent"] {
            assert_eq!(seen[what], 0, "{seen}");
        }
        seen["reads"].as_u64().unwrap()
    }
}
