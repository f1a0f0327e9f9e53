//! An axis: which part of it a value is at, which values are marked, and how they are written.

use plotters::coord::ranged1d::Ranged;
use plotters::coord::types::RangedCoordf64;

/// From `low` to `high`, `low < high`, both finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) is_log: bool,
}

impl Axis {
    pub(super) fn linear(low: f64, high: f64) -> Self {
        let wide_enough = high - low > high.abs().max(low.abs()) * 1e-9;
        Self {
            low,
            high: if wide_enough {
                high
            } else {
                low + low.abs().max(1.0) * 0.1
            },
            is_log: false,
        }
    }

    /// Both ends above 0.
    fn log(low: f64, high: f64) -> Self {
        Self {
            low,
            high: high.max(low * 1.5),
            is_log: true,
        }
    }

    /// For values of at least 0, such as losses: from 0 on, unless they span so much that most would
    /// lie on the ground. What is not finite is left out.
    pub(super) fn for_sizes(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (Some(&low), Some(&high)) = (values.first(), values.last()) else {
            return Self::linear(0.0, 1.0);
        };
        // The quarter that is smallest may lie on the ground: a rate that falls to 0 at the end does.
        let quarter = values[values.len() / 4];
        if low > 0.0 && high / quarter >= 30.0 {
            return Self::log(low / 1.2, high * 1.2);
        }
        // Room above, and none below 0.
        Self::linear(
            low.min(0.0) * 1.06,
            if high > 0.0 { high * 1.06 } else { 1.0 },
        )
    }

