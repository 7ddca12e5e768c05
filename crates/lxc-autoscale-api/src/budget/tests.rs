use proptest::prelude::*;

use super::*;
use crate::config::LimitsConfig;
use crate::metrics::TakenMemory;

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

/// What happens on a node.
#[derive(Clone, Debug)]
enum Event {
    /// A change is checked and, if it is granted, under way.
    Asked(u32, u64),
    /// The one that is under way ends; it has failed, or is in the ledger.
    Ended(u32, bool),
    /// It is set to less, by an undo or otherwise.
    Shrunk(u32, u64),
    /// The container takes as much of its memory, or all that it has.
    Took(u32, u64),
    /// It gives as much back, or all that it holds.
    GaveBack(u32, u64),
    /// The monitor looks at all of them.
    Measured,
    /// Time passes, in seconds.
    Passed(u32),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let vmid = || 100u32..106;
    let event = prop_oneof![
        6 => (vmid(), 1u64..4000).prop_map(|(vmid, more)| Event::Asked(vmid, more)),
        5 => (vmid(), prop::bool::weighted(0.8)).prop_map(|(vmid, is_done)| Event::Ended(vmid, is_done)),
        2 => (vmid(), 1u64..2000).prop_map(|(vmid, less)| Event::Shrunk(vmid, less)),
        5 => (vmid(), 1u64..4000).prop_map(|(vmid, mib)| Event::Took(vmid, mib)),
        2 => (vmid(), 1u64..4000).prop_map(|(vmid, mib)| Event::GaveBack(vmid, mib)),
        3 => Just(Event::Measured),
        2 => (1u32..400).prop_map(Event::Passed),
    ];
    prop::collection::vec(event, 1..120)
}

/// A node with its ledger and the changes under way, as [`Budget`] and [`ledger::recent_growth`] keep them.
struct World {
    /// While no container holds anything.
    available: f64,
    limits: LimitsConfig,
    now: u64,
    under_way: BTreeMap<u32, u64>,
    /// When, which container, and the size after it.
    sizes: Vec<(u64, u32, u64)>,
    /// What each container has taken.
    held: BTreeMap<u32, u64>,
    measured: Taken,
    /// What was given back since.
    given_back: u64,
}

const TOTAL: f64 = 16_384.0;
const FIRST: u64 = 2048;

impl World {
    fn size(&self, vmid: u32) -> u64 {
        self.sizes.iter().rev().find(|(_, of, _)| *of == vmid).map_or(FIRST, |(_, _, size)| *size)
    }

    fn held(&self, vmid: u32) -> u64 {
        self.held.get(&vmid).copied().unwrap_or(0)
    }

    fn available_now(&self) -> f64 {
        self.available - self.held.values().sum::<u64>() as f64
    }

    /// What the ledger says of the window.
    fn given(&self) -> BTreeMap<Vmid, Given> {
        let lasts = PROMISED_FOR.as_secs().unsigned_abs();
        let recent = self.sizes.iter().enumerate().rev().take_while(|(_, (at, ..))| self.now < at + lasts);
        let changes = recent.map(|(index, (_, vmid, size))| {
            let earlier = self.sizes[..index].iter().rev().find(|(_, of, _)| of == vmid);
            (id(*vmid), *size as f64 - earlier.map_or(FIRST, |(_, _, size)| *size) as f64)
        });
        let with_size =
            |(vmid, more_mib): (Vmid, f64)| (vmid, Given { more_mib, has_mib: self.size(vmid.get()) as f64 });
        growths(changes).into_iter().map(with_size).collect()
    }

    fn reckoned(&self, vmid: u32, more_mib: u64, taken: &Taken) -> Reckoning {
        let under_way = self.under_way.values().sum::<u64>() as f64;
        let wish = Wish { vmid: id(vmid), home: "", has_mib: self.size(vmid), more_mib };
        reckoned(self.available_now(), under_way, &self.given(), wish, taken)
    }

