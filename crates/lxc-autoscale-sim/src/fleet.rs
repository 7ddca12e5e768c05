//! The ten containers of the node that `run` and `demo` create.
//!
//! They are typical of a node that has grown over years: services that were given too little, services that were
//! given far too much, one with a leak, a batch job that disturbs the others, and two replays of real machines. 104
//! is the busiest and has the least for it; 105 is left free for cloning.

use std::collections::BTreeMap;

use lxc_autoscale_core::{Mebibytes, Vmid};

use crate::engine::memory_high_bytes;
use crate::kernel::limits::Limits;
use crate::node::NodeSettings;
use crate::workload::{Plan, Scenario, Workload};

/// One container: its size and its workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its id.
    pub id: Vmid,
    /// Its host name.
    pub name: &'static str,
    /// Its number of cores at first.
    pub cores: u32,
    /// Its memory at first.
    pub memory: Mebibytes,
    /// Its swap.
    pub swap: Mebibytes,
    /// Its workload.
    pub workload: Workload,
}

/// The settings of their node, which is large enough that growth depends on need, not on space.
pub fn node_settings() -> NodeSettings {
    NodeSettings {
        cpus: 12,
        memory: Mebibytes::new(32 * 1024),
        swap: Mebibytes::new(8 * 1024),
        ..NodeSettings::default()
    }
}

/// The containers.
pub fn members() -> Vec<Member> {
    let scenario = |scenario, cores, memory_mib| Workload::Scenario { scenario, cores, memory_mib };
    let replay =
        |trace: &str| Workload::Trace { trace: trace.to_owned(), offset_hours: 0.0, memory_factor: 1.0 };
    let rows = [
        (100, "web", 2, 1024, scenario(Scenario::DailyPeak, 1.5, 700.0)),
        (101, "mail", 4, 2048, scenario(Scenario::Idle, 0.05, 180.0)),
        // Its cache does not fit, so it reads from disk again and again.
        (102, "database", 2, 1024, scenario(Scenario::Steady, 0.8, 1100.0)),
        (103, "queue", 1, 1024, scenario(Scenario::Leak, 0.3, 900.0)),
        (104, "busy", 1, 768, scenario(Scenario::Steady, 2.6, 400.0)),
        (110, "shop", 2, 3072, replay("511")),
        (111, "reports", 4, 3072, replay("515")),
        (112, "batch", 2, 1024, scenario(Scenario::NoisyNeighbour, 3.0, 500.0)),
        (113, "api", 1, 512, scenario(Scenario::Bursty, 1.8, 350.0)),
        (114, "staging", 4, 1536, scenario(Scenario::Idle, 0.02, 90.0)),
    ];
    rows.into_iter()
        .filter_map(|(id, name, cores, memory, workload)| {
            let id = Vmid::try_from(id).ok()?;
            let (memory, swap) = (Mebibytes::new(memory), Mebibytes::new(512));
            Some(Member { id, name, cores, memory, swap, workload })
        })
        .collect()
}

/// The pool, and its members.
const POOL: (&str, [u32; 4]) = ("office", [100, 101, 110, 113]);

/// The pool of a container; empty for none.
pub fn pool(id: Vmid) -> &'static str {
    let (name, ids) = POOL;
    if ids.contains(&id.get()) { name } else { "" }
}

/// The `user.cfg` of the node, with its pool.
pub fn user_cfg() -> String {
    let (name, ids) = POOL;
    let ids = ids.map(|id| id.to_string()).join(",");
    format!("user:root@pam:1:0::::::\npool:{name}:what people work with:{ids}::\n")
}

/// The workload plan, for a seed and a speed-up relative to the node's clock.
pub fn plan(members: &[Member], seed: u64, times_faster: f64) -> Plan {
    let containers: BTreeMap<_, _> =
        members.iter().map(|member| (member.id, member.workload.clone())).collect();
    Plan { seed, speed: times_faster, containers }
}

impl Member {
    /// The limits that the kernel of a v2 node enforces at first.
    pub fn limits(&self) -> Limits {
        let bytes = |amount: Mebibytes| amount.as_f64() * Mebibytes::BYTES as f64;
        Limits {
            cpuset_cpus: Some(self.cores),
            memory_high_bytes: Some(memory_high_bytes(self.memory) as f64),
            memory_max_bytes: Some(bytes(self.memory)),
            swap_max_bytes: Some(bytes(self.swap)),
            ..Limits::default()
        }
    }

    /// Its `/etc/pve/lxc/<id>.conf`, with its volume on `storage`.
    pub fn config(&self, storage: &str) -> String {
        format!(
            "arch: amd64\ncores: {}\nhostname: {}\nmemory: {}\n\
             net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:{:02X},ip=dhcp,type=veth\nonboot: 1\n\
             ostype: debian\nrootfs: {storage}:vm-{}-disk-0,size=8G\nswap: {}\nunprivileged: 1\n",
            self.cores,
            self.name,
            self.memory.get(),
            self.id.get() % 256,
            self.id,
            self.swap.get()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_ids_are_there_and_105_is_free() {
        let ids: Vec<u32> = members().iter().map(|member| member.id.get()).collect();
        assert_eq!(ids, [100, 101, 102, 103, 104, 110, 111, 112, 113, 114]);
    }

    #[test]
    fn they_fit_on_the_node_with_room_to_grow() {
        let members = members();
        let memory: u64 = members.iter().map(|member| member.memory.get()).sum();
        assert!(memory < node_settings().memory.get() * 6 / 10, "{memory}");
    }

    #[test]
    fn a_configuration_says_what_the_member_has() {
        for member in members() {
            let (config, unreadable) =
                lxc_autoscale_core::container_config::ContainerConfig::parse(&member.config("local-lvm"));
            assert_eq!(unreadable, []);
            assert_eq!(
                (config.cores, config.memory_mb, config.swap_mb),
                (Some(member.cores), member.memory, member.swap)
            );
            assert_eq!(config.name.as_deref(), Some(member.name));
        }
    }
}
