//! What a block computes.

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
/// layer and the element's index in the order `[batch, channel, height, width]`, whatever the layout.
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
    pub(super) fn drops(&self, element: u32) -> bool {
        happens(draw(self.key, element, self.layer), self.threshold)
    }
}

/// The route of an element that passes no gradient: a closed ReLU, or dropped.
pub const NO_ROUTE: u8 = 255;

/// A block's shapes and functions. Images are `[batch, height, width, channel]`, weights
/// `[out_channel, in_channel, kernel, kernel]`; the output is `[batch, height, width, channel]` or,
/// with `channels_first`, `[batch, channel, height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// Images.
    pub batch: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Channels of an image.
    pub in_channels: usize,
    /// Filters.
    pub out_channels: usize,
    /// Side of the square kernel.
    pub kernel: usize,
    /// Zeros on each side of an image.
    pub padding: usize,
    /// Side and stride of the max pool; 1 is none. At most 15.
    pub pool: usize,
    /// The nonlinearity.
    pub activation: Activation,
    /// Dropout, in training.
    pub dropout: Option<Dropout>,
    /// The layout of the output.
    pub channels_first: bool,
}

impl Spec {
    /// Whether the kernels can do it: something is left after convolution and pool, and a route is a byte.
    pub fn is_valid(&self) -> bool {
        let fits =
            |side: usize| (side + 2 * self.padding + 1).saturating_sub(self.kernel) >= self.pool;
        let positive = [self.in_channels, self.out_channels, self.kernel, self.pool];
        positive.iter().all(|&n| n > 0) && self.pool <= 15 && fits(self.height) && fits(self.width)
    }

    /// Rows after the pool.
    pub fn out_height(&self) -> usize {
        (self.height + 2 * self.padding + 1 - self.kernel) / self.pool
    }

    /// Columns after the pool.
    pub fn out_width(&self) -> usize {
        (self.width + 2 * self.padding + 1 - self.kernel) / self.pool
    }

    /// Pool windows of an image.
    pub fn windows(&self) -> usize {
        self.out_height() * self.out_width()
    }

    /// Numbers of an image.
    pub fn image_len(&self) -> usize {
        self.height * self.width * self.in_channels
    }

    /// Numbers of an image's output.
    pub fn output_len(&self) -> usize {
        self.windows() * self.out_channels
    }

    /// Numbers of the weights.
    pub fn weight_len(&self) -> usize {
        self.out_channels * self.in_channels * self.kernel * self.kernel
    }

    /// Shape of the output.
    pub fn output_shape(&self) -> [usize; 4] {
        let (height, width) = (self.out_height(), self.out_width());
        match self.channels_first {
            true => [self.batch, self.out_channels, height, width],
            false => [self.batch, height, width, self.out_channels],
        }
    }

    /// The index for dropout's draw of a window and channel of an image.
    #[inline(always)]
    pub(super) fn element(&self, image: usize, window: usize, channel: usize) -> u32 {
        ((image * self.out_channels + channel) * self.windows() + window) as u32
    }
}
