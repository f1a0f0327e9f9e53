//! What goes from layer to layer of a convolutional network, and the layers that networks of several kinds
//! are made of: weft's kernels where the device has them, else burn's operations.

use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, PaddingConfig2d};
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor};

use super::Mode;
use super::init::BATCH_NORM_EPSILON;
use super::layers::{Activation, Padding, dropout};
use crate::kernels::{batch_norm, conv_block};

/// Images with their channels, in the layout in which they were made.
#[derive(Clone)]
pub(super) enum Features {
    /// `[batch, channel, height, width]`
    ChannelsFirst(Tensor<4>),
    /// `[batch, height, width, channel]`
    ChannelsLast(Tensor<4>),
}

impl Features {
    pub(super) fn channels_first(self) -> Tensor<4> {
        match self {
            Self::ChannelsFirst(x) => x,
            Self::ChannelsLast(x) => x.permute([0, 3, 1, 2]),
        }
    }

    pub(super) fn channels_last(self) -> Tensor<4> {
        match self {
            Self::ChannelsLast(x) => x,
            Self::ChannelsFirst(x) => match x.dims() {
                // Of one channel, the two are the same numbers.
                [batch, 1, height, width] => x.reshape([batch, height, width, 1]),
                _ => x.permute([0, 2, 3, 1]),
            },
        }
    }

    /// Images, rows, columns, channels.
    pub(super) fn dims(&self) -> [usize; 4] {
        match self {
            Self::ChannelsLast(x) => x.dims(),
            Self::ChannelsFirst(x) => {
                let [batch, channels, height, width] = x.dims();
                [batch, height, width, channels]
            }
        }
    }

    pub(super) fn device(&self) -> Device {
        match self {
            Self::ChannelsLast(x) | Self::ChannelsFirst(x) => x.device(),
        }
    }

    /// The sum of two of one shape.
    pub(super) fn add(self, other: Self) -> Self {
        match (self, other) {
            (Self::ChannelsFirst(x), Self::ChannelsFirst(y)) => Self::ChannelsFirst(x + y),
            (x, y) => Self::ChannelsLast(x.channels_last() + y.channels_last()),
        }
    }

    /// The mean over rows and columns: `[batch, channel]`
    pub(super) fn mean_of_places(self) -> Tensor<2> {
        let [batch, height, width, channels] = self.dims();
        let places = height * width;
        match self {
            Self::ChannelsFirst(x) => x.reshape([batch, channels, places]).mean_dim(2),
            Self::ChannelsLast(x) => x.reshape([batch, places, channels]).mean_dim(1),
        }
        .reshape([batch, channels])
    }

    /// Inverted dropout in training. Which elements are dropped does not depend on the layout.
    pub(super) fn dropout(self, probability: f64, layer: usize, mode: Mode) -> Self {
        match mode {
            Mode::Training { .. } if probability > 0.0 => {
                Self::ChannelsFirst(dropout(self.channels_first(), probability, layer, mode))
            }
            _ => self,
        }
    }

    /// A max pool whose side is its stride; what does not fill a window is left out.
    pub(super) fn max_pool(self, side: usize) -> Self {
        if side == 1 {
            return self;
        }
        let sides = [side, side];
        let options = MaxPoolOptions::new(sides).with_stride(sides);
        Self::ChannelsFirst(max_pool2d(self.channels_first(), options))
    }
}

/// What one kernel would have to do: `pool` is 1 for none. A convolution pads nothing, or keeps the size.
pub(super) fn conv_spec(conv: &Conv2d, x: &Features, pool: usize) -> conv_block::Spec {
    let [batch, height, width, in_channels] = x.dims();
    let [out_channels, _, kernel, _] = conv.weight.dims();
    conv_block::Spec {
        batch,
        height,
        width,
        in_channels,
        out_channels,
        kernel,
        padding: match conv.padding {
            PaddingConfig2d::Same => Padding::Same.zeros(kernel),
            PaddingConfig2d::Explicit(top, ..) => top,
            PaddingConfig2d::Valid => 0,
        },
        stride: conv.stride[0],
        pool,
        bias: conv.bias.is_some(),
        activation: conv_block::Activation::Identity,
        dropout: None,
        channels_first: false,
    }
}

/// A convolution and a max pool, without an activation.
pub(super) fn convolution(conv: &Conv2d, x: Features, pool: usize) -> Features {
    let spec = conv_spec(conv, &x, pool);
    if !conv_block::runs_on(&spec, &x.device()) {
        let x = Features::ChannelsFirst(conv.forward(x.channels_first()));
        return x.max_pool(pool);
    }
    let bias = match &conv.bias {
        Some(bias) => bias.val(),
        // Not read.
        None => Tensor::empty([0], &x.device()),
    };
    let output = conv_block::conv_block(x.channels_last(), conv.weight.val(), bias, spec);
    Features::ChannelsLast(output)
}

