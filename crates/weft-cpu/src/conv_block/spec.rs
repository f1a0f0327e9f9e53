//! What a block computes.

pub use crate::elementwise::{Activation, Dropout};

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
    /// Pixels from one position of the kernel to the next, on both axes.
    pub stride: usize,
    /// Side and stride of the max pool; 1 is none. At most 15.
    pub pool: usize,
    /// Whether there is a bias: without one it is taken as zero.
    pub bias: bool,
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
        let positive = [
            self.in_channels,
            self.out_channels,
            self.kernel,
            self.stride,
            self.pool,
        ];
        let fits = |side: usize| {
            side + 2 * self.padding >= self.kernel && self.positions(side) >= self.pool
        };
        positive.iter().all(|&n| n > 0) && self.pool <= 15 && fits(self.height) && fits(self.width)
    }

    /// Positions of the kernel along a side of the image.
    fn positions(&self, side: usize) -> usize {
        (side + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Rows after the pool.
    pub fn out_height(&self) -> usize {
        self.positions(self.height) / self.pool
    }

    /// Columns after the pool.
    pub fn out_width(&self) -> usize {
        self.positions(self.width) / self.pool
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

    /// Whether the gradient's way back has to be known: else it goes to each position as it is, and there
    /// is no route.
    pub fn has_route(&self) -> bool {
        let as_it_is = self.pool == 1 && self.activation == Activation::Identity;
        !as_it_is || self.dropout.is_some()
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
