//! Reads `[search.space]`.

use serde::Deserialize;
use toml::{Table, Value};

use super::values::{number, rounded};
use super::{Condition, Dimension, Values};
use crate::config::layers::{ConfigError, Layers, plain_key};

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
pub(in crate::tune) fn read(layers: &Layers, table: &Table) -> Result<Vec<Dimension>, ConfigError> {
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
