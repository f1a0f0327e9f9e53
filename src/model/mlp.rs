//! Multi-layer perceptron: fully connected hidden layers on the pixels.

use burn::module::Module;
use burn::nn::{BatchNorm, Linear};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::features::normalized_units;
use super::init::{Initialization, Initializer};
use super::layers::{Activation, check_dropout, check_positive, dense, dropout, dropout_spec};
use super::memory::Layer;
use super::size::{LayerSize, check_depth, check_weights};
use super::units::units;
use super::{InputShape, InvalidModel, Mode};

/// Hyper-parameters of an MLP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlpConfig {
    /// Units of each hidden layer: a list, or `{ layers = 2, units = 512 }`.
    #[serde(deserialize_with = "units")]
    pub hidden: Vec<usize>,
    /// Nonlinearity after each hidden layer.
    pub activation: Activation,
    /// Probability of dropping a unit after each hidden layer.
    pub dropout: f64,
    /// Batch normalisation before each nonlinearity.
    pub batch_norm: bool,
    /// How the weights are drawn.
    pub initializer: Initializer,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self {
            hidden: vec![512, 512],
            activation: Activation::Relu,
            dropout: 0.0,
            batch_norm: false,
            initializer: Initializer::HeUniform,
        }
    }
}

/// Fully connected hidden layers and a linear output.
#[derive(Module, Debug)]
pub struct Mlp {
    hidden: Vec<Linear>,
    norms: Vec<BatchNorm>,
    output: Linear,
    #[module(skip)]
    activation: Activation,
    dropout: f64,
}

impl MlpConfig {
    pub(super) fn validate(&self, input: InputShape) -> Result<(), InvalidModel> {
        check_depth("hidden", self.hidden.len())?;
        for (layer, &units) in self.hidden.iter().enumerate() {
            check_positive(&format!("hidden[{layer}]"), units)?;
        }
        check_dropout("dropout", self.dropout)?;

        let (mut sizes, mut n_inputs) = (Vec::new(), input.n_values());
        let mut last = ("hidden".to_owned(), "[]".to_owned());
        for (layer, &units) in self.hidden.iter().enumerate() {
            last = (format!("hidden[{layer}]"), units.to_string());
            sizes.push(LayerSize::new(&last.0, units, &[n_inputs, units]));
            n_inputs = units;
        }
        sizes.push(LayerSize::new(last.0, last.1, &[n_inputs, input.n_classes]));
        check_weights(&sizes)
    }

    pub(super) fn init(&self, input: InputShape, init: &mut Initialization) -> Mlp {
        let mut n_inputs = input.n_values();
        let mut hidden = Vec::new();
        let mut norms = Vec::new();
        for &units in &self.hidden {
            hidden.push(init.linear(n_inputs, units, self.initializer));
            if self.batch_norm {
                norms.push(init.batch_norm(units));
            }
            n_inputs = units;
        }
        Mlp {
            hidden,
            norms,
            output: init.linear(n_inputs, input.n_classes, self.initializer),
            activation: self.activation,
            dropout: self.dropout,
        }
    }
}

impl MlpConfig {
    pub(super) fn layers(&self, input: InputShape) -> Vec<Layer> {
        let mut n_inputs = input.n_values();
        let mut layers = vec![Layer::images(n_inputs)];
        // Each step after the product keeps its output; dropout keeps its mask.
        let n_kept = 1 + u64::from(self.batch_norm) + u64::from(self.dropout > 0.0);
        for (index, &units) in self.hidden.iter().enumerate() {
            let key = format!("model.hidden[{index}]");
            let mut layer = Layer::linear(&key, n_inputs, units, n_kept);
            if self.batch_norm {
                layer.parameters = layer.parameters.saturating_add(4 * units as u64);
            }
            layers.push(layer);
            n_inputs = units;
        }
        layers.push(Layer::linear("the model", n_inputs, input.n_classes, 1));
        layers
    }
}

impl Mlp {
    /// `[batch, channel, height, width]` -> logits `[batch, class]`
    pub fn forward(&self, images: Tensor<4>, mode: Mode) -> Tensor<2> {
        let mut x: Tensor<2> = images.flatten(1, 3);
        for (index, layer) in self.hidden.iter().enumerate() {
            if let Some(norm) = self.norms.get(index) {
                x = normalized_units(norm, dense(layer, x, None, || None), self.activation);
                x = dropout(x, self.dropout, index, mode);
            } else {
                let dropout = || dropout_spec(self.dropout, index, mode);
                x = dense(layer, x, Some(self.activation), dropout);
            }
        }
        dense(&self.output, x, None, || None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_as_large_as_the_tensors_of_a_forward_pass() {
        let device = crate::device::host();
        let input = InputShape {
            channels: 3,
            height: 5,
            width: 4,
            n_classes: 3,
        };
        let config = MlpConfig {
            hidden: vec![7, 6],
            batch_norm: true,
            ..Default::default()
        };
        let layers = config.layers(input);
        let model = config.init(input, &mut Initialization::new(1, &device));
        let parameters: u64 = layers.iter().map(|layer| layer.parameters).sum();
        assert_eq!(parameters, model.num_params() as u64);
        let mut x = Tensor::<2>::zeros([2, 60], &device);
        let all = model.hidden.iter().chain([&model.output]);
        for (layer, linear) in layers[1..].iter().zip(all) {
            x = linear.forward(x);
            assert_eq!(layer.output * 2, x.shape().num_elements() as u64);
            assert_eq!(layer.weight, linear.weight.shape().num_elements() as u64);
        }
        assert_eq!(layers.len(), 4);
    }

    #[test]
    fn a_training_step_is_that_of_burns_operations() {
        let input = InputShape {
            channels: 3,
            height: 5,
            width: 4,
            n_classes: 3,
        };
        let composed = |model: &Mlp, images: Tensor<4>, mode| {
            let mut x: Tensor<2> = images.flatten(1, 3);
            for (index, layer) in model.hidden.iter().enumerate() {
                x = layer.forward(x);
                if let Some(norm) = model.norms.get(index) {
                    x = norm.forward(x);
                }
                x = dropout(model.activation.forward(x), model.dropout, index, mode);
            }
            model.output.forward(x)
        };
        for batch_norm in [true, false] {
            for activation in ["relu", "tanh", "selu", "gelu"] {
                let toml = format!(
                    "hidden = [7, 6]\nactivation = '{activation}'\nbatch_norm = {batch_norm}\ndropout = 0.3"
                );
                let config: MlpConfig = toml::from_str(&toml).unwrap();
                super::super::comparison::agree(
                    if batch_norm { 2 } else { 0 },
                    input,
                    |device| config.init(input, &mut Initialization::new(1, device)),
                    Mlp::forward,
                    composed,
                );
            }
        }
    }
}
