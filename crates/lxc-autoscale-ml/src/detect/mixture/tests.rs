use ndarray::Array2;

use super::*;

/// Two modes of operation, one of them in a quarter of the rows: the second column follows the first one within each.
fn two_modes(rows: usize) -> Array2<f32> {
    Array2::from_shape_fn((rows, 3), |(row, column)| {
        let busy = f32::from(u8::from(row / (rows / 4).max(1) == 1));
        let unrest = ((row * row + 7 * row) % 41) as f32 / 41.0;
        let own = ((row * 13) % 29) as f32 / 29.0;
        [1.0 + 4.0 * busy + unrest, 100.0 + 50.0 * busy + 10.0 * unrest + own, 5.0 + own][column]
    })
}

fn score(mixture: &Mixture, row: [f32; 3]) -> f64 {
    mixture.scores(ndarray::arr2(&[row]).view())[0]
}

#[test]
fn what_no_mode_explains_is_unlikely_although_each_column_is_usual() {
    let past = two_modes(600);
    let mixture = Mixture::learn(past.view(), 2, 7).unwrap();
    let mut scores = mixture.scores(past.view());
    scores.sort_by(f64::total_cmp);
    for (row, why) in [
        ([3.2, 128.0, 5.5], "between the modes"),
        ([1.5, 160.0, 5.5], "CPU of one mode, memory of the other"),
        ([1.9, 100.5, 5.5], "within a mode, but the second column does not follow the first"),
        ([1.5, 105.0, 9.0], "a column beyond all that was seen"),
    ] {
        assert!(score(&mixture, row) < scores[6], "{why}: {} and {:?}", score(&mixture, row), &scores[..7]);
    }
    for row in [[1.5, 105.5, 5.5], [5.5, 155.5, 5.5]] {
        assert!(scores[60] < score(&mixture, row), "{row:?}");
    }
}

/// The daemon scores a row alone, the past in blocks.
#[test]
fn a_row_has_the_same_score_to_the_last_bit_wherever_it_stands() {
    let past = two_modes(333);
    let mixture = Mixture::learn(past.view(), 4, 7).unwrap();
    let together = mixture.scores(past.view());
    for (row, score) in past.rows().into_iter().zip(together) {
        let alone = mixture.scores(row.insert_axis(Axis(0)))[0];
        assert_eq!(alone.to_bits(), score.to_bits());
    }
}

#[test]
fn identical_rows_are_learnt_from_and_another_one_is_unlikely() {
    let past = Array2::from_shape_fn((100, 3), |(_, column)| [0.0, 512.0, 8.0][column]);
    let mixture = Mixture::learn(past.view(), 4, 7).unwrap();
    let usual = score(&mixture, [0.0, 512.0, 8.0]);
    assert!(mixture.scores(past.view()).iter().all(|score| score.to_bits() == usual.to_bits()));
    assert!(score(&mixture, [0.5, 700.0, 8.0]) < usual);
}

/// A Gaussian of few rows would describe them and not what they come from: whatever comes next would be unusual.
#[test]
fn few_rows_make_few_gaussians() {
    let gaussians = |rows| Mixture::learn(two_modes(rows).view(), 4, 7).unwrap().parts.len();
    assert_eq!((gaussians(1), gaussians(16), gaussians(26), gaussians(600)), (1, 1, 2, 4));
}

#[test]
fn no_rows_teach_nothing() {
    assert!(Mixture::learn(Array2::zeros((0, 3)).view(), 4, 7).is_none());
    assert!(Mixture::learn(Array2::zeros((3, 0)).view(), 4, 7).is_none());
}
