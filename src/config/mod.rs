//! The experiment: one TOML file. The sections are defined where they are used.

pub(crate) mod before;
pub mod layers;
pub mod recipes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::data::{AugmentationConfig, DataConfig, FlipMode};
use crate::device::DeviceChoice;
use crate::evaluate::tta::EvaluationConfig;
use crate::model::layers::{IS_FRACTION, is_fraction};
use crate::model::{InputShape, ModelConfig, cnn::CnnConfig};
use crate::report::ReportConfig;
use crate::run::records::Change;
use crate::run::{self, checkpoints::sha256_hex};
use crate::train::TrainConfig;
use crate::train::checkpoint::CheckpointConfig;
use crate::train::early_stopping::EarlyStoppingConfig;
use crate::train::optimizer::{MuonConfig, OptimizerConfig};
use crate::train::schedule::ScheduleConfig;
use layers::{ConfigError, Layers};

/// The recipe that `weft train` runs when it is given none.
pub const QUICKSTART: &str = include_str!("../../configs/quickstart.toml");

/// Everything that defines an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExperimentConfig {
    /// Name of the run folder.
    pub name: String,
    /// Seed of the split, the weights, the order, augmentation and dropout.
    pub seed: u64,
    /// The images.
    pub data: DataConfig,
    /// Random changes of the training images.
    pub augmentation: AugmentationConfig,
    /// The architecture.
    pub model: ModelConfig,
    /// How weights are updated.
    pub optimizer: OptimizerConfig,
    /// How the learning rate evolves.
    pub schedule: ScheduleConfig,
    /// Epochs, batches, loss, device.
    pub train: TrainConfig,
    /// When to stop, and which epoch is the result.
    pub early_stopping: EarlyStoppingConfig,
    /// How the trained model is asked.
    pub evaluation: EvaluationConfig,
    /// When to save.
    pub checkpoint: CheckpointConfig,
    /// What is drawn and written for people.
    pub report: ReportConfig,
}

impl Default for ExperimentConfig {
    fn default() -> Self {
        Self {
            name: "experiment".to_owned(),
            seed: 1,
            data: DataConfig::default(),
            augmentation: AugmentationConfig::default(),
            model: ModelConfig::Cnn(CnnConfig::default()),
            optimizer: OptimizerConfig::default(),
            schedule: ScheduleConfig::default(),
            train: TrainConfig::default(),
            early_stopping: EarlyStoppingConfig::default(),
            evaluation: EvaluationConfig::default(),
            checkpoint: CheckpointConfig::default(),
            report: ReportConfig::default(),
        }
    }
}

/// A config and where its keys came from, so that later errors can name the line.
pub struct Loaded {
    /// The experiment.
    pub config: ExperimentConfig,
    layers: Layers,
}

impl Loaded {
    /// Reads a file, a recipe by its name or the quickstart, applies `--set` assignments, and checks the values.
    pub fn new(path: Option<&Path>, assignments: &[String]) -> Result<Self> {
        let mut layers = match path {
            None => Layers::parse("built-in quickstart", QUICKSTART)?,
            Some(path) => recipes::read(path)?,
        };
        if let Some(path) = path {
            before::complete(&mut layers, path)?;
        }
        if let Some(file) = path.filter(|_| layers.values().get("search").is_some()) {
            let file = file.display();
            anyhow::bail!(
                "{}: a config with a [search] section is a study\nhint: `weft tune {file}` searches it",
                layers.origin("search")
            );
        }
        for assignment in assignments {
            layers.set(assignment)?;
        }
        Ok(Self::from_layers(layers)?)
    }

    /// Types and checks what was given.
    pub fn from_layers(layers: Layers) -> Result<Self, ConfigError> {
        let config: ExperimentConfig = layers.deserialize()?;
        let loaded = Self { config, layers };
        loaded.validate()?;
        Ok(loaded)
    }

    /// A config that was made, not read; its errors name its keys alone.
    pub fn from_config(config: ExperimentConfig) -> Result<Self> {
        Ok(Self::from_layers(Layers::parse(
            "the config",
            &config.to_toml()?,
        )?)?)
    }

