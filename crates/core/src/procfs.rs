//! Parsers for the node's `/proc` files that more than one daemon reads (proc(5)).
//!
//! Pure: text in, numbers out. Malformed text is an error that names what was expected and what was found.

#![expect(clippy::missing_errors_doc, reason = "every parser fails with what it expected and what it found")]

use std::collections::BTreeSet;

use crate::Vmid;
use crate::snapshot::{Pressure, PressureLine};

/// Text that does not have the expected format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found `{found}`")]
pub struct Unexpected {
    /// What was expected.
    pub expected: &'static str,
    /// What was found, cut at 60 characters.
    pub found: String,
}

impl Unexpected {
    /// The error for this expectation and this text.
    pub fn new(expected: &'static str, found: &str) -> Self {
        Self { expected, found: found.trim().chars().take(60).collect() }
    }
}

/// Cumulative CPU time of the node, in clock ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCpuTime {
    /// Time spent working.
    pub busy_ticks: u64,
    /// Time spent idle while a task of that CPU waited for a disk.
    pub iowait_ticks: u64,
    /// Time that a hypervisor gave to others.
    pub steal_ticks: u64,
    /// All time that has passed, over all CPUs.
    pub total_ticks: u64,
    /// Number of online CPUs.
    pub cpus: u32,
}

/// Memory of the node, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeMemory {
    /// `MemTotal`.
    pub total: u64,
    /// `MemAvailable`.
    pub available: u64,
    /// `SwapTotal`.
    pub swap_total: u64,
    /// `SwapTotal - SwapFree`.
    pub swap_used: u64,
}

/// `/proc/net/unix`: the containers whose command socket `@<lxc>/<id>/command` is listed.
pub fn command_sockets(text: &str, lxc: &str) -> BTreeSet<Vmid> {
    let prefix = format!("@{}/", lxc.trim_end_matches('/'));
    let vmid = |line: &str| {
        // The path is the last column and may contain blanks.
        let (_, path) = line.split_once(prefix.as_str())?;
        path.strip_suffix("/command")?.parse().ok()
    };
    text.lines().filter_map(vmid).collect()
}

/// `/proc/stat`: time of all CPUs together, and how many there are.
pub fn cpu_time(text: &str) -> Result<NodeCpuTime, Unexpected> {
    let unexpected = || Unexpected::new("a `cpu` line with its times and a line per CPU", text);
    let all = text.lines().find_map(|line| line.strip_prefix("cpu ")).ok_or_else(unexpected)?;
    let times: Vec<u64> = all.split_ascii_whitespace().map_while(|word| word.parse().ok()).collect();
    // The columns are user nice system idle iowait irq softirq steal; guest time is part of user and nice.
    let &[user, nice, system, idle, iowait, irq, softirq, steal, ..] = times.as_slice() else {
        return Err(unexpected());
    };
    let sum = |times: &[u64]| times.iter().try_fold(0_u64, |sum, time| sum.checked_add(*time));
    // Stolen time has passed, but this node did not use it.
    let busy_ticks = sum(&[user, nice, system, irq, softirq]).ok_or_else(unexpected)?;
    let total_ticks = sum(&[busy_ticks, idle, iowait, steal]).ok_or_else(unexpected)?;
    let is_cpu = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let cpus = u32::try_from(text.lines().filter(is_cpu).count()).map_err(|_| unexpected())?;
    if cpus == 0 {
        return Err(unexpected());
    }
    Ok(NodeCpuTime { busy_ticks, iowait_ticks: iowait, steal_ticks: steal, total_ticks, cpus })
}

/// `/proc/meminfo`.
pub fn meminfo(text: &str) -> Result<NodeMemory, Unexpected> {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kib: Option<u64> = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok());
        kib.and_then(|kib| kib.checked_mul(1024)).ok_or_else(|| {
            Unexpected::new("`MemTotal`, `MemAvailable`, `SwapTotal` and `SwapFree` in kB", text)
        })
    };
    let swap_total = value("SwapTotal")?;
    Ok(NodeMemory {
        total: value("MemTotal")?,
        available: value("MemAvailable")?,
        swap_total,
        swap_used: swap_total.saturating_sub(value("SwapFree")?),
    })
}

/// `/proc/loadavg`: the three averages.
pub fn load_averages(text: &str) -> Result<[f64; 3], Unexpected> {
    let numbers: Vec<f64> =
        text.split_ascii_whitespace().take(3).map_while(|word| word.parse().ok()).collect();
    match numbers.as_slice() {
        &[one, five, fifteen] if numbers.iter().all(|load| load.is_finite() && 0.0 <= *load) => {
            Ok([one, five, fifteen])
        }
        _ => Err(Unexpected::new("three load averages", text)),
    }
}

