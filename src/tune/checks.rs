//! What a study must be before anything is trained.

use anyhow::Result;
use toml::Value;

use super::space::{self, Dimension};
use super::{SearchConfig, Study};
use crate::config::ExperimentConfig;
use crate::config::layers::{ConfigError, Layers};

/// Keys that a search cannot vary, and why.
const FIXED: [(&str, &str); 10] = [
    ("seed", "all trials share one split and one seed"),
    ("name", "each trial has its own"),
    ("search", "it belongs to the search itself"),
    ("data", "all trials share one set of images"),
    ("report", "it changes no result"),
    ("checkpoint", "it changes no result"),
    ("train.epochs", "the schedule of the search sets it"),
    ("train.device", "it is given to `weft tune`"),
    ("train.evaluation_batch_size", "it changes no result"),
    (
        "early_stopping",
        "the objective decides which epoch is the best",
    ),
];

impl Study {
    /// Each value of each dimension must give a config that can be read: an unknown key or a value out
    /// of its range is told before anything is trained, with its line.
    pub(super) fn check_dimensions(&self, section: &Layers) -> Result<()> {
        if self.dimensions.is_empty() {
            let origin = section.origin("search.space");
            let hint = "name what is varied, such as \"optimizer.learning_rate\" = { min = 1e-4, max = 1e-2, scale = \"log\" }";
            return Err(invalid(
                &origin,
                "search.space",
                "empty",
                "nothing is varied",
                hint,
            ));
        }
        for (index, dimension) in self.dimensions.iter().enumerate() {
            for key in &dimension.keys {
                check_key(dimension, key)?;
            }
            for other in &self.dimensions[..index] {
                check_apart(dimension, other)?;
            }
            self.check_conditions(dimension)?;
        }
        for (index, dimension) in self.dimensions.iter().enumerate() {
            let n = self.dimensions.len();
            for value in dimension.values.samples(MOST_TRIED) {
                let coordinate = dimension.values.coordinate(&value).unwrap_or(0.0);
                // The others at their first values, or where they must be for this one to be active.
                let mut coordinates = vec![0.0; n];
                coordinates[index] = coordinate;
                self.make_active(index, &mut coordinates);
                self.varied(&self.point(&coordinates))?;
            }
        }
        Ok(())
    }

    /// Moves the dimensions that a condition speaks of to a value that it allows.
    fn make_active(&self, index: usize, coordinates: &mut [f64]) {
        for condition in &self.dimensions[index].conditions {
            let others = self.dimensions[..index].iter().enumerate();
            let named = others.filter(|(_, other)| other.is_called(&condition.key));
            for (other_index, other) in named {
                let mut allowed = condition.allowed.iter();
                let place = allowed.find_map(|value| other.values.coordinate(value));
                if let Some(place) = place {
                    coordinates[other_index] = place;
                    self.make_active(other_index, coordinates);
                }
            }
        }
    }

    /// A condition that no trial can meet is a slip of the pen.
    fn check_conditions(&self, dimension: &Dimension) -> Result<()> {
        for condition in &dimension.conditions {
            let refuse = |why: &str, hint: &str| {
                let shown = format!("search.space.{}", dimension.name);
                let given = format!("{{ when = {{ {condition} }} }}");
                Err(invalid(&dimension.origin, &shown, &given, why, hint))
            };
            let mut others = self
                .dimensions
                .iter()
                .filter(|other| other.is_called(&condition.key));
            let base = space::lookup(&self.base_values, &condition.key);
            let example = "`when` names a key as in when = { \"model.kind\" = \"mlp\" }";
            match (others.next(), base) {
                (None, None) => {
                    return refuse(
                        &format!("no key nor dimension is called `{}`", condition.key),
                        example,
                    );
                }
                (None, Some(base)) if !condition.allows(base) => {
                    return refuse(
                        &format!("it never holds: `{}` is {base}", condition.key),
                        "correct the value, or leave the dimension out",
                    );
                }
                (None, Some(_)) => {}
                (Some(first), _) => {
                    let of_any = |value: &Value| {
                        std::iter::once(first)
                            .chain(others.clone())
                            .any(|other| other.values.has(value))
                    };
                    if let Some(value) = condition.allowed.iter().find(|value| !of_any(value)) {
                        return refuse(
                            &format!("{value} is none of the values of `{}`", condition.key),
                            "name values that it can have; a range without steps meets none of them",
                        );
                    }
                }
            }
        }
        Ok(())
    }
}

