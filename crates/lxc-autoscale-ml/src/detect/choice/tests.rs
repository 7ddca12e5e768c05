use ndarray::Array2;
use proptest::prelude::*;

use super::*;

const ALL: [Detector; 6] = [
    Detector::IsolationForest,
    Detector::Dbscan,
    Detector::GaussianMixture,
    Detector::Kmeans,
    Detector::RobustZscore,
    Detector::Consensus,
];

fn params(detector: Detector) -> DetectorParams {
    DetectorParams {
        detector,
        consensus: vec![Detector::IsolationForest, Detector::Dbscan, Detector::RobustZscore],
        forest: IsolationForestParams::default().n_trees(50),
        clusters: 3,
        contamination: 0.05,
        seed: 7,
    }
}

/// Two alternating modes, and a constant column.
fn past() -> Array2<f32> {
    Array2::from_shape_fn((300, 4), |(row, column)| {
        let busy = f32::from(u8::from(row % 60 < 20));
        let unrest = ((row * row + 13 * column) % 23) as f32 / 23.0;
        [1.0 + 3.0 * busy + 0.4 * unrest, 500.0 + 100.0 * busy + 8.0 * unrest, 20.0 + unrest, 8.0][column]
    })
}

#[test]
fn each_detector_tells_what_is_unlike_the_past_and_by_what() {
    for detector in ALL {
        let learnt = params(detector).learn(past().view()).unwrap().unwrap();
        let flagged =
            past().rows().into_iter().filter(|row| learnt.score(&row.to_vec()).decision < 0.0).count();
        assert!(flagged <= 300 / 20, "{detector:?}: {flagged} of the past itself");
        // A forest measures how soon a row is isolated: a single extreme column matters little, several at an edge
        // matter much. The others measure distance.
        let row = match detector {
            Detector::IsolationForest => [9.0, 3000.0, 90.0, 8.0],
            _ => [1.2, 3000.0, 20.5, 8.0],
        };
        let unusual = learnt.score(&row);
        assert!(unusual.decision < 0.0 && 95.0 <= unusual.percentile, "{detector:?}: {unusual:?}");
        let because = learnt.because(&row, &[1.2, 504.0, 20.5, 8.0]);
        assert!(because.first().is_some_and(|column| *column <= 2), "{detector:?}: {because:?}");
    }
}

/// A mixture of few rows takes whatever comes next to be unusual.
#[test]
fn the_forest_stands_in_for_a_mixture_until_there_are_rows_enough() {
    for (rows, detector) in [(127, Detector::IsolationForest), (128, Detector::GaussianMixture)] {
        let past = past().select(Axis(0), &(0..rows).collect::<Vec<_>>());
        let learnt = params(Detector::GaussianMixture).learn(past.view()).unwrap().unwrap();
        assert_eq!(learnt.detector(), detector, "{rows}");
        let other = params(Detector::Kmeans).learn(past.view()).unwrap().unwrap();
        assert_eq!(other.detector(), Detector::Kmeans, "{rows}");
    }
}

#[test]
fn the_same_past_gives_the_same_scores() {
    for detector in ALL {
        let score =
            || params(detector).learn(past().view()).unwrap().unwrap().score(&[2.0, 540.0, 20.1, 8.0]);
        assert_eq!(score(), score(), "{detector:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    /// Few rows, identical rows, huge numbers: the score is a number, or there is none.
    #[test]
    fn no_table_is_too_odd(
        rows in 1_usize..40,
        values in prop::collection::vec(prop_oneof![Just(0.0_f32), Just(7.5), -1e12_f32..1e12, 0.0_f32..1.0], 120),
    ) {
        let table = Array2::from_shape_fn((rows, 3), |(row, column)| values[3 * row + column]);
        for detector in ALL {
            if let Some(learnt) = params(detector).learn(table.view()).unwrap() {
                let score = learnt.score(&[1.0, -3.0, 1e9]);
                prop_assert!(!score.score.is_nan() && (0.0..=100.0).contains(&score.percentile), "{detector:?}");
            }
        }
    }
}
