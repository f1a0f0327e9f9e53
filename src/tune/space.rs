//! The space of a search: which keys of a config are varied, over which values, under which conditions.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::{Table, Value};

use super::sampler::{Axis, NamedAxis, coordinate, index_of};
use crate::config::layers::{ConfigError, Layers, plain_key};

/// The values of a trial by the name of their dimension; those that are not active are left out.
pub type Point = BTreeMap<String, Value>;

/// Something that is varied.
#[derive(Clone, Debug)]
pub struct Dimension {
    /// Its key in the config, or what it is called where it sets several.
    pub name: String,
    /// The dotted keys of the config that get its value.
    pub keys: Vec<String>,
    /// What it may be.
    pub values: Values,
    /// It is active where all of these hold.
    pub conditions: Vec<Condition>,
    /// `configs/mine.toml:12`
    pub origin: String,
}

/// A key, or another dimension, has one of these values.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// A dotted key of the config, or the name of a dimension.
    pub key: String,
    /// What it may be.
    pub allowed: Vec<Value>,
}

impl Condition {
    /// Whether a value is one of them; 0 and 0.0 are the same.
    pub(super) fn allows(&self, value: &Value) -> bool {
        self.allowed.iter().any(|allowed| is_same(allowed, value))
    }
}

fn is_same(one: &Value, two: &Value) -> bool {
    one == two || matches!((number(one), number(two)), (Some(one), Some(two)) if one == two)
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let allowed: Vec<String> = self.allowed.iter().map(Value::to_string).collect();
        write!(f, "{} = {}", self.key, allowed.join(" or "))
    }
}

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
fn rounded(value: f64, digits: usize) -> f64 {
    format!("{value:.*e}", digits - 1).parse().unwrap_or(value)
}

/// A dimension as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    choice: Option<Vec<Value>>,
    min: Option<Value>,
    max: Option<Value>,
    step: Option<Value>,
    scale: Option<Scale>,
    keys: Option<Vec<String>>,
    when: Option<Table>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Scale {
    Linear,
    Log,
}

/// What tells a dimension from a section of the config that holds dimensions.
const WORDS: [&str; 7] = ["choice", "min", "max", "step", "scale", "keys", "when"];
const EXAMPLES: &str = "write { choice = [32, 64] }, { min = 32, max = 512, step = 32 } or \
                        { min = 1e-4, max = 1e-2, scale = \"log\" }";
/// Up to here every whole number is an f64.
const MOST: f64 = 9_007_199_254_740_992.0;
/// More steps than anybody means.
const MOST_STEPS: f64 = 1e9;

/// Reads the dimensions below `[search.space]`. Sections may be nested: `model.dropout = {…}` and
/// `"model.dropout" = {…}` are the same.
pub(super) fn read(layers: &Layers, table: &Table) -> Result<Vec<Dimension>, ConfigError> {
    let mut dimensions = Vec::new();
    let mut path = vec!["search".to_owned(), "space".to_owned()];
    walk(layers, &mut path, table, &mut dimensions)?;
    in_order(dimensions)
}

fn walk(
    layers: &Layers,
    path: &mut Vec<String>,
    table: &Table,
    into: &mut Vec<Dimension>,
) -> Result<(), ConfigError> {
    for (key, value) in table {
        path.push(key.clone());
        match value {
            Value::Table(inner) if WORDS.iter().any(|word| inner.contains_key(*word)) => {
                into.push(Reader { layers, path }.dimension(inner)?);
            }
            Value::Table(inner) if !inner.is_empty() => walk(layers, path, inner, into)?,
            other => {
                let reader = Reader { layers, path };
                return Err(reader.complaint(other, "that is no dimension")(EXAMPLES));
            }
        }
        path.pop();
    }
    Ok(())
}

/// Reads the dimension at a path.
struct Reader<'a> {
    layers: &'a Layers,
    path: &'a [String],
}

