//! A trouble that comes and goes: said when it begins and when it is over, and not each time it does either.
//!
//! A disk that is full lets a cycle write now and then, because each failure gives something up. [`Notices`] would log
//! every such change. Here a trouble that keeps coming back soon after its end is said once more, and then its end only
//! when it has stayed away for a while.
//!
//! [`Notices`]: crate::notices::Notices

use std::time::Duration;

/// How long a trouble must stay away to be over, once it has come back; also the least time between two texts of it.
const CALM: Duration = Duration::from_mins(1);
/// How often it may come back, each time within that of its end, and count as one that begins and ends.
const SPELLS: u8 = 3;

/// What is known of one subject; pure.
#[derive(Debug, Default)]
pub struct Outage {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Quiet,
    Lasting {
        text: String,
        /// How often it has begun.
        spells: u8,
    },
    /// It was said to be over.
    Over { since: Duration, spells: u8 },
    /// It has come back too often.
    Unsteady {
        text: String,
        said_at: Duration,
        /// When there was trouble last.
        last: Duration,
    },
}

/// What is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    None,
    /// A trouble, or another one than before.
    Begun,
    /// One that has come back; its end is said when it has stayed away for a minute.
    Back,
    /// It is over.
    Ended,
}

impl Outage {
    /// Takes the state of the subject at `now`, on a clock that is never set; returns what is to be said.
    pub fn update(&mut self, trouble: Option<&str>, now: Duration) -> News {
        let is_due = |since: Duration| CALM <= now.saturating_sub(since);
        let (state, news) = match (std::mem::take(&mut self.state), trouble) {
            (State::Quiet, None) => (State::Quiet, News::None),
            (State::Quiet, Some(text)) => (lasting(text, 1), News::Begun),
            (State::Lasting { text: before, spells }, Some(text)) => {
                let news = if before == text { News::None } else { News::Begun };
                (lasting(text, spells), news)
            }
            (State::Lasting { spells, .. }, None) => (State::Over { since: now, spells }, News::Ended),
            (State::Over { since, .. }, None) if is_due(since) => (State::Quiet, News::None),
            (over @ State::Over { .. }, None) => (over, News::None),
            (State::Over { since, .. }, Some(text)) if is_due(since) => (lasting(text, 1), News::Begun),
            (State::Over { spells, .. }, Some(text)) if spells < SPELLS => {
                (lasting(text, spells + 1), News::Begun)
            }
            (State::Over { .. }, Some(text)) => {
                (State::Unsteady { text: text.to_owned(), said_at: now, last: now }, News::Back)
            }
            (State::Unsteady { text: before, said_at, .. }, Some(text))
                if before != text && is_due(said_at) =>
            {
                (State::Unsteady { text: text.to_owned(), said_at: now, last: now }, News::Back)
            }
            (State::Unsteady { text, said_at, .. }, Some(_)) => {
                (State::Unsteady { text, said_at, last: now }, News::None)
            }
            (State::Unsteady { last, .. }, None) if is_due(last) => (State::Quiet, News::Ended),
            (unsteady @ State::Unsteady { .. }, None) => (unsteady, News::None),
        };
        self.state = state;
        news
    }
}

fn lasting(text: &str, spells: u8) -> State {
    State::Lasting { text: text.to_owned(), spells }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds, the trouble, and what is said.
    #[track_caller]
    fn check(looks: &[(u64, Option<&str>, News)]) {
        let mut outage = Outage::default();
        for (second, trouble, want) in looks {
            let said = outage.update(*trouble, Duration::from_secs(*second));
            assert_eq!(said, *want, "at {second} s: {trouble:?}");
        }
    }

    #[test]
    fn a_trouble_that_lasts_is_said_when_it_begins_changes_and_ends() {
        check(&[
            (0, None, News::None),
            (1, Some("full"), News::Begun),
            (2, Some("full"), News::None),
            (3, Some("forbidden"), News::Begun),
            (4, None, News::Ended),
            (5, None, News::None),
        ]);
        // Cycles a minute apart are as they were.
        check(&[
            (0, Some("full"), News::Begun),
            (60, None, News::Ended),
            (120, Some("full"), News::Begun),
            (180, None, News::Ended),
        ]);
    }

    #[test]
    fn one_that_comes_and_goes_is_said_once_more_and_ends_when_it_stays_away() {
        let spells =
            [0, 2, 4].map(|second| [(second, Some("full"), News::Begun), (second + 1, None, News::Ended)]);
        let unsteady = [
            (6, Some("full"), News::Back),
            (7, None, News::None),
            (8, Some("full"), News::None),
            (500, Some("full"), News::None),
            (501, None, News::None),
            (559, None, News::None),
            (560, None, News::Ended),
            (561, Some("full"), News::Begun),
        ];
        check(&[spells.as_flattened(), &unsteady].concat());
    }

    #[test]
    fn of_several_that_take_turns_one_is_said_a_minute() {
        let spells =
            [0, 2, 4].map(|second| [(second, Some("full"), News::Begun), (second + 1, None, News::Ended)]);
        let unsteady = [
            (6, Some("quota"), News::Back),
            (7, Some("full"), News::None),
            (8, Some("quota"), News::None),
            (66, Some("full"), News::Back),
            (67, Some("quota"), News::None),
        ];
        check(&[spells.as_flattened(), &unsteady].concat());
    }
}
