//! The addresses that the node's own name has, as further doors for the users of this machine.
//!
//! Proxmox writes the node's name into `/etc/hosts` with its network address, so `curl http://NODE:5000` in a shell on
//! the node goes to that address and not to 127.0.0.1. The listener there has a filter (`SO_ATTACH_FILTER`, socket(7))
//! that drops every packet but those from the address itself, before the kernel answers: no other machine, virtual
//! machine or container finds the port open. (One that forges the sender gets no answer either, because a network has no
//! way back to it, and the kernel drops what claims to come from itself.) A listener bound to the device `lo` would not
//! do: the kernel counts a packet to an address of its own as received by the device that has the address.
//!
//! Trusted is then, as at 127.0.0.1, who owns the other end.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::net::TcpListener;

/// Connections that may wait to be accepted, as many as tokio's own listeners let wait.
const BACKLOG: i32 = 1024;

/// Listens at each address that the file `hosts` gives the node's `name`, at the port of `listen`, which is served
/// already. An address where that fails is named in the log; 127.0.0.1 goes on serving.
pub(crate) fn open(hosts: &Path, name: &str, listen: SocketAddr) -> Vec<TcpListener> {
    let text = match std::fs::read_to_string(hosts) {
        Ok(text) => text,
        Err(error) => {
            tracing::warn!(path = %hosts.display(), %error, "the addresses of the node's name are not known");
            return Vec::new();
        }
    };
    let others = addresses(&text, name).into_iter().filter(|address| *address != listen.ip());
    others.filter_map(|address| open_at(SocketAddr::new(address, listen.port()), name)).collect()
}

fn open_at(address: SocketAddr, name: &str) -> Option<TcpListener> {
    match bind(address) {
        Ok(listener) => {
            tracing::info!(
                "Listening on http://{address} for this machine alone, because `{name}` is there."
            );
            Some(listener)
        }
        Err(error) => {
            tracing::warn!(
                %address, %error,
                "the node's name `{name}` cannot be used in addresses; use 127.0.0.1, or restart once it can"
            );
            None
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // Before it listens: at no moment does another machine reach it. Accepted connections inherit the filter.
    socket.attach_filter(&only_from(address.ip()))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A program for the kernel (linux/filter.h) that takes packets with this sender and drops all others.
fn only_from(sender: IpAddr) -> Vec<SockFilter> {
    /// `BPF_LD | BPF_W | BPF_ABS`: load a word of the packet, in the network's order.
    const LOAD: u16 = 0x20;
    /// `BPF_JMP | BPF_JEQ | BPF_K`: go on if it is this one.
    const COMPARE: u16 = 0x15;
    /// `BPF_RET | BPF_K`: take so many bytes of the packet.
    const TAKE: u16 = 0x06;
    /// `SKF_NET_OFF`: offsets from here on count from the IP header.
    const IP_HEADER: u32 = 0xfff0_0000;
    let (offset, bytes) = match sender {
        IpAddr::V4(address) => (12, address.octets().to_vec()),
        IpAddr::V6(address) => (8, address.octets().to_vec()),
    };
    let words: Vec<u32> = bytes
        .chunks_exact(4)
        .map(|word| word.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
        .collect();
    let mut program = Vec::new();
    for (at, (place, word)) in (IP_HEADER + offset..).step_by(4).zip(&words).enumerate() {
        // What remains to be skipped: the other words, two instructions each, and the one that takes the packet.
        let skipped = u8::try_from(2 * (words.len() - at) - 1).unwrap_or(u8::MAX);
        program.extend([SockFilter::new(LOAD, 0, 0, place), SockFilter::new(COMPARE, 0, skipped, *word)]);
    }
    program.extend([SockFilter::new(TAKE, 0, 0, u32::MAX), SockFilter::new(TAKE, 0, 0, 0)]);
    program
}

/// The addresses of a name in the text of a hosts file (hosts(5)), each once, in their order.
fn addresses(hosts: &str, name: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in hosts.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
        let is_named = words.any(|word| word.eq_ignore_ascii_case(name));
        let usable =
            address.filter(|address| is_named && !address.is_unspecified() && !found.contains(address));
        found.extend(usable);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_addresses_of_its_lines() {
        let hosts = "127.0.0.1 localhost.localdomain localhost\n\
                     192.168.1.10 pve.example.com PVE # the node\n\
                     #192.168.1.11 pve\n\
                     192.168.1.12 other # pve\n\
                     nonsense pve\n\
                     0.0.0.0 pve\n\
                     fe80::1%eth0 pve\n\
                     \t2001:db8::10\tpve\n\
                     192.168.1.10 pve\n";
        let of = |name| addresses(hosts, name).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(of("pve"), ["192.168.1.10", "2001:db8::10"]);
        assert_eq!(of("pve.example.com"), ["192.168.1.10"]);
        assert_eq!(of("example.com"), [""; 0]);
    }
}