impl Reader<'_> {
    fn name(&self) -> String {
        self.path[2..].join(".")
    }

    fn complaint(&self, value: &Value, why: &str) -> impl Fn(&str) -> ConfigError + use<> {
        let origin = self.layers.origin_of(self.path);
        let (key, value, why) = (self.path.join("."), value.to_string(), why.to_owned());
        move |hint| ConfigError::invalid(&origin, &key, &value, &why, hint)
    }

    fn dimension(&self, table: &Table) -> Result<Dimension, ConfigError> {
        let whole = Value::Table(table.clone());
        let given: Given = whole
            .clone()
            .try_into()
            .map_err(|error: toml::de::Error| self.complaint(&whole, error.message())(EXAMPLES))?;
        let keys = given.keys.clone().unwrap_or_else(|| vec![self.name()]);
        let keys: Vec<String> = keys.iter().map(|key| plain_key(key)).collect();
        if keys.is_empty() {
            return Err(self.complaint(&whole, "keys is empty")(
                "name the keys that it sets",
            ));
        }
        Ok(Dimension {
            name: self.name(),
            keys,
            conditions: given.when.iter().flat_map(conditions).collect(),
            values: self.values(&given, &whole)?,
            origin: self.layers.origin_of(self.path),
        })
    }

    fn values(&self, given: &Given, whole: &Value) -> Result<Values, ConfigError> {
        let refuse = |why: &str, hint: &str| Err(self.complaint(whole, why)(hint));
        let range = (&given.min, &given.max);
        match (&given.choice, range) {
            (Some(_), (Some(_), _) | (_, Some(_))) => {
                refuse("it has both a choice and a range", "keep one of them")
            }
            (Some(_), _) if given.step.is_some() || given.scale.is_some() => refuse(
                "step and scale belong to a range",
                "leave them out, or give min and max",
            ),
            (Some(choice), _) => match repeated(choice) {
                _ if choice.is_empty() => refuse("the choice is empty", "name at least one value"),
                Some(value) => refuse(&format!("it names {value} twice"), "name each value once"),
                None if choice
                    .iter()
                    .any(|value| value.as_float().is_some_and(|x| !x.is_finite())) =>
                {
                    refuse(
                        "it names what is no finite number",
                        "name numbers, texts or lists",
                    )
                }
                None => Ok(Values::Choice(choice.clone())),
            },
            (None, (Some(min), Some(max))) => self.range(given, min, max, whole),
            (None, _) => refuse("it has neither a choice nor min and max", EXAMPLES),
        }
    }

    fn range(
        &self,
        given: &Given,
        min: &Value,
        max: &Value,
        whole: &Value,
    ) -> Result<Values, ConfigError> {
        let refuse = |why: &str, hint: &str| Err(self.complaint(whole, why)(hint));
        let is_integer = [Some(min), Some(max), given.step.as_ref()]
            .into_iter()
            .flatten()
            .all(Value::is_integer);
        let log = given.scale == Some(Scale::Log);
        let (Some(low), Some(high)) = (number(min), number(max)) else {
            return refuse("min and max must be finite numbers", EXAMPLES);
        };
        if is_integer && low.abs().max(high.abs()) > MOST {
            return refuse("whole numbers go up to 2^53", "use smaller ones");
        }
        if low > high {
            return refuse(
                "the range is empty: min is above max",
                "exchange min and max",
            );
        }
        if low == high {
            return refuse(
                "the range has one value only",
                "set the key itself, and leave this out",
            );
        }
        if log && low <= 0.0 {
            return refuse("a logarithmic scale begins above 0", "use a min above 0");
        }
        let step = match &given.step {
            None if is_integer && !log => Some(1.0),
            None => None,
            Some(_) if log => {
                return refuse("a logarithmic scale has no step", "leave the step out");
            }
            Some(step) => match number(step).filter(|step| *step > 0.0) {
                Some(step) => Some(step),
                None => return refuse("the step must be above 0", EXAMPLES),
            },
        };
        let Some(step) = step else {
            return Ok(match is_integer {
                true => Values::LogIntegers {
                    min: low as i64,
                    max: high as i64,
                },
                false => Values::Floats {
                    min: low,
                    max: high,
                    log,
                },
            });
        };
        let steps = ((high - low) / step).round();
        if steps > MOST_STEPS {
            return refuse(
                "it has more than a thousand million steps",
                "use a larger step",
            );
        }
        if ((high - low) / step - steps).abs() > 1e-6 {
            let below = rounded(low + ((high - low) / step).floor() * step, 12);
            let hint = format!("use max = {below}");
            return refuse("the steps do not end at max", &hint);
        }
        let n = steps as u64 + 1;
        Ok(match is_integer {
            true => Values::Integers {
                min: low as i64,
                step: step as i64,
                n,
            },
            false => Values::Steps { min: low, step, n },
        })
    }
}

