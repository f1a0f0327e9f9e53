//! A regression tree (Breiman, Friedman, Olshen and Stone, "Classification and regression trees",
//! 1984) whose splits take some axes only into account, as those of a random forest do. It ends as
//! the parts into which it cuts the space.

use crate::random::Stream;
use crate::tune::sampler::{Axis, NamedAxis, index_of};

/// Leaves of fewer rows would learn single scores, noise and all.
const LEAST_ROWS: usize = 3;

/// Scores have variance 1; what is gained by less is rounding.
const LEAST_GAIN: f64 = 1e-9;

pub(super) struct Row {
    /// By axis, from 0 and below 1.
    pub(super) at: Vec<f64>,
    pub(super) score: f64,
}

/// A box of the space, by axis, with the mean score of its rows.
pub(super) struct Leaf {
    pub(super) parts: Vec<Part>,
    pub(super) score: f64,
}

/// A part of an axis.
#[derive(Clone)]
pub(super) enum Part {
    /// Without `to`.
    Interval { from: f64, to: f64 },
    /// Which of the categories are in it.
    Categories(Vec<bool>),
}

struct Split {
    axis: usize,
    low: Part,
    high: Part,
    gain: f64,
}

/// The leaves of a tree over all of the space.
pub(super) fn grow(axes: &[NamedAxis], rows: Vec<Row>, stream: &mut Stream) -> Vec<Leaf> {
    let whole = axes.iter().map(|NamedAxis { axis, .. }| Part::whole(*axis));
    let mut open = vec![(whole.collect::<Vec<_>>(), rows)];
    let mut leaves = Vec::new();
    while let Some((parts, rows)) = open.pop() {
        let Some(split) = best_split(axes, &parts, &rows, stream) else {
            let score = mean(&rows);
            leaves.push(Leaf { parts, score });
            continue;
        };
        let is_low = |row: &Row| split.low.holds(row.at[split.axis]);
        let (low, high) = rows.into_iter().partition(is_low);
        for (part, rows) in [(split.low, low), (split.high, high)] {
            let mut parts = parts.clone();
            parts[split.axis] = part;
            open.push((parts, rows));
        }
    }
    leaves
}

/// The best over two thirds of the axes, drawn anew for each split.
fn best_split(
    axes: &[NamedAxis],
    parts: &[Part],
    rows: &[Row],
    stream: &mut Stream,
) -> Option<Split> {
    if rows.len() < 2 * LEAST_ROWS {
        return None;
    }
    let mut candidates: Vec<usize> = (0..axes.len())
        .filter(|&axis| axes[axis].axis.n_values() != Some(1))
        .collect();
    stream.shuffle(&mut candidates);
    candidates.truncate((2 * candidates.len()).div_ceil(3));
    let mut best: Option<Split> = None;
    for axis in candidates {
        let split = split_of(axes[axis].axis, axis, &parts[axis], rows);
        if let Some(split) = split
            && best.as_ref().is_none_or(|best| split.gain > best.gain)
        {
            best = Some(split);
        }
    }
    best
}

fn split_of(axis: Axis, index: usize, part: &Part, rows: &[Row]) -> Option<Split> {
    let average = mean(rows);
    let by_value = rows.iter().map(|row| (row.at[index], row.score - average));
    let (low, high, gain) = match part {
        Part::Interval { from, to } => {
            let (below, above, gain) = best_cut(by_value.collect())?;
            let (from, to, at) = (*from, *to, threshold(axis, below, above));
            let (low, high) = (
                Part::Interval { from, to: at },
                Part::Interval { from: at, to },
            );
            (low, high, gain)
        }
        Part::Categories(held) => {
            let ranks = ranks(held.len(), by_value.clone());
            let rank = |u: f64| ranks[index_of(u, held.len())];
            let by_rank = by_value.map(|(u, score)| (rank(u), score)).collect();
            let (below, _, gain) = best_cut(by_rank)?;
            let (low, high) = divided(held, &ranks, below);
            (low, high, gain)
        }
    };
    Some(Split {
        axis: index,
        low,
        high,
        gain,
    })
}

