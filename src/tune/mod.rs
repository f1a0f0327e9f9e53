//! A hyper-parameter search. A study is a TOML file: an experiment, and a `[search]` section that says
//! what is varied and how the epochs are divided among trials. The test split is not part of it.
//!
//! `space` holds what is varied, `schedule` which trial gets epochs next, `sampler` where a new trial
//! stands, `turn` puts these together with the log of what has happened (`run/study`), `worker`
//! trains a trial to its next rung, `result` reads the outcome. `schedule`, `sampler` and
//! `importance` are pure.

mod checks;
pub mod importance;
pub mod result;
pub mod sampler;
pub mod schedule;
pub mod space;
pub mod turn;
pub mod worker;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::config::layers::{ConfigError, Layers};
use crate::config::{ExperimentConfig, Loaded, before, changed, flattened};
use crate::model::InputShape;
use crate::run::checkpoints::sha256_hex;
use crate::run::records::Change;
use crate::train::early_stopping::Monitor;
use sampler::Sampling;
use schedule::{Algorithm, Plan};
use space::{Dimension, Point};

/// The `[search]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchConfig {
    /// Which trial gets epochs next.
    pub algorithm: Algorithm,
    /// Where a new trial stands.
    pub sampling: Sampling,
    /// What is made better; a trial has the value of its best epoch.
    pub objective: Monitor,
    /// Epochs of the first rung.
    pub min_epochs: u64,
    /// Most epochs of a trial; 0 is the experiment's train.epochs. The learning-rate schedule of each trial is
    /// planned for so many.
    pub max_epochs: u64,
    /// One in so many trials is promoted to the next rung, which has so many times the epochs.
    pub factor: u64,
    /// How many trials random search and successive halving start.
    pub trials: usize,
    /// How often Hyperband runs all its brackets.
    pub iterations: usize,
    /// Seed of the trials' places. Splits and weights follow the experiment's own seed, the same for all.
    pub seed: u64,
    /// The dimensions; see [`space`].
    pub space: Table,
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Hyperband,
            sampling: Sampling::Random,
            objective: Monitor::ValidationAccuracy,
            min_epochs: 1,
            max_epochs: 0,
            factor: 3,
            trials: 30,
            iterations: 1,
            seed: 1,
            space: Table::new(),
        }
    }
}

/// What deserializes the section, so that errors name keys from the root.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchFile {
    search: SearchConfig,
}

/// A study: an experiment and how it is varied.
pub struct Study {
    /// The experiment without any of the dimensions.
    pub config: ExperimentConfig,
    /// How it is searched.
    pub search: SearchConfig,
    /// What is varied, each behind those that its conditions speak of.
    pub dimensions: Vec<Dimension>,
    base: Layers,
    /// The base's values, defaults included.
    base_values: Value,
}

impl Study {
    /// Reads a study's file, with `--set` assignments for the experiment.
    pub fn read(path: &Path, assignments: &[String]) -> Result<Self> {
        let mut base = Layers::read(path)?;
        before::complete_study(&mut base, path)?;
        Self::new(base, assignments)
    }

    fn new(mut base: Layers, assignments: &[String]) -> Result<Self> {
        let file = base.origin("");
        let Some(section) = base.take("search")? else {
            bail!(
                "{file}: there is no [search] section\nhint: it says what is varied; \
                 configs/tune/ has examples"
            );
        };
        let SearchFile { mut search } = section.deserialize()?;
        for assignment in assignments {
            base.set(assignment)?;
        }
        let config = Loaded::from_layers(base.clone())?.config;
        if search.max_epochs == 0 {
            search.max_epochs = config.train.epochs;
        }
        checks::search(&search, &config, &section)?;
        let base_values =
            Value::try_from(&config).context("the config cannot be written as TOML")?;
        let study = Self {
            dimensions: space::read(&section, &search.space)?,
            config,
            search,
            base,
            base_values,
        };
        study.check_dimensions(&section)?;
        Ok(study)
    }

    /// Which rungs there are.
    #[must_use]
    pub fn plan(&self) -> Plan {
        Plan {
            algorithm: self.search.algorithm,
            min_epochs: self.search.min_epochs,
            max_epochs: self.search.max_epochs,
            factor: self.search.factor,
            n_trials: self.search.trials,
            iterations: self.search.iterations,
            in_sequence: self.search.sampling == Sampling::Tpe,
        }
    }

    /// The values at coordinates in [0, 1).
    #[must_use]
    pub fn point(&self, coordinates: &[f64]) -> Point {
        space::point_at(&self.dimensions, &self.base_values, coordinates)
    }

    /// The experiment of a trial, trained for as many epochs as the study's file says.
    pub fn varied(&self, point: &Point) -> Result<Loaded, ConfigError> {
        Loaded::from_layers(self.layers(point)?)
    }

