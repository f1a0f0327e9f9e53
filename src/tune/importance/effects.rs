//! The variance of a tree over the space, and what part of it each axis explains by itself. A tree
//! is constant on its leaves and those are boxes, so the integrals of Hutter, Hoos and Leyton-Brown
//! 2014 (section 4, algorithm 2) are sums.

use super::tree::Leaf;
use crate::tune::sampler::NamedAxis;

/// Scores have variance 1, and what is below this is rounding.
const LEAST_VARIANCE: f64 = 1e-12;

/// By axis; none where the tree is constant.
pub(super) fn shares(axes: &[NamedAxis], leaves: &[Leaf]) -> Option<Vec<f64>> {
    let volumes: Vec<f64> = leaves
        .iter()
        .map(|leaf| leaf.parts.iter().map(|part| part.share()).product())
        .collect();
    let weighted = |value: &dyn Fn(&Leaf) -> f64| -> f64 {
        let both = leaves.iter().zip(&volumes);
        both.map(|(leaf, volume)| volume * value(leaf)).sum()
    };
    let mean = weighted(&|leaf| leaf.score);
    let variance = weighted(&|leaf| (leaf.score - mean).powi(2));
    (variance > LEAST_VARIANCE).then(|| {
        (0..axes.len())
            .map(|axis| main_effect(axis, leaves, &volumes, mean) / variance)
            .collect()
    })
}

/// The variance along the axis of the mean over all others.
fn main_effect(axis: usize, leaves: &[Leaf], volumes: &[f64], mean: f64) -> f64 {
    let mut ends: Vec<f64> = leaves
        .iter()
        .flat_map(|leaf| leaf.parts[axis].ends())
        .collect();
    ends.sort_by(f64::total_cmp);
    ends.dedup();
    ends.windows(2)
        .map(|cell| {
            // Inside a cell, no leaf begins or ends.
            let middle = cell[0].midpoint(cell[1]);
            let marginal: f64 = leaves
                .iter()
                .zip(volumes)
                .filter(|(leaf, _)| leaf.parts[axis].holds(middle))
                .map(|(leaf, volume)| leaf.score * volume / leaf.parts[axis].share())
                .sum();
            (cell[1] - cell[0]) * (marginal - mean).powi(2)
        })
        .sum()
}
