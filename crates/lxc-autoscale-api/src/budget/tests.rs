use proptest::prelude::*;

use super::*;
use crate::invariants::Refused;

fn id(number: u32) -> Vmid {
    Vmid::try_from(number).unwrap()
}

#[test]
fn what_was_taken_back_is_not_promised() {
    for (changes, want) in [
        (&[][..], None),
        (&[512.0], Some(512.0)),
        // The newest comes first: it has grown and was undone, partly, or grew twice.
        (&[-512.0, 512.0], None),
        (&[-256.0, 512.0], Some(256.0)),
        (&[256.0, 512.0], Some(768.0)),
        // It lived with less, and has more since.
        (&[512.0, -512.0], Some(512.0)),
        (&[-100.0, 300.0, -1000.0, 700.0], Some(200.0)),
    ] {
        let changes_of = |vmid| changes.iter().map(move |change| (id(vmid), *change));
        let both = changes_of(104).chain([(id(102), 64.0)]);
        let growths = growths(both);
        assert_eq!((growths.get(&id(104)).copied(), growths[&id(102)]), (want, 64.0), "{changes:?}");
    }
}

/// What happens to a container of a node on which nobody takes what he was given.
#[derive(Clone, Debug)]
enum Event {
    /// A change is checked and, if it is granted, under way.
    Asked(u32, u64),
    /// The one that is under way ends; it has failed, or is in the ledger.
    Ended(u32, bool),
    /// It is set to less, by an undo or otherwise.
    Shrunk(u32, u64),
    /// Time passes, in seconds.
    Passed(u32),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let vmid = || 100u32..106;
    let event = prop_oneof![
        6 => (vmid(), 1u64..4000).prop_map(|(vmid, more)| Event::Asked(vmid, more)),
        5 => (vmid(), prop::bool::weighted(0.8)).prop_map(|(vmid, is_done)| Event::Ended(vmid, is_done)),
        2 => (vmid(), 1u64..2000).prop_map(|(vmid, less)| Event::Shrunk(vmid, less)),
        2 => (1u32..400).prop_map(Event::Passed),
    ];
    prop::collection::vec(event, 1..120)
}

/// A node with its ledger and the changes under way, as [`Budget`] and [`ledger::recent_growth`] keep them.
struct World {
    available: f64,
    limits: LimitsConfig,
    now: u64,
    under_way: BTreeMap<u32, u64>,
    /// When, which container, and the size after it.
    sizes: Vec<(u64, u32, u64)>,
}

const TOTAL: f64 = 16_384.0;
const FIRST: u64 = 2048;

impl World {
    fn size(&self, vmid: u32) -> u64 {
        self.sizes.iter().rev().find(|(_, of, _)| *of == vmid).map_or(FIRST, |(_, _, size)| *size)
    }

    /// The changes within the window, newest first.
    fn promised(&self) -> f64 {
        let lasts = PROMISED_FOR.as_secs().unsigned_abs();
        let recent = self.sizes.iter().enumerate().rev().take_while(|(_, (at, ..))| self.now < at + lasts);
        let changes = recent.map(|(index, (_, vmid, size))| {
            let earlier = self.sizes[..index].iter().rev().find(|(_, of, _)| of == vmid);
            (id(*vmid), *size as f64 - earlier.map_or(FIRST, |(_, _, size)| *size) as f64)
        });
        growths(changes).values().sum::<f64>() + self.under_way.values().sum::<u64>() as f64
    }

    fn grants(&self, more: u64) -> Result<(), Refused> {
        let node = NodeMemory::Known { available_mib: self.available, total_mib: TOTAL };
        invariants::budget(&self.limits, &node, self.promised(), more)
    }

    /// What each container may have beyond what it had at any moment of the window: all of it could be untouched.
    fn untouched(&self) -> f64 {
        let from = self.now.saturating_sub(PROMISED_FOR.as_secs().unsigned_abs());
        (100..106)
            .map(|vmid| {
                let of_it = || self.sizes.iter().filter(move |(_, of, _)| *of == vmid);
                let at_first = of_it().rfind(|(at, ..)| *at <= from).map_or(FIRST, |(_, _, size)| *size);
                let since = of_it().filter(|(at, ..)| from < *at).map(|(_, _, size)| *size);
                let least = since.fold(at_first, u64::min);
                self.size(vmid) - least + self.under_way.get(&vmid).copied().unwrap_or(0)
            })
            .sum::<u64>() as f64
    }
}

proptest! {
    /// However changes overlap, the node never owes more than it has beyond its reserve.
    #[test]
    fn no_set_of_grants_promises_more_than_there_is(
        events in events(), available in 0.0f64..16_384.0, reserve in 0.0f64..20.0,
    ) {
        let limits = LimitsConfig { node_memory_reserve_percent: reserve, ..LimitsConfig::default() };
        let mut world = World { available, limits, now: 10_000, under_way: BTreeMap::new(), sizes: Vec::new() };
        for event in events {
            match event {
                Event::Asked(vmid, more) => {
                    // One change of a container at a time.
                    if world.under_way.contains_key(&vmid) {
                        continue;
                    }
                    if world.grants(more).is_ok() {
                        world.under_way.insert(vmid, more);
                        let owed = world.untouched();
                        prop_assert!(owed <= available - TOTAL * reserve / 100.0, "{owed} of {available}");
                    }
                }
                Event::Ended(vmid, is_done) => {
                    if let Some(more) = world.under_way.remove(&vmid).filter(|_| is_done) {
                        world.sizes.push((world.now, vmid, world.size(vmid) + more));
                    }
                }
                Event::Shrunk(vmid, less) => {
                    let size = world.size(vmid).saturating_sub(less).max(16);
                    if !world.under_way.contains_key(&vmid) && size < world.size(vmid) {
                        world.sizes.push((world.now, vmid, size));
                    }
                }
                Event::Passed(seconds) => world.now += u64::from(seconds),
            }
        }
    }
}
