//! Carries a trained model elsewhere: a checkpoint becomes one file that needs nothing else.
//!
//! A checkpoint's model file -> `layers`, a plain sequence of operations -> a file per format. Each
//! takes pixels in [0, 1] and has the normalisation inside or beside it, and carries class names and
//! config. The same checkpoint gives the same bytes.

pub mod bpk;
mod layers;
pub mod onnx;
pub mod pytorch;
pub mod safetensors;

use anyhow::{Context, Result};

use crate::config::ExperimentConfig;
use crate::data::Statistics;
use crate::model::InputShape;
use crate::run::checkpoints::Checkpoint;
use crate::run::input::{Background, ModelInput};
use crate::train::checkpoint::weights_file;
use layers::Layer;

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For onnxruntime and most other runtimes
    Onnx,
    /// Weights with PyTorch's names; --print-loader prints the module that takes them
    Safetensors,
    /// burn's own, for Rust programs; see examples/classify.rs
    Bpk,
}

impl Format {
    /// Of the file name, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Onnx => "onnx",
            Self::Safetensors => "safetensors",
            Self::Bpk => "bpk",
        }
    }
}

/// A trained model, ready to be written in any format.
pub struct Exported {
    /// What the config calls the run.
    pub name: String,
    /// What it takes and gives.
    pub input: InputShape,
    /// Names of the classes, in the order of the logits.
    pub class_names: Vec<String>,
    /// Pixels become (pixel - mean) / deviation, for each channel; None leaves them as they are.
    pub normalization: Option<Vec<Statistics>>,
    /// Of the checkpoint.
    pub step: u64,
    /// What the training images have around their objects; None where that is not the same for all.
    background: Option<Background>,
    layers: Vec<Layer>,
    metadata: Vec<(&'static str, String)>,
    model_file: Vec<u8>,
}

impl Exported {
    /// Reads a checkpoint's weights. `about` is the run's input.json, `config` the checkpoint's.
    pub fn new(
        config: &ExperimentConfig,
        about: &ModelInput,
        checkpoint: &Checkpoint,
    ) -> Result<Self> {
        let file = weights_file(checkpoint);
        let bytes = checkpoint.file(file)?;
        let step = checkpoint.manifest.step;
        Self::at_step(config, about, bytes, step).with_context(|| {
            let file = checkpoint.folder.join(file);
            format!("{} does not fit its config", file.display())
        })
    }

    /// Takes the bytes of a model file, of whatever step.
    pub fn at_step(
        config: &ExperimentConfig,
        about: &ModelInput,
        model_file: &[u8],
        step: u64,
    ) -> Result<Self> {
        let input = InputShape {
            channels: about.channels,
            height: about.height,
            width: about.width,
            n_classes: about.class_names.len(),
        };
        let layers = layers::layers(&config.model, input, model_file)?;
        let mut exported = Self {
            name: config.name.clone(),
            input,
            class_names: about.class_names.clone(),
            normalization: normalization(about),
            step,
            background: about.background,
            layers,
            metadata: Vec::new(),
            model_file: model_file.to_vec(),
        };
        exported.metadata = exported.describe(config, &about.data_sha256)?;
        Ok(exported)
    }

    /// The bytes of a file in a format.
    pub fn to_bytes(&self, format: Format) -> Result<Vec<u8>> {
        match format {
            Format::Onnx => Ok(onnx::to_bytes(self)),
            Format::Safetensors => safetensors::to_bytes(self),
            Format::Bpk => bpk::to_bytes(self),
        }
    }

    /// One line for people.
    pub fn title(&self) -> String {
        let n_classes = self.input.n_classes;
        format!(
            "{} tells {n_classes} classes apart; trained by weft {}.",
            self.name,
            env!("CARGO_PKG_VERSION")
        )
    }

    /// What a caller feeds.
    pub fn input_text(&self) -> String {
        let InputShape {
            channels,
            height,
            width,
            ..
        } = self.input;
        let colors = if channels == 3 { "RGB" } else { "grey" };
        let normalized = match self.normalization {
            Some(_) => "; the model normalises them itself",
            None => "",
        };
        let looks = self.looks();
        format!(
            "float [batch, {channels}, {height}, {width}], {colors} pixels in [0, 1], {looks}{normalized}"
        )
    }

    /// What a picture must look like to be like the training images.
    fn looks(&self) -> String {
        let Some(background) = self.background else {
            return "the whole picture with its sides' ratio kept, black around it and white where it is \
                    transparent, as in training"
                .to_owned();
        };
        let contrast = match background.is_dark() {
            true => "light on dark",
            false => "dark on light",
        };
        format!(
            "the object cut out, centred and {contrast} as in the training images (`weft predict --explain` \
             shows it)"
        )
    }

    /// What a loader that cuts nothing out puts around a picture, 0 to 255.
    fn around(&self) -> u8 {
        self.background.map_or(0, |background| background.value)
    }

    /// Numbers that the model learned, running statistics included.
    pub fn n_parameters(&self) -> usize {
        let weights = layers::flat(&self.layers).into_iter();
        let weights = weights.flat_map(Layer::weights);
        weights.map(|(_, weights)| weights.values.len()).sum()
    }

    /// What every format carries, in text.
    fn describe(
        &self,
        config: &ExperimentConfig,
        data_sha256: &str,
    ) -> Result<Vec<(&'static str, String)>> {
        let InputShape {
            channels,
            height,
            width,
            ..
        } = self.input;
        Ok(vec![
            ("class_names", serde_json::to_string(&self.class_names)?),
            ("input", self.input_text()),
            ("input_shape", format!("[{channels}, {height}, {width}]")),
            ("around", self.around().to_string()),
            ("normalization", serde_json::to_string(&self.normalization)?),
            ("weft_version", env!("CARGO_PKG_VERSION").to_owned()),
            ("weft_config", portable(config)?),
            ("checkpoint_step", self.step.to_string()),
            ("data_sha256", data_sha256.to_owned()),
        ])
    }
}

/// What each channel is normalised with. None where that would change nothing.
fn normalization(about: &ModelInput) -> Option<Vec<Statistics>> {
    let of_channel = |channel: usize| {
        // One number may stand for all channels.
        let number = |numbers: &[f64]| numbers[channel.min(numbers.len() - 1)];
        Statistics {
            mean: number(&about.mean),
            deviation: number(&about.deviation),
        }
    };
    let channels: Vec<Statistics> = (0..about.channels).map(of_channel).collect();
    let changes = |it: &Statistics| it.mean != 0.0 || it.deviation != 1.0;
    channels.iter().any(changes).then_some(channels)
}

/// The config without what only holds on this machine: where the data lies, and the device.
fn portable(config: &ExperimentConfig) -> Result<String> {
    let mut table =
        toml::Table::try_from(config).context("the config cannot be written as TOML")?;
    for (section, key) in [("data", "source"), ("train", "device")] {
        if let Some(toml::Value::Table(section)) = table.get_mut(section) {
            section.remove(key);
        }
    }
    Ok(toml::to_string(&table)?)
}
