//! How far long work is, for whoever waits for it: a bar on a terminal, a word to systemd, or nobody.

use std::borrow::Cow;

use indicatif::{ProgressBar, ProgressStyle};

/// Hears how much of the work is done.
pub trait Progress {
    /// So much of so much is done; the unit is that of the work.
    fn at(&self, done: u64, total: u64);

    /// The work goes on; how far it is has not changed.
    fn goes_on(&self) {}

    /// Whether the work is to end where it is.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// Nobody waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Progress for Unwatched {
    fn at(&self, _done: u64, _total: u64) {}
}

/// A bar on the standard error while that is a terminal, and nothing elsewhere; gone when it is dropped.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// For work measured in bytes.
    pub fn of_bytes(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(what, "{msg} {bar:30} {percent:>3} % of {total_bytes}, {eta} left")
    }

    /// For work measured in pieces that are called `unit`.
    pub fn of_pieces(what: impl Into<Cow<'static, str>>, unit: &str) -> Self {
        Self::new(what, &format!("{{msg}} {{bar:30}} {{pos}} of {{len}} {unit}, {{eta}} left"))
    }

    fn new(what: impl Into<Cow<'static, str>>, template: &str) -> Self {
        let bar = ProgressBar::no_length();
        // A template that cannot be read leaves the default one, which tells the same less nicely.
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
