//! Formats an error with its causes in one line.

use std::error::Error;
use std::fmt;

/// Displays an error and its chain of sources, joined by `: `.
///
/// Our error types describe only their own layer in `Display`, so nothing is repeated.
#[derive(Debug)]
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0, f)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
