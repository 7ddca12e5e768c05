//! Text for a terminal. Names come from files that others may write, and a control character in one could move the
//! cursor or pretend another line.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with its control characters as the log shows them (`\x1b`); line breaks stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c == '\n' || !c.is_control();
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_plain(c) {
            shown.push(c);
        } else if c.is_ascii() {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\x{:02x}", u32::from(c));
        } else {
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_do_nothing() {
        for (text, want) in [
            ("web", "web"),
            ("büro\nzwei", "büro\nzwei"),
            ("\u{1b}[2Jweb", "\\x1b[2Jweb"),
            ("a\tb\rc\u{7f}", "a\\x09b\\x0dc\\x7f"),
            ("\u{9b}31m", "\\u{9b}31m"),
        ] {
            assert_eq!(printable(text), want);
        }
    }
}
