//! Finds the user that owns the other end of a loopback connection.
//!
//! `/proc/net/tcp` and `tcp6` list every socket of this network namespace with its owner. The client's socket is the
//! one whose local address is the client address that we see, and whose remote address is ours.
//!
//! ## What does not count
//!
//! A socket that its process has closed is listed with user 0 and inode 0 while the kernel still delivers what was
//! sent. Without care, an ordinary user could send a request, close the socket at once, and pass for root. So only an
//! established connection whose socket still belongs to a file counts.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// The kernel's number for an established connection (`TCP_ESTABLISHED`).
const ESTABLISHED: &str = "01";

/// The owner of the socket with the address `client` that is connected to `server`; `None` if there is no such socket
/// any more.
///
/// `procfs` is the real one, since the connection is. `None` when there is no such socket any more.
///
/// # Errors
/// When the tables cannot be read.
pub fn uid(procfs: &Path, client: SocketAddr, server: SocketAddr) -> io::Result<Option<u32>> {
    for table in ["net/tcp", "net/tcp6"] {
        let text = match std::fs::read_to_string(procfs.join(table)) {
            Ok(text) => text,
            // A kernel without IPv6 has no second table.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if let Some(uid) = owner(&text, client, server) {
            return Ok(Some(uid));
        }
    }
    Ok(None)
}

/// Finds the owner in the text of one table.
fn owner(table: &str, client: SocketAddr, server: SocketAddr) -> Option<u32> {
    table.lines().skip(1).find_map(|line| {
        // sl local_address rem_address st tx:rx_queue tr:tm->when retrnsmt uid timeout inode …
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
        let (uid, inode) = (fields.nth(3)?, fields.nth(1)?);
        let is_it = state == ESTABLISHED
            && inode != "0"
            && parse_address(local)? == canonical(client)
            && parse_address(remote)? == canonical(server);
        if is_it { uid.parse().ok() } else { None }
    })
}

/// An IPv4 client may use an IPv6 socket, whose addresses are IPv4-mapped then.
fn canonical(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

/// Parses `0100007F:1388`: the words of the address in the machine's byte order, and the port.
fn parse_address(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index * 8)?);
            }
            IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some((ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    /// A client at 127.0.0.1:40000, connected to 127.0.0.1:5000.
    #[track_caller]
    fn check(lines: &str, want: Option<u32>) {
        let client = SocketAddr::from(([127, 0, 0, 1], 40_000));
        let server = SocketAddr::from(([127, 0, 0, 1], 5000));
        assert_eq!(owner(&format!("{HEAD}{lines}"), client, server), want, "{lines}");
    }

    #[test]
    fn the_clients_own_socket_tells_not_the_servers() {
        check(
            "   0: 0100007F:1388 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 77 1 0 20\n\
             \x20  1: 0100007F:9C40 0100007F:1388 01 00000000:00000000 00:00000000 00000000  1000        0 78 1 0 20\n",
            Some(1000),
        );
        check(
            "   0: 0100007F:1388 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 77 1 0 20\n",
            None,
        );
    }

    #[test]
    fn a_closed_socket_passes_for_nobody() {
        for state in ["04", "05", "06", "07", "02"] {
            check(
                &format!(
                    "   0: 0100007F:9C40 0100007F:1388 {state} 00000000:00000000 00:00000000 00000000 0 0 78 1\n"
                ),
                None,
            );
        }
        check(
            "   0: 0100007F:9C40 0100007F:1388 01 00000000:00000000 00:00000000 00000000     0        0 0 1 0 20\n",
            None,
        );
    }

    #[test]
    fn ipv6_and_ipv4_in_ipv6_are_understood() {
        check(
            "   0: 0000000000000000FFFF00000100007F:9C40 0000000000000000FFFF00000100007F:1388 01 \
             00000000:00000000 00:00000000 00000000  1000        0 78 1\n",
            Some(1000),
        );
        let loopback = |port| SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let table = format!(
            "{HEAD}   0: 00000000000000000000000001000000:9C40 00000000000000000000000001000000:1388 01 \
             00000000:00000000 00:00000000 00000000  1000        0 78 1\n"
        );
        assert_eq!(owner(&table, loopback(40_000), loopback(5000)), Some(1000));
    }

    #[test]
    fn another_connection_is_not_it() {
        check(
            "   0: 0100007F:9C40 0100007F:1389 01 00000000:00000000 00:00000000 00000000     0        0 78 1 0 20\n",
            None,
        );
    }

    #[test]
    fn a_real_client_is_known_until_it_closes_and_then_nobody() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let ask = |client: SocketAddr| uid(Path::new("/proc"), client, server).unwrap();
        let open = std::net::TcpStream::connect(server).unwrap();
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(ask(open.local_addr().unwrap()), Some(own));

        let mut closed = std::net::TcpStream::connect(server).unwrap();
        let address = closed.local_addr().unwrap();
        io::Write::write_all(&mut closed, b"a request").unwrap();
        drop(closed);
        // Its data is still delivered, and the kernel lists it with user 0.
        let (_accepted, client) = (listener.accept().unwrap(), listener.accept().unwrap().1);
        assert_eq!(client, address);
        assert_eq!(ask(client), None);
    }

    proptest! {
        #[test]
        fn any_table_is_survived(text in "([ 0-9A-F:]{0,120}\n){0,6}|\\PC{0,200}") {
            let address = SocketAddr::from(([127, 0, 0, 1], 5000));
            let _ = owner(&text, address, address);
        }
    }
}
