//! The output of a command: its width, and whether it is coloured.

use std::env;
use std::fmt::Write;
use std::io::{self, IsTerminal};

/// Whether words are coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// When the standard output is a terminal and `NO_COLOR` is not set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The meaning of text, which determines its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// A growth.
    Grow,
    /// A shrink.
    Shrink,
    /// Something went wrong, or got worse.
    Bad,
    /// A heading.
    Strong,
    /// Something less important.
    Faint,
    /// Anything else.
    Plain,
}

/// The output.
#[derive(Clone, Copy, Debug, Default)]
pub struct Screen {
    color: bool,
    /// Columns; `None` if lines may be of any length.
    width: Option<usize>,
}

impl Screen {
    /// Standard output. Lines are wrapped only for terminals, or if `COLUMNS` is set.
    pub fn of_stdout(choice: ColorChoice) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let named = env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
        let size = rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col));
        let width = size.filter(|_| is_terminal).or(named).filter(|columns| 20 <= *columns);
        // https://no-color.org: any value except an empty one.
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env::var_os("TERM").is_some_and(|value| value == "dumb");
        let color = match choice {
            ColorChoice::Auto => is_terminal && !refused,
            ColorChoice::Always => true,
            ColorChoice::Never => false,
        };
        Self { color, width }
    }

    /// Columns; `otherwise` if lines may be of any length.
    pub(super) fn columns(&self, otherwise: usize) -> usize {
        self.width.unwrap_or(otherwise)
    }

    /// The text in the colour of its tone.
    pub(super) fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.color || text.is_empty() || tone == Tone::Plain {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Grow => "33",
            Tone::Shrink => "32",
            Tone::Bad => "31",
            Tone::Strong => "1",
            Tone::Faint => "2",
            Tone::Plain => "0",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// Wraps the text at the screen's width; the first line begins at column `begin`, the others are indented.
    pub(super) fn wrap(&self, text: &str, begin: usize, indent: usize) -> String {
        let Some(width) = self.width else { return text.to_owned() };
        let (mut wrapped, mut at) = (String::with_capacity(text.len()), begin);
        for (index, word) in text.split(' ').enumerate() {
            let length = word.chars().count();
            if index == 0 {
                at += length;
            } else if at + 1 + length <= width || at <= indent {
                wrapped.push(' ');
                at += 1 + length;
            } else {
                // Writing to a string cannot fail.
                let _ = write!(wrapped, "\n{:indent$}", "");
                at = indent + length;
            }
            wrapped.push_str(word);
        }
        wrapped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        let screen = Screen { color: false, width: Some(20) };
        assert_eq!(screen.wrap("one two three four", 8, 4), "one two\n    three four");
        assert_eq!(screen.wrap("unbreakable-but-long-word x", 18, 2), "unbreakable-but-long-word\n  x");
        assert_eq!(Screen::default().wrap("one two three four", 70, 4), "one two three four");
    }

    #[test]
    fn colour_is_only_what_was_asked_for() {
        assert_eq!(Screen::default().paint(Tone::Bad, "worse"), "worse");
        let screen = Screen { color: true, width: None };
        assert_eq!(screen.paint(Tone::Bad, "worse"), "\u{1b}[31mworse\u{1b}[0m");
    }
}
