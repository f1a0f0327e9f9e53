//! What a block does to each number after its sums.

use crate::random::{draw, happens};

/// The nonlinearity, monotone in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// x
    Identity,
    /// max(0, x)
    Relu,
    /// Hyperbolic tangent.
    Tanh,
    /// scale * (max(0, x) + alpha * (exp(min(0, x)) - 1)) (Klambauer et al., 2017)
    Selu,
}

const SELU_ALPHA: f32 = 1.673_263_2;
const SELU_SCALE: f32 = 1.050_701;

impl Activation {
    /// The value at `x`; NaN stays NaN.
    #[inline(always)]
    pub fn value(self, x: f32) -> f32 {
        match self {
            Self::Identity => x,
            Self::Relu => {
                if x <= 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Self::Tanh => x.tanh(),
            Self::Selu => {
                if x > 0.0 {
                    SELU_SCALE * x
                } else {
                    SELU_SCALE * SELU_ALPHA * x.exp_m1()
                }
            }
        }
    }

    /// The derivative, from the value `y` of the activation.
    #[inline(always)]
    pub fn derivative(self, y: f32) -> f32 {
        match self {
            Self::Identity | Self::Relu => 1.0, // a closed ReLU has no route
            Self::Tanh => 1.0 - y * y,
            Self::Selu => {
                if y > 0.0 {
                    SELU_SCALE
                } else {
                    y + SELU_SCALE * SELU_ALPHA
                }
            }
        }
    }
}

/// Inverted dropout after the activation. Which elements are dropped is a pure function of the key, the
/// layer and the element's index in the order `[batch, channel, height, width]` or
/// `[batch, unit]`, whatever the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dropout {
    /// Key of the draws.
    pub key: u32,
    /// Tells the layers of a model apart.
    pub layer: u32,
    /// Probability of dropping an element, in 1/2^24.
    pub threshold: u32,
    /// The bits of 1 / (1 - p), what the kept elements are multiplied by.
    pub scale_bits: u32,
}

impl Dropout {
    /// 1 / (1 - p)
    pub fn scale(&self) -> f32 {
        f32::from_bits(self.scale_bits)
    }

    #[inline(always)]
    pub(crate) fn drops(&self, element: u32) -> bool {
        happens(draw(self.key, element, self.layer), self.threshold)
    }
}
