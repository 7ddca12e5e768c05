//! A decision depends on earlier data only, and not on names in the data.

use crate::files::{BEGIN, Line, Traces, backtest, lines};

fn decisions(lines: &[Line]) -> Vec<(i64, u64, f64, f64)> {
    let traces = Traces::of(lines);
    backtest(&["--traces", traces.csv(), "--allocations", traces.out()]);
    traces.decisions()
}

#[test]
fn who_does_not_know_the_future_decides_the_same() {
    let all = lines(2, 3);
    let full = decisions(&all);
    assert!(20 < full.len(), "{}", full.len());
    for cut in [150, 599, 700] {
        let until = BEGIN + 300 * cut;
        let seen: Vec<Line> = all.iter().copied().filter(|line| line.0 <= until).collect();
        let want: Vec<_> = full.iter().copied().filter(|decision| decision.0 <= until).collect();
        assert_eq!(decisions(&seen), want, "cut at step {cut}");
    }
}

#[test]
fn other_ids_in_another_year_are_decided_the_same() {
    let (year, ids) = (52 * 7 * 86_400, 9000);
    let all = lines(2, 3);
    let moved: Vec<Line> = all.iter().map(|line| (line.0 + year, ids - line.1, line.2, line.3)).collect();
    let mut back: Vec<_> =
        decisions(&moved).iter().map(|line| (line.0 - year, ids - line.1, line.2, line.3)).collect();
    back.sort_by_key(|line| (line.1, line.0));
    assert_eq!(back, decisions(&all));
}