    fn grants(&self, vmid: u32, more: u64) -> Result<(), Refused> {
        let Reckoning { available_mib, promised_mib } = self.reckoned(vmid, more, &self.measured);
        let node = NodeMemory::Known { available_mib, total_mib: TOTAL };
        invariants::budget(&self.limits, &node, promised_mib, more)
    }

    fn measure(&mut self) {
        let of = |vmid: u32| TakenMemory { taken_mib: self.held(vmid) as f64, has_mib: None };
        let containers = (100..106).map(|vmid| (id(vmid), of(vmid))).collect();
        self.measured = Taken { node_available_mib: Some(self.available_now()), containers };
        self.given_back = 0;
    }

    /// What the containers may still take of what they were given within the window.
    fn owed(&self) -> f64 {
        let from = self.now.saturating_sub(PROMISED_FOR.as_secs().unsigned_abs());
        (100..106)
            .map(|vmid| {
                let of_it = || self.sizes.iter().filter(move |(_, of, _)| *of == vmid);
                let at_first = of_it().rfind(|(at, ..)| *at <= from).map_or(FIRST, |(_, _, size)| *size);
                let since = of_it().filter(|(at, ..)| from < *at).map(|(_, _, size)| *size);
                let least = since.fold(at_first, u64::min);
                let not_taken = self.size(vmid).saturating_sub(self.held(vmid));
                not_taken.min(self.size(vmid) - least) + self.under_way.get(&vmid).copied().unwrap_or(0)
            })
            .sum::<u64>() as f64
    }
}

proptest! {
    /// However changes overlap, and whatever the containers do meanwhile, the node never owes more than it has beyond
    /// its reserve. What the monitor cannot know is what was given back since it looked.
    #[test]
    fn no_set_of_grants_promises_more_than_there_is(
        events in events(), available in 0.0f64..16_384.0, reserve in 0.0f64..20.0,
    ) {
        let limits = LimitsConfig { node_memory_reserve_percent: reserve, ..LimitsConfig::default() };
        let mut world = World {
            available, limits, now: 10_000, under_way: BTreeMap::new(), sizes: Vec::new(), held: BTreeMap::new(),
            measured: Taken::default(), given_back: 0,
        };
        for event in events {
            match event {
                Event::Asked(vmid, more) => {
                    // One change of a container at a time.
                    if world.under_way.contains_key(&vmid) {
                        continue;
                    }
                    let blind = world.reckoned(vmid, more, &Taken::default());
                    let seeing = world.reckoned(vmid, more, &world.measured);
                    prop_assert!(blind.left() <= seeing.left(), "a measurement never refuses what goes without");
                    if world.grants(vmid, more).is_ok() {
                        world.under_way.insert(vmid, more);
                        let (owed, there) = (world.owed(), world.available_now() - TOTAL * reserve / 100.0);
                        prop_assert!(owed <= there + world.given_back as f64, "{owed} of {there}");
                    }
                }
                Event::Ended(vmid, is_done) => {
                    if let Some(more) = world.under_way.remove(&vmid).filter(|_| is_done) {
                        world.sizes.push((world.now, vmid, world.size(vmid) + more));
                    }
                }
                Event::Shrunk(vmid, less) => {
                    let size = world.size(vmid).saturating_sub(less).max(16).max(world.held(vmid));
                    if !world.under_way.contains_key(&vmid) && size < world.size(vmid) {
                        world.sizes.push((world.now, vmid, size));
                    }
                }
                Event::Took(vmid, mib) => {
                    let held = world.size(vmid).min(world.held(vmid) + mib);
                    world.held.insert(vmid, held);
                }
                Event::GaveBack(vmid, mib) => {
                    let back = world.held(vmid).min(mib);
                    world.held.insert(vmid, world.held(vmid) - back);
                    world.given_back += back;
                }
                Event::Measured => world.measure(),
                Event::Passed(seconds) => world.now += u64::from(seconds),
            }
        }
    }
}
