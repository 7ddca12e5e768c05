//! One request after another over a kept connection, with nothing between the clock and the socket.
//!
//! The benchmark must measure what the server adds to a call, not what a client library adds to the server. So a
//! request is a single write, and its response is read as it arrives.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::load::{Call, Failure};

/// A kept connection.
pub(crate) struct Plain {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Plain {
    /// Connects.
    ///
    /// # Errors
    /// If nobody is listening there.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { address, stream: BufReader::new(stream) })
    }

    /// Sends a request; returns the time until the last byte of its response.
    ///
    /// # Errors
    /// If the response is not a success.
    pub(crate) fn send(&mut self, call: &Call) -> Result<Duration, Failure> {
        let request = call.message(self.address);
        let begun = Instant::now();
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (status, body) = self.answer()?;
        let took = begun.elapsed();
        if status.contains(" 200 ") {
            Ok(took)
        } else {
            Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into())
        }
    }

    /// The status line and the body.
    fn answer(&mut self) -> Result<(String, Vec<u8>), Failure> {
        let (mut status, mut length) = (String::new(), 0);
        self.stream.read_line(&mut status)?;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse()?;
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, body))
    }
}
