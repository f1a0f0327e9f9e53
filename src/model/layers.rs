//! What several architectures share: activations, padding, dropout.

use burn::nn::{Linear, PaddingConfig2d};
use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

use super::{InvalidModel, Mode};
use crate::kernels::{self, DropoutSpec, conv_block};

/// The nonlinearity between layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(0, x)
    #[default]
    Relu,
    /// Hyperbolic tangent.
    Tanh,
    /// Scaled exponential linear unit (Klambauer et al., 2017).
    Selu,
    /// Gaussian error linear unit (Hendrycks and Gimpel, 2016), the exact form.
    Gelu,
}

impl Activation {
    /// As a config has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Tanh => "tanh",
            Self::Selu => "selu",
            Self::Gelu => "gelu",
        }
    }

    /// As the kernel for a convolution block has it, if it does: it pools before the nonlinearity,
    /// which is the same for what never falls.
    pub(super) fn in_block(self) -> Option<conv_block::Activation> {
        match self {
            Self::Relu => Some(conv_block::Activation::Relu),
            Self::Tanh => Some(conv_block::Activation::Tanh),
            Self::Selu => Some(conv_block::Activation::Selu),
            Self::Gelu => None,
        }
    }

    /// Applies it element by element.
    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Relu => activation::relu(x),
            Self::Tanh => activation::tanh(x),
            Self::Selu => selu(x),
            Self::Gelu => activation::gelu(x),
        }
    }
}

/// The paper's constants of SELU.
pub(crate) const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
pub(crate) const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

/// scale * (max(0, x) + alpha * (exp(min(0, x)) - 1))
fn selu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let negative = x.clone().clamp_max(0.0).exp().sub_scalar(1.0);
    (activation::relu(x) + negative.mul_scalar(SELU_ALPHA)).mul_scalar(SELU_SCALE)
}

/// What a convolution does at the border.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// Zeros around the image: the output is as large as the input.
    #[default]
    Same,
    /// No padding: the output is smaller by kernel - 1.
    Valid,
}

impl Padding {
    pub(super) fn for_burn(self) -> PaddingConfig2d {
        match self {
            Self::Same => PaddingConfig2d::Same,
            Self::Valid => PaddingConfig2d::Valid,
        }
    }

    /// Zeros on each side of an image; the kernel of "same" is odd.
    pub(crate) fn zeros(self, kernel: usize) -> usize {
        match self {
            Self::Same => kernel / 2,
            Self::Valid => 0,
        }
    }

    /// Length of a side after a convolution, if any is left.
    pub(super) fn output_side(self, side: usize, kernel: usize) -> Option<usize> {
        match self {
            Self::Same => Some(side),
            Self::Valid => (side + 1).checked_sub(kernel).filter(|&side| side > 0),
        }
    }
}

/// A fully connected layer: `[batch, input]` -> `[batch, unit]`, through its activation (none for an
/// output layer) and dropout. One kernel where the device has it.
pub(super) fn dense(
    layer: &Linear,
    x: Tensor<2>,
    activation: Option<Activation>,
    dropout: impl FnOnce() -> Option<DropoutSpec>,
) -> Tensor<2> {
    let in_kernel = match activation {
        None => Some(conv_block::Activation::Identity),
        Some(activation) => activation.in_block(),
    };
    let bias = layer.bias.as_ref().map(|bias| bias.val());
    if let (Some(in_kernel), Some(bias)) = (in_kernel, bias) {
        let ([batch, inputs], [_, outputs]) = (x.dims(), layer.weight.dims());
        let spec = kernels::dense::Spec {
            batch,
            inputs,
            outputs,
            activation: in_kernel,
            dropout: None,
            input_grad: true,
        };
        if kernels::dense::runs_on(&spec, &x.device()) {
            let dropout = dropout().map(conv_block::dropout_of);
            let spec = kernels::dense::Spec { dropout, ..spec };
            return kernels::dense::dense(x, layer.weight.val(), bias, spec);
        }
    }
    let x = layer.forward(x);
    let x = match activation {
        None => x,
        Some(activation) => activation.forward(x),
    };
    match dropout() {
        Some(spec) => kernels::dropout(x, spec),
        None => x,
    }
}

/// Inverted dropout in training, nothing in inference. `layer` tells the layers of a model apart.
pub(super) fn dropout<const D: usize>(
    x: Tensor<D>,
    probability: f64,
    layer: usize,
    mode: Mode,
) -> Tensor<D> {
    match dropout_spec(probability, layer, mode) {
        Some(spec) => kernels::dropout(x, spec),
        None => x,
    }
}

/// What is to be dropped, if anything is.
pub(super) fn dropout_spec(probability: f64, layer: usize, mode: Mode) -> Option<DropoutSpec> {
    match mode {
        Mode::Training { key } if probability > 0.0 => Some(DropoutSpec {
            key,
            layer: layer as u32,
            probability,
        }),
        _ => None,
    }
}

/// What [`is_fraction`] asks for, to go on after "but".
pub(crate) const IS_FRACTION: &str = "it must be at least 0 and, as a 32-bit float, below 1";

/// At least 0 and below 1, also once it is rounded to the f32 that is computed with.
pub(crate) fn is_fraction(value: f64) -> bool {
    value >= 0.0 && (value as f32) < 1.0
}

pub(super) fn check_dropout(key: &str, probability: f64) -> Result<(), InvalidModel> {
    if is_fraction(probability) {
        return Ok(());
    }
    Err(InvalidModel::new(
        key,
        probability,
        IS_FRACTION,
        "use a value such as 0.2",
    ))
}

pub(super) fn check_positive(key: &str, value: usize) -> Result<(), InvalidModel> {
    if value > 0 {
        return Ok(());
    }
    Err(InvalidModel::new(
        key,
        value,
        "it must be at least 1",
        "use a positive number",
    ))
}
