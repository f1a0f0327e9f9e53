//! The space of a search: which keys of a config are varied, over which values, under which conditions.

mod read;
mod values;

use std::collections::BTreeMap;

use toml::Value;

use super::sampler::NamedAxis;
pub(super) use read::read;
pub use values::Values;
use values::number;

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
