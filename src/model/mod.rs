//! Architectures: each is one file, as config -> init(&device) -> forward. [`Classifier`] is the only
//! list of them.

pub mod cnn;
#[cfg(test)]
mod comparison;
mod features;
pub mod flops;
pub mod init;
pub mod kernel_path;
pub mod layers;
pub mod memory;
pub mod mlp;
pub mod resnet;
mod size;
pub mod softmax_regression;
pub mod summary;
mod units;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use cnn::{Cnn, CnnConfig};
use init::Initialization;
use mlp::{Mlp, MlpConfig};
use resnet::{Resnet, ResnetConfig};
use softmax_regression::{SoftmaxRegression, SoftmaxRegressionConfig};

/// What a model takes and gives, as the data says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputShape {
    /// Numbers of a pixel: 1 is grey, 3 are red, green and blue.
    pub channels: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Classes to tell apart.
    pub n_classes: usize,
}

impl InputShape {
    /// Numbers of an image, `channels * height * width`.
    pub fn n_values(&self) -> usize {
        let sides = [self.height, self.width];
        sides.into_iter().fold(self.channels, usize::saturating_mul)
    }
}

/// Whether a forward pass trains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Dropout is off.
    Inference,
    /// Dropout draws from this key, a function of (seed, epoch, step).
    Training {
        /// Key of the draws.
        key: u32,
    },
}

/// The `[model]` section: the architecture and its hyper-parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ModelConfig {
    /// One linear layer.
    SoftmaxRegression(SoftmaxRegressionConfig),
    /// Fully connected hidden layers.
    Mlp(MlpConfig),
    /// Convolution blocks, then fully connected layers.
    Cnn(CnnConfig),
    /// Residual network of pre-activation blocks.
    Resnet(ResnetConfig),
}

/// A model of any architecture.
#[derive(Module, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a process has a few of them; burn has no modules in boxes"
)]
pub enum Classifier {
    /// One linear layer.
    SoftmaxRegression(SoftmaxRegression),
    /// Fully connected hidden layers.
    Mlp(Mlp),
    /// Convolution blocks, then fully connected layers.
    Cnn(Cnn),
    /// Residual network of pre-activation blocks.
    Resnet(Resnet),
}

impl ModelConfig {
    /// Checks what the types cannot, for images of this shape. The error says which key (below
    /// `model`), its value, and why.
    pub fn validate(&self, input: InputShape) -> Result<(), InvalidModel> {
        match self {
            Self::SoftmaxRegression(config) => config.validate(input),
            Self::Mlp(config) => config.validate(input),
            Self::Cnn(config) => config.validate(input),
            Self::Resnet(config) => config.validate(input),
        }
    }

    /// What the layers need on a device, in the order of the forward pass. The config is valid.
    pub fn layers(&self, input: InputShape) -> Vec<memory::Layer> {
        match self {
            Self::SoftmaxRegression(config) => config.layers(input),
            Self::Mlp(config) => config.layers(input),
            Self::Cnn(config) => config.layers(input),
            Self::Resnet(config) => config.layers(input),
        }
    }

    /// Makes the model. The weights are a pure function of `seed`: the same on every device.
    pub fn init(&self, input: InputShape, seed: u64, device: &Device) -> Classifier {
        let mut init = Initialization::new(seed, device);
        match self {
            Self::SoftmaxRegression(config) => {
                Classifier::SoftmaxRegression(config.init(input, &mut init))
            }
            Self::Mlp(config) => Classifier::Mlp(config.init(input, &mut init)),
            Self::Cnn(config) => Classifier::Cnn(config.init(input, &mut init)),
            Self::Resnet(config) => Classifier::Resnet(config.init(input, &mut init)),
        }
    }

    /// One line for people, such as "cnn, 2 blocks".
    pub fn summary(&self) -> String {
        match self {
            Self::SoftmaxRegression(_) => "softmax regression".to_owned(),
            Self::Mlp(config) => format!("mlp, hidden layers {:?}", config.hidden),
            Self::Cnn(config) => {
                let plural = if config.blocks.len() == 1 { "" } else { "s" };
                format!("cnn, {} block{plural}", config.blocks.len())
            }
            Self::Resnet(config) => {
                let stages = config.stages.iter();
                let stages = stages.map(|stage| format!("{} x {}", stage.blocks, stage.filters));
                let stages = stages.collect::<Vec<_>>().join(", ");
                match stages.is_empty() {
                    true => "resnet without blocks".to_owned(),
                    false => format!("resnet, {stages}"),
                }
            }
        }
    }
}

impl Classifier {
    /// * `images`: `[batch, channel, height, width]`
    /// * returns logits: `[batch, class]`
    pub fn forward(&self, images: Tensor<4>, mode: Mode) -> Tensor<2> {
        match self {
            Self::SoftmaxRegression(model) => model.forward(images),
            Self::Mlp(model) => model.forward(images, mode),
            Self::Cnn(model) => model.forward(images, mode),
            Self::Resnet(model) => model.forward(images, mode),
        }
    }
}

/// A hyper-parameter that no model can be made of.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`model.{key}` is {value}, but {why}")]
pub struct InvalidModel {
    /// The key below `model`.
    pub key: String,
    /// Its value.
    pub value: String,
    /// What is wrong with it.
    pub why: String,
    /// What to do.
    pub fix: String,
}

impl InvalidModel {
    pub(crate) fn new(
        key: impl Into<String>,
        value: impl ToString,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            key: key.into(),
            value: value.to_string(),
            why: why.into(),
            fix: fix.into(),
        }
    }
}