/// Where to cut rows of (key, score with the mean taken off) so that the squares of the scores'
/// distances from their mean fall most: the keys below and above, and by how much they fall.
fn best_cut(mut rows: Vec<(f64, f64)>) -> Option<(f64, f64, f64)> {
    rows.sort_by(|left, right| left.0.total_cmp(&right.0));
    let n = rows.len();
    let mut sum = 0.0;
    let mut best = None;
    let mut best_gain = LEAST_GAIN;
    for n_below in 1..n {
        sum += rows[n_below - 1].1;
        let (below, above) = (rows[n_below - 1].0, rows[n_below].0);
        let n_above = n - n_below;
        if below == above || n_below.min(n_above) < LEAST_ROWS {
            continue;
        }
        let gain = sum * sum * (1.0 / n_below as f64 + 1.0 / n_above as f64);
        if gain > best_gain {
            best_gain = gain;
            best = Some((below, above, gain));
        }
    }
    best
}

/// In the middle; on a grid, between two steps.
fn threshold(axis: Axis, below: f64, above: f64) -> f64 {
    if let Some(n) = axis.n_values() {
        let middle = index_of(below, n).midpoint(index_of(above, n)) + 1;
        return middle as f64 / n as f64;
    }
    let middle = below.midpoint(above);
    if middle > below { middle } else { above }
}

/// The categories' places in the order of their mean scores. The best division into two sets is one
/// of those that cut this order (Fisher, "On grouping for maximum homogeneity", 1958). Not-a-number
/// for those without a row.
fn ranks(n: usize, rows: impl Iterator<Item = (f64, f64)>) -> Vec<f64> {
    let mut sums = vec![(0.0, 0.0); n];
    for (u, score) in rows {
        let (sum, count) = &mut sums[index_of(u, n)];
        *sum += score;
        *count += 1.0;
    }
    let mut order: Vec<(f64, usize)> = (0..n)
        .filter(|&category| sums[category].1 > 0.0)
        .map(|category| (sums[category].0 / sums[category].1, category))
        .collect();
    order.sort_by(|left, right| left.0.total_cmp(&right.0));
    let mut ranks = vec![f64::NAN; n];
    for (rank, (_, category)) in order.into_iter().enumerate() {
        ranks[category] = rank as f64;
    }
    ranks
}

/// Categories without a row go with the half that has more categories with one: nothing says that
/// they are special, and most are not.
fn divided(held: &[bool], ranks: &[f64], last_low: f64) -> (Part, Part) {
    let n_low = ranks.iter().filter(|&&rank| rank <= last_low).count();
    let n_high = ranks.iter().filter(|&&rank| rank > last_low).count();
    let is_low = |rank: f64| {
        if rank.is_nan() {
            n_low >= n_high
        } else {
            rank <= last_low
        }
    };
    let half = |low: bool| {
        let both = held.iter().zip(ranks);
        Part::Categories(
            both.map(|(&held, &rank)| held && is_low(rank) == low)
                .collect(),
        )
    };
    (half(true), half(false))
}

fn mean(rows: &[Row]) -> f64 {
    rows.iter().map(|row| row.score).sum::<f64>() / rows.len() as f64
}

impl Part {
    fn whole(axis: Axis) -> Self {
        match axis {
            Axis::Choice(n) => Part::Categories(vec![true; n.max(1)]),
            Axis::Grid(_) | Axis::Continuous => Part::Interval { from: 0.0, to: 1.0 },
        }
    }

    pub(super) fn holds(&self, u: f64) -> bool {
        match self {
            Part::Interval { from, to } => (*from..*to).contains(&u),
            Part::Categories(held) => held[index_of(u, held.len())],
        }
    }

    /// How much of the axis it is.
    pub(super) fn share(&self) -> f64 {
        match self {
            Part::Interval { from, to } => to - from,
            Part::Categories(held) => {
                held.iter().filter(|&&held| held).count() as f64 / held.len() as f64
            }
        }
    }

    /// The coordinates at which it, or what is around it, may begin or end.
    pub(super) fn ends(&self) -> Vec<f64> {
        match self {
            Part::Interval { from, to } => vec![*from, *to],
            Part::Categories(held) => {
                let n = held.len();
                (0..=n).map(|end| end as f64 / n as f64).collect()
            }
        }
    }
}
