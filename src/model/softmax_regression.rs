//! Softmax regression: one linear layer on the pixels.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::init::{Initialization, Initializer};
use super::layers::dense;
use super::memory::Layer;
use super::size::{LayerSize, check_weights};
use super::{InputShape, InvalidModel};

/// Hyper-parameters of softmax regression.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SoftmaxRegressionConfig {
    /// How the weights are drawn.
    pub initializer: Initializer,
}

/// One linear layer.
#[derive(Module, Debug)]
pub struct SoftmaxRegression {
    output: Linear,
}

impl SoftmaxRegressionConfig {
    pub(super) fn validate(&self, input: InputShape) -> Result<(), InvalidModel> {
        let sides = [input.n_values(), input.n_classes];
        let kind = "\"softmax_regression\"";
        check_weights(&[LayerSize::new("kind", kind, &sides)])
    }

    pub(super) fn init(&self, input: InputShape, init: &mut Initialization) -> SoftmaxRegression {
        SoftmaxRegression {
            output: init.linear(input.n_values(), input.n_classes, self.initializer),
        }
    }
}

impl SoftmaxRegressionConfig {
    pub(super) fn layers(&self, input: InputShape) -> Vec<Layer> {
        let output = Layer::linear("the model", input.n_values(), input.n_classes, 1);
        vec![Layer::images(input.n_values()), output]
    }
}

impl SoftmaxRegression {
    /// `[batch, channel, height, width]` -> logits `[batch, class]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        dense(&self.output, images.flatten(1, 3), None, || None)
    }
}
