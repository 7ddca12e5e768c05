//! The project's own traces: small self-hosted containers, generated from a seed.
//!
//! Each shape is the mean of five minutes with its own noise; two containers have each shape at different sizes. They
//! are not recordings and prove nothing about real nodes; they let the benchmark run everywhere, and every shape tests
//! something else.

use lxc_autoscale_ml::backtest::recording::{Recording, Sample};
use lxc_autoscale_ml::decide::Obstacles;
use lxc_autoscale_ml::policy::Pool;
use lxc_autoscale_ml::replay::{Size, boundless_node};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const STEPS_OF_DAY: u32 = 288;
/// A Monday, at midnight.
const BEGIN: i64 = 1_767_571_200;

/// A point in time of a trace.
#[derive(Clone, Copy)]
struct Moment {
    /// Days since the beginning.
    day: u32,
    /// Hour of the day, with its fraction.
    hour: f64,
    /// Steps since the beginning.
    step: u32,
}

impl Moment {
    fn is_weekend(self) -> bool {
        5 <= self.day % 7
    }

    /// 1 at `peak` o'clock, falling to 0 at `width` hours before and after it.
    fn around(self, peak: f64, width: f64) -> f64 {
        let apart = (self.hour - peak).rem_euclid(24.0);
        let apart = apart.min(24.0 - apart);
        (1.0 - apart / width).max(0.0)
    }

    fn within(self, from: f64, to: f64) -> bool {
        from <= self.hour && self.hour < to
    }
}

/// The state of a container: its random numbers and its memory of the past.
struct Life {
    rng: ChaCha8Rng,
    /// Remaining steps of a job, and its demand.
    job: (u32, f64, f64),
    /// A level that drifts or grows.
    level: f64,
}

impl Life {
    fn noise(&mut self, share: f64) -> f64 {
        1.0 + share * (self.rng.gen_range(0.0..2.0) - 1.0)
    }

    /// (cores, MiB) of a job that begins with this probability in a step and takes so many steps.
    fn job(&mut self, chance: f64, steps: (u32, u32), cores: (f64, f64), memory: (f64, f64)) -> (f64, f64) {
        if self.job.0 == 0 && self.rng.gen_bool(chance) {
            let needs = (self.rng.gen_range(cores.0..cores.1), self.rng.gen_range(memory.0..memory.1));
            self.job = (self.rng.gen_range(steps.0..=steps.1), needs.0, needs.1);
        }
        let (left, cores, memory) = self.job;
        self.job.0 = left.saturating_sub(1);
        if left == 0 { (0.0, 0.0) } else { (cores, memory) }
    }
}

/// The demand at a point in time, in cores and MiB, for a container of size 1.
type Wants = fn(Moment, &mut Life) -> (f64, f64);