    /// Checks the model against the images that it is to be trained on.
    pub fn validate_model(&self, input: InputShape) -> Result<(), ConfigError> {
        self.config.model.validate(input).map_err(|error| {
            let key = format!("model.{}", error.key);
            let origin = self.layers.origin(&key);
            ConfigError::invalid(&origin, &key, error.value, &error.why, &error.fix)
        })
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let config = &self.config;
        let checks = Checks(self);
        checks.name(&config.name)?;
        let part = "it must be at least 0 and below 1";
        let fraction = config.data.validation_fraction;
        checks.that(
            (0.0..1.0).contains(&fraction),
            "data.validation_fraction",
            fraction,
            part,
            "0.2 keeps a fifth of the training images",
        )?;
        checks.image_folder(&config.data)?;
        checks.augmentation(&config.augmentation)?;
        checks.train(&config.train)?;
        checks.optimizer(&config.optimizer)?;
        checks.schedule(&config.schedule)?;
        let patience = config.early_stopping.patience;
        checks.that(
            fraction > 0.0 || patience == 0,
            "early_stopping.patience",
            patience,
            "without a validation split there is nothing to watch",
            "set early_stopping.patience = 0, or data.validation_fraction above 0",
        )?;
        let min_delta = config.early_stopping.min_delta;
        checks.not_negative("early_stopping.min_delta", min_delta)?;
        let every = config.checkpoint.every_minutes;
        checks.not_negative("checkpoint.every_minutes", every)?;
        let every = config.report.every_minutes;
        checks.not_negative("report.every_minutes", every)
    }
}

/// One-line checks that name the key, its value and its origin.
struct Checks<'a>(&'a Loaded);

