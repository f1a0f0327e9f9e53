//! The axis of a dimension: its marks, as places from 0 to 1 with a text.

use std::collections::BTreeMap;

use super::{Dimension, StudyRecords};
use crate::text::printable;

/// The most marks of an axis.
const MOST: usize = 9;
/// The most letters of a mark.
const LONGEST: usize = 22;

/// The marks, the ends first: whoever has no room for all leaves out the later ones.
pub(super) fn ticks(study: &StudyRecords, index: usize) -> Vec<(f64, String)> {
    let dimension = &study.dimensions[index];
    match &dimension.values {
        Some(values) => of_values(study, index, values),
        None => of_range(dimension),
    }
}

/// Where the trials have them; those that no trial has are spread evenly.
fn of_values(study: &StudyRecords, index: usize, values: &[String]) -> Vec<(f64, String)> {
    let seen: BTreeMap<&str, f64> = study
        .trials
        .iter()
        .filter_map(|trial| trial.values.get(index)?.as_ref())
        .map(|value| (&value.text[..], value.position))
        .collect();
    let last = values.len().saturating_sub(1);
    let even = |at: usize| {
        if last == 0 {
            0.5
        } else {
            at as f64 / last as f64
        }
    };
    let every = values.len().div_ceil(MOST).max(1);
    let chosen = (0..values.len()).filter(|at| at.is_multiple_of(every) || *at == last);
    let marks = chosen.map(|at| {
        let place = seen.get(&values[at][..]).copied().unwrap_or(even(at));
        (place, cut(&values[at]))
    });
    ends_first(marks.collect())
}

fn of_range(dimension: &Dimension) -> Vec<(f64, String)> {
    let (min, max) = (dimension.min, dimension.max);
    if !(min.is_finite() && max.is_finite() && min < max) {
        return vec![(0.5, short(min))];
    }
    let (from, to, inner) = match dimension.log && min > 0.0 {
        true => (min.ln(), max.ln(), powers(min, max)),
        false => (min, max, steps(min, max)),
    };
    let place = |value: f64| {
        let at = if dimension.log && min > 0.0 {
            value.ln()
        } else {
            value
        };
        (at - from) / (to - from)
    };
    let ends = [(0.0, short(min)), (1.0, short(max))];
    let inner = inner.into_iter().map(|value| (place(value), short(value)));
    let inner = inner.filter(|(at, _)| (0.02..0.98).contains(at));
    ends.into_iter().chain(inner).collect()
}

/// The powers of ten between two numbers.
fn powers(min: f64, max: f64) -> Vec<f64> {
    let (from, to) = (min.log10().ceil() as i32, max.log10().floor() as i32);
    let every = (to - from).max(0) as usize / MOST + 1;
    (from..=to)
        .step_by(every)
        .map(|power| 10f64.powi(power))
        .collect()
}

/// Round numbers between two numbers, at most five.
fn steps(min: f64, max: f64) -> Vec<f64> {
    let raw = (max - min) / 5.0;
    let power = 10f64.powf(raw.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let step = factors.iter().map(|factor| factor * power);
    let step = step.into_iter().find(|step| *step >= raw * (1.0 - 1e-9));
    let step = step.unwrap_or(10.0 * power);
    let from = (min / step).ceil();
    (0..8)
        .map(|n| (from + f64::from(n)) * step)
        .take_while(|value| *value <= max)
        .collect()
}

fn ends_first(mut marks: Vec<(f64, String)>) -> Vec<(f64, String)> {
    if marks.len() > 2 {
        let last = marks.remove(marks.len() - 1);
        marks.insert(1, last);
    }
    marks
}

/// A number in few letters: `0.0025`, `1e-5`, `250000`.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".to_owned(); // and not "-0"
    }
    if !value.is_finite() {
        return value.to_string();
    }
    if !(1e-3..1e6).contains(&size) {
        let text = format!("{value:.2e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{power}", without_zeros(digits));
    }
    let digits = (3 - size.log10().floor() as i32).max(0) as usize;
    without_zeros(&format!("{value:.digits$}")).to_owned()
}

fn without_zeros(text: &str) -> &str {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    }
}

/// The start of a text that is too long for a mark. The table of the space has all of it.
fn cut(text: &str) -> String {
    let text = printable(text);
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(min: f64, max: f64, log: bool) -> Vec<(f64, String)> {
        of_range(&Dimension {
            name: String::new(),
            keys: Vec::new(),
            values: None,
            min,
            max,
            log,
            condition: None,
        })
    }

    fn texts(marks: &[(f64, String)]) -> Vec<&str> {
        marks.iter().map(|(_, text)| &text[..]).collect()
    }

    #[test]
    fn marks_are_round_numbers_between_the_ends() {
        let log = range(1e-4, 1e-1, true);
        assert_eq!(texts(&log), ["1e-4", "0.1", "0.001", "0.01"]);
        assert!((log[2].0 - 1.0 / 3.0).abs() < 1e-9);
        let linear = range(0.0, 0.5, false);
        assert_eq!(texts(&linear), ["0", "0.5", "0.1", "0.2", "0.3", "0.4"]);
        assert_eq!(texts(&range(3e-5, 7e-5, true)), ["3e-5", "7e-5"]);
        assert_eq!(texts(&range(2.0, 2.0, false)), ["2"]);
        assert_eq!(texts(&range(f64::NAN, 1.0, true)), ["NaN"]);
        assert!(range(1e-300, 1e300, true).len() <= MOST + 4);
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0025, 1.0, 123_456.0, 1.5e-7, 2e9, 0.1 + 0.2].map(short);
        assert_eq!(shown, ["0.0025", "1", "123456", "1.5e-7", "2e9", "0.3"]);
        assert_eq!(cut(&"x".repeat(40)).chars().count(), LONGEST);
    }
}
