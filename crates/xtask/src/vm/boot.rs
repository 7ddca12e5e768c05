//! Boots the machine, prints its output, and waits for its result.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::image::Image;
use super::{VmError, file};

/// The kernel must leave out cgroup version 1, provide pressure information, confine nothing (the profiles for
/// containers are in a package that is not installed), and stop instead of hanging.
const KERNEL: &str =
    "root=/dev/vda rw console=ttyS0 quiet cgroup_no_v1=all psi=1 apparmor=0 panic=-1 systemd.log_color=0";
/// The beginning of systemd's last message about the payload.
const VERDICT: &str = "payload: ";

/// Runs the machine to its end; returns systemd's result for the payload, which is `success` if all is well.
pub(super) fn run(image: &Image, payload: &Path, scratch: &Path, limit: Duration) -> Result<String, VmError> {
    let (console, results) = (scratch.join("console"), scratch.join("results"));
    let sparse = |name: &str, bytes: u64| -> Result<_, VmError> {
        let path = scratch.join(name);
        let disk = File::create(&path).map_err(file("create", &path))?;
        disk.set_len(bytes).map_err(file("enlarge", &path))?;
        Ok(path)
    };
    let (data, swap) = (sparse("data.img", 1 << 30)?, sparse("swap.img", 512 << 20)?);
    File::create(&results).map_err(file("create", &results))?;

    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048"]);
    command.args(["-display", "none", "-nic", "none", "-no-reboot"]);
    for log in [&console, &results] {
        command.arg("-serial").arg(format!("file:{}", escaped(log)));
    }
    command.arg("-kernel").arg(image.kernel()).arg("-initrd").arg(image.initrd()).args(["-append", KERNEL]);
    // The root disk is the same at every boot: writes go elsewhere and are discarded.
    for (disk, options) in [
        (image.root().as_path(), "snapshot=on"),
        (payload, "readonly=on"),
        (&data, "cache=unsafe"),
        (&swap, "cache=unsafe"),
    ] {
        command.arg("-drive").arg(format!("file={},if=virtio,format=raw,{options}", escaped(disk)));
    }
    let child = command.env("TMPDIR", scratch).stdin(Stdio::null()).spawn().map_err(VmError::Emulator)?;
    let mut machine = Machine(child);

    let begun = Instant::now();
    let mut said = File::open(&results).map_err(file("read", &results))?;
    let mut output = String::new();
    loop {
        let ended = machine.0.try_wait().map_err(VmError::Emulator)?.is_some();
        let mut new = Vec::new();
        said.read_to_end(&mut new).map_err(file("read", &results))?;
        let new = String::from_utf8_lossy(&new).replace('\r', "");
        let _ = std::io::stderr().lock().write_all(new.as_bytes());
        output.push_str(&new);
        if ended {
            break;
        }
        if limit < begun.elapsed() {
            return Err(VmError::TimedOut(limit, tail(&console)));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    verdict(&output).map_or_else(|| Err(VmError::NoVerdict(tail(&console))), |verdict| Ok(verdict.to_owned()))
}

/// The emulator, which ends with this process.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `payload: <result> <exit status>`, which systemd writes when the payload has ended.
fn verdict(output: &str) -> Option<&str> {
    let line = output.lines().rev().find_map(|line| line.strip_prefix(VERDICT))?;
    // A result without `0` after it is not a success, whatever its name.
    Some(line.strip_suffix(" 0").unwrap_or(line).trim())
}

fn tail(path: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).replace('\r', "");
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// A path in an option of the emulator, in which a comma ends a value unless it is doubled.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemds_last_word_is_the_verdict() {
        assert_eq!(verdict("all went well\npayload: success 0\n"), Some("success"));
        assert_eq!(verdict("payload: exit-code 101\n"), Some("exit-code 101"));
        assert_eq!(verdict("payload: success 3"), Some("success 3"));
        assert_eq!(verdict("test result: ok\n"), None);
    }
}