impl Checks<'_> {
    fn that(
        &self,
        holds: bool,
        key: &str,
        value: impl std::fmt::Display,
        why: &str,
        fix: &str,
    ) -> Result<(), ConfigError> {
        if holds {
            return Ok(());
        }
        let origin = self.0.layers.origin(key);
        Err(ConfigError::invalid(&origin, key, value, why, fix))
    }

    fn name(&self, name: &str) -> Result<(), ConfigError> {
        let fault = run::fault_of_name(name);
        let (value, why) = (format!("\"{name}\""), fault.unwrap_or_default());
        let fix = "it names the run's folder: use letters, digits, - and _";
        self.that(fault.is_none(), "name", value, why, fix)
    }

    fn probability(&self, key: &str, value: f64) -> Result<(), ConfigError> {
        let holds = (0.0..=1.0).contains(&value);
        self.that(
            holds,
            key,
            shown(value),
            "it must be from 0 to 1",
            "0.5 is every second image",
        )
    }

    fn positive(&self, key: &str, value: f64) -> Result<(), ConfigError> {
        // What is computed with is an f32, and a device may take a smaller one for 0.
        let holds = (f32::MIN_POSITIVE..=f32::MAX).contains(&(value as f32));
        let why = match value > 0.0 {
            true => "it must be from 1.2e-38 to 3.4e38, as 32-bit floats are",
            false => "it must be above 0",
        };
        self.that(holds, key, shown(value), why, "use a positive number")
    }

    fn not_negative(&self, key: &str, value: f64) -> Result<(), ConfigError> {
        let holds = value >= 0.0 && (value as f32).is_finite();
        let why = match value > 0.0 {
            true => "it must be at most 3.4e38, as 32-bit floats are",
            false => "it must not be negative",
        };
        self.that(holds, key, shown(value), why, "0.0 switches it off")
    }

    fn fraction(&self, key: &str, value: f64) -> Result<(), ConfigError> {
        let holds = is_fraction(value);
        self.that(holds, key, shown(value), IS_FRACTION, "0.0 switches it off")
    }

    fn image_folder(&self, config: &DataConfig) -> Result<(), ConfigError> {
        self.that(
            config.size.is_usable(),
            "data.size",
            config.size,
            "sides go from 1 to 1024 pixels",
            "use a side such as 64, or [height, width], or \"auto\"",
        )?;
        let fraction = config.test_fraction;
        self.that(
            fraction > 0.0 && fraction < 1.0,
            "data.test_fraction",
            fraction,
            "it must be above 0 and below 1",
            "0.1 sets a tenth of the images aside",
        )
    }

    fn augmentation(&self, config: &AugmentationConfig) -> Result<(), ConfigError> {
        self.probability("augmentation.flip", config.flip)?;
        self.that(
            config.flip > 0.0 || config.flip_mode == FlipMode::Random,
            "augmentation.flip",
            shown(config.flip),
            "with flip_mode = \"alternating\" it is the part of the images that the first epoch flips, and \
             the second one would flip all",
            "0.5 flips half of them, or set augmentation.flip_mode = \"random\"",
        )?;
        self.probability("augmentation.erase", config.erase)?;
        self.that(
            config.shift <= 1024,
            "augmentation.shift",
            config.shift,
            "it must be at most 1024 pixels",
            "2 is common for images of 28 pixels",
        )?;
        let (min, max) = (config.erase_min, config.erase_max);
        self.that(
            config.erase == 0.0 || (1..=max).contains(&min) && max <= 1024,
            "augmentation.erase_min",
            min,
            "the sides of the erased rectangle must go from at least 1 up to erase_max",
            "erase_min = 4 and erase_max = 12 suit images of 28 pixels",
        )
    }

    fn train(&self, config: &TrainConfig) -> Result<(), ConfigError> {
        let at_least_one = "it must be at least 1";
        let fix = "use a positive whole number";
        let epochs = config.epochs;
        self.that(epochs > 0, "train.epochs", epochs, at_least_one, fix)?;
        for (key, size) in [
            ("train.batch_size", config.batch_size),
            ("train.evaluation_batch_size", config.evaluation_batch_size),
        ] {
            self.that(size > 0, key, size, at_least_one, fix)?;
        }
        self.fraction("train.label_smoothing", config.label_smoothing)?;
        self.not_negative("train.clip_norm", config.clip_norm)?;
        self.fraction("train.ema_decay", config.ema_decay)?;
        self.that(
            config.device.parse::<DeviceChoice>().is_ok(),
            "train.device",
            format!("\"{}\"", config.device),
            "that is no device",
            "use auto, gpu, gpu:INDEX, gpu:NAME-PART, cpu or ndarray",
        )
    }

    fn optimizer(&self, config: &OptimizerConfig) -> Result<(), ConfigError> {
        self.positive("optimizer.learning_rate", config.learning_rate())?;
        match config {
            OptimizerConfig::Sgd(sgd) => {
                self.fraction("optimizer.momentum", sgd.momentum)?;
                self.not_negative("optimizer.weight_decay", sgd.weight_decay)?;
                self.nesterov(sgd.nesterov, sgd.momentum)
            }
            OptimizerConfig::Adam(adam) | OptimizerConfig::AdamW(adam) => {
                self.fraction("optimizer.beta_1", adam.beta_1)?;
                self.fraction("optimizer.beta_2", adam.beta_2)?;
                self.positive("optimizer.epsilon", adam.epsilon)?;
                self.not_negative("optimizer.weight_decay", adam.weight_decay)
            }
            OptimizerConfig::Muon(muon) => self.muon(muon),
        }
    }

    fn muon(&self, muon: &MuonConfig) -> Result<(), ConfigError> {
        self.fraction("optimizer.momentum", muon.momentum)?;
        self.nesterov(muon.nesterov, muon.momentum)?;
        self.not_negative("optimizer.weight_decay", muon.weight_decay)?;
        self.positive("optimizer.adam_learning_rate", muon.adam_learning_rate)?;
        self.fraction("optimizer.beta_1", muon.beta_1)?;
        self.fraction("optimizer.beta_2", muon.beta_2)?;
        self.positive("optimizer.epsilon", muon.epsilon)?;
        let has_hidden = match &self.0.config.model {
            ModelConfig::SoftmaxRegression(_) => false,
            ModelConfig::Mlp(mlp) => !mlp.hidden.is_empty(),
            ModelConfig::Cnn(cnn) => !(cnn.blocks.is_empty() && cnn.dense.is_empty()),
            ModelConfig::Resnet(_) => true, // the stem
        };
        self.that(
            has_hidden,
            "optimizer.kind",
            "\"muon\"",
            "it is for hidden layers, and the model has none",
            "use \"adamw\", or a model with hidden layers",
        )
    }

    fn nesterov(&self, nesterov: bool, momentum: f64) -> Result<(), ConfigError> {
        self.that(
            !nesterov || momentum > 0.0,
            "optimizer.nesterov",
            nesterov,
            "Nesterov's form needs momentum",
            "set optimizer.momentum = 0.9",
        )
    }

    fn schedule(&self, config: &ScheduleConfig) -> Result<(), ConfigError> {
        match config {
            ScheduleConfig::Constant(_) => Ok(()),
            ScheduleConfig::Cosine(cosine) => {
                self.not_negative("schedule.warmup_epochs", cosine.warmup_epochs)?;
                self.probability("schedule.final_fraction", cosine.final_fraction)
            }
            ScheduleConfig::OneCycle(cycle) => {
                self.fraction("schedule.warmup_fraction", cycle.warmup_fraction)?;
                self.probability("schedule.initial_fraction", cycle.initial_fraction)?;
                self.probability("schedule.final_fraction", cycle.final_fraction)
            }
            ScheduleConfig::ReduceOnPlateau(plateau) => {
                self.positive("schedule.factor", plateau.factor)?;
                self.fraction("schedule.factor", plateau.factor)?;
                let floor = plateau.minimum_learning_rate;
                self.not_negative("schedule.minimum_learning_rate", floor)?;
                self.that(
                    self.0.config.data.validation_fraction > 0.0,
                    "schedule.kind",
                    "\"reduce_on_plateau\"",
                    "without a validation split there is nothing to watch",
                    "set data.validation_fraction above 0, or use another schedule",
                )
            }
        }
    }
}