/// `/proc/uptime`: seconds since boot.
pub fn uptime_seconds(text: &str) -> Result<f64, Unexpected> {
    let seconds: Option<f64> = text.split_ascii_whitespace().next().and_then(|word| word.parse().ok());
    seconds
        .filter(|seconds| seconds.is_finite() && 0.0 <= *seconds)
        .ok_or_else(|| Unexpected::new("seconds since boot", text))
}

/// A pressure file (Documentation/accounting/psi.rst).
pub fn pressure(text: &str) -> Result<Pressure, Unexpected> {
    // Each look at a container reads three of them: those in the kernel's own words are read from front to back.
    if let Some(pressure) = pressure_as_written(text) {
        return Ok(pressure);
    }
    pressure_by_words(text)
}

/// A pressure file, whatever else is in it.
fn pressure_by_words(text: &str) -> Result<Pressure, Unexpected> {
    let line = |kind: &str| text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '));
    let some = line("some").ok_or_else(|| Unexpected::new("a `some` line", text))?;
    Ok(Pressure { some: pressure_line(some)?, full: line("full").map(pressure_line).transpose()? })
}

/// A pressure file that has exactly the kernel's form (`psi_show` in kernel/sched/psi.c); `None` for any other.
fn pressure_as_written(text: &str) -> Option<Pressure> {
    let mut rest = text;
    let some = line_as_written(&mut rest, "some avg10=")?;
    let full = if rest.is_empty() { None } else { Some(line_as_written(&mut rest, "full avg10=")?) };
    rest.is_empty().then_some(Pressure { some, full })
}

/// The next line, which is taken off the text.
fn line_as_written(text: &mut &str, begin: &str) -> Option<PressureLine> {
    let mut next = |begin: &str, end: u8| {
        let rest = text.strip_prefix(begin)?;
        let (value, rest) = rest.split_at(rest.bytes().position(|byte| byte == end)?);
        *text = rest;
        Some(value)
    };
    let avg10 = hundredths(next(begin, b' ')?)?;
    let avg60 = hundredths(next(" avg60=", b' ')?)?;
    let avg300 = hundredths(next(" avg300=", b' ')?)?;
    let total = next(" total=", b'\n')?;
    // `parse` takes a sign as well.
    let total_usec =
        total.parse().ok().filter(|_| total.as_bytes().first().is_some_and(u8::is_ascii_digit))?;
    *text = text.strip_prefix('\n')?;
    Some(PressureLine { avg10, avg60, avg300, total_usec })
}

fn pressure_line(line: &str) -> Result<PressureLine, Unexpected> {
    let unexpected = || Unexpected::new("`avg10=N avg60=N avg300=N total=N`", line);
    // Each measurement of a container parses six of these, so the words are read in a single pass.
    let [mut avg10, mut avg60, mut avg300, mut total] = [None; 4];
    for word in line.split_ascii_whitespace() {
        let Some((key, value)) = word.split_once('=') else { continue };
        let place = match key {
            "avg10" => &mut avg10,
            "avg60" => &mut avg60,
            "avg300" => &mut avg300,
            "total" => &mut total,
            _ => continue,
        };
        place.get_or_insert(value);
    }
    let percent = |value: Option<&str>| {
        let number: Option<f64> = value.and_then(|text| hundredths(text).or_else(|| text.parse().ok()));
        number.filter(|percent| percent.is_finite() && 0.0 <= *percent).ok_or_else(unexpected)
    };
    Ok(PressureLine {
        avg10: percent(avg10)?,
        avg60: percent(avg60)?,
        avg300: percent(avg300)?,
        total_usec: total.and_then(|text| text.parse().ok()).ok_or_else(unexpected)?,
    })
}

/// A number of hundredths, `N.NN`, as the kernel writes averages: division rounds correctly, so it is what any parser makes of it.
fn hundredths(text: &str) -> Option<f64> {
    let (whole, [b'.', tens @ b'0'..=b'9', ones @ b'0'..=b'9']) = text.as_bytes().split_last_chunk()? else {
        return None;
    };
    // No more digits than hundredths of a double have.
    if !(1..=9).contains(&whole.len()) {
        return None;
    }
    let mut number = 0_u64;
    for digit in whole.iter().chain([tens, ones]) {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = 10 * number + u64::from(digit - b'0');
    }
    Some(number as f64 / 100.0)
}

#[cfg(test)]
#[path = "procfs_tests.rs"]
mod tests;
