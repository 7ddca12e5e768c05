//! The standard output of commands.

use std::io::{self, Stdout, Write};

/// A standard output whose reader may stop early (`… config | head -1`): output after that is dropped, which is not
/// an error.
///
/// Other errors, such as a full disk, are reported.
#[derive(Debug)]
pub struct CommandOutput<W> {
    inner: W,
    is_closed: bool,
}

impl CommandOutput<Stdout> {
    /// The standard output of this program.
    pub fn stdout() -> Self {
        Self::over(io::stdout())
    }
}

impl<W: Write> CommandOutput<W> {
    /// Writes to `inner` for as long as somebody reads from it.
    pub fn over(inner: W) -> Self {
        Self { inner, is_closed: false }
    }

    /// The result of `done`; `dropped` once the reader has gone.
    fn unless_closed<T>(&mut self, dropped: T, done: impl FnOnce(&mut W) -> io::Result<T>) -> io::Result<T> {
        if self.is_closed {
            return Ok(dropped);
        }
        match done(&mut self.inner) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(dropped)
            }
            result => result,
        }
    }
}

impl<W: Write> Write for CommandOutput<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unless_closed(bytes.len(), |inner| inner.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unless_closed((), Write::flush)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts one write, then fails with this error.
    struct Failing(Option<Vec<u8>>, io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.is_some() {
                return Err(self.1.into());
            }
            self.0 = Some(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.1.into())
        }
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_error_and_a_full_disk_is() {
        let mut output = CommandOutput::over(Failing(None, io::ErrorKind::BrokenPipe));
        for line in ["first\n", "second\n", "third\n"] {
            output.write_all(line.as_bytes()).unwrap();
        }
        output.flush().unwrap();
        assert_eq!(output.inner.0.as_deref(), Some(&b"first\n"[..]));
        let mut output = CommandOutput::over(Failing(Some(Vec::new()), io::ErrorKind::StorageFull));
        assert_eq!(output.write(b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(output.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