/// A number without the hundreds of zeros that very large and very small ones are written with.
fn shown(value: f64) -> String {
    match value == 0.0 || (1e-5..1e9).contains(&value.abs()) {
        true => value.to_string(),
        false => format!("{value:?}"),
    }
}

impl ExperimentConfig {
    /// The whole config as TOML, every key given.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).context("the config cannot be written as TOML")
    }

    /// SHA-256 of what fixes the weights: see `fixed`.
    pub fn identity(&self) -> Result<String> {
        // A key that came later is left out where it is off: checkpoints of before keep their identity.
        let text = before::without_new_keys(self.fixed().to_toml()?);
        Ok(sha256_hex(text.as_bytes()))
    }

    /// The keys whose values differ, from `self` to `other`. First those that fix the weights, then
    /// those that may change during a run, but for the name, the device and where the data lies.
    pub fn changes(&self, other: &Self) -> Result<(Vec<Change>, Vec<Change>)> {
        let fixed = differences(&self.fixed(), &other.fixed())?;
        let without_place = |config: &Self| {
            let mut config = config.clone();
            let defaults = Self::default();
            config.name = defaults.name;
            config.data.source = defaults.data.source;
            config.train.device = defaults.train.device;
            config
        };
        let mut free = differences(&without_place(self), &without_place(other))?;
        free.retain(|change| !fixed.contains(change));
        Ok((fixed, free))
    }

    /// What fixes the weights: everything but the name, the device, the evaluation batch size, the
    /// number of epochs, when to stop (but for what is watched), how the trained model is asked, when to save,
    /// what to do on divergence, what is reported, and where the data lies (its content has a checksum of its own). These have their defaults here.
    fn fixed(&self) -> Self {
        let defaults = Self::default();
        Self {
            name: defaults.name,
            data: DataConfig {
                source: defaults.data.source,
                // Which images there are then is told by their checksum.
                skip_bad: defaults.data.skip_bad,
                ..self.data.clone()
            },
            optimizer: self.optimizer.clone().in_effect(),
            train: TrainConfig {
                epochs: defaults.train.epochs,
                evaluation_batch_size: defaults.train.evaluation_batch_size,
                device: defaults.train.device,
                on_divergence: defaults.train.on_divergence,
                ..self.train.clone()
            },
            // What makes an epoch the best: losses and accuracies do not compare.
            early_stopping: EarlyStoppingConfig {
                monitor: self.early_stopping.monitor,
                ..defaults.early_stopping
            },
            evaluation: defaults.evaluation,
            checkpoint: defaults.checkpoint,
            report: defaults.report,
            ..self.clone()
        }
    }
}

fn differences(from: &ExperimentConfig, to: &ExperimentConfig) -> Result<Vec<Change>> {
    Ok(changed(&from.values()?, &to.values()?))
}

/// The keys whose values differ, of values by their dotted keys.
pub(crate) fn changed(
    from: &BTreeMap<String, String>,
    to: &BTreeMap<String, String>,
) -> Vec<Change> {
    let keys: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let differing = keys.into_iter().filter(|&key| from.get(key) != to.get(key));
    let change = |key: &String| Change {
        key: key.clone(),
        from: from.get(key).cloned(),
        to: to.get(key).cloned(),
    };
    differing.map(change).collect()
}

