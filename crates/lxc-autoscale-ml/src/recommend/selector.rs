//! Chooses the expert that a container follows: the one that would have cost least.
//!
//! Each expert holds a size of its own for the container and is charged for the size, for the shortages it would have
//! had and for its changes; old costs decay. The container follows one expert until another has been cheaper by more
//! than chance: the meta-algorithm of Autopilot (Rzadca et al., EuroSys 2020, section 3.2.3), with the operator's
//! prices.

use serde::{Deserialize, Serialize};

use super::recommendation::Fact;

/// The prices, in any one currency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// One unit (core or MiB) held for an hour.
    pub held_hour: f64,
    /// One unit lacking for an hour.
    pub missing_hour: f64,
    /// A shortage, and again for every further hour of it.
    pub shortage: f64,
    /// One change of size.
    pub resize: f64,
}

/// A size, and why.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wish {
    /// The size, headroom included.
    pub size: f64,
    /// The evidence it is based on.
    pub fact: Fact,
    /// The same without headroom.
    pub demand: f64,
}

/// How an expert's wishes become a size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Movement {
    /// A larger size is taken if it is larger by this share, or in a shortage. The expected cost is flat around its
    /// minimum, so a few per cent more are not worth a change.
    pub least_growth: f64,
    /// A smaller size is taken only if it is smaller by this share,
    pub least_shrink: f64,
    /// and if its saving in this many hours pays for the change.
    pub payback_hours: f64,
    /// After a shortage the size is at least the need times this factor.
    pub shortage_margin: f64,
    /// Half-life of the costs, in seconds.
    pub half_life_seconds: f64,
}

/// Another expert must have been cheaper by this share: costs differ by a few per cent by chance.
const INERTIA: f64 = 0.03;
/// A shortage is charged once for every hour begun.
const SHORTAGE_SECONDS: f64 = 3600.0;

/// The experts of one resource of one container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Selector {
    experts: Vec<Expert>,
    followed: usize,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Expert {
    /// The size it holds and the reason for it; unknown until its first wish.
    held: Option<Wish>,
    cost: f64,
    short_seconds: f64,
}

impl Selector {
    /// `count` experts, of which `first` is followed until the costs of the others are known.
    pub fn new(count: usize, first: usize) -> Self {
        let expert = Expert { held: None, cost: 0.0, short_seconds: 0.0 };
        Self { experts: vec![expert; count], followed: first }
    }

    /// Notes that the container needed `need` for `seconds`, and the wishes of the experts from now on.
    pub fn observe(
        &mut self,
        seconds: f64,
        need: &Wish,
        wishes: &[Wish],
        prices: &Prices,
        movement: &Movement,
    ) {
        let fade = (-seconds / movement.half_life_seconds).exp2();
        for (expert, wish) in self.experts.iter_mut().zip(wishes) {
            expert.charge(seconds, need.size, prices, fade);
            expert.follow(*wish, need, prices, movement);
        }
    }

    /// Follows the cheapest expert from now on, if it was cheaper by more than chance.
    pub fn choose(&mut self) {
        let cost = |index: usize| self.experts.get(index).map_or(f64::INFINITY, |expert| expert.cost);
        let cheapest = (0..self.experts.len()).min_by(|a, b| cost(*a).total_cmp(&cost(*b)));
        if let Some(cheapest) = cheapest.filter(|index| cost(*index) < (1.0 - INERTIA) * cost(self.followed))
        {
            self.followed = cheapest;
        }
    }

    /// The number of experts.
    pub fn count(&self) -> usize {
        self.experts.len()
    }

    /// The index of the expert that is followed.
    pub fn followed(&self) -> usize {
        self.followed
    }

    /// The size and cost of each expert.
    pub(super) fn standings(&self) -> impl Iterator<Item = (Option<f64>, f64)> {
        self.experts.iter().map(|expert| (expert.held.map(|held| held.size), expert.cost))
    }

    /// The size that the followed expert holds, and its reason.
    pub fn held(&self) -> Option<Wish> {
        self.experts.get(self.followed)?.held
    }
}

impl Expert {
    /// Charges the size held for `seconds`, in which earlier costs decay by the factor `fade`.
    fn charge(&mut self, seconds: f64, need: f64, prices: &Prices, fade: f64) {
        self.cost *= fade;
        let Some(Wish { size, .. }) = self.held else { return };
        let hours = seconds / 3600.0;
        let missing = (need - size).max(0.0);
        self.cost += (size * prices.held_hour + missing * prices.missing_hour) * hours;
        if missing <= 0.0 {
            self.short_seconds = 0.0;
            return;
        }
        let begun = |seconds: f64| (seconds / SHORTAGE_SECONDS).ceil();
        let before = begun(self.short_seconds);
        self.short_seconds += seconds;
        self.cost += prices.shortage * (begun(self.short_seconds) - before);
    }

