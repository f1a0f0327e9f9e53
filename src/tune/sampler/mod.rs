//! Where to try next: a pure function of the seed, the trial's number, the axes and the trials so
//! far, in coordinates from 0 to 1. The search space gives them their meaning.
//!
//! `tpe` proposes by the densities of `parzen`, with the exponential and the normal distribution of
//! `normal`.

mod normal;
mod parzen;
#[cfg(test)]
mod tests;
mod tpe;

use serde::{Deserialize, Serialize};

use crate::random::{Stream, mix};

/// How points are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Evenly, whatever is known (Bergstra and Bengio, "Random search for hyper-parameter
    /// optimization", JMLR 13, 2012).
    Random,
    /// Where the good trials are dense and the others are not (Bergstra, Bardenet, Bengio and Kégl,
    /// "Algorithms for hyper-parameter optimization", NIPS 2011, section 4).
    Tpe,
}

/// The values of a dimension. None at all is taken as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// So many categories, without an order.
    Choice(usize),
    /// So many values in order, evenly spaced.
    Grid(u64),
    Continuous,
}

/// A dimension of the search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedAxis {
    /// The key of the dimension's random draws, so that adding or moving another dimension leaves
    /// them as they are.
    pub name: String,
    pub axis: Axis,
}

/// A score of a trial. A trial has one for each rung that it has left.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// By axis; none where the dimension was not active.
    pub point: Vec<Option<f64>>,
    /// Higher is better. Not-a-number is worst: the way to tell of a failure.
    pub score: f64,
    /// What the trial had when it was scored.
    pub epochs: u64,
}

/// The point of a new trial, one coordinate per axis. `history` is best kept in the order of the
/// trials, for ties between scores go to the earlier one.
#[must_use]
pub fn propose(
    sampling: Sampling,
    seed: u64,
    trial: u64,
    axes: &[NamedAxis],
    history: &[Observed],
) -> Vec<f64> {
    let model = match sampling {
        Sampling::Random => None,
        Sampling::Tpe => tpe::Model::new(seed, trial, axes.len(), history),
    };
    axes.iter()
        .enumerate()
        .map(|(index, NamedAxis { name, axis })| match &model {
            None => random(*axis, &mut stream(Draw::Random, seed, name, trial)),
            Some(model) => model.choose(index, *axis, &mut stream(Draw::Tpe, seed, name, trial)),
        })
        .collect()
}

/// The value that a coordinate stands for, among `n` values.
#[must_use]
pub fn index_of(coordinate: f64, n: usize) -> usize {
    // The conversion rounds down, and takes what is below 0, or not a number, as 0.
    ((coordinate * n as f64) as usize).min(n.saturating_sub(1))
}

/// The middle of the part of `[0, 1)` that stands for value `index` of `n`. [`index_of`] finds it
/// back, for any `n` up to 2^50.
#[must_use]
pub fn coordinate(index: usize, n: usize) -> f64 {
    (index as f64 + 0.5) / n.max(1) as f64
}

impl Axis {
    /// None where the values are without number.
    pub(super) fn n_values(self) -> Option<usize> {
        match self {
            Axis::Choice(n) => Some(n.max(1)),
            Axis::Grid(n) => Some(usize::try_from(n).unwrap_or(usize::MAX).max(1)),
            Axis::Continuous => None,
        }
    }

    /// The coordinate of the value that `coordinate` stands for.
    pub(super) fn snapped(self, coordinate: f64) -> f64 {
        match self.n_values() {
            Some(n) => self::coordinate(index_of(coordinate, n), n),
            None => coordinate,
        }
    }
}

/// What the random numbers are for. The values are part of every search: never change them.
#[derive(Clone, Copy)]
enum Draw {
    Random = 1,
    Tpe = 2,
    Either = 3,
}

fn stream(draw: Draw, seed: u64, name: &str, trial: u64) -> Stream {
    let name: Vec<u64> = name.bytes().map(u64::from).collect();
    Stream::new(&[TAG, draw as u64, seed, mix(&name), trial])
}

/// "sampler" in ASCII.
const TAG: u64 = 0x73_61_6d_70_6c_65_72;

fn random(axis: Axis, stream: &mut Stream) -> f64 {
    match axis.n_values() {
        Some(n) => coordinate(stream.below(n as u64) as usize, n),
        None => stream.uniform(),
    }
}
