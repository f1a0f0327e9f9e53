//! What files of before mean by a key that they do not have. The config of a run, of a checkpoint or of a
//! study that has begun was whole when weft wrote it; a recipe takes the defaults of today.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Value;

use super::ExperimentConfig;
use super::layers::{ConfigError, Layers};
use crate::run;
use crate::train::optimizer::OptimizerConfig;

/// Before there was this key, weight decay acted on all tensors.
const DECAY_BIASES: &str = "decay_biases";

/// Keys that came later, at the values of before: an identity leaves them out.
const OFF: [(&str, &str); 4] = [
    ("decay_biases", "true"),
    ("flip_mode", "\"random\""),
    ("head", "\"flatten\""),
    ("pool_first", "false"),
];

/// Leaves out of a config's text what configs of before did not have.
pub(super) fn without_new_keys(mut text: String) -> String {
    for (name, off) in [("ema_decay", "0.0")].into_iter().chain(OFF) {
        text = text.replace(&format!("\n{name} = {off}\n"), "\n");
    }
    text.replace("\n[evaluation]\ntta = \"none\"\n", "")
}

/// Leaves out of a study what studies of before did not have.
pub(crate) fn leave_out(values: &mut BTreeMap<String, String>) {
    let is_off = |key: &str, value: &str| {
        let name = key.rsplit('.').next();
        OFF.iter()
            .any(|&(off, was)| name == Some(off) && value == was)
    };
    values.retain(|key, value| !is_off(key, value));
}

/// Whether an `[optimizer]` is of a kind that had no such key, and has none.
fn says_nothing(optimizer: &Value) -> bool {
    let kind = optimizer.get("kind").and_then(Value::as_str);
    matches!(kind, Some("sgd" | "adam" | "adamw")) && optimizer.get(DECAY_BIASES).is_none()
}

/// Whether biases decay without a word about it.
fn decays_all(values: &Value) -> bool {
    values.get("optimizer").is_some_and(|optimizer| {
        let decay = match optimizer.get("weight_decay") {
            Some(Value::Integer(whole)) => *whole as f64,
            Some(Value::Float(decay)) => *decay,
            _ => 0.0,
        };
        says_nothing(optimizer) && decay > 0.0
    })
}

/// Adds to a run's config what it means. To be called before any override.
pub(super) fn complete(layers: &mut Layers, path: &Path) -> Result<(), ConfigError> {
    match run::is_config_of_run(path) && decays_all(layers.values()) {
        true => layers.imply("optimizer", DECAY_BIASES, Value::Boolean(true)),
        false => Ok(()),
    }
}

/// The same for a study, whose trials may decay where the file itself does not.
pub(crate) fn complete_study(layers: &mut Layers, path: &Path) -> Result<(), ConfigError> {
    if !run::is_file_of_study(path) {
        return Ok(());
    }
    let optimizer = layers.values().get("optimizer");
    if optimizer.is_none() {
        layers.imply("optimizer", "kind", Value::String("adam".to_owned()))?;
    } else if !optimizer.is_some_and(says_nothing) {
        return Ok(());
    }
    layers.imply("optimizer", DECAY_BIASES, Value::Boolean(true))
}

impl ExperimentConfig {
    /// Reads the config of a checkpoint.
    pub fn from_checkpoint(text: &str) -> Result<Self, toml::de::Error> {
        let mut config: Self = toml::from_str(text)?;
        if decays_all(&Value::Table(toml::from_str(text)?)) {
            match &mut config.optimizer {
                OptimizerConfig::Sgd(sgd) => sgd.decay_biases = true,
                OptimizerConfig::Adam(adam) | OptimizerConfig::AdamW(adam) => {
                    adam.decay_biases = true;
                }
                OptimizerConfig::Muon(_) => {} // it came later
            }
        }
        Ok(config)
    }
}
