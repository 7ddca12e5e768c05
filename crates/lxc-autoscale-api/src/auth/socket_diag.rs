//! Asks the kernel for the owner of one connection (`NETLINK_SOCK_DIAG`, as `ss` does).
//!
//! The kernel looks the socket up by its addresses and ports, whatever else is open. Its tables
//! ([`super::peer`]) list everything: reading them takes 10 to 20 ms on a machine with much memory.
//! Layouts: `linux/netlink.h`, `linux/sock_diag.h` and `linux/inet_diag.h`.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
/// `TCP_ESTABLISHED`.
const ESTABLISHED: u8 = 1;
/// Length of a header and an `inet_diag_req_v2`.
const REQUEST_BYTES: usize = 72;
/// Where ports and addresses begin, in the request and in the answer.
const REQUEST_ID: usize = 24;
const ANSWER_ID: usize = 20;

/// The owner of the socket that `client` is the address of, connected to `server`; `None` when its process has
/// closed it (see [`super::peer`] for why that matters).
///
/// # Errors
/// When the kernel does not know the socket, or knows no such question.
pub fn uid(client: SocketAddr, server: SocketAddr) -> io::Result<Option<u32>> {
    // Only the kernel can send to a socket of this protocol, and its answer is there when `send` returns.
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(netlink::SOCK_DIAG),
    )?;
    let asked = request(client, server);
    send(&socket, &asked, SendFlags::empty())?;
    let mut answer = [0; 512];
    let (_, length) = recv(&socket, &mut answer, RecvFlags::empty())?;
    owner(client, server, answer.get(..length).unwrap_or_default())
}

fn request(client: SocketAddr, server: SocketAddr) -> [u8; REQUEST_BYTES] {
    let mut request = [0; REQUEST_BYTES];
    let mut put = |at: usize, bytes: &[u8]| request[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &72_u32.to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &NLM_F_REQUEST.to_ne_bytes());
    // An IPv4 client may use an IPv6 socket; the kernel finds it by its IPv4 addresses.
    let (ours, theirs) = (server.ip().to_canonical(), client.ip().to_canonical());
    put(16, &[if theirs.is_ipv4() { AF_INET } else { AF_INET6 }, IPPROTO_TCP]);
    put(20, &u32::MAX.to_ne_bytes()); // in any state
    put(REQUEST_ID, &client.port().to_be_bytes());
    put(REQUEST_ID + 2, &server.port().to_be_bytes());
    for (at, address) in [(REQUEST_ID + 4, theirs), (REQUEST_ID + 20, ours)] {
        match address {
            IpAddr::V4(address) => put(at, &address.octets()),
            IpAddr::V6(address) => put(at, &address.octets()),
        }
    }
    put(64, &[0xff; 8]); // no cookie
    request
}

fn owner(client: SocketAddr, server: SocketAddr, answer: &[u8]) -> io::Result<Option<u32>> {
    let kind = array(answer, 4).map(u16::from_ne_bytes);
    let word = |at| array(answer, at).map(u32::from_ne_bytes);
    if kind == Some(NLMSG_ERROR) {
        let code = word(16).map_or(0, u32::cast_signed);
        return Err(io::Error::from_raw_os_error(code.saturating_neg()));
    }
    let canonical = |end: SocketAddr| (end.ip().to_canonical(), end.port());
    let expected = [canonical(client), canonical(server)];
    let found = ends(answer).filter(|found| kind == Some(SOCK_DIAG_BY_FAMILY) && *found == expected);
    let (Some(_), Some(uid), Some(inode)) = (found, word(80), word(84)) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel told of another socket"));
    };
    Ok((answer.get(17) == Some(&ESTABLISHED) && inode != 0).then_some(uid))
}

/// Both ends of the socket that an answer is about, its own first.
fn ends(answer: &[u8]) -> Option<[(IpAddr, u16); 2]> {
    let address = |at| match answer.get(16) {
        Some(&AF_INET) => array::<4>(answer, at).map(IpAddr::from),
        Some(&AF_INET6) => array::<16>(answer, at).map(IpAddr::from),
        _ => None,
    };
    let end = |address_at, port_at| {
        Some((address(address_at)?.to_canonical(), u16::from_be_bytes(array(answer, port_at)?)))
    };
    Some([end(ANSWER_ID + 4, ANSWER_ID)?, end(ANSWER_ID + 20, ANSWER_ID + 2)?])
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, TcpListener, TcpStream};

    use proptest::prelude::*;

    use super::*;

    fn own() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn a_real_client_is_known_until_it_closes_and_then_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let open = TcpStream::connect(server).unwrap();
        let client = open.local_addr().unwrap();
        assert_eq!(uid(client, server).unwrap(), Some(own()));
        // With nothing accepted and another port there is no such socket.
        let other = SocketAddr::new(client.ip(), if client.port() == 1 { 2 } else { 1 });
        assert!(uid(other, server).is_err());

        let mut closed = TcpStream::connect(server).unwrap();
        let client = closed.local_addr().unwrap();
        io::Write::write_all(&mut closed, b"a request").unwrap();
        drop(closed);
        assert!(matches!(uid(client, server), Ok(None) | Err(_)), "it is closed, and the kernel says user 0");
    }

    /// Over IPv6, and with an IPv6 socket over IPv4.
    #[test]
    fn every_kind_of_loopback_client_is_known() {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let server = listener.local_addr().unwrap();
        let open = TcpStream::connect(server).unwrap();
        assert_eq!(uid(open.local_addr().unwrap(), server).unwrap(), Some(own()));

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let in_disguise =
            SocketAddr::from((Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1]), server.port()));
        let _open = TcpStream::connect(in_disguise).unwrap();
        let (_accepted, client) = listener.accept().unwrap();
        assert_eq!(uid(client, server).unwrap(), Some(own()));
    }

    proptest! {
        #[test]
        fn any_answer_is_survived(answer in prop::collection::vec(any::<u8>(), 0..120)) {
            let address = SocketAddr::from(([127, 0, 0, 1], 5000));
            let _ = owner(address, address, &answer);
        }
    }
}
