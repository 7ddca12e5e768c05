//! Pressure stall information: how a share of stalled time becomes `some avg10=… avg60=… avg300=… total=…`.
//!
//! The kernel (kernel/sched/psi.c, include/linux/sched/loadavg.h; format in Documentation/accounting/psi.rst) closes
//! a window about every two seconds, takes the stalled share of it in percent, and updates three exponential averages
//! in fixed point with 11 fraction bits. The decay factors of one window are 1677, 1981 and 2034 out of 2048, which
//! are exp(-2/10), exp(-2/60) and exp(-2/300). A rising average is rounded up, so that constant pressure reaches its
//! true value. `total` advances at once, without waiting for the window.
//! constant pressure reaches its true value. `total` advances at once and does not wait for the window.

/// Length of one averaging window, in seconds.
const WINDOW_SECONDS: f64 = 2.0;
/// One, in the kernel's fixed point.
const FIXED_1: u64 = 1 << 11;
/// Decay factors of the 10, 60 and 300 second averages over one window.
const KEEP: [u64; 3] = [1677, 1981, 2034];

/// One line of a pressure file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PressureLine {
    total_usec: f64,
    averages: [u64; 3],
    window_seconds: f64,
    window_stalled_seconds: f64,
}

impl PressureLine {
    /// Advances by `seconds`, of which the share `stalled_share`, between 0 and 1, was stalled.
    pub fn advance(&mut self, seconds: f64, stalled_share: f64) {
        let share = stalled_share.clamp(0.0, 1.0);
        self.total_usec += seconds * share * 1e6;
        let mut left = seconds;
        // Ten ticks of 0.2 s are a window, in spite of binary fractions.
        while WINDOW_SECONDS - 1e-9 <= self.window_seconds + left {
            let part = (WINDOW_SECONDS - self.window_seconds).min(left);
            let stalled = self.window_stalled_seconds + part * share;
            self.close_window(stalled / WINDOW_SECONDS);
            left -= part;
        }
        self.window_seconds += left;
        self.window_stalled_seconds += left * share;
    }

    fn close_window(&mut self, share: f64) {
        let percent = super::files::whole(share * 100.0 * FIXED_1 as f64);
        for (average, keep) in self.averages.iter_mut().zip(KEEP) {
            *average = decay(*average, keep, percent);
        }
        self.window_seconds = 0.0;
        self.window_stalled_seconds = 0.0;
    }

    /// Cumulative stall time, in microseconds.
    pub fn total_usec(&self) -> f64 {
        self.total_usec
    }

    /// The three averages in hundredths of a percent, truncated as the kernel does when it prints them.
    pub fn averages_centipercent(&self) -> [u64; 3] {
        self.averages.map(|average| (average / FIXED_1) * 100 + (average % FIXED_1) * 100 / FIXED_1)
    }
}

/// One update of an exponential average in fixed point, rounded up while it rises; the load average uses it, too.
pub(super) fn decay(average: u64, keep: u64, active: u64) -> u64 {
    let sum = average * keep + active * (FIXED_1 - keep);
    if average <= active { sum.div_ceil(FIXED_1) } else { sum / FIXED_1 }
}

/// A pressure file: at least one task stalled, and all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// At least one task was stalled.
    pub some: PressureLine,
    /// All tasks were stalled at once.
    pub full: PressureLine,
}

/// Shares of a tick, each between 0 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stall {
    /// At least one task was stalled.
    pub some: f64,
    /// All tasks were stalled at once.
    pub full: f64,
}

impl Stall {
    /// The stall of `tasks` independent tasks, each of which is stalled for `share` of the time.
    pub fn of_tasks(share: f64, tasks: f64) -> Self {
        let share = share.clamp(0.0, 1.0);
        let tasks = tasks.max(1.0);
        Self { some: 1.0 - (1.0 - share).powf(tasks), full: share.powf(tasks) }
    }
}

impl Pressure {
    /// Advances both lines by `seconds`.
    pub fn advance(&mut self, seconds: f64, stall: Stall) {
        self.some.advance(seconds, stall.some);
        self.full.advance(seconds, stall.full.min(stall.some));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Averages, in percent, after `seconds` at a constant share.
    fn averages_after(seconds: u32, share: f64) -> [f64; 3] {
        let mut line = PressureLine::default();
        for _ in 0..seconds * 5 {
            line.advance(0.2, share);
        }
        line.averages_centipercent().map(|average| average as f64 / 100.0)
    }

    #[test]
    fn averages_follow_the_exponential() {
        for (seconds, share) in [(10, 1.0), (30, 0.5), (60, 0.25), (300, 1.0)] {
            let want =
                [10.0, 60.0, 300.0].map(|tau| share * 100.0 * (1.0 - (-f64::from(seconds) / tau).exp()));
            for (got, want) in averages_after(seconds, share).into_iter().zip(want) {
                // The kernel's factors are rounded to 1/2048; together with the rounding up, that makes about a
                // percent here.
                assert!((got - want).abs() < 1.5, "{seconds} s at {share}: {got} is not {want}");
            }
        }
    }

    #[test]
    fn constant_full_pressure_reaches_a_hundred_and_none_returns_to_zero() {
        assert_eq!(averages_after(4000, 1.0), [100.0; 3]);
        let mut line = PressureLine::default();
        line.advance(60.0, 1.0);
        line.advance(6000.0, 0.0);
        assert_eq!(line.averages_centipercent(), [0; 3]);
    }

    #[test]
    fn one_long_step_equals_many_short_ones() {
        let mut long = PressureLine::default();
        let mut short = PressureLine::default();
        long.advance(300.0, 0.3);
        for _ in 0..1200 {
            short.advance(0.25, 0.3);
        }
        assert_eq!(long.averages_centipercent(), short.averages_centipercent());
        assert!((long.total_usec() - 90e6).abs() < 1.0);
    }

    #[test]
    fn more_tasks_are_more_often_some_and_less_often_all_stalled() {
        let one = Stall::of_tasks(0.5, 1.0);
        let four = Stall::of_tasks(0.5, 4.0);
        assert_eq!((one.some, one.full), (0.5, 0.5));
        assert!(one.some < four.some && four.full < one.full);
    }
}
