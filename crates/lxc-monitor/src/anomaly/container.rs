//! One container: its records combined into steps, and a detector for each metric.
//!
//! `(state, record, settings) -> (state, flags, events)`: no clock, no file. Time is that of the records.
//!
//! Detectors are given **steps** of a minute (`[anomaly] step_seconds`): more frequent records are averaged, so that a
//! cadence of one second gives the same series as one of sixty; less frequent records are a step each. Steps that are
//! not comparable with earlier ones are learnt from and not judged: one much longer or shorter than usual, the five
//! after a gap or after the clock was set back, those of ten minutes after a start of the container, and thirty after
//! the cadence changed for good.

use lxc_autoscale_core::snapshot::{Anomaly, ContainerRecord};

use super::codec::{self, Damaged, Form, Reader, Stored, Writer};
use super::detector::{Demands, Detector, Finding, Value};
use super::metric::{METRICS, Metric};
use super::observe::{Counters, observe};
use super::rest::Rest;

/// Part of a step after which it is complete; records sometimes come a little early.
const COMPLETE: f64 = 0.9;
/// A step longer or shorter than usual by this factor is not comparable.
const ODD_RATIO: f64 = 1.6;
/// So many of them in a row are a new cadence.
const ODD_STEPS: u8 = 3;
/// A step longer than this and than three usual ones is a gap.
const GAP_SECONDS: f64 = 900.0;
const HOLD_AFTER_GAP: u16 = 5;
const HOLD_AFTER_CADENCE: u16 = 30;
/// Time for a started container to settle.
const SETTLE_SECONDS: f64 = 600.0;
/// Steps without a flag after which an episode is over.
const QUIET_STEPS: u8 = 5;

/// Settings for all containers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Share of values of a series that may be flagged, 0–1.
    pub false_alarm_share: f64,
    /// How long a series must be watched before anything is flagged, in seconds.
    pub least_history_seconds: f64,
    /// Length of a step, in seconds.
    pub step_seconds: f64,
}

/// A change in an episode of flags of one metric.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The first flag after a quiet time.
    Begun(Anomaly),
    /// The flagged level counts as usual from now on.
    Accepted(Metric),
    /// The values were usual for a while.
    Ended(Metric),
}

/// The state of one container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerState {
    counters: Option<Counters>,
    /// Stands for its name, which need not be known; 0 if it never was.
    name_mark: u64,
    /// Whether it may be another container since its name could last be read: it was started, or away, meanwhile.
    in_doubt: bool,
    /// When the last step ended, in seconds since the Unix epoch.
    step_ended: Option<f64>,
    usual_step: f64,
    odd_steps: u8,
    sums: [f64; METRICS],
    counts: [u16; METRICS],
    /// Steps until an episode ends; 0 is no episode.
    episodes: [u8; METRICS],
    detectors: Rest,
    /// Metric and flag of the last step.
    flags: Vec<(u8, Flag)>,
}

/// A flag that stays until the next step.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Flag {
    observed: f64,
    finding: Finding,
}

/// How a step is treated.
enum Kind {
    Usual,
    Odd,
    Gap,
    NewCadence,
}

impl ContainerState {
    /// Whether a record is that of another container, to which the id was given after this one was destroyed: it has
    /// another name, and it was started since, or, where that is unknown, was away (`was_absent`) in between. One that was
    /// merely renamed goes on running. While the name cannot be read, it is kept in mind that it may be another one.
    pub fn is_of_another(&mut self, record: &ContainerRecord, was_absent: bool) -> bool {
        let started = self.counters.and_then(|before| Counters::of(record).started_since(&before));
        let may_be_another = started.unwrap_or(was_absent) || self.in_doubt;
        let mark = name_mark(record);
        self.in_doubt = may_be_another && mark.is_none();
        may_be_another && mark.is_some_and(|mark| self.name_mark != 0 && mark != self.name_mark)
    }

    /// Takes in a record; returns the events.
    pub fn take(&mut self, settings: &Settings, record: &ContainerRecord) -> Vec<Event> {
        let counters = Counters::of(record);
        let now = record.timestamp.as_seconds();
        let seen = observe(self.counters.as_ref(), &counters, record);
        self.counters = Some(counters);
        self.name_mark = name_mark(record).unwrap_or(self.name_mark);
        if seen.restarted {
            let steps = SETTLE_SECONDS / self.usual_step.max(settings.step_seconds);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
            let hold = steps.ceil().clamp(f64::from(HOLD_AFTER_GAP), 600.0) as u16;
            self.begin_anew(now, |detector| detector.lose_level(hold));
        }
        for ((sum, count), value) in self.sums.iter_mut().zip(&mut self.counts).zip(seen.values) {
            // Impossible values count as unknown.
            if let Some(value) = value.filter(|value| value.is_finite() && 0.0 <= *value) {
                *sum = (*sum + value).min(f64::MAX / 2.0);
                *count = count.saturating_add(1);
            }
        }
        let Some(ended) = self.step_ended else {
            self.step_ended = Some(now);
            return Vec::new();
        };
        let length = now - ended;
        if length <= 0.0 {
            // The clock was set back.
            self.begin_anew(now, |detector| detector.lose_level(HOLD_AFTER_GAP));
            return Vec::new();
        }
        if length < COMPLETE * settings.step_seconds {
            return Vec::new();
        }
        self.step_ended = Some(now);
        self.step(settings, record.timestamp.second_of_day(), length)
    }

