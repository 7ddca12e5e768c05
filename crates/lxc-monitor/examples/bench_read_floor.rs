//! The floor of `cargo xtask bench monitor`: reads a list of files once a second and does nothing with them.
//!
//! `bench_read_floor pread|open LIST ROUNDS`; a line of the list is `EVERY TURN PATH`: the file is read in one of EVERY
//! rounds, the one with number TURN. A byte is appended to the file ROUNDS after each round, so that the benchmark can
//! count them. `pread` keeps the files open, `open` opens and closes each every time. A file is read as often as needed
//! to get all of it, into one buffer that fits any of them; the end of file is not checked every time.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Handles for other files.
const OTHER_HANDLES: u64 = 64;
/// Larger than any file that is read.
const BUFFER_BYTES: usize = 1 << 20;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or_else(|| io::Error::other("usage: pread|open LIST ROUNDS"));
    let (way, list, rounds) = (next()?, next()?, next()?);
    let list = std::fs::read_to_string(list)?;
    let mut rounds = File::options().create(true).append(true).open(rounds)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    // As many handles as the system allows, as in the monitor; further files are opened each time.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised)?;
    let handles =
        if way == "pread" { limit.maximum.unwrap_or(u64::MAX).saturating_sub(OTHER_HANDLES) } else { 0 };

    let mut files = list
        .lines()
        .zip(0..)
        .map(|(line, index)| Reads::learn(line, index < handles, &mut buffer))
        .collect::<io::Result<Vec<_>>>()?;
    for round in 0_u64.. {
        for file in files.iter_mut().filter(|file| round % file.every == file.turn) {
            file.read(&mut buffer)?;
        }
        rounds.write_all(b".")?;
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

/// One file, and the number of reads to get all of it: most need one, tables one per page.
struct Reads {
    every: u64,
    turn: u64,
    path: String,
    kept: Option<File>,
    pieces: usize,
}

impl Reads {
    fn learn(line: &str, keeps_open: bool, buffer: &mut [u8]) -> io::Result<Self> {
        let wrong = || io::Error::other(format!("not EVERY TURN PATH: {line}"));
        let (every, rest) = line.split_once(' ').ok_or_else(wrong)?;
        let (turn, path) = rest.split_once(' ').ok_or_else(wrong)?;
        let (every, turn) = (every.parse().map_err(|_| wrong())?, turn.parse().map_err(|_| wrong())?);
        let file = File::open(path)?;
        let (mut offset, mut pieces) = (0, 0);
        loop {
            let bytes = file.read_at(buffer, offset)?;
            if bytes == 0 {
                break;
            }
            offset += bytes as u64;
            pieces += 1;
        }
        Ok(Self { every, turn, path: path.to_owned(), kept: keeps_open.then_some(file), pieces })
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let opened;
        let file = if let Some(kept) = &self.kept {
            kept
        } else {
            opened = File::open(&self.path)?;
            &opened
        };
        let mut offset = 0;
        for _ in 0..self.pieces {
            offset += file.read_at(buffer, offset)? as u64;
        }
        Ok(())
    }
}
