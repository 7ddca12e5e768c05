//! A client that sends exactly what it is told to, whether valid or not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A response; the status is 0 if the connection was closed without one.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    head: String,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.head.lines().filter_map(|line| line.split_once(": "));
        found.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Requests a path with HTTP 1.0, so that the response ends with the connection and is not chunked.
pub fn get(address: SocketAddr, path: &str, headers: &str) -> Answer {
    request(address, &format!("GET {path} HTTP/1.0\r\n{headers}\r\n"))
}

/// Sends a text and reads the response to its end.
pub fn request(address: SocketAddr, text: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    // A server may answer and close before it has read everything.
    let _ = stream.write_all(text.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}