/// Every value of a config by its dotted key, as TOML.
pub(crate) fn flattened(config: &impl Serialize) -> Result<BTreeMap<String, String>> {
    let value = toml::Value::try_from(config).context("the config cannot be written as TOML")?;
    let mut values = BTreeMap::new();
    flatten(&value, String::new(), &mut values);
    Ok(values)
}

/// The values below `value`, whose own key is `key`.
fn flatten(value: &toml::Value, key: String, into: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                let dot = if key.is_empty() { "" } else { "." };
                flatten(value, format!("{key}{dot}{name}"), into);
            }
        }
        toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
            for (index, item) in items.iter().enumerate() {
                flatten(item, format!("{key}[{index}]"), into);
            }
        }
        value => {
            into.insert(key, value.to_string());
        }
    }
}

impl ExperimentConfig {
    /// Every value by its dotted key, as TOML.
    pub(crate) fn values(&self) -> Result<BTreeMap<String, String>> {
        flattened(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::tta::Tta;

    #[test]
    fn a_key_that_is_off_leaves_the_identity_of_before() {
        let before = "2f30748315430c6a6b9ba52a87ecf2c499cdfae1264c4890cb69f354cc9761c6";
        let mut config = ExperimentConfig::default();
        assert_eq!(config.identity().unwrap(), before);
        config.train.ema_decay = 0.5;
        assert_ne!(config.identity().unwrap(), before);
        // What a weft that knew no decay_biases gave: it acted on all tensors.
        let before = "895d5765fa74e2ee1558afc5de0be80e15b1c63fe8bb1ac878e0aa52910bd4e6";
        let mut config = ExperimentConfig::default();
        let adam = crate::train::optimizer::AdamConfig {
            weight_decay: 0.01,
            decay_biases: true,
            ..Default::default()
        };
        config.optimizer = OptimizerConfig::AdamW(adam.clone());
        assert_eq!(config.identity().unwrap(), before);
        config.optimizer = OptimizerConfig::AdamW(crate::train::optimizer::AdamConfig {
            decay_biases: false,
            ..adam
        });
        assert_ne!(config.identity().unwrap(), before);
        for on in [
            "head = 'average_pool'",
            "blocks = [{ pool_first = true }, {}]",
        ] {
            let config: ExperimentConfig =
                toml::from_str(&format!("[model]\nkind = 'cnn'\n{on}")).unwrap();
            assert_ne!(config.identity().unwrap(), before, "{on}");
        }
    }

    #[test]
    fn changes_are_told_apart_by_what_they_do() {
        let before = ExperimentConfig::default();
        let mut after = before.clone();
        assert_eq!(before.changes(&after).unwrap(), (vec![], vec![]));
        after.name = "other".to_owned();
        after.train.device = "cpu".to_owned();
        after.data.source = "sample".to_owned();
        assert_eq!(before.changes(&after).unwrap(), (vec![], vec![]));
        after.train.epochs = 99;
        after.early_stopping.patience = 1;
        after.checkpoint.every_minutes = 1.0;
        after.report.every_minutes = 5.0;
        after.evaluation.tta = Tta::Flip;
        assert_eq!(before.identity().unwrap(), after.identity().unwrap());
        let ModelConfig::Cnn(cnn) = &mut after.model else {
            unreachable!()
        };
        cnn.blocks[1].filters = 7;
        cnn.blocks.truncate(2);
        after.seed = 2;
        after.train.ema_decay = 0.5;
        assert_ne!(before.identity().unwrap(), after.identity().unwrap());
        let (fixed, free) = before.changes(&after).unwrap();
        let fixed: Vec<String> = fixed.iter().map(Change::to_string).collect();
        let expected = [
            "model.blocks[1].filters: 32 -> 7",
            "seed: 1 -> 2",
            "train.ema_decay: 0.0 -> 0.5",
        ];
        assert_eq!(fixed, expected);
        let free: Vec<&str> = free.iter().map(|change| change.key.as_str()).collect();
        let expected = [
            "checkpoint.every_minutes",
            "early_stopping.patience",
            "evaluation.tta",
            "report.every_minutes",
            "train.epochs",
        ];
        assert_eq!(free, expected);
    }
}