/// Name, provisioned cores and MiB, and behaviour.
const SHAPES: [(&str, f64, f64, Wants); 12] = [
    // A shop: busy by day, less at weekends.
    ("shop", 4.0, 4096.0, |now, life| {
        let crowd = now.around(15.0, 9.0) * if now.is_weekend() { 0.5 } else { 1.0 };
        (0.08 + 1.6 * crowd * life.noise(0.25), 700.0 + 900.0 * crowd * life.noise(0.05))
    }),
    // A backup at two at night, nearly nothing else.
    ("backup", 2.0, 2048.0, |now, life| {
        let runs = now.within(2.0, 2.75);
        if runs { (1.7 * life.noise(0.1), 1200.0 * life.noise(0.1)) } else { (0.01 * life.noise(0.5), 110.0) }
    }),
    // A database: a base load, a batch every hour, a cache that fills up.
    ("database", 4.0, 8192.0, |now, life| {
        let batch = if now.step % 12 == 3 { 1.5 } else { 0.0 };
        let cache = 4200.0 * (1.0 - (-f64::from(now.step) / 900.0).exp());
        ((0.25 + batch) * life.noise(0.2), 900.0 + cache)
    }),
    // A media server: transcodes in the evening on demand.
    ("media", 4.0, 4096.0, |now, life| {
        let chance = 0.004 + 0.12 * now.around(20.5, 3.0);
        let (cores, memory) = life.job(chance, (6, 24), (1.2, 3.4), (300.0, 900.0));
        (0.05 * life.noise(0.4) + cores * life.noise(0.1), 450.0 + memory)
    }),
    // A build runner: random jobs in working hours.
    ("builds", 8.0, 16384.0, |now, life| {
        let busy = !now.is_weekend() && now.within(8.0, 18.0);
        let (cores, memory) = life.job(if busy { 0.12 } else { 0.003 }, (1, 6), (2.0, 7.5), (800.0, 6000.0));
        (0.03 * life.noise(0.3) + cores, 400.0 + memory)
    }),
    // An unused service.
    ("idle", 1.0, 512.0, |_, life| (0.004 * life.noise(0.6), 60.0 * life.noise(0.02))),
    // A game server: evenings, and long weekends.
    ("game", 4.0, 8192.0, |now, life| {
        let width = if now.is_weekend() { 8.0 } else { 3.5 };
        let players = now.around(20.0, width);
        (0.15 + 1.8 * players * life.noise(0.2), 2600.0 + 1400.0 * players * life.noise(0.05))
    }),
    // A leak: grows until it is restarted every third day.
    ("leak", 2.0, 2048.0, |now, life| {
        let age = f64::from(now.step % (3 * STEPS_OF_DAY)) / f64::from(STEPS_OF_DAY);
        (0.1 * life.noise(0.3), 250.0 + 480.0 * age * life.noise(0.01))
    }),
    // A service that becomes popular on the eighth day.
    ("found", 4.0, 4096.0, |now, life| {
        let users = if now.day < 8 { 1.0 } else { 4.0 };
        (0.3 * users * life.noise(0.3), 300.0 + 350.0 * users * life.noise(0.03))
    }),
    // Home automation: a low load, and a burst every half hour.
    ("home", 2.0, 1024.0, |now, life| {
        let burst = if now.step % 6 == 0 { 0.35 } else { 0.0 };
        ((0.06 + burst) * life.noise(0.3), 380.0 * life.noise(0.03))
    }),
    // Mail: a filter that learns every hour, and mails at random.
    ("mail", 2.0, 3072.0, |now, life| {
        let (cores, memory) =
            life.job(0.03 + 0.05 * now.around(10.0, 6.0), (1, 2), (0.3, 1.4), (50.0, 500.0));
        let learns = if now.step % 12 == 0 { 0.6 } else { 0.0 };
        (0.04 * life.noise(0.5) + learns + cores, 800.0 * life.noise(0.02) + memory)
    }),
    // Number crunching: a drifting load.
    ("wanders", 8.0, 8192.0, |_, life| {
        let stride = life.rng.gen_range(-0.04..0.04);
        life.level = (life.level + stride).clamp(0.02, 0.95);
        (7.0 * life.level * life.noise(0.15), 600.0 + 5000.0 * life.level)
    }),
];

/// So many containers for so many days; deterministic. Two of each shape are 24, and 14 days, three of which are not
/// judged, contain a week twice.
pub(crate) fn traces(containers: usize, days: u32) -> Vec<Recording> {
    let sizes = [1.0, 0.5];
    let shapes = SHAPES.iter().flat_map(|shape| sizes.map(|size| (shape, size))).cycle();
    (100..).zip(shapes).take(containers).map(|(id, (shape, size))| trace(id, shape, size, days)).collect()
}

fn trace(
    id: u64,
    (name, cores, memory_mib, wants): &(&str, f64, f64, Wants),
    size: f64,
    days: u32,
) -> Recording {
    let mut life = Life { rng: ChaCha8Rng::seed_from_u64(id), job: (0, 0.0, 0.0), level: 0.4 };
    let provisioned = Size { cores: (cores * size).ceil(), memory_mib: memory_mib * size };
    let samples = (0..days * STEPS_OF_DAY).map(|step| {
        let (day, of_day) = (step / STEPS_OF_DAY, step % STEPS_OF_DAY);
        let now = Moment { day, hour: f64::from(of_day) * 24.0 / f64::from(STEPS_OF_DAY), step };
        let (wanted_cores, wanted_mib) = wants(now, &mut life);
        // No usage above the provisioned size.
        Sample {
            at: BEGIN + 300 * i64::from(step),
            cpu_cores: Some((wanted_cores * size).min(provisioned.cores)),
            memory_mib: Some((wanted_mib * size).min(provisioned.memory_mib)),
            is_disturbed: false,
        }
    });
    Recording {
        id,
        pool: Pool::Unknown,
        name: Some((*name).to_owned()),
        provisioned,
        cpu_class: None,
        obstacles: Obstacles::default(),
        node: boundless_node(),
        samples: samples.collect(),
    }
}
