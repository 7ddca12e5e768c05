//! What a mixture begins with: groups by k-means, whose first centres are chosen as by k-means++ (D. Arthur, S.
//! Vassilvitskii, *k-means++: The advantages of careful seeding*, SODA 2007).

use rand::Rng;

use super::blocks::{Blocks, LANES, Lanes, total};

/// Rounds of k-means: it is only where the mixture begins.
const ROUNDS: usize = 5;

/// Each row's share in each group, 1 or 0. There are fewer groups where there are fewer distinct rows.
pub(super) fn groups(blocks: &Blocks, most: usize, rng: &mut impl Rng) -> Vec<Vec<Lanes>> {
    let mut centres = first_centres(blocks, most, rng);
    let mut shares = nearest(blocks, &centres);
    for _ in 0..ROUNDS {
        shares.retain(|shares| shares.iter().any(|lanes| 0.0 < total(lanes)));
        centres = shares.iter().map(|shares| blocks.mean(shares).1).collect();
        shares = nearest(blocks, &centres);
    }
    shares
}

/// The first at random, each later one by its squared distance from those before.
fn first_centres(blocks: &Blocks, most: usize, rng: &mut impl Rng) -> Vec<Vec<f32>> {
    let mut centres = vec![blocks.row(rng.gen_range(0..blocks.rows()))];
    let mut distances = distances(blocks, &centres[0]);
    while centres.len() < most {
        let all: f64 = distances.iter().sum();
        if all <= 0.0 {
            break;
        }
        let mut rest = rng.gen_range(0.0..all);
        let chosen = distances.iter().position(|distance| {
            rest -= distance;
            rest < 0.0
        });
        // Rounding may leave a rest behind the last one.
        let centre = blocks.row(chosen.unwrap_or(blocks.rows() - 1));
        for (least, distance) in distances.iter_mut().zip(self::distances(blocks, &centre)) {
            *least = least.min(distance);
        }
        centres.push(centre);
    }
    centres
}

/// The squared distance of each row.
fn distances(blocks: &Blocks, centre: &[f32]) -> Vec<f64> {
    let of_block = |(block, rows): (&[Lanes], usize)| {
        squared(block, centre).into_iter().take(rows).map(f64::from).collect::<Vec<_>>()
    };
    blocks.iter().flat_map(of_block).collect()
}

fn squared(block: &[Lanes], centre: &[f32]) -> Lanes {
    let mut sums = [0.0; LANES];
    for (values, centre) in block.iter().zip(centre) {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += (value - centre) * (value - centre);
        }
    }
    sums
}

/// Each row belongs to the nearest centre.
fn nearest(blocks: &Blocks, centres: &[Vec<f32>]) -> Vec<Vec<Lanes>> {
    let mut shares = vec![vec![[0.0; LANES]; blocks.rows().div_ceil(LANES)]; centres.len()];
    for (index, (block, rows)) in blocks.iter().enumerate() {
        let distances: Vec<Lanes> = centres.iter().map(|centre| squared(block, centre)).collect();
        for row in 0..rows {
            let distance = |centre: &usize| distances[*centre][row];
            let nearest = (0..centres.len()).min_by(|a, b| distance(a).total_cmp(&distance(b)));
            if let Some(nearest) = nearest {
                shares[nearest][index][row] = 1.0;
            }
        }
    }
    shares
}
