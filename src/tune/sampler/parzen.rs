//! Densities over one axis, estimated from a few points: a kernel at each, and one more that is
//! even over the axis, with the weight of a point. That prior keeps every value possible, and every
//! density above 0.

use super::normal::{bell, cumulative};
use super::{Axis, coordinate, index_of};
use crate::random::Stream;

/// sqrt(2 pi)
const BELL_AREA: f64 = 2.506_628_274_631_000_7;

pub(super) struct Density {
    axis: Axis,
    kernels: Vec<Kernel>,
}

/// A normal distribution around a point, cut off where the axis ends. A category's kernel is that
/// category alone, and has no width.
struct Kernel {
    at: f64,
    width: f64,
    /// What part of the normal distribution lies on the axis.
    inside: f64,
}

impl Density {
    /// `points` in any order.
    pub(super) fn new(axis: Axis, mut points: Vec<f64>) -> Self {
        points.sort_by(f64::total_cmp);
        let kernels = match axis {
            Axis::Choice(_) => points.into_iter().map(Kernel::category).collect(),
            Axis::Grid(_) | Axis::Continuous => around(axis, &points),
        };
        Self { axis, kernels }
    }

    /// A coordinate from the density.
    pub(super) fn draw(&self, stream: &mut Stream) -> f64 {
        let which = stream.below(self.kernels.len() as u64 + 1) as usize;
        match self.kernels.get(which) {
            None => super::random(self.axis, stream),
            Some(kernel) => self.axis.snapped(kernel.draw(stream)),
        }
    }

    /// The density at a coordinate; of categories and steps, their probability. Either way up to a
    /// factor that only the axis decides, which a ratio of two does not show.
    pub(super) fn at(&self, u: f64) -> f64 {
        let (prior, kernels): (f64, f64) = match self.axis {
            Axis::Choice(n) => {
                let same = |kernel: &&Kernel| index_of(kernel.at, n) == index_of(u, n);
                let count = self.kernels.iter().filter(same).count();
                (1.0 / n.max(1) as f64, count as f64)
            }
            Axis::Grid(_) => {
                let n = self.axis.n_values().unwrap_or(1);
                let (middle, half) = (coordinate(index_of(u, n), n), 0.5 / n as f64);
                let mass = |kernel: &Kernel| kernel.mass(middle - half, middle + half);
                (1.0 / n as f64, self.kernels.iter().map(mass).sum())
            }
            Axis::Continuous => (1.0, self.kernels.iter().map(|kernel| kernel.at(u)).sum()),
        };
        (prior + kernels) / (self.kernels.len() as f64 + 1.0)
    }
}

/// Each point's width is the larger of the distances to its neighbours, within limits (Bergstra et
/// al. 2011, section 4.2). The limits are those of Hyperopt, the authors' own implementation: from
/// 1 / min(100, n + 1) to the whole axis. The
/// axis's ends are no neighbours: they would make the outermost points vague, and the best value is
/// often near an end. Kernels on a grid are as wide as half a step at least.
fn around(axis: Axis, sorted: &[f64]) -> Vec<Kernel> {
    let n = sorted.len();
    let half_step = axis.n_values().map_or(0.0, |steps| 0.5 / steps as f64);
    let narrowest = (1.0 / (n as f64 + 1.0).min(100.0)).max(half_step);
    (0..n)
        .map(|i| {
            let left = i.checked_sub(1).map(|left| sorted[i] - sorted[left]);
            let right = sorted.get(i + 1).map(|right| right - sorted[i]);
            let width = match (left, right) {
                (None, None) => 1.0,
                (left, right) => left.unwrap_or(0.0).max(right.unwrap_or(0.0)),
            };
            Kernel::normal(sorted[i], width.clamp(narrowest, 1.0))
        })
        .collect()
}

impl Kernel {
    fn category(at: f64) -> Self {
        Self {
            at,
            width: 0.0,
            inside: 1.0,
        }
    }

    fn normal(at: f64, width: f64) -> Self {
        let inside = cumulative((1.0 - at) / width) - cumulative(-at / width);
        Self { at, width, inside }
    }

    fn at(&self, u: f64) -> f64 {
        bell((u - self.at) / self.width) / (BELL_AREA * self.width * self.inside)
    }

    fn mass(&self, from: f64, to: f64) -> f64 {
        let below = |u: f64| cumulative((u - self.at) / self.width);
        (below(to) - below(from)).max(0.0) / self.inside
    }

    /// By rejection from an even draw: the kernel is no narrower than 1/100, so that is at most
    /// 100 tries in the mean, and needs nothing of the system's but what [`bell`] needs.
    fn draw(&self, stream: &mut Stream) -> f64 {
        if self.width == 0.0 {
            return self.at;
        }
        loop {
            let u = stream.uniform();
            if stream.uniform() < bell((u - self.at) / self.width) {
                return u;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTS: [f64; 4] = [0.05, 0.35, 0.375, 0.95];

    /// In `n` equal parts of the axis; of a continuous one, from its density at many points.
    fn probabilities(axis: Axis, density: &Density, n: usize) -> Vec<f64> {
        let finer = if axis == Axis::Continuous { 1_000 } else { 1 };
        let at = |fine: usize| density.at(coordinate(fine, n * finer));
        let mass = |fine| {
            if finer == 1 {
                at(fine)
            } else {
                at(fine) / (n * finer) as f64
            }
        };
        (0..n)
            .map(|part| (part * finer..(part + 1) * finer).map(mass).sum())
            .collect()
    }

    #[test]
    fn densities_are_of_what_is_drawn() {
        for axis in [Axis::Continuous, Axis::Grid(8), Axis::Choice(8)] {
            let density = Density::new(axis, POINTS.to_vec());
            let probabilities = probabilities(axis, &density, 8);
            assert!(
                (probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-6,
                "{axis:?}"
            );
            let mut counts = [0u32; 8];
            let mut stream = Stream::new(&[1]);
            for _ in 0..20_000 {
                counts[index_of(density.draw(&mut stream), 8)] += 1;
            }
            for (count, probability) in counts.iter().zip(&probabilities) {
                let off = f64::from(*count) / 20_000.0 - probability;
                assert!(off.abs() < 0.012, "{axis:?} {counts:?} {probabilities:?}");
            }
        }
    }

    #[test]
    fn without_points_all_is_even() {
        for (axis, even) in [
            (Axis::Continuous, 1.0),
            (Axis::Grid(4), 0.25),
            (Axis::Choice(4), 0.25),
        ] {
            let density = Density::new(axis, Vec::new());
            assert!([0.0, 0.3, 0.99].iter().all(|&u| density.at(u) == even));
        }
    }

    #[test]
    fn a_category_counts_with_the_prior() {
        let density = Density::new(Axis::Choice(2), vec![0.25, 0.25, 0.75]);
        assert_eq!((density.at(0.25), density.at(0.75)), (2.5 / 4.0, 1.5 / 4.0));
    }
}