    /// The present flags, in the order of the metrics.
    pub fn anomalies(&self) -> Vec<Anomaly> {
        let metric = |index: u8| Metric::ALL.get(usize::from(index)).copied();
        self.flags.iter().filter_map(|(index, flag)| Some(anomaly(metric(*index)?, *flag))).collect()
    }

    /// When the container was last seen, in seconds since the Unix epoch.
    pub fn last_seen(&self) -> f64 {
        self.counters.map_or(0.0, |counters| counters.at())
    }

    /// Size of its detectors between two steps.
    #[cfg(test)]
    pub(super) fn bytes_at_rest(&self) -> usize {
        self.detectors.len()
    }

    fn step(&mut self, settings: &Settings, second_of_day: f64, length: f64) -> Vec<Event> {
        let kind = self.kind(length);
        match kind {
            Kind::Usual | Kind::Odd => {}
            Kind::Gap => self.detectors.change(|_| true, |_, one| one.lose_level(HOLD_AFTER_GAP)),
            Kind::NewCadence => {
                self.detectors.change(|_| true, |_, one| one.lose_spread(HOLD_AFTER_CADENCE));
            }
        }
        let quiet = !matches!(kind, Kind::Usual);
        // The value after a gap says nothing about the time of the gap.
        let length = if matches!(kind, Kind::Gap) { self.usual_step } else { length };
        #[expect(clippy::cast_possible_truncation, reason = "seconds and shares, seven digits are enough")]
        let (second_of_day, seconds, demands) = (
            second_of_day as f32,
            length as f32,
            Demands {
                share: settings.false_alarm_share as f32,
                least_history: settings.least_history_seconds as f32,
            },
        );
        let (sums, counts) = (std::mem::take(&mut self.sums), std::mem::take(&mut self.counts));
        let mut events = Vec::new();
        self.flags.clear();
        let is_known = |place: usize| counts[place] != 0;
        self.detectors.change(is_known, |place, detector| {
            let metric = Metric::ALL[place];
            let observed = sums[place] / f64::from(counts[place]);
            let Some(scaled) = metric.scaled(observed) else { return };
            let value = Value { second_of_day, seconds, scaled, quiet };
            let finding = detector.step(metric, demands, value);
            let flag = finding.map(|finding| Flag { observed, finding });
            events.extend(tell(&mut self.episodes[place], metric, flag));
            if let (Some(flag), Ok(index)) = (flag, u8::try_from(place)) {
                self.flags.push((index, flag));
            }
        });
        events
    }

    /// Compares the length of a step with the usual one, and learns it.
    fn kind(&mut self, length: f64) -> Kind {
        if self.usual_step <= 0.0 {
            self.usual_step = length;
            return Kind::Usual;
        }
        let ratio = length / self.usual_step;
        if (1.0 / ODD_RATIO..=ODD_RATIO).contains(&ratio) {
            self.odd_steps = 0;
            self.usual_step += 0.1 * (length - self.usual_step);
            return Kind::Usual;
        }
        self.odd_steps = self.odd_steps.saturating_add(1);
        if ODD_STEPS <= self.odd_steps {
            self.odd_steps = 0;
            self.usual_step = length;
            return Kind::NewCadence;
        }
        if GAP_SECONDS.max(3.0 * self.usual_step) < length { Kind::Gap } else { Kind::Odd }
    }

    /// Drops the open step and notifies every detector.
    fn begin_anew(&mut self, now: f64, tell: impl Fn(&mut Detector)) {
        self.detectors.change(|_| true, |_, detector| tell(detector));
        self.step_ended = Some(now);
        (self.sums, self.counts) = ([0.0; METRICS], [0; METRICS]);
        self.flags.clear();
    }