fn number(value: &Value) -> Option<f64> {
    match *value {
        Value::Integer(value) => Some(value as f64),
        Value::Float(value) => Some(value).filter(|value| value.is_finite()),
        _ => None,
    }
}

fn repeated(values: &[Value]) -> Option<&Value> {
    let mut all = values.iter().enumerate();
    all.find_map(|(index, value)| values[..index].contains(value).then_some(value))
}

/// `{ "model.kind" = "mlp" }` and `{ model.kind = ["mlp", "cnn"] }`.
fn conditions(table: &Table) -> Vec<Condition> {
    table
        .iter()
        .flat_map(|(key, value)| match value {
            Value::Table(inner) => {
                let mut below = conditions(inner);
                for condition in &mut below {
                    condition.key = format!("{key}.{}", condition.key);
                }
                below
            }
            Value::Array(allowed) => vec![Condition {
                key: key.clone(),
                allowed: allowed.clone(),
            }],
            one => vec![Condition {
                key: key.clone(),
                allowed: vec![one.clone()],
            }],
        })
        .collect()
}

impl Dimension {
    /// Whether it is what a condition speaks of.
    pub(super) fn is_called(&self, key: &str) -> bool {
        self.name == key || self.keys.iter().any(|own| own == key)
    }

    /// Whether it is active where `decided` holds the dimensions before it. `base` is the config without
    /// any of them.
    fn is_active(&self, decided: &[(&Self, Option<Value>)], base: &Value) -> bool {
        self.conditions.iter().all(|condition| {
            let named: Vec<_> = decided
                .iter()
                .filter(|(other, _)| other.is_called(&condition.key))
                .collect();
            let value = match &named[..] {
                [] => lookup(base, &condition.key),
                some => some.iter().find_map(|(_, value)| value.as_ref()),
            };
            value.is_some_and(|value| condition.allows(value))
        })
    }
}

/// The value of a dotted key.
pub(super) fn lookup<'a>(root: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(root, |value, part| match value {
        Value::Array(elements) => elements.get(part.parse::<usize>().ok()?),
        other => other.get(part),
    })
}

/// Each dimension behind those that its conditions speak of.
fn in_order(mut rest: Vec<Dimension>) -> Result<Vec<Dimension>, ConfigError> {
    let mut ordered: Vec<Dimension> = Vec::new();
    while !rest.is_empty() {
        let waits = |each: &Dimension| {
            let mut others = rest.iter().filter(|other| other.name != each.name);
            others.any(|other| {
                let mut conditions = each.conditions.iter();
                conditions.any(|condition| other.is_called(&condition.key))
            })
        };
        let Some(ready) = rest.iter().position(|each| !waits(each)) else {
            let first = &rest[0];
            return Err(ConfigError::invalid(
                &first.origin,
                &format!("search.space.{}", first.name),
                "{ when = … }",
                "its conditions lead back to itself",
                "take one of the conditions out",
            ));
        };
        ordered.push(rest.remove(ready));
    }
    Ok(ordered)
}

/// The dimensions as samplers see them.
#[must_use]
pub fn axes(dimensions: &[Dimension]) -> Vec<NamedAxis> {
    let named = |dimension: &Dimension| NamedAxis {
        name: dimension.name.clone(),
        axis: dimension.values.axis(),
    };
    dimensions.iter().map(named).collect()
}

/// The values at coordinates, without those that are not active. `base` is the config without them.
#[must_use]
pub fn point_at(dimensions: &[Dimension], base: &Value, coordinates: &[f64]) -> Point {
    let mut decided: Vec<(&Dimension, Option<Value>)> = Vec::new();
    for (dimension, &coordinate) in dimensions.iter().zip(coordinates) {
        let active = dimension.is_active(&decided, base);
        decided.push((dimension, active.then(|| dimension.values.at(coordinate))));
    }
    let active = decided.into_iter();
    active
        .filter_map(|(dimension, value)| Some((dimension.name.clone(), value?)))
        .collect()
}

/// The coordinates of a trial: None where a dimension is not active.
#[must_use]
pub fn coordinates_of(dimensions: &[Dimension], point: &Point) -> Vec<Option<f64>> {
    let of = |dimension: &Dimension| dimension.values.coordinate(point.get(&dimension.name)?);
    dimensions.iter().map(of).collect()
}

#[cfg(test)]
#[path = "space/tests.rs"]
mod tests;