/// A batch norm over channels and its activation.
pub(super) fn normalized(norm: &BatchNorm, x: Features, activation: Activation) -> Features {
    let [batch, height, width, channels] = x.dims();
    if batch_norm::runs_on(batch * height * width, channels, &x.device()) {
        return Features::ChannelsLast(norm_rows(norm, x.channels_last(), activation));
    }
    let x = norm.forward(x.channels_first());
    Features::ChannelsFirst(activation.forward(x))
}

/// The same over units: `[batch, unit]`
pub(super) fn normalized_units(
    norm: &BatchNorm,
    x: Tensor<2>,
    activation: Activation,
) -> Tensor<2> {
    let [batch, units] = x.dims();
    if batch_norm::runs_on(batch, units, &x.device()) {
        return norm_rows(norm, x, activation);
    }
    activation.forward(norm.forward(x))
}

/// By the kernel; the channels are the last axis. In training the statistics are the batch's, and the
/// running ones follow, as burn's layer has it: the device says which.
fn norm_rows<const D: usize>(norm: &BatchNorm, x: Tensor<D>, activation: Activation) -> Tensor<D> {
    let of_batch = x.device().is_autodiff() && norm.training.is_enabled();
    let [mean, variance] = match of_batch {
        true => {
            let [mean, variance] = batch_norm::statistics(&x);
            let follow = |running: Tensor<1>, new: &Tensor<1>| {
                let kept = running.mul_scalar(1.0 - norm.momentum);
                (kept + new.clone().mul_scalar(norm.momentum)).detach()
            };
            let mean_now = norm.running_mean.value_sync();
            let variance_now = norm.running_var.value_sync();
            norm.running_mean.update(follow(mean_now, &mean));
            norm.running_var.update(follow(variance_now, &variance));
            [mean, variance]
        }
        false => [norm.running_mean.value(), norm.running_var.value()],
    };
    let in_kernel = activation.in_block();
    let layer = batch_norm::Layer {
        mean,
        variance,
        gamma: norm.gamma.val(),
        beta: norm.beta.val(),
    };
    let spec = batch_norm::Spec {
        channels: x.dims()[D - 1],
        activation: in_kernel.unwrap_or(conv_block::Activation::Identity),
        epsilon_bits: (BATCH_NORM_EPSILON as f32).to_bits(),
        of_batch,
    };
    let x = batch_norm::batch_norm(x, layer, spec);
    match in_kernel {
        Some(_) => x,
        None => activation.forward(x),
    }
}

#[cfg(test)]
mod tests {
    use super::super::comparison::{TRAINING, noisy};
    use super::*;

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    /// The same images in both layouts.
    fn layouts(channels: usize, stream: u64) -> [Features; 2] {
        let x = noisy([4, channels, 3, 5], stream, &crate::device::host());
        let last = values(x.clone().permute([0, 2, 3, 1]));
        let last = burn::tensor::TensorData::new(last, [4, 3, 5, channels]);
        let last = Tensor::from_data(last, &crate::device::host());
        [Features::ChannelsFirst(x), Features::ChannelsLast(last)]
    }

    #[test]
    fn dropout_takes_the_same_elements_in_both_layouts() {
        let [first, last] = layouts(6, 1).map(|x| {
            let dropped = x.clone().dropout(0.5, 2, TRAINING);
            let inferred = x.clone().dropout(0.5, 2, Mode::Inference);
            assert_eq!(
                values(inferred.channels_first()),
                values(x.channels_first())
            );
            values(dropped.channels_first())
        });
        assert_eq!(first, last);
        let n_dropped = first.iter().filter(|&&value| value == 0.0).count();
        assert!((120..240).contains(&n_dropped), "{n_dropped} of 360");
    }

    #[test]
    fn what_is_computed_does_not_depend_on_the_layout() {
        for channels in [1, 4] {
            let (x, y) = (layouts(channels, 1), layouts(channels, 2));
            let sums = [[0, 0], [0, 1], [1, 0], [1, 1]]
                .map(|[a, b]| values(x[a].clone().add(y[b].clone()).channels_first()));
            assert!(sums.iter().all(|sum| *sum == sums[0]));
            for which in [0, 1] {
                let x = x[which].clone();
                assert_eq!(x.dims(), [4, 3, 5, channels]);
                let first = values(x.clone().channels_first());
                let expected = first.chunks(15).map(|it| it.iter().sum::<f32>() / 15.0);
                for (mean, expected) in values(x.clone().mean_of_places()).iter().zip(expected) {
                    assert!((mean - expected).abs() < 1e-6, "{mean} {expected}");
                }
                let pooled = x.max_pool(2).channels_first();
                assert_eq!(pooled.dims(), [4, channels, 1, 2]);
                for (image, pooled) in first.chunks(15).zip(values(pooled).chunks(2)) {
                    let largest = |at: usize| {
                        let window = [at, at + 1, at + 5, at + 6];
                        window
                            .iter()
                            .fold(f32::MIN, |most, &at| most.max(image[at]))
                    };
                    assert_eq!(pooled, [largest(0), largest(2)]);
                }
            }
        }
    }
}
