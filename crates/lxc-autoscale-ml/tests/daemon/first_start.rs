//! A first start that takes long: it reports progress, and can be stopped.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_e2e::{Process, eventually};
use rustix::process::Signal;

use crate::node::{Container, IDLE, Node, STARVED};

/// Time limit on the slowest machine for what takes a second on others.
const PATIENCE: Duration = Duration::from_mins(1);

/// A daemon as systemd starts it, with its notifications to systemd.
struct Daemon {
    process: Process,
    told: UnixDatagram,
}

impl Daemon {
    /// With a state directory of that name.
    fn start(node: &Node, state: &str) -> Self {
        let socket = node.path(&format!("notify-{state}"));
        let _ = std::fs::remove_file(&socket);
        let told = UnixDatagram::bind(&socket).unwrap();
        told.set_read_timeout(Some(PATIENCE)).unwrap();
        let config = node.path("ml.toml");
        let text = node.config_text("http://127.0.0.1:9", "[scaling]\nmode = \"recommend\"");
        std::fs::write(&config, text.replace("/state\"", &format!("/{state}\""))).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_lxc-autoscale-ml"));
        program.arg("run").arg("--config").arg(config).env("NOTIFY_SOCKET", socket);
        Self { process: Process::start(&mut program, &node.path("ml.log")), told }
    }

    /// Waits until `wanted` finds something in a notification, and returns all notifications until then.
    fn until(&self, wanted: &str) -> String {
        let (mut all, mut bytes) = (String::new(), [0; 4096]);
        while !all.contains(wanted) {
            let length = self.told.recv(&mut bytes).unwrap();
            all += std::str::from_utf8(&bytes[..length]).unwrap();
            all.push('\n');
        }
        all
    }

    /// The CPU time it has used, in ticks.
    fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields = stat.rsplit(") ").next().unwrap().split(' ');
        fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// Sends SIGTERM; returns the remaining notifications until its orderly end.
    fn stop(mut self) -> String {
        self.process.signal(Signal::TERM);
        let told = self.until("STOPPING=1");
        assert!(self.process.wait(PATIENCE).success());
        told
    }
}

fn checkpoint(node: &Node, state: &str) -> Vec<u8> {
    std::fs::read(node.path(state).join("learnt.checkpoint")).unwrap()
}

/// Hours that take long enough to learn to be stopped in the middle.
const HOURS: i64 = 60;

#[test]
fn a_start_that_is_stopped_while_it_learns_is_gone_on_with_and_ends_as_an_undisturbed_one() {
    let busy = Container { cores_used: 1.2, memory_used_mib: 700.0, ..STARVED };
    let containers: Vec<(u32, Container)> =
        (100..108).map(|id| (id, if id % 2 == 0 { IDLE } else { busy.clone() })).collect();
    let mut node = Node::new(&containers);
    node.now = Timestamp::now() - SignedDuration::from_hours(HOURS);
    for _ in 0..12 * HOURS {
        node.record(SignedDuration::from_mins(5));
    }

    let daemon = Daemon::start(&node, "undisturbed");
    let told = daemon.until("8 containers, 0 changes in the last cycle");
    let ready = told.find("READY=1").unwrap();
    assert!(told[ready..].contains("WATCHDOG=1"), "systemd hears of it while it learns: {told}");
    let all_of_it = daemon.cpu_ticks();
    daemon.stop();
    let whole = checkpoint(&node, "undisturbed");

    let mut parts = Vec::new();
    for _ in 0..2 {
        let daemon = Daemon::start(&node, "disturbed");
        // It is learning from the file, with about a quarter of the work done.
        daemon.until("WATCHDOG=1");
        eventually("it learns", PATIENCE, || (all_of_it / 4 <= daemon.cpu_ticks()).then_some(()));
        let told = daemon.stop();
        assert!(
            !told.contains("in the last cycle"),
            "nothing is decided from a part of what is known: {told}"
        );
        parts.push(checkpoint(&node, "disturbed"));
    }
    assert!(parts[0] != parts[1] && parts[1] != whole, "both stops came in the middle");
    let daemon = Daemon::start(&node, "disturbed");
    daemon.until("8 containers, 0 changes in the last cycle");
    daemon.stop();
    assert!(checkpoint(&node, "disturbed") == whole, "it knows something else than without the stops");
}
