//! Progress of long work: shown as a bar on a terminal, as a sign of life to systemd, or not at all.

use std::borrow::Cow;

use indicatif::{ProgressBar, ProgressStyle};

/// Is told how much of the work is done.
pub trait Progress {
    /// `done` of `total` is done, in the unit of the work.
    fn at(&self, done: u64, total: u64);

    /// The work is continuing; its progress has not changed.
    fn goes_on(&self) {}

    /// Whether the work must stop now.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// For work that nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Progress for Unwatched {
    fn at(&self, _done: u64, _total: u64) {}
}

/// A progress bar on standard error if that is a terminal; removed when dropped.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar for work measured in bytes.
    pub fn of_bytes(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(what, "{msg} {bar:30} {percent:>3} % of {total_bytes}, {eta} left")
    }

    /// A bar for work measured in pieces called `unit`.
    pub fn of_pieces(what: impl Into<Cow<'static, str>>, unit: &str) -> Self {
        Self::new(what, &format!("{{msg}} {{bar:30}} {{pos}} of {{len}} {unit}, {{eta}} left"))
    }

    fn new(what: impl Into<Cow<'static, str>>, template: &str) -> Self {
        let bar = ProgressBar::no_length();
        // If the template cannot be parsed, the default one is used, which looks less nice.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("█▌░"));
        }
        bar.set_message(what);
        Self(bar)
    }
}

impl Progress for Bar {
    fn at(&self, done: u64, total: u64) {
        if self.0.length() != Some(total) {
            self.0.set_length(total);
        }
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
