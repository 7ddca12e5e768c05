//! Decisions as marks that show their reason.

use std::fmt::Write;

use jiff::Timestamp;

use super::chart::{Frame, PIXEL, WIDTH};
use super::escape::escape;
use crate::decide::{Action, Decision};

/// Least distance of marks, in columns: so many can be tapped, and the page stays small.
const APART: usize = 4;
const PLACES: usize = WIDTH / PIXEL / APART;

/// One decision and its position.
pub(super) struct Mark<'a> {
    /// When it was made.
    pub(super) at: i64,
    /// The decision.
    pub(super) decision: &'a Decision,
}

/// Draws the marks; of several at one position the largest move, with the number of the others.
pub(super) fn draw<'a>(page: &mut String, frame: &Frame, marks: impl Iterator<Item = Mark<'a>>) {
    let mut places: Vec<Option<(Mark<'a>, usize)>> = (0..PLACES).map(|_| None).collect();
    for mark in marks {
        let Some(place) = places.get_mut(frame.column(mark.at) / APART) else { continue };
        let moved =
            |decision: &Decision| (decision.to.unwrap_or_default() - decision.from.unwrap_or_default()).abs();
        *place = Some(match place.take() {
            Some((known, others)) if moved(mark.decision) <= moved(known.decision) => (known, others + 1),
            Some((_, others)) => (mark, others + 1),
            None => (mark, 0),
        });
    }
    for (mark, others) in places.into_iter().flatten() {
        one(page, frame, &mark, others);
    }
}

fn one(page: &mut String, frame: &Frame, mark: &Mark<'_>, others: usize) {
    let class = if mark.decision.action == Action::Grow { "grow" } else { "shrink" };
    let time = Timestamp::from_second(mark.at).map(|time| time.strftime("%Y-%m-%d %H:%M UTC").to_string());
    let more = if others == 0 { String::new() } else { format!(" ({others} more changes at this place)") };
    let text = format!("{}: {}{more}", time.unwrap_or_default(), mark.decision);
    let text = escape(&text);
    let (x, y) = (frame.x(mark.at), frame.y(mark.decision.to.unwrap_or_default()));
    let up = if class == "grow" { "l-4 7h8z" } else { "l-4 -7h8z" };
    let _ = write!(
        page,
        "<path class=\"{class}\" d=\"M{x:.0} {y:.0}{up}\" tabindex=\"0\" role=\"img\" aria-label=\"{text}\"/>"
    );
}
