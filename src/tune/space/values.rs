//! What a dimension may be, and the coordinates in [0, 1) that samplers know it by.

use toml::Value;

use super::is_same;
use crate::tune::sampler::{Axis, coordinate, index_of};

/// What a dimension may be.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// One of a list, in no order.
    Choice(Vec<Value>),
    /// `min + i * step` for i below n.
    Integers { min: i64, step: i64, n: u64 },
    /// The same of floats.
    Steps { min: f64, step: f64, n: u64 },
    /// From min to max, both included, evenly on a logarithmic scale.
    LogIntegers { min: i64, max: i64 },
    /// From min to max.
    Floats { min: f64, max: f64, log: bool },
}

impl Values {
    /// How a sampler sees it.
    #[must_use]
    pub fn axis(&self) -> Axis {
        match self {
            Self::Choice(values) => Axis::Choice(values.len()),
            Self::Integers { n, .. } | Self::Steps { n, .. } => Axis::Grid(*n),
            Self::LogIntegers { .. } | Self::Floats { .. } => Axis::Continuous,
        }
    }

    /// The value at a coordinate in [0, 1).
    #[must_use]
    pub fn at(&self, coordinate: f64) -> Value {
        match *self {
            Self::Choice(ref values) => values[index_of(coordinate, values.len())].clone(),
            Self::Integers { min, step, n } => {
                Value::Integer(min + step * index_of(coordinate, n as usize) as i64)
            }
            Self::Steps { min, step, n } => Value::Float(rounded(
                min + step * index_of(coordinate, n as usize) as f64,
                12,
            )),
            Self::LogIntegers { min, max } => {
                let (low, high) = ((min as f64).ln(), (max as f64 + 1.0).ln());
                let value = (low + coordinate * (high - low)).exp().floor();
                Value::Integer((value as i64).clamp(min, max))
            }
            Self::Floats { min, max, log } => {
                let value = match log {
                    true => (min.ln() + coordinate * (max.ln() - min.ln())).exp(),
                    false => min + coordinate * (max - min),
                };
                // More digits would only be noise in tables.
                Value::Float(rounded(value, 6).clamp(min, max))
            }
        }
    }

    /// The coordinate of a value: that of [`Values::at`], or the middle of those that give it.
    #[must_use]
    pub fn coordinate(&self, value: &Value) -> Option<f64> {
        let number = match *value {
            Value::Integer(value) => value as f64,
            Value::Float(value) => value,
            _ => f64::NAN,
        };
        let on_grid = |min: f64, step: f64, n: u64| {
            let index = ((number - min) / step).round();
            (index >= 0.0 && index < n as f64).then(|| coordinate(index as usize, n as usize))
        };
        match *self {
            Self::Choice(ref values) => {
                let index = values.iter().position(|each| is_same(each, value))?;
                Some(coordinate(index, values.len()))
            }
            Self::Integers { min, step, n } => on_grid(min as f64, step as f64, n),
            Self::Steps { min, step, n } => on_grid(min, step, n),
            Self::LogIntegers { min, max } => {
                let (low, high) = ((min as f64).ln(), (max as f64 + 1.0).ln());
                let middle = (number.ln() + (number + 1.0).ln()) / 2.0;
                (number >= min as f64 && number <= max as f64)
                    .then(|| (middle - low) / (high - low))
            }
            Self::Floats { min, max, log } => {
                let place = match log {
                    true => (number.ln() - min.ln()) / (max.ln() - min.ln()),
                    false => (number - min) / (max - min),
                };
                (number >= min && number <= max).then(|| place.clamp(0.0, 1.0 - f64::EPSILON))
            }
        }
    }

    /// Whether it is one of the values. Of countless ones none is met in practice.
    #[must_use]
    pub fn has(&self, value: &Value) -> bool {
        let met = || Some(self.at(self.coordinate(value)?));
        self.count().is_some() && met().is_some_and(|met| is_same(&met, value))
    }

    /// How many values there are; None where they are countless.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        match self {
            Self::Choice(values) => Some(values.len() as u64),
            Self::Integers { n, .. } | Self::Steps { n, .. } => Some(*n),
            Self::LogIntegers { min, max } => Some((max - min) as u64 + 1),
            Self::Floats { .. } => None,
        }
    }

    /// All of a choice, and of other values where they are at most `most`; else the ends.
    #[must_use]
    pub fn samples(&self, most: u64) -> Vec<Value> {
        match (self, self.count()) {
            (Self::Choice(values), _) => values.clone(),
            (Self::LogIntegers { min, max }, Some(n)) if n <= most => {
                (*min..=*max).map(Value::Integer).collect()
            }
            (Self::LogIntegers { .. } | Self::Floats { .. }, _) | (_, None) => {
                vec![self.at(0.0), self.at(1.0 - f64::EPSILON)]
            }
            (_, Some(n)) if n <= most => {
                let n = n as usize;
                (0..n).map(|index| self.at(coordinate(index, n))).collect()
            }
            (_, Some(_)) => vec![self.at(0.0), self.at(1.0 - f64::EPSILON)],
        }
    }

    /// The smallest and the largest, for an axis; positions for choices.
    #[must_use]
    pub fn range(&self) -> (f64, f64) {
        match *self {
            Self::Choice(ref values) => (0.0, values.len() as f64 - 1.0),
            Self::Integers { min, step, n } => (min as f64, (min + step * (n as i64 - 1)) as f64),
            Self::Steps { min, step, n } => (min, rounded(min + step * (n - 1) as f64, 12)),
            Self::LogIntegers { min, max } => (min as f64, max as f64),
            Self::Floats { min, max, .. } => (min, max),
        }
    }

    /// Whether the scale is logarithmic.
    #[must_use]
    pub fn is_log(&self) -> bool {
        matches!(
            self,
            Self::LogIntegers { .. } | Self::Floats { log: true, .. }
        )
    }
}

/// A number with so many significant digits.
pub(super) fn rounded(value: f64, digits: usize) -> f64 {
    format!("{value:.*e}", digits - 1).parse().unwrap_or(value)
}

/// A finite number, whole or not.
pub(super) fn number(value: &Value) -> Option<f64> {
    match *value {
        Value::Integer(value) => Some(value as f64),
        Value::Float(value) => Some(value).filter(|value| value.is_finite()),
        _ => None,
    }
}
