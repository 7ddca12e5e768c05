//! A container that has not run since the last look is not read again in full, at short intervals and for a limited
//! time.

use lxc_autoscale_core::snapshot::ContainerRecord;
use lxc_monitor::clock;
use lxc_monitor::collector::Collector;

use crate::fixture::{Node, record};
use crate::trees::{container_v1, container_v2, node_v2};

/// The observed values: the processes and their limit, which are reused for a container that does not run, and a
/// pressure.
type Seen = (Option<u64>, Option<u64>, u64);

fn seen(record: &ContainerRecord) -> Seen {
    let limit = record.limits.and_then(|limits| limits.pids);
    (record.process_count, limit, record.pressure.memory.unwrap().some.total_usec)
}

/// A node with one container, and the places of its files by topic.
struct Case {
    node: Node,
    id: u32,
    pids: String,
    usage: String,
    hits: String,
    pressure: String,
}

impl Case {
    fn new(is_v2: bool) -> Self {
        let second = clock::now().since_boot.as_secs();
        // In the first second of its period of a minute, so that the period does not end before the test.
        let id = (100..160).find(|id| (second + u64::from(*id)).is_multiple_of(60)).unwrap();
        let group = format!("lxc/{id}");
        let (node, pids, cpu, memory, unified);
        if is_v2 {
            node = node_v2();
            container_v2(&node, &group, 7104);
            let all = format!("cgroup/{group}");
            (pids, cpu, memory, unified) = (all.clone(), all.clone(), all.clone(), all);
        } else {
            node = Node::new();
            container_v1(&node, &group, 7104);
            let of = |tree: &str| format!("cgroup/{tree}/{group}");
            (pids, cpu, memory, unified) = (of("pids"), of("cpu,cpuacct"), of("memory"), of("unified"));
        }
        node.start(id, 7104);
        let (usage, hits) =
            if is_v2 { ("cpu.stat", "memory.events") } else { ("cpuacct.usage", "memory.failcnt") };
        let (usage, hits) = (format!("{cpu}/{usage}"), format!("{memory}/{hits}"));
        Self { node, id, pids, usage, hits, pressure: format!("{unified}/memory.pressure") }
    }

    fn collector(&self, interval_seconds: f64, full_look_seconds: u64) -> Collector {
        let mut config = self.node.config();
        config.interval_seconds = interval_seconds;
        config.collection.full_look_seconds = full_look_seconds;
        Collector::new(&config)
    }

    fn look(&self, collector: &mut Collector) -> Seen {
        seen(record(&collector.cycle(), self.id))
    }

    /// Changes what others could change, and the pressure.
    fn change(&self, processes: u64, stalled: u64) {
        self.node.write(&format!("{}/pids.current", self.pids), &format!("{processes}\n"));
        self.node.write(&format!("{}/pids.max", self.pids), &format!("{}\n", 10 * processes));
        self.node.write(&self.pressure, &format!("some avg10=0.00 avg60=0.00 avg300=0.00 total={stalled}\n"));
    }
}

#[test]
fn pressure_is_read_always_and_the_rest_as_soon_as_it_ran() {
    for is_v2 in [true, false] {
        let case = Case::new(is_v2);
        let mut collector = case.collector(1.0, 60);
        case.change(31, 1);
        assert_eq!(case.look(&mut collector), (Some(31), Some(310), 1));
        case.change(40, 2);
        assert_eq!(case.look(&mut collector), (Some(31), Some(310), 2), "it has not run");
        let usage = if is_v2 { "usage_usec 35292298\n" } else { "35292298999\n" };
        case.node.write(&case.usage, usage);
        assert_eq!(case.look(&mut collector), (Some(40), Some(400), 2), "it ran");
        case.change(50, 3);
        let hits = if is_v2 { "low 5\nhigh 1\nmax 2\noom 3\noom_kill 5\n" } else { "3\n" };
        case.node.write(&case.hits, hits);
        assert_eq!(case.look(&mut collector), (Some(50), Some(500), 3), "something happened to its memory");
        case.change(60, 4);
        assert_eq!(case.look(&mut collector), (Some(50), Some(500), 4));
        case.node.write(&format!("pve/lxc/{}.conf", case.id), "hostname: web\nmemory: 2048\n");
        assert_eq!(case.look(&mut collector), (Some(60), Some(600), 4), "somebody configured it");
    }
}

/// However long a full look may stand for: a size of before, shown as of now, would look as if somebody had set it back.
#[test]
fn what_is_configured_and_the_limits_that_follow_are_never_those_of_an_earlier_look() {
    for is_v2 in [true, false] {
        let case = Case::new(is_v2);
        let mut collector = case.collector(1.0, 60);
        case.change(31, 1);
        let mut look = |mib: u64| {
            let text = format!("hostname: web\nmemory: {mib}\n");
            case.node.write(&format!("pve/lxc/{}.conf", case.id), &text);
            case.change(mib, 1);
            let snapshot = collector.cycle();
            let record = record(&snapshot, case.id);
            let configured = record.configuration.as_ref().map(|stored| stored.memory_mb.get());
            (configured, record.limits.and_then(|limits| limits.pids))
        };
        for mib in [512, 1024, 512, 2048] {
            assert_eq!(look(mib), (Some(mib), Some(10 * mib)));
        }
    }
}

#[test]
fn every_look_is_a_full_one_at_long_intervals_and_where_that_is_configured() {
    for (interval_seconds, full_look_seconds) in [(60.0, 10), (10.0, 10), (1.0, 0)] {
        let case = Case::new(true);
        let mut collector = case.collector(interval_seconds, full_look_seconds);
        for processes in [31, 40, 50] {
            case.change(processes, 1);
            assert_eq!(case.look(&mut collector), (Some(processes), Some(10 * processes), 1));
        }
    }
}