/// Values of a dimension that are tried when a study is read.
const MOST_TRIED: u64 = 32;

fn invalid(origin: &str, key: &str, value: &str, why: &str, hint: &str) -> anyhow::Error {
    ConfigError::invalid(origin, key, value, why, hint).into()
}

fn check_key(dimension: &Dimension, key: &str) -> Result<()> {
    let below = |key: &str, section: &str| {
        key == section
            || key
                .strip_prefix(section)
                .is_some_and(|rest| rest.starts_with('.'))
    };
    // A section as a whole would set what is fixed in it.
    let mut fixed = FIXED.iter();
    match fixed.find(|(fixed, _)| below(key, fixed) || below(fixed, key)) {
        // How pixels are scaled is part of a recipe.
        Some(("data", _)) if key == "data.normalization" => Ok(()),
        Some((fixed, why)) => {
            let shown = format!("search.space.{}", dimension.name);
            let why = format!("`{fixed}` cannot be searched: {why}");
            Err(invalid(
                &dimension.origin,
                &shown,
                &format!("for `{key}`"),
                &why,
                "leave it out",
            ))
        }
        None => Ok(()),
    }
}

/// Two dimensions must differ in name, and may set the same key only where they are never both active.
fn check_apart(dimension: &Dimension, other: &Dimension) -> Result<()> {
    let shown = format!("search.space.{}", dimension.name);
    let refuse =
        |why: &str, hint: &str| Err(invalid(&dimension.origin, &shown, "given", why, hint));
    if dimension.name == other.name {
        return refuse(
            "another dimension has the same name",
            "leave one of them out",
        );
    }
    let excluded = dimension.conditions.iter().any(|condition| {
        let same = other
            .conditions
            .iter()
            .filter(|theirs| theirs.key == condition.key);
        same.into_iter()
            .any(|theirs| !theirs.allowed.iter().any(|value| condition.allows(value)))
    });
    let overlap = |one: &str, two: &str| {
        one == two
            || one
                .strip_prefix(two)
                .is_some_and(|rest| rest.starts_with('.'))
    };
    let shared = dimension.keys.iter().find(|key| {
        other
            .keys
            .iter()
            .any(|theirs| overlap(key, theirs) || overlap(theirs, key))
    });
    match shared {
        Some(key) if !excluded => refuse(
            &format!("`{key}` is set by `{}` too", other.name),
            "leave one of them out, or give each a `when` that excludes the other's",
        ),
        _ => Ok(()),
    }
}

pub(super) fn search(
    search: &SearchConfig,
    config: &ExperimentConfig,
    section: &Layers,
) -> Result<()> {
    let check = |holds: bool, key: &str, value: String, why: &str, hint: &str| {
        let key = format!("search.{key}");
        match holds {
            true => Ok(()),
            false => Err(invalid(&section.origin(&key), &key, &value, why, hint)),
        }
    };
    let (min, max) = (search.min_epochs, search.max_epochs);
    check(
        min >= 1 && min <= max,
        "min_epochs",
        min.to_string(),
        &format!("it must be from 1 to max_epochs, which is {max}"),
        "1 lets the first rung be one epoch",
    )?;
    check(
        max <= 1_000_000,
        "max_epochs",
        max.to_string(),
        "it must be at most 1000000",
        "use fewer",
    )?;
    check(
        search.factor >= 2 && search.factor <= 1000,
        "factor",
        search.factor.to_string(),
        "it must be from 2 to 1000",
        "3 is common",
    )?;
    check(
        search.trials >= 1 && search.trials <= 1_000_000,
        "trials",
        search.trials.to_string(),
        "it must be from 1 to 1000000",
        "30 is what the seed's search took",
    )?;
    check(
        search.iterations >= 1 && search.iterations <= 100,
        "iterations",
        search.iterations.to_string(),
        "it must be from 1 to 100",
        "1 runs all brackets once",
    )?;
    check(
        config.data.validation_fraction > 0.0,
        "objective",
        format!("{:?}", search.objective),
        "there is no validation split to measure it on",
        "set data.validation_fraction above 0",
    )
}