    /// For parts of all, in [0, 1]: as near to the values as whole steps of the marks allow.
    pub(super) fn for_parts(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((1.0f64, 0.0f64), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        if low > high {
            return Self::linear(0.0, 1.0);
        }
        let span = (high - low).max(0.01);
        let step = [0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002]
            .into_iter()
            .find(|step| span / step >= 5.0)
            .unwrap_or(0.001);
        let steps = |value: f64| (value / step * 1e9).round() / 1e9;
        // A value on a mark gets a little room, except at 0 and 1.
        let rounded = |value: f64| (value * 1e3).round() / 1e3;
        let low = rounded((steps(low) - 0.1).floor() * step).max(0.0);
        let high = rounded((steps(high) + 0.1).ceil() * step).min(1.0);
        Self::linear(low, high)
    }

    /// From 0 at `low` to 1 at `high`.
    pub(super) fn place(&self, value: f64) -> f64 {
        let part = match self.is_log {
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        part.clamp(0.0, 1.0)
    }

    /// About `n` values, of those at which people like to see one.
    pub(super) fn marks(&self, n: usize) -> Vec<f64> {
        if !self.is_log {
            return RangedCoordf64::from(self.low..self.high).key_points(n);
        }
        let decades = (self.high / self.low).log10();
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().ceil() as i32;
        let every = (decades / n as f64).ceil().max(1.0) as i32;
        let within: &[f64] = match decades {
            d if d * 3.0 <= n as f64 => &[1.0, 2.0, 5.0],
            d if d <= 1.5 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let powers = (first..=last).filter(|power| power.rem_euclid(every) == 0);
        powers
            .flat_map(|power| within.iter().map(move |digit| digit * 10f64.powi(power)))
            .filter(|mark| (self.low..=self.high).contains(mark))
            .collect()
    }

    /// Whole numbers, such as epochs, at most about `n` of them.
    pub(super) fn whole_marks(first: u64, last: u64, n: usize) -> Vec<u64> {
        let span = last.saturating_sub(first);
        let tens = (0..20).map(|power| 10u64.saturating_pow(power));
        let steps = tens.flat_map(|ten| [1, 2, 5].map(|digit| ten.saturating_mul(digit)));
        let step = steps
            .into_iter()
            .find(|step| span / step < n.max(1) as u64)
            .unwrap_or(1);
        let mut marks = Vec::new();
        // The first epoch is 1, and the others are round.
        let mut mark = first.div_ceil(step) * step;
        if first < mark && mark - first >= step.div_ceil(2) {
            marks.push(first);
        }
        while mark <= last {
            marks.push(mark);
            mark += step;
        }
        marks
    }
}

/// The marks of one axis, with as many digits as they need to differ.
pub(super) fn labels(marks: &[f64]) -> Vec<String> {
    let largest = marks.iter().fold(0.0f64, |most, mark| most.max(mark.abs()));
    let least = marks.iter().filter(|mark| **mark != 0.0);
    let least = least.fold(f64::MAX, |least, mark| least.min(mark.abs()));
    if largest >= 1e5 || (largest > 0.0 && least < 1e-4) {
        return marks.iter().map(|&mark| scientific(mark)).collect();
    }
    let exact = |digits: usize| {
        let power = 10f64.powi(digits as i32);
        let rest = |mark: f64| (mark * power - (mark * power).round()).abs();
        marks
            .iter()
            .all(|&mark| rest(mark) < 1e-6 * power.max(1.0) * largest.max(1e-9) + 1e-9)
    };
    let digits = (0..9).find(|&digits| exact(digits)).unwrap_or(9);
    marks
        .iter()
        .map(|mark| format!("{mark:.digits$}"))
        .collect()
}

/// 3e-4; 0 is 0.
pub(super) fn scientific(value: f64) -> String {
    match value == 0.0 {
        true => "0".to_owned(),
        false => {
            let short = format!("{value:.1e}");
            short.replace(".0e", "e").trim_end_matches("e0").to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(axis: Axis, n: usize) -> Vec<String> {
        labels(&axis.marks(n))
    }

    #[test]
    fn losses_begin_at_zero_and_huge_ones_take_a_logarithm() {
        let plain = Axis::for_sizes([0.8, 0.4, 0.2].into_iter());
        assert_eq!((plain.low, plain.is_log), (0.0, false));
        assert!(plain.high > 0.8 && plain.high < 1.0);
        let huge = Axis::for_sizes([1e30, 2.0, 0.5, 0.4, 0.3].into_iter());
        assert!(huge.is_log, "{huge:?}");
        let marks = written(huge, 5);
        assert!((2..=7).contains(&marks.len()), "{marks:?}");
        // One value, no value, zero, and what is not finite.
        for values in [
            &[0.5][..],
            &[],
            &[0.0],
            &[f64::INFINITY, f64::NAN],
            &[f64::MAX],
        ] {
            let axis = Axis::for_sizes(values.iter().copied());
            assert!(axis.low < axis.high, "{values:?}: {axis:?}");
            assert!(axis.place(axis.low) == 0.0 && axis.place(axis.high) == 1.0);
            assert!(!axis.marks(5).is_empty(), "{values:?}: {axis:?}");
        }
    }

    #[test]
    fn a_rate_that_ends_at_nothing_is_linear_and_one_in_steps_is_not() {
        let cosine = (0..=50)
            .map(|n| 1e-3 * (1.0 + (f64::from(n) / 50.0 * std::f64::consts::PI).cos()) / 2.0);
        assert!(!Axis::for_sizes(cosine).is_log);
        let steps = [1e-2, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5];
        assert!(Axis::for_sizes(steps.into_iter()).is_log);
    }

    #[test]
    fn accuracies_are_shown_from_near_the_lowest() {
        let axis = Axis::for_parts([0.72, 0.86, 0.9265].into_iter());
        assert_eq!((axis.low, axis.high), (0.7, 0.94));
        let axis = Axis::for_parts([0.1, 0.9].into_iter());
        assert_eq!((axis.low, axis.high), (0.0, 1.0));
        for values in [&[1.0][..], &[0.0], &[0.5], &[]] {
            let axis = Axis::for_parts(values.iter().copied());
            assert!(axis.low < axis.high, "{values:?}: {axis:?}");
        }
    }

    #[test]
    fn marks_are_round_and_written_short() {
        assert_eq!(
            written(Axis::linear(0.7, 0.95), 6),
            ["0.70", "0.75", "0.80", "0.85", "0.90", "0.95"]
        );
        assert_eq!(
            written(Axis::log(8e-6, 1.2e-2), 6),
            ["1e-5", "1e-4", "1e-3", "1e-2"]
        );
        assert_eq!(Axis::whole_marks(1, 6, 12), [1, 2, 3, 4, 5, 6]);
        assert_eq!(Axis::whole_marks(1, 1, 12), [1]);
        assert_eq!(Axis::whole_marks(1, 500, 8), [1, 100, 200, 300, 400, 500]);
        assert_eq!(scientific(3.1e-4), "3.1e-4");
        assert_eq!(scientific(1e30), "1e30");
        assert_eq!(scientific(2.0), "2");
    }
}
