//! Network and disk traffic of known size, in each direction (A1, A5).

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use lxc_autoscale_core::snapshot::ContainerRecord;
use lxc_autoscale_e2e::eventually;

use crate::container::{Container, Limits, container_address, node_address, node_device, succeed};
use crate::machine::{Machine, text};
use crate::monitor::record;
use crate::{Proof, around, device_of};

const MIB: f64 = 1_048_576.0;
const LIMITS: Limits = Limits { quota_cores: None, memory_mib: 256, swap_mib: 0, pids: None };

/// 20 MiB to the container and 6 MiB from it, over TCP.
pub(crate) fn network(proof: &mut Proof) {
    let mut container = proof.container(LIMITS);
    let id = container.id;
    let device = node_device(id);
    let address = format!("{}/30", node_address(id));
    succeed(Command::new("ip").args(["address", "add", &address, "dev", &device]));
    succeed(Command::new("ip").args(["link", "set", &device, "up"]));

    let before = proof.monitor.once();
    container.order(&format!("listen {}:7000", container_address(id)));
    let connect = || TcpStream::connect((container_address(id), 7000)).ok();
    let mut stream = eventually("the container's port answers", Duration::from_mins(1), connect);
    let block = vec![7; 1 << 20];
    for _ in 0..20 {
        stream.write_all(&block).unwrap();
    }
    drop(stream);
    assert_eq!(container.order("received"), (20 << 20).to_string(), "TCP delivers everything");
    let listener = TcpListener::bind((node_address(id), 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let receiver = std::thread::spawn(move || {
        let mut received = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
        received.len()
    });
    container.order(&format!("send {}:{port} 6", node_address(id)));
    assert_eq!(receiver.join().unwrap(), 6 << 20);

    // What counts is what the container itself sees at its own end.
    let own_end = || {
        let text = container.run(&["cat", "/proc/net/dev"]);
        let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).unwrap().to_owned();
        let words: Vec<u64> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
        (Some(words[0]), Some(words[8]))
    };
    let (after, (low, high)) = around(own_end, || proof.monitor.once());
    let later = record(&after, id);
    let usage = later.network_usage.unwrap();
    proof.findings.counter("network_usage.rx_bytes, kernel", usage.rx_bytes, (low.0, high.0));
    proof.findings.counter("network_usage.tx_bytes, kernel", usage.tx_bytes, (low.1, high.1));
    let earlier = record(&before, id).network_usage.unwrap();
    // Headers and acknowledgements are added; a frame of 1,514 bytes carries 1,448 bytes of data.
    let with_headers =
        |mebibytes: f64, back: f64| mebibytes * MIB..=mebibytes * MIB * 1.06 + back * MIB * 0.06;
    let rise = (usage.rx_bytes - earlier.rx_bytes) as f64;
    proof.findings.within("network_usage.rx_bytes", rise, with_headers(20.0, 6.0));
    let rise = (usage.tx_bytes - earlier.tx_bytes) as f64;
    proof.findings.within("network_usage.tx_bytes", rise, with_headers(6.0, 20.0));
    let by_name = later.network_interfaces.get(&device);
    let agrees = later.network_interfaces.len() == 1
        && by_name.is_some_and(|seen| (seen.rx_bytes, seen.tx_bytes) == (usage.rx_bytes, usage.tx_bytes));
    let found = format!("{:?}", later.network_interfaces.keys().collect::<Vec<_>>());
    proof.findings.holds("network_interfaces", "the one device, with the same bytes", agrees, found);
}

/// 32 MiB written and 24 MiB read back from the disk.
pub(crate) fn disk(proof: &mut Proof) {
    let mut container = proof.container(LIMITS);
    let id = container.id;
    let written = format!("/data/written-{id}");
    let read = format!("/data/read-{id}");
    container.order(&format!("write {read} 24 sync"));
    container.order(&format!("uncache {read}"));
    let before = proof.monitor.once();
    container.order(&format!("write {written} 32 sync"));
    let between = proof.monitor.once();
    let transfer = |mebibytes: f64| mebibytes * MIB..=mebibytes * MIB * 1.05 + MIB;
    let sectors =
        |later: &ContainerRecord, earlier: &ContainerRecord, value: fn(&ContainerRecord) -> Option<u64>| {
            Some(512.0 * (value(later)? as f64 - value(earlier)? as f64))
        };
    let writes = sectors(record(&between, id), record(&before, id), |record| Some(record.io_stats?.writes));
    proof.findings.within("io_stats.writes", writes, transfer(32.0));
    container.order(&format!("read {read}"));
    let after = proof.monitor.once();
    let reads = sectors(record(&after, id), record(&between, id), |record| Some(record.io_stats?.reads));
    proof.findings.within("io_stats.reads", reads, transfer(24.0));
    by_device(proof, &container, record(&before, id), record(&between, id), record(&after, id));
    for file in [written, read] {
        container.order(&format!("remove {file}"));
    }
}

fn by_device(
    proof: &mut Proof,
    container: &Container,
    before: &ContainerRecord,
    between: &ContainerRecord,
    after: &ContainerRecord,
) {
    const ROWS: [&str; 5] = [
        "io_devices.wbytes",
        "io_devices.wbytes, kernel",
        "io_devices.rbytes",
        "io_devices.rios",
        "io_devices, other devices",
    ];
    let (machine, id) = (proof.machine, container.id);
    if counters(machine, id, None).is_empty() {
        return proof.findings.skip(&ROWS, "the kernel counts no block I/O for this container");
    }
    let device = device_of(&proof.data).unwrap_or_default();
    let at = |record: &ContainerRecord| record.io_devices.get(&device).copied().unwrap_or_default();
    let transfer = |mebibytes: f64| mebibytes * MIB..=mebibytes * MIB * 1.05 + MIB;
    let wbytes = (at(between).wbytes - at(before).wbytes) as f64;
    proof.findings.within("io_devices.wbytes", wbytes, transfer(32.0));
    let rbytes = (at(after).rbytes - at(between).rbytes) as f64;
    proof.findings.within("io_devices.rbytes", rbytes, transfer(24.0));
    let operations = (at(after).rios - at(between).rios) as f64;
    // The kernel reads ahead; an operation has at least one page.
    proof.findings.within("io_devices.rios", operations, 1.0..=24.0 * 256.0);

    let number = text(format!("/sys/class/block/{device}/dev"));
    let kernel = || counters(machine, id, Some(number.trim())).first().copied();
    let (snapshot, kernel) = around(kernel, || proof.monitor.once());
    let measured = record(&snapshot, id).io_devices.get(&device).map(|io| io.wbytes);
    proof.findings.counter("io_devices.wbytes, kernel", measured, kernel);

    // If there is a separate disk, it carries all the traffic; otherwise there is only one disk.
    let others = |record: &ContainerRecord| -> f64 {
        let others = record.io_devices.entries().filter(|(name, _)| **name != device);
        others.map(|(_, io)| (io.rbytes + io.wbytes) as f64).sum()
    };
    proof.findings.within("io_devices, other devices", others(after) - others(before), 0.0..=2.0 * MIB);
}

/// Bytes written by each device, according to the kernel; only of one device if its number is given.
fn counters(machine: Machine, id: u32, number: Option<&str>) -> Vec<u64> {
    let text = if machine.is_v2 {
        text(machine.file(id, "io", "io.stat"))
    } else {
        text(machine.file(id, "blkio", "blkio.throttle.io_service_bytes_recursive"))
    };
    let wanted = |line: &&str| number.is_none_or(|number| line.split(' ').next() == Some(number));
    let written = |line: &str| match line.split_once(" Write ") {
        Some((_, bytes)) => bytes.parse().ok(),
        None => line.split(' ').find_map(|word| word.strip_prefix("wbytes="))?.parse().ok(),
    };
    text.lines().filter(wanted).filter_map(written).collect()
}
