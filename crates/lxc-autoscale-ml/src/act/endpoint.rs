//! The address of the API.

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
        let is_plain = !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']);
        is_plain.then(|| Self::Http(format!("http://{host}")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_is_a_socket_or_a_plain_address() {
        for (url, want) in [
            ("unix:/run/x/api.sock", Some(Endpoint::Socket("/run/x/api.sock".into()))),
            ("http://127.0.0.1:5000", Some(Endpoint::Http("http://127.0.0.1:5000".to_owned()))),
            ("http://127.0.0.1:5000/", Some(Endpoint::Http("http://127.0.0.1:5000".to_owned()))),
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