    /// The experiment of a trial as the search trains it.
    pub fn trial(&self, point: &Point, name: &str) -> Result<Loaded, ConfigError> {
        let mut layers = self.layers(point)?;
        let epochs = self.search.max_epochs;
        let objective = Value::try_from(self.search.objective).unwrap_or(Value::Boolean(false));
        for (key, value) in [
            ("name", Value::String(name.to_owned())),
            ("train.epochs", Value::Integer(epochs as i64)),
            ("early_stopping.monitor", objective),
            ("report.at_end", Value::Boolean(false)),
            ("report.every_minutes", Value::Float(0.0)),
            ("report.plots", Value::Boolean(false)),
            ("report.tensorboard", Value::Boolean(false)),
        ] {
            layers.place("the search", key, value)?;
        }
        Loaded::from_layers(layers)
    }

    fn layers(&self, point: &Point) -> Result<Layers, ConfigError> {
        let mut layers = self.base.clone();
        for dimension in &self.dimensions {
            let Some(value) = point.get(&dimension.name) else {
                continue;
            };
            for key in &dimension.keys {
                self.give_section(&mut layers, key, &dimension.origin)?;
                layers.place(&dimension.origin, key, value.clone())?;
            }
        }
        Ok(layers)
    }

    /// A key of a section that the file does not have is one of the default's kind: the kind must then be
    /// given with it.
    fn give_section(
        &self,
        layers: &mut Layers,
        key: &str,
        origin: &str,
    ) -> Result<(), ConfigError> {
        let section = key.split('.').next().unwrap_or(key);
        let default = self
            .base_values
            .get(section)
            .filter(|whole| whole.get("kind").is_some());
        match default {
            Some(whole) if section != key && layers.values().get(section).is_none() => {
                layers.place(origin, section, whole.clone())
            }
            _ => Ok(()),
        }
    }

    /// Checks the experiment without any dimension against the images.
    pub fn check_input(&self, input: InputShape) -> Result<()> {
        let first = self.varied(&self.point(&vec![0.0; self.dimensions.len()]))?;
        Ok(first.validate_model(input)?)
    }

    /// The study as a TOML file: what was given, since a key that stands below another one, such as
    /// model.hidden.units, cannot be set where a default stands for the whole.
    pub fn to_toml(&self) -> Result<String> {
        let mut values = self.base.values().clone();
        if let Value::Table(table) = &mut values {
            self.say_what_decays(table);
            let search = Value::try_from(&self.search).context("the search cannot be written")?;
            table.insert("search".to_owned(), search);
        }
        toml::to_string(&values).context("the study cannot be written as TOML")
    }

    /// A key of the optimizer that a study's file of before did not have, and meant otherwise.
    fn say_what_decays(&self, table: &mut Table) {
        let of_all = self.base_values.get("optimizer");
        let decays = of_all.and_then(|optimizer| optimizer.get("decay_biases"));
        let (Some(of_all), Some(decays)) = (of_all, decays) else {
            return;
        };
        let optimizer = table.entry("optimizer").or_insert_with(|| of_all.clone());
        if let Value::Table(optimizer) = optimizer {
            optimizer.insert("decay_biases".to_owned(), decays.clone());
        }
    }

    /// What differs from another study so that they cannot be one.
    pub fn changes(&self, other: &Self) -> Result<Vec<Change>> {
        Ok(changed(&self.fixed()?, &other.fixed()?))
    }

    /// SHA-256 of what makes it this study.
    pub fn identity(&self) -> Result<String> {
        let lines = self.fixed()?.into_iter();
        let text: String = lines
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect();
        Ok(sha256_hex(text.as_bytes()))
    }

    fn varies_decay(&self) -> bool {
        let mut keys = self.dimensions.iter().flat_map(|dimension| &dimension.keys);
        keys.any(|key| key == "optimizer" || key == "optimizer.weight_decay")
    }

    /// What makes it this study: all but the name, the device, where the data lies, what is trained at the
    /// end, and for how long it searches.
    fn fixed(&self) -> Result<BTreeMap<String, String>> {
        let mut config = self.config.clone();
        let defaults = ExperimentConfig::default();
        config.name = defaults.name;
        config.data.source = defaults.data.source;
        config.train.device = defaults.train.device;
        config.train.evaluation_batch_size = defaults.train.evaluation_batch_size;
        config.train.epochs = defaults.train.epochs;
        config.report = defaults.report;
        config.checkpoint = defaults.checkpoint;
        if !self.varies_decay() {
            config.optimizer = config.optimizer.in_effect();
        }
        let mut values = flattened(&config)?;
        before::leave_out(&mut values);
        // It came later; a search asks for validation, which has no views.
        values.remove("evaluation.tta");
        let search = SearchConfig {
            trials: 0,
            iterations: 0,
            ..self.search.clone()
        };
        for (key, value) in flattened(&search)? {
            values.insert(format!("search.{key}"), value);
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests;
