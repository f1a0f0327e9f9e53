//! The tree-structured Parzen estimator: each axis takes, of some draws from the density of the
//! good trials, the one at which that density stands out most from the density of the others. That
//! maximises the expected improvement (Bergstra et al. 2011, section 4.1).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::parzen::Density;
use super::{Axis, Draw, Observed, stream};
use crate::random::Stream;

/// Scores there must be before they are learned from.
const N_STARTUP: usize = 10;

/// Draws to choose from: as Hyperopt.
const N_CANDIDATES: usize = 24;

/// One in so many trials is random, so that the search cannot lock in on what was good by chance.
/// BOHB (Falkner, Klein and Hutter, ICML 2018) has one in three, to bound how much slower than
/// Hyperband it can be. Here the prior's draws look around too; on functions like those of the
/// tests, anything from one in three to none did the same within the noise.
const RANDOM_ONE_IN: u64 = 4;

pub(super) struct Model<'a> {
    good: Vec<&'a Observed>,
    others: Vec<&'a Observed>,
}

impl<'a> Model<'a> {
    /// None when the trial is to be random.
    pub(super) fn new(
        seed: u64,
        trial: u64,
        n_axes: usize,
        history: &'a [Observed],
    ) -> Option<Self> {
        if stream(Draw::Either, seed, "", trial).below(RANDOM_ONE_IN) == 0 {
            return None;
        }
        let mut good = comparable(n_axes, history)?;
        // Stable, so equal scores stay in the order of the trials.
        good.sort_by(|left, right| {
            let key = |observed: &Observed| Reverse(rank_of(observed.score));
            key(left)
                .partial_cmp(&key(right))
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        let others = good.split_off(n_good(good.len()));
        Some(Self { good, others })
    }

    pub(super) fn choose(&self, index: usize, axis: Axis, stream: &mut Stream) -> f64 {
        let density = |observed: &[&Observed]| Density::new(axis, coordinates(observed, index));
        let (good, others) = (density(&self.good), density(&self.others));
        let ratio = |u: f64| good.at(u) / others.at(u);
        let mut best = good.draw(stream);
        let mut best_ratio = ratio(best);
        for _ in 1..N_CANDIDATES {
            let candidate = good.draw(stream);
            let candidate_ratio = ratio(candidate);
            if candidate_ratio > best_ratio {
                (best, best_ratio) = (candidate, candidate_ratio);
            }
        }
        best
    }
}

/// The scores after the largest number of epochs that has enough of them, as in BOHB: those say most
/// about the end of training, and scores of different lengths do not compare. BOHB asks for the
/// axes' number and three; here no more than a start's worth, for the axes are modelled one by one.
fn comparable(n_axes: usize, history: &[Observed]) -> Option<Vec<&Observed>> {
    if history.len() < N_STARTUP {
        return None;
    }
    let enough = (n_axes + 3).min(N_STARTUP);
    let mut by_epochs: BTreeMap<u64, Vec<&Observed>> = BTreeMap::new();
    for observed in history {
        by_epochs.entry(observed.epochs).or_default().push(observed);
    }
    by_epochs
        .into_values()
        .rev()
        .find(|observed| observed.len() >= enough)
}

/// How many of `n` count as good: a tenth, and 25 at the most. The rules in use differ (Watanabe,
/// "Tree-structured Parzen estimator: understanding its algorithm components and their roles for
/// better empirical performance", 2023, section 3.1): Bergstra et al. 2011 have 15 in 100, Hyperopt
/// a quarter of the root of n, which is one or two for as many trials as a person can wait for. On
/// functions like those of the tests a tenth found better points than Hyperopt's rule throughout,
/// and than 15 in 100 where the axes are many or not continuous.
fn n_good(n: usize) -> usize {
    n.div_ceil(10).min(25)
}

fn rank_of(score: f64) -> f64 {
    if score.is_nan() {
        f64::NEG_INFINITY
    } else {
        score
    }
}

/// Where the axis was active.
fn coordinates(observed: &[&Observed], index: usize) -> Vec<f64> {
    observed
        .iter()
        .filter_map(|observed| observed.point.get(index).copied().flatten())
        .filter(|u| !u.is_nan())
        .map(|u| u.clamp(0.0, 1.0))
        .collect()
}
