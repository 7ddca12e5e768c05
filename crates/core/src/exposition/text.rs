//! The two text formats of an exposition: Prometheus 0.0.4 and OpenMetrics 1.0.
//!
//! Written by hand, because `prometheus-client` writes only OpenMetrics while `promtool check metrics` reads only
//! 0.0.4, and because an exposition is written piece by piece here, so that a thousand containers take no more memory
//! than one. References: <https://prometheus.io/docs/instrumenting/exposition_formats/> and
//! <https://github.com/OpenObservability/OpenMetrics/blob/main/specification/OpenMetrics.md>.

use std::fmt::Write;

use super::meter::Histogram;
use crate::{Mebibytes, Vmid};

/// Longest value of a label, in bytes; a longer one (only the list of tags can be) is cut.
pub const MAX_LABEL_BYTES: usize = 512;

/// Units that the name of a metric may end with; OpenMetrics states them in a line of their own.
pub const UNITS: [&str; 4] = ["seconds", "bytes", "ratio", "cores"];

/// One of the text formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, version 0.0.4.
    Plain,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; starts again from zero with the container or the daemon. Its samples end with `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Always 1, with the information in its labels. Its samples end with `_info`.
    Info,
    /// A distribution of durations: buckets, `_sum` and `_count`.
    Histogram,
}

/// The name and meaning of a family.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Name without `_total` and `_info`.
    pub name: &'static str,
    /// The kind of metric.
    pub kind: Kind,
    /// Its meaning, in one line without quotes and backslashes.
    pub help: &'static str,
}

/// The subject of a sample; the label `id` is the same as in the series of prometheus-pve-exporter.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// The daemon itself, without `id`.
    Daemon,
    /// `id="lxc/<vmid>"`.
    Container(Vmid),
    /// `id="node/<name>"`.
    Node(&'a str),
}

/// Writes the samples of one family.
#[derive(Debug)]
pub struct Samples<'a> {
    out: &'a mut String,
    format: Format,
    description: &'a Description,
    subject: Subject<'a>,
    has_heading: bool,
}

impl Format {
    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The end of an exposition.
    pub fn end(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::OpenMetrics => "# EOF\n",
        }
    }
}

impl Description {
    /// A counter.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Counter, help }
    }

    /// A gauge.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, help }
    }

    /// Information in labels.
    pub const fn info(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Info, help }
    }

    /// A histogram.
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Histogram, help }
    }

    /// The unit that the name ends with.
    pub fn unit(&self) -> Option<&'static str> {
        let ends_in = |unit: &&str| self.name.rsplit('_').next() == Some(*unit);
        UNITS.into_iter().find(ends_in)
    }

    /// The suffix of the names of the samples.
    pub fn suffix(&self) -> &'static str {
        match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Histogram => "",
            Kind::Info => "_info",
        }
    }

    fn write_heading(&self, out: &mut String, format: Format) {
        let Self { name, help, .. } = *self;
        let (suffix, kind) = match (format, self.kind) {
            // Format 0.0.4 has no kind `info`, and its families have the names of their samples.
            (Format::Plain, Kind::Counter) => ("_total", "counter"),
            (Format::Plain, Kind::Info) => ("_info", "gauge"),
            (Format::OpenMetrics, Kind::Info) => ("", "info"),
            (Format::OpenMetrics, Kind::Counter) => ("", "counter"),
            (_, Kind::Gauge) => ("", "gauge"),
            (_, Kind::Histogram) => ("", "histogram"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}");
        if let (Format::OpenMetrics, Some(unit)) = (format, self.unit()) {
            let _ = writeln!(out, "# UNIT {name} {unit}");
        }
    }
}

impl<'a> Samples<'a> {
    /// Writes samples about `subject`; the heading comes before the first one, unless `has_heading` says it was
    /// written.
    pub fn new(out: &'a mut String, format: Format, description: &'a Description, has_heading: bool) -> Self {
        Self { out, format, description, subject: Subject::Daemon, has_heading }
    }

    /// Whether the heading was written.
    pub fn has_heading(&self) -> bool {
        self.has_heading
    }

    /// Sets the subject of the samples that follow.
    pub fn about(&mut self, subject: Subject<'a>) -> &mut Self {
        self.subject = subject;
        self
    }

    /// Writes a number, if there is one.
    pub fn real(&mut self, value: Option<f64>) {
        self.labelled(&[], value);
    }

    /// Writes a count, if there is one.
    pub fn whole(&mut self, value: Option<u64>) {
        self.whole_labelled(&[], value);
    }

    /// Writes yes (1) or no (0).
    pub fn yes(&mut self, value: bool) {
        self.whole(Some(u64::from(value)));
    }

    /// Writes a number of mebibytes as bytes.
    pub fn mib(&mut self, value: Option<f64>) {
        self.real(value.map(|mib| mib * Mebibytes::BYTES as f64));
    }

    /// Writes a number of microseconds as seconds.
    pub fn usec(&mut self, value: Option<u64>) {
        self.real(value.map(|usec| usec as f64 / 1e6));
    }

    /// Writes a percentage as a ratio.
    pub fn percent(&mut self, value: Option<f64>) {
        self.real(value.map(|percent| percent / 100.0));
    }

    /// Writes a count with further labels.
    pub fn whole_labelled(&mut self, labels: &[(&str, &str)], value: Option<u64>) {
        if let Some(value) = value {
            self.write_name(self.description.suffix(), labels);
            let _ = writeln!(self.out, " {value}");
        }
    }

    /// Writes a number with further labels; one that is not finite is left out.
    pub fn labelled(&mut self, labels: &[(&str, &str)], value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.write_real(self.description.suffix(), labels, value);
        }
    }

    /// Writes a histogram with further labels.
    pub fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        let bounds = histogram.cumulative().map(|(bound, count)| (format!("{bound:?}"), count));
        for (bound, count) in bounds.chain([("+Inf".to_owned(), histogram.count())]) {
            self.write_name("_bucket", &[labels, &[("le", &bound)]].concat());
            let _ = writeln!(self.out, " {count}");
        }
        self.write_real("_sum", labels, histogram.sum().as_secs_f64());
        self.write_name("_count", labels);
        let _ = writeln!(self.out, " {}", histogram.count());
    }

    fn write_real(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        self.write_name(suffix, labels);
        self.out.push(' ');
        push_number(self.out, value);
        self.out.push('\n');
    }

    fn write_name(&mut self, suffix: &str, labels: &[(&str, &str)]) {
        if !self.has_heading {
            self.description.write_heading(self.out, self.format);
            self.has_heading = true;
        }
        self.out.push_str(self.description.name);
        self.out.push_str(suffix);
        let mut separator = '{';
        match self.subject {
            Subject::Daemon => {}
            Subject::Container(vmid) => {
                let _ = write!(self.out, "{{id=\"lxc/{vmid}\"");
                separator = ',';
            }
            Subject::Node(name) => {
                self.out.push_str("{id=\"node/");
                push_escaped(self.out, name);
                self.out.push('"');
                separator = ',';
            }
        }
        // A label with an empty value is equivalent to no label.
        for (label, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
            let _ = write!(self.out, "{separator}{label}=\"");
            push_escaped(self.out, value);
            self.out.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.out.push('}');
        }
    }
}

/// Writes the shortest digits that restore the number, with an exponent if there would be a long row of zeros.
fn push_number(out: &mut String, value: f64) {
    let magnitude = value.abs();
    let _ = if value == 0.0 || (1e-6..1e16).contains(&magnitude) {
        write!(out, "{value}")
    } else {
        write!(out, "{value:e}")
    };
}

/// Writes the value of a label.
///
/// Backslash, quote and line feed are escaped, which is all that both formats support. Other control characters have
/// no escape, and readers treat them differently, so each is replaced by U+FFFD.
pub(crate) fn push_escaped(out: &mut String, value: &str) {
    let mut room = MAX_LABEL_BYTES;
    for character in value.chars() {
        let Some(left) = room.checked_sub(character.len_utf8()) else { return };
        room = left;
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other if other.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
