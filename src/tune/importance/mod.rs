//! Which dimensions of the search decided the score: functional analysis of variance over a forest
//! (Hutter, Hoos and Leyton-Brown, "An efficient approach for assessing hyperparameter importance",
//! ICML 2014).
//!
//! A forest learns the score from the trials, and each of its trees is a function over the whole
//! space. How much a tree varies along one axis, with all others averaged out, is that axis's main
//! effect. So a dimension is judged by what it does over the declared space, each value counting
//! alike, wherever the search spent its trials.
//!
//! `tree` grows a tree, `effects` takes its variance apart.

mod effects;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeMap;

use super::sampler::{NamedAxis, Observed};
use crate::random::Stream;
use tree::Row;

/// "importance", as far as eight letters of ASCII go.
const TAG: u64 = 0x69_6d_70_6f_72_74_61_6e;

const N_TREES: u64 = 64;

/// With fewer trials a forest says more about their scatter than about the axes.
const N_LEAST: usize = 12;

/// Shares of the score's variance over the space.
#[derive(Clone, Debug, PartialEq)]
pub struct Importance {
    /// By axis: what the axis does by itself, from 0 to 1.
    pub main: Vec<f64>,
    /// The rest: what axes do together only, and what of the scores' noise the forest has learned.
    pub interactions: f64,
    /// The trials that it is an estimate from.
    pub n_trials: usize,
    /// After how many epochs.
    pub epochs: u64,
}

/// The importance of each axis, from the scores after one number of epochs: the one that has the
/// most scores, and the larger number of two that have as many. None where fewer than 12 trials have
/// such a score, or where the scores do not differ. A score that is no finite number, as of a
/// failure, does not count.
///
/// Where a dimension is not active, the score is the same whatever its value. So every tree sees
/// such a trial at a value of its own, drawn evenly. A fixed value in its place would look good or
/// bad for what other dimensions did.
#[must_use]
pub fn importance(axes: &[NamedAxis], observed: &[Observed], seed: u64) -> Option<Importance> {
    let observed = comparable(observed)?;
    let (n_trials, epochs) = (observed.len(), observed.first()?.epochs);
    let observed = standardised(observed)?;
    let mut sums = vec![0.0; axes.len()];
    let mut n_trees = 0.0;
    for tree in 0..N_TREES {
        let mut stream = Stream::new(&[TAG, seed, tree]);
        let leaves = tree::grow(axes, resampled(axes, &observed, &mut stream), &mut stream);
        if let Some(shares) = effects::shares(axes, &leaves) {
            n_trees += 1.0;
            sums.iter_mut()
                .zip(shares)
                .for_each(|(sum, share)| *sum += share);
        }
    }
    if n_trees == 0.0 {
        return None;
    }
    let main: Vec<f64> = sums.iter().map(|sum| (sum / n_trees).min(1.0)).collect();
    let interactions = (1.0 - main.iter().sum::<f64>()).max(0.0);
    Some(Importance {
        main,
        interactions,
        n_trials,
        epochs,
    })
}

fn comparable(observed: &[Observed]) -> Option<Vec<&Observed>> {
    let mut by_epochs: BTreeMap<u64, Vec<&Observed>> = BTreeMap::new();
    for observed in observed
        .iter()
        .filter(|observed| observed.score.is_finite())
    {
        by_epochs.entry(observed.epochs).or_default().push(observed);
    }
    by_epochs
        .into_values()
        .max_by_key(Vec::len) // the last of equals
        .filter(|observed| observed.len() >= N_LEAST)
}

type Point<'a> = &'a [Option<f64>];

/// With mean 0 and variance 1, so that what counts as no gain does not depend on the score's unit.
fn standardised(observed: Vec<&Observed>) -> Option<Vec<(Point<'_>, f64)>> {
    let mean_of = |value: &dyn Fn(f64) -> f64| {
        let values = observed.iter().map(|observed| value(observed.score));
        values.sum::<f64>() / observed.len() as f64
    };
    let mean = mean_of(&|score| score);
    let deviation = mean_of(&|score| (score - mean).powi(2)).sqrt();
    // Equal scores may differ from their mean by its rounding.
    let differ = deviation > 1e-12 * mean.abs() && deviation.is_finite();
    differ.then(|| {
        let scaled = |observed: &Observed| (observed.score - mean) / deviation;
        observed
            .iter()
            .map(|observed| (observed.point.as_slice(), scaled(observed)))
            .collect()
    })
}

/// As many rows as there are trials, drawn with replacement (Breiman, "Random forests", 2001).
fn resampled(axes: &[NamedAxis], observed: &[(Point<'_>, f64)], stream: &mut Stream) -> Vec<Row> {
    (0..observed.len())
        .map(|_| {
            let (point, score) = observed[stream.below(observed.len() as u64) as usize];
            let at = axes
                .iter()
                .enumerate()
                .map(|(index, NamedAxis { axis, .. })| {
                    let known = point.get(index).copied().flatten().filter(|u| !u.is_nan());
                    axis.snapped(
                        known
                            .unwrap_or_else(|| stream.uniform())
                            .clamp(0.0, BELOW_1),
                    )
                });
            Row {
                at: at.collect(),
                score,
            }
        })
        .collect()
}

/// Parts of an axis do not include their upper end.
const BELOW_1: f64 = 1.0 - f64::EPSILON / 2.0;