    fn follow(&mut self, wish: Wish, need: &Wish, prices: &Prices, movement: &Movement) {
        let Some(Wish { size, .. }) = self.held else {
            self.held = Some(wish);
            return;
        };
        let answer = need.size * movement.shortage_margin;
        let wish = match need.fact {
            _ if need.size <= size => wish,
            _ if wish.size < answer => Wish { size: answer, ..*need },
            // Demand cut off by a limit is the reason, whatever else is expected.
            fact if fact != Fact::RecentPeak => Wish { size: wish.size, ..*need },
            _ => wish,
        };
        let saving = (size - wish.size) * prices.held_hour * movement.payback_hours;
        let shrinks = wish.size < size * (1.0 - movement.least_shrink) && prices.resize < saving;
        let grows =
            size * (1.0 + movement.least_growth) < wish.size || (size < wish.size && size < need.size);
        if grows || shrinks {
            self.held = Some(wish);
            self.cost += prices.resize;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICES: Prices = Prices { held_hour: 1.0, missing_hour: 20.0, shortage: 0.0, resize: 0.02 };
    const MOVEMENT: Movement = Movement {
        least_growth: 0.05,
        least_shrink: 0.1,
        payback_hours: 1.0,
        shortage_margin: 1.0,
        half_life_seconds: 86_400.0,
    };

    fn wish(size: f64) -> Wish {
        Wish { size, fact: Fact::Forecast, demand: size }
    }

    fn need(size: f64) -> Wish {
        Wish { size, fact: Fact::RecentPeak, demand: size }
    }

    /// Follows two experts with constant wishes while `need` is needed.
    fn follow(wishes: [f64; 2], need: impl Fn(i32) -> f64, prices: &Prices) -> Selector {
        let mut selector = Selector::new(2, 0);
        for step in 0..288 {
            selector.observe(300.0, &self::need(need(step)), &wishes.map(wish), prices, &MOVEMENT);
            selector.choose();
        }
        selector
    }

    #[test]
    fn the_frugal_expert_wins_while_nothing_is_missed() {
        let selector = follow([4.0, 1.0], |_| 0.5, &PRICES);
        assert_eq!((selector.followed(), selector.held()), (1, Some(wish(1.0))));
    }

    #[test]
    fn the_generous_expert_wins_when_the_frugal_one_is_short_often() {
        let bursts = |step: i32| if step % 4 == 0 { 4.0 } else { 0.5 };
        assert_eq!(follow([4.0, 1.0], bursts, &PRICES).followed(), 0);
    }

    #[test]
    fn two_that_cost_the_same_are_not_exchanged() {
        assert_eq!(follow([1.0, 0.99], |_| 0.5, &PRICES).followed(), 0);
    }

    #[test]
    fn a_shortage_is_charged_once_an_hour_however_often_one_looks() {
        let prices = Prices { held_hour: 0.0, missing_hour: 0.0, shortage: 10.0, resize: 0.0 };
        for seconds in [10.0, 60.0, 300.0] {
            let mut expert = Expert { held: Some(wish(1.0)), cost: 0.0, short_seconds: 0.0 };
            let mut elapsed = 0.0;
            while elapsed < 5400.0 {
                expert.charge(seconds, 2.0, &prices, 1.0);
                elapsed += seconds;
            }
            assert!((expert.cost - 20.0).abs() < 1e-9, "{seconds}: {}", expert.cost);
        }
    }

    #[test]
    fn a_small_growth_waits_until_something_is_missing() {
        let mut expert = Expert { held: Some(wish(1.0)), cost: 0.0, short_seconds: 0.0 };
        expert.follow(wish(1.04), &need(0.9), &PRICES, &MOVEMENT);
        assert_eq!(expert.held, Some(wish(1.0)));
        expert.follow(wish(1.04), &need(1.02), &PRICES, &MOVEMENT);
        assert_eq!(expert.held, Some(wish(1.04)));
        expert.follow(wish(1.2), &need(0.9), &PRICES, &MOVEMENT);
        assert_eq!(expert.held, Some(wish(1.2)));
    }

    #[test]
    fn a_shrink_must_pay_for_itself() {
        let mut expert = Expert { held: Some(wish(1.0)), cost: 0.0, short_seconds: 0.0 };
        expert.follow(wish(0.95), &need(0.5), &PRICES, &MOVEMENT);
        assert_eq!(expert.held, Some(wish(1.0)), "too little");
        let mut tiny = Expert { held: Some(wish(0.02)), ..expert };
        tiny.follow(wish(0.01), &need(0.005), &PRICES, &MOVEMENT);
        assert_eq!(tiny.held, Some(wish(0.02)), "worth less than the change");
        expert.follow(wish(0.5), &need(0.5), &PRICES, &MOVEMENT);
        assert_eq!(expert.held, Some(wish(0.5)));
        expert.follow(wish(0.4), &need(0.8), &PRICES, &MOVEMENT);
        assert_eq!(expert.held, Some(need(0.8)), "what was missing is answered, and is the reason");
    }
}
