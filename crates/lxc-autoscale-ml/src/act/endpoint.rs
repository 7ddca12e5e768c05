//! The address of the API.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Longest path of a socket: the kernel allows 108 bytes, including the terminating zero.
const MAX_PATH_BYTES: usize = 107;

/// An address of the API on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket, which only its owner can have created, and which tells the API the caller's user.
    Socket(PathBuf),
    /// A base address, without a path.
    Http(String),
}

impl Endpoint {
    /// Parses `unix:/run/lxc_autoscale_ml/api.sock` or `http://127.0.0.1:5000`; `None` for anything else.
    pub fn of(url: &str) -> Option<Self> {
        if let Some(path) = url.strip_prefix("unix:") {
            let fits = Path::new(path).is_absolute() && path.len() <= MAX_PATH_BYTES;
            return fits.then(|| Self::Socket(PathBuf::from(path)));
        }
        let host = url.strip_prefix("http://")?.trim_end_matches('/');
        is_loopback(host).then(|| Self::Http(format!("http://{host}")))
    }

    /// The prefix of request paths.
    pub(super) fn base(&self) -> &str {
        match self {
            // The name in the `Host` header; the connection goes to the socket in any case.
            Self::Socket(_) => "http://localhost",
            Self::Http(base) => base,
        }
    }
}

/// Whether it is an address of this machine that no other can reach, with or without a port: the API knows callers from
/// elsewhere by their keys, of which this daemon has none, and its unit may not connect to them.
fn is_loopback(host: &str) -> bool {
    if let Some(port) = host.strip_prefix("localhost") {
        return port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    }
    let v6 = || host.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let bare = || host.parse().map(IpAddr::V4).ok().or_else(|| v6().map(IpAddr::V6));
    let ip = host.parse::<SocketAddr>().ok().map(|address| address.ip()).or_else(bare);
    ip.is_some_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_is_a_socket_or_a_plain_address() {
        for (url, want) in [
            ("unix:/run/x/api.sock", Some(Endpoint::Socket("/run/x/api.sock".into()))),
            ("http://127.0.0.1:5000", Some(Endpoint::Http("http://127.0.0.1:5000".to_owned()))),
            ("http://127.0.0.1:5000/", Some(Endpoint::Http("http://127.0.0.1:5000".to_owned()))),
            ("http://127.0.0.2", Some(Endpoint::Http("http://127.0.0.2".to_owned()))),
            ("http://[::1]:5000", Some(Endpoint::Http("http://[::1]:5000".to_owned()))),
            ("http://[::1]", Some(Endpoint::Http("http://[::1]".to_owned()))),
            ("http://localhost:5000", Some(Endpoint::Http("http://localhost:5000".to_owned()))),
            ("http://localhost", Some(Endpoint::Http("http://localhost".to_owned()))),
            ("http://192.168.1.4:5000", None),
            ("http://localhost.example.com:5000", None),
            ("http://localhost:5000x", None),
            ("http://node.example.com", None),
            ("http://0.0.0.0:5000", None),
            ("http://::1", None),
            ("http://user@127.0.0.1:5000", None),
            ("unix:api.sock", None),
            ("unix:", None),
            ("https://127.0.0.1:5000", None),
            ("http://127.0.0.1:5000/x", None),
            ("http://", None),
            ("", None),
        ] {
            assert_eq!(Endpoint::of(url), want, "{url}");
        }
        assert_eq!(Endpoint::of(&format!("unix:/{}", "x".repeat(107))), None);
    }
}
