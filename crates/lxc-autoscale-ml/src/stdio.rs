//! `recommend --stdio`: the daemon's own functions, driven line by line.
//!
//! Each input line is one step in JSON, with the observations of containers; each output line has the new sizes,
//! `[cores, MiB]`, of those that should change. The others keep their sizes. Time, including cool-downs, is that of the
//! lines:
//!
//! ```text
//! > {"timestamp": 1372636800, "containers": [{"id": 101, "cores": 2.0, "memory_mb": 4096,
//!    "provisioned_cores": 2, "provisioned_memory_mb": 4096, "cpu_cores_used": 0.31,
//!    "cpu_throttled": 0.0, "memory_mb_used": 812.5, "oom": false}]}
//! < {"101": [0.5, 3072]}
//! ```
//!
//! There are no guards: the one who reads the answers sees what comes of them. The policy is the daemon's, and what its
//! mode would only recommend is answered all the same; what is off stays off. It has the bounds of the protocol: from a tenth of a core (one core in the class
//! `integer`) up to the provisioned cores, and from 64 MiB up to twice the memory. More cores than provisioned would
//! only chase work that queued up behind a limit for a moment; memory that ran out, in contrast, must be found. There
//! is no node here, so none bounds the growth. Unknown fields are ignored; a field that is `null` or absent has an
//! unknown value.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use crate::decide::{Obstacles, Policy};
use crate::observation::Observation;
use crate::recommend::Shared;
use crate::replay::{CpuClass, Replayed, Size, boundless_node, carried_out, changed, within_provisioned};

/// Why the conversation ended early.
#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    /// A line cannot be read.
    #[error("cannot read line {line} of the standard input")]
    Read {
        /// Line number, from 1.
        line: usize,
        /// Why.
        source: std::io::Error,
    },
    /// A line does not follow the protocol.
    #[error("line {line} of the standard input does not follow the protocol")]
    Parse {
        /// Line number, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// A number in a line is invalid.
    #[error(
        "line {line} of the standard input, container {id}: `{field}` is {value}, which is not a valid amount"
    )]
    Amount {
        /// Line number, from 1.
        line: usize,
        /// The container.
        id: u64,
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
    },
    /// The time of a line is invalid.
    #[error(
        "line {line} of the standard input: the time {timestamp} is out of range or before the last line's"
    )]
    Time {
        /// Line number, from 1.
        line: usize,
        /// The time as given.
        timestamp: i64,
    },
    /// The answer cannot be written.
    #[error("cannot write the answer to line {line}")]
    Write {
        /// Line number, from 1.
        line: usize,
        /// Why.
        source: std::io::Error,
    },
}

#[derive(Debug, Deserialize)]
struct Step {
    timestamp: i64,
    containers: Vec<Seen>,
}

#[derive(Debug, Deserialize)]
struct Seen {
    id: u64,
    cores: f64,
    memory_mb: f64,
    provisioned_cores: Option<f64>,
    provisioned_memory_mb: Option<f64>,
    cpu_cores_used: Option<f64>,
    cpu_throttled: Option<f64>,
    memory_mb_used: Option<f64>,
    oom: Option<bool>,
}

impl Seen {
    /// The first field with an invalid value.
    fn nonsense(&self) -> Option<(&'static str, f64)> {
        let positive = [
            ("cores", Some(self.cores)),
            ("memory_mb", Some(self.memory_mb)),
            ("provisioned_cores", self.provisioned_cores),
            ("provisioned_memory_mb", self.provisioned_memory_mb),
        ];
        let not_negative = [
            ("cpu_cores_used", self.cpu_cores_used),
            ("cpu_throttled", self.cpu_throttled),
            ("memory_mb_used", self.memory_mb_used),
        ];
        let bad_positive = positive.into_iter().find(|(_, value)| value.is_some_and(|value| value <= 0.0));
        let bad = bad_positive
            .or(not_negative.into_iter().find(|(_, value)| value.is_some_and(|value| value < 0.0)));
        bad.and_then(|(field, value)| Some((field, value?)))
    }

    fn size(&self) -> Size {
        Size { cores: self.cores, memory_mib: self.memory_mb }
    }

    /// Its provisioned size; the present size if that is not given.
    fn provisioned(&self) -> Size {
        Size {
            cores: self.provisioned_cores.unwrap_or(self.cores),
            memory_mib: self.provisioned_memory_mb.unwrap_or(self.memory_mb),
        }
    }

    fn observation(&self, at: Timestamp) -> Observation {
        Observation {
            cpu_cores_used: self.cpu_cores_used,
            cpu_throttled_share: self.cpu_throttled,
            cores_limit: Some(self.cores),
            memory_used_mib: self.memory_mb_used,
            memory_limit_mib: Some(self.memory_mb),
            oom: self.oom,
            ..Observation::unknown(at)
        }
    }
}