    pub(super) fn encode(&self, writer: &mut Writer, form: Form) {
        writer.optional(self.counters, |writer, counters| counters.encode(writer));
        writer.optional(self.step_ended, Writer::f64);
        writer.f64(self.usual_step);
        writer.u8(self.odd_steps);
        self.sums.iter().for_each(|&sum| writer.f64(sum));
        self.counts.iter().for_each(|&count| writer.u16(count));
        writer.bytes(&self.episodes);
        for mut detector in self.detectors.each() {
            let Ok(()) = detector.each_number(writer);
        }
        writer.u8(u8::try_from(self.flags.len()).unwrap_or_default());
        for (index, flag) in &self.flags {
            writer.u8(*index);
            flag.encode(writer);
        }
        writer.u64(self.name_mark);
        if Form::WithDoubt <= form {
            writer.u8(u8::from(self.in_doubt));
        }
    }

    /// Whether another container may have got its id, and no name has told yet.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    pub(super) fn decode(reader: &mut Reader<'_>, form: Form) -> Result<Self, Damaged> {
        let mut state = Self {
            counters: reader.optional(Counters::decode)?,
            step_ended: reader.optional(Reader::f64)?,
            usual_step: reader.f64()?,
            odd_steps: reader.u8()?,
            ..Self::default()
        };
        for sum in &mut state.sums {
            *sum = reader.f64()?;
        }
        for count in &mut state.counts {
            *count = reader.u16()?;
        }
        state.episodes.copy_from_slice(reader.bytes(METRICS)?);
        let mut detectors = [Detector::default(); METRICS];
        for detector in &mut detectors {
            detector.each_number(&mut Stored { reader, form })?;
        }
        state.detectors = Rest::of(&detectors);
        for _ in 0..reader.u8()? {
            state.flags.push((reader.u8()?, Flag::decode(reader)?));
        }
        if Form::WithName <= form {
            state.name_mark = reader.u64()?;
        }
        if Form::WithDoubt <= form {
            state.in_doubt = reader.u8()? != 0;
        }
        Ok(state)
    }
}

/// What stands for the container's name; `None` if that is unknown.
fn name_mark(record: &ContainerRecord) -> Option<u64> {
    let name = record.configuration.as_ref()?.name.as_deref()?;
    Some(codec::checksum(name.as_bytes()).max(1))
}

impl Flag {
    fn encode(self, writer: &mut Writer) {
        writer.f64(self.observed);
        let Finding { score, low, high, lasting, by_hour, accepted } = self.finding;
        for value in [score, low, high] {
            writer.f32(value);
        }
        writer.bytes(&[u8::from(lasting), u8::from(by_hour), u8::from(accepted)]);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        let observed = reader.f64()?;
        let (score, low, high) = (reader.f32()?, reader.f32()?, reader.f32()?);
        let mut yes = || reader.u8().map(|value| value != 0);
        let (lasting, by_hour, accepted) = (yes()?, yes()?, yes()?);
        Ok(Self { observed, finding: Finding { score, low, high, lasting, by_hour, accepted } })
    }
}

/// The effect of a step on the episode of its metric.
fn tell(episode: &mut u8, metric: Metric, flag: Option<Flag>) -> Vec<Event> {
    match (*episode, flag) {
        (0, None) => Vec::new(),
        (1, None) => {
            *episode = 0;
            vec![Event::Ended(metric)]
        }
        (_, None) => {
            *episode -= 1;
            Vec::new()
        }
        (before, Some(flag)) => {
            let begun = (before == 0).then(|| Event::Begun(anomaly(metric, flag)));
            let accepted = flag.finding.accepted.then_some(Event::Accepted(metric));
            // A level that was accepted as usual causes no further events.
            *episode = if accepted.is_some() { 0 } else { QUIET_STEPS };
            begun.into_iter().chain(accepted).collect()
        }
    }
}

/// The flag as written to the metrics file.
fn anomaly(metric: Metric, flag: Flag) -> Anomaly {
    let Flag { observed, finding } = flag;
    let (low, high) = (metric.value(finding.low), metric.value(finding.high));
    let above = high < observed;
    let how = match (finding.lasting, above) {
        (true, true) => "higher than usual for several samples, now",
        (true, false) => "lower than usual for several samples, now",
        (false, true) => "unusually high at",
        (false, false) => "unusually low at",
    };
    let now = if finding.by_hour { " at this time of day" } else { "" };
    let end = if finding.accepted { "; taken as usual from now on" } else { "" };
    Anomaly {
        metric: metric.name().to_owned(),
        observed,
        expected_low: low,
        expected_high: high,
        score: f64::from(finding.score),
        reason: format!(
            "{} is {how} {}; {} to {} is usual{now}{end}",
            metric.subject(),
            metric.spoken(observed),
            metric.spoken(low),
            metric.spoken(high),
        ),
    }
}
