//! Asks the kernel for the owner of one connection (`NETLINK_SOCK_DIAG`, as `ss` does).
//!
//! The kernel looks the socket up by its addresses and ports, however many others are open. Its tables
//! ([`super::peer`]) list all of them; reading them takes 10 to 20 ms on a machine with much memory. The layouts are
//! those of `linux/netlink.h`, `linux/sock_diag.h` and `linux/inet_diag.h`.

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
/// Offset of ports and addresses, in the request and in the answer.
const REQUEST_ID: usize = 24;
const ANSWER_ID: usize = 20;

/// The owner of the socket with the address `client` that is connected to `server`; `None` if there is no such
/// socket, or its process has closed it (see [`super::peer`] for why that matters).
///
/// # Errors
/// If the kernel does not support this query.
pub fn uid(client: SocketAddr, server: SocketAddr) -> io::Result<Option<u32>> {
    let answer = ask(client, server)?;
    if kind(&answer) != Some(NLMSG_ERROR) {
        return Ok(owner(client, server, &answer));
    }
    // A kernel without this query (no `tcp_diag`) and one without that socket answer the same (ENOENT). The server's
    // end of the connection exists, or after a reset at least the listening socket does, so only a kernel that does
    // not support the query finds neither.
    let ours = ask(server, client)?;
    match error(&ours) {
        None => Ok(None),
        Some(unknown) => Err(unknown),
    }
}

/// Asks for the socket at `of`, connected to `peer`; returns the raw answer.
fn ask(of: SocketAddr, peer: SocketAddr) -> io::Result<Vec<u8>> {
    // Only the kernel can send to a socket of this protocol, and its answer is there when `send` returns.
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(netlink::SOCK_DIAG),
    )?;
    send(&socket, &request(of, peer), SendFlags::empty())?;
    let mut answer = [0; 512];
    let (_, length) = recv(&socket, &mut answer, RecvFlags::empty())?;
    Ok(answer.get(..length).unwrap_or_default().to_vec())
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

fn kind(answer: &[u8]) -> Option<u16> {
    array(answer, 4).map(u16::from_ne_bytes)
}

/// The error that the kernel reports for a query; `None` if there is none.
fn error(answer: &[u8]) -> Option<io::Error> {
    let code = array(answer, 16).map_or(0, |bytes| u32::from_ne_bytes(bytes).cast_signed());
    (kind(answer) == Some(NLMSG_ERROR)).then(|| io::Error::from_raw_os_error(code.saturating_neg()))
}

/// The owner that an answer names; `None` if it is about another socket (if no connection matches, the kernel returns
/// a listening one), or about one that is closed.
fn owner(client: SocketAddr, server: SocketAddr, answer: &[u8]) -> Option<u32> {
    let word = |at| array(answer, at).map(u32::from_ne_bytes);
    let canonical = |end: SocketAddr| (end.ip().to_canonical(), end.port());
    let is_it =
        kind(answer) == Some(SOCK_DIAG_BY_FAMILY) && ends(answer)? == [canonical(client), canonical(server)];
    let is_open = answer.get(17) == Some(&ESTABLISHED) && word(84)? != 0;
    if is_it && is_open { word(80) } else { None }
}

/// Both ends of the socket that an answer is about, its own end first.
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
        // On another port, where nothing was accepted, there is no such socket.
        let other = SocketAddr::new(client.ip(), if client.port() == 1 { 2 } else { 1 });
        assert_eq!(uid(other, server).unwrap(), None);

        let mut closed = TcpStream::connect(server).unwrap();
        let client = closed.local_addr().unwrap();
        io::Write::write_all(&mut closed, b"a request").unwrap();
        drop(closed);
        assert_eq!(uid(client, server).unwrap(), None, "it is closed, and the kernel says user 0");
    }

    /// Neither if nothing of a connection is left, nor if another program listens where it came from.
    #[test]
    fn a_connection_that_was_reset_belongs_to_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let reset = TcpStream::connect(server).unwrap();
        let client = reset.local_addr().unwrap();
        rustix::net::sockopt::set_socket_linger(&reset, Some(std::time::Duration::ZERO)).unwrap();
        drop(reset);
        assert_eq!(uid(client, server).unwrap(), None);
        let _there_now = TcpListener::bind(client).unwrap();
        assert_eq!(uid(client, server).unwrap(), None);
    }

    /// What a kernel without `tcp_diag` answers for either end.
    #[test]
    fn a_kernel_that_cannot_tell_is_an_error_and_nobody() {
        let mut refusal = [0; 36];
        refusal[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        refusal[16..20].copy_from_slice(&(-2_i32).to_ne_bytes());
        assert_eq!(error(&refusal).map(|error| error.kind()), Some(io::ErrorKind::NotFound));
        let address = SocketAddr::from(([127, 0, 0, 1], 5000));
        assert_eq!(owner(address, address, &refusal), None);
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
            let _ = (owner(address, address, &answer), error(&answer));
        }
    }
}