/// Answers lines until the end of the input.
///
/// # Errors
/// [`StdioError`] at the first line that cannot be read, understood or answered.
pub fn run(
    policy: &Policy,
    shared: Shared,
    class: CpuClass,
    input: impl BufRead,
    mut output: impl Write,
) -> Result<(), StdioError> {
    let shared = Arc::new(shared);
    let mut members: BTreeMap<u64, Replayed> = BTreeMap::new();
    let mut previous = i64::MIN;
    for (index, text) in input.lines().enumerate() {
        let line = index + 1;
        let text = text.map_err(|source| StdioError::Read { line, source })?;
        let step: Step = serde_json::from_str(&text).map_err(|source| StdioError::Parse { line, source })?;
        let timestamp = step.timestamp;
        let now = Timestamp::from_second(timestamp).ok().filter(|_| previous <= timestamp);
        let now = now.ok_or(StdioError::Time { line, timestamp })?;
        previous = timestamp;
        let mut answer: BTreeMap<String, [f64; 2]> = BTreeMap::new();
        for seen in &step.containers {
            let id = seen.id;
            if let Some((field, value)) = seen.nonsense() {
                return Err(StdioError::Amount { line, id, field, value });
            }
            let member = members.entry(id).or_insert_with(|| {
                // There is nobody here to carry out what is only recommended.
                let policy = carried_out(within_provisioned(policy, class, seen.provisioned()));
                Replayed::new(policy, Obstacles::default(), boundless_node(), Arc::clone(&shared))
            });
            let (observation, size) = (seen.observation(now), seen.size());
            member.observe(&observation);
            let decisions = member.decide(&observation, size, now);
            if let Some(size) = changed(size, &decisions) {
                answer.insert(id.to_string(), [size.cores, size.memory_mib]);
            }
        }
        let written = serde_json::to_writer(&mut output, &answer).map_err(std::io::Error::from);
        let written = written.and_then(|()| output.write_all(b"\n")).and_then(|()| output.flush());
        written.map_err(|source| StdioError::Write { line, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Mode;
    use crate::recommend::RecommendConfig;

    fn converse(input: &str) -> Result<String, StdioError> {
        let mut output = Vec::new();
        let shared = Shared::with_shipped(&RecommendConfig::default());
        run(&Policy::default(), shared, CpuClass::Fractional, input.as_bytes(), &mut output)?;
        Ok(String::from_utf8(output).unwrap())
    }

    fn line(step: i64, cores: f64, memory: f64, cpu: &str, used: &str, rest: &str) -> String {
        let at = 1_372_636_800 + 300 * step;
        format!(
            r#"{{"timestamp":{at},"later":1,"containers":[{{"id":7,"cores":{cores},"memory_mb":{memory},"provisioned_cores":4,"provisioned_memory_mb":4096,"cpu_cores_used":{cpu},"memory_mb_used":{used}{rest}}}]}}"#
        ) + "\n"
    }

    #[test]
    fn there_is_one_answer_a_line_and_a_busy_container_grows_at_once() {
        let input = line(0, 1.0, 512.0, "0.2", "100", "")
            + &line(1, 1.0, 512.0, "1.0", "512", r#","cpu_throttled":0.5,"oom":true"#);
        let output = converse(&input).unwrap();
        let answers: Vec<BTreeMap<String, [f64; 2]>> =
            output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers[0], BTreeMap::new());
        let [cores, memory] = answers[1]["7"];
        assert!(2.0 <= cores && 612.0 <= memory, "{cores} {memory}");
    }

    #[test]
    fn an_idle_container_shrinks_after_six_hours_and_not_before() {
        let input: String =
            (0..90).map(|step| line(step, 4.0, 4096.0, "0.1", "200", r#","oom":false"#)).collect();
        let output = converse(&input).unwrap();
        let first = output.lines().position(|answer| answer != "{}").unwrap();
        assert!((72..76).contains(&first), "{first}");
        assert!(output.lines().nth(first).unwrap().starts_with(r#"{"7":[1.0,3072.0]}"#), "{output}");
    }

    #[test]
    fn what_is_only_recommended_is_answered_and_what_is_off_is_not() {
        let input = line(0, 1.0, 512.0, "0.2", "100", "")
            + &line(1, 1.0, 512.0, "1.0", "512", r#","cpu_throttled":0.5,"oom":true"#);
        for (mode, is_answered) in [(Mode::Recommend, true), (Mode::Approve, true), (Mode::Off, false)] {
            let mut policy = Policy::default();
            (policy.cpu.mode, policy.memory.mode) = (mode, mode);
            let mut output = Vec::new();
            let shared = Shared::with_shipped(&RecommendConfig::default());
            run(&policy, shared, CpuClass::Fractional, input.as_bytes(), &mut output).unwrap();
            assert_eq!(String::from_utf8(output).unwrap().contains("\"7\""), is_answered, "{mode:?}");
        }
    }

    #[test]
    fn what_is_not_known_does_not_shrink_it() {
        let input: String = (0..200).map(|step| line(step, 4.0, 4096.0, "null", "null", "")).collect();
        assert_eq!(converse(&input).unwrap(), "{}\n".repeat(200));
    }

    #[track_caller]
    fn check_refused(bad: &str, want: &str) {
        let good = line(0, 1.0, 512.0, "0.2", "100", "");
        assert_eq!(converse(&(good + bad)).unwrap_err().to_string(), want);
    }

    #[test]
    fn a_bad_line_is_named() {
        let step = "line 2 of the standard input does not follow the protocol";
        check_refused("nonsense\n", step);
        check_refused("\n", step);
        check_refused(r#"{"timestamp":1}"#, step);
        let amount =
            "line 2 of the standard input, container 7: `cpu_cores_used` is -1, which is not a valid amount";
        check_refused(&line(1, 1.0, 512.0, "-1", "100", ""), amount);
        let time =
            "line 2 of the standard input: the time 1372636500 is out of range or before the last line's";
        check_refused(&line(-1, 1.0, 512.0, "1", "100", ""), time);
    }
}
