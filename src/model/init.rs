//! Initial weights: a pure function of the seed, computed on the host, so that a model starts from
//! the same weights on every device.

use burn::module::{Param, ParamId};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear};
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::layers::Padding;
use crate::random::Stream;

/// What batch norm adds to a variance, as in PyTorch.
pub(crate) const BATCH_NORM_EPSILON: f64 = 1e-5;

/// How weights are drawn; biases start at zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initializer {
    /// Uniform in ±sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010).
    #[default]
    GlorotUniform,
    /// Uniform in ±sqrt(6 / fan_in) (He et al., 2015).
    HeUniform,
    /// Normal with variance 2 / fan_in (He et al., 2015).
    HeNormal,
    /// Normal with variance 1 / fan_in (LeCun et al., 1998), for SELU.
    LecunNormal,
}

impl Initializer {
    fn draw(self, stream: &mut Stream, n: usize, fan_in: usize, fan_out: usize) -> Vec<f32> {
        let (fan_in, fan_out) = (fan_in as f64, fan_out as f64);
        let mut uniform = |limit: f64| -> Vec<f32> {
            (0..n)
                .map(|_| ((2.0 * stream.uniform() - 1.0) * limit) as f32)
                .collect()
        };
        match self {
            Self::GlorotUniform => uniform((6.0 / (fan_in + fan_out)).sqrt()),
            Self::HeUniform => uniform((6.0 / fan_in).sqrt()),
            Self::HeNormal => normal(stream, n, (2.0 / fan_in).sqrt()),
            Self::LecunNormal => normal(stream, n, (1.0 / fan_in).sqrt()),
        }
    }
}

fn normal(stream: &mut Stream, n: usize, deviation: f64) -> Vec<f32> {
    (0..n)
        .map(|_| (stream.normal() * deviation) as f32)
        .collect()
}

/// Makes the layers of one model in their order; each parameter gets the next number as its id and
/// as the key of its draws.
pub struct Initialization<'a> {
    seed: u64,
    next: u64,
    device: &'a Device,
}

/// Keeps the draws of weights apart from those of the split and the order.
const TAG: u64 = 0x0077_6569_6768_7473; // "weights"

impl<'a> Initialization<'a> {
    /// Starts a model on `device`.
    pub fn new(seed: u64, device: &'a Device) -> Self {
        Self {
            seed,
            next: 1,
            device,
        }
    }

    /// A fully connected layer: weight `[n_inputs, n_outputs]`, bias `[n_outputs]`.
    pub fn linear(&mut self, n_inputs: usize, n_outputs: usize, scheme: Initializer) -> Linear {
        Linear {
            weight: self.weights([n_inputs, n_outputs], scheme, n_inputs, n_outputs),
            bias: Some(self.constant(n_outputs, 0.0)),
        }
    }

    /// A square convolution: weight `[n_outputs, n_inputs, kernel, kernel]`. A bias is left out where
    /// a batch norm follows, which has one.
    pub fn conv(
        &mut self,
        channels: [usize; 2],
        kernel: usize,
        padding: Padding,
        bias: bool,
        scheme: Initializer,
    ) -> Conv2d {
        let [n_inputs, n_outputs] = channels;
        let mut conv = Conv2dConfig::new(channels, [kernel, kernel])
            .with_padding(padding.for_burn())
            .with_bias(false)
            .with_initializer(burn::module::Initializer::Zeros)
            .init(self.device);
        let area = kernel * kernel;
        let shape = [n_outputs, n_inputs, kernel, kernel];
        conv.weight = self.weights(shape, scheme, n_inputs * area, n_outputs * area);
        conv.bias = bias.then(|| self.constant(n_outputs, 0.0));
        conv
    }

    /// A batch norm over channels (momentum 0.1, as in PyTorch).
    pub fn batch_norm(&mut self, n_channels: usize) -> BatchNorm {
        let mut norm = BatchNormConfig::new(n_channels)
            .with_epsilon(BATCH_NORM_EPSILON)
            .init(self.device);
        norm.gamma = self.constant(n_channels, 1.0);
        norm.beta = self.constant(n_channels, 0.0);
        let state = |id: ParamId, value: f32, device: &Device| {
            let value = Tensor::full([n_channels], value, device);
            burn::module::RunningState::with_id(id, value)
        };
        norm.running_mean = state(self.id(), 0.0, self.device);
        norm.running_var = state(self.id(), 1.0, self.device);
        norm
    }

    fn id(&mut self) -> ParamId {
        let id = self.next;
        self.next += 1;
        ParamId::from(id)
    }

    fn weights<const D: usize>(
        &mut self,
        shape: [usize; D],
        scheme: Initializer,
        fan_in: usize,
        fan_out: usize,
    ) -> Param<Tensor<D>> {
        let id = self.id();
        let mut stream = Stream::new(&[self.seed, TAG, id.val()]);
        let values = scheme.draw(&mut stream, shape.iter().product(), fan_in, fan_out);
        trainable(
            id,
            Tensor::from_data(TensorData::new(values, shape), self.device),
        )
    }

    fn constant(&mut self, n: usize, value: f32) -> Param<Tensor<1>> {
        trainable(self.id(), Tensor::full([n], value, self.device))
    }
}

/// A parameter with an id of our own: burn's constructor for trainable ones draws a random id.
fn trainable<const D: usize>(id: ParamId, tensor: Tensor<D>) -> Param<Tensor<D>> {
    let mut param = Param::from_tensor(tensor);
    param.id = id;
    param
}
