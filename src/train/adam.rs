//! Adam and AdamW with one kernel for each tensor; burn's own take a dozen operations. The record of
//! the state is the same as burn's.

use burn::optim::{AdamState, AdaptiveMomentumState, LearningRate, Optimizer};
use burn::tensor::{Device, Tensor};

use super::optimizer::AdamConfig;
use crate::kernels::adam::{AdamSpec, adam};

/// How weights decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Decay {
    /// Adam: an L2 penalty, added to the gradient.
    Penalty,
    /// AdamW: apart from the gradient, times the learning rate.
    Decoupled,
}

/// The optimizer of one tensor.
#[derive(Clone, Debug)]
pub(super) struct FusedAdam {
    pub(super) config: AdamConfig,
    pub(super) decay: Decay,
}

impl FusedAdam {
    /// The numbers of step `time`, counted from 1, of a tensor with so many dimensions.
    fn spec(&self, dimensions: usize, learning_rate: f64, time: usize) -> AdamSpec {
        let AdamConfig {
            beta_1,
            beta_2,
            epsilon,
            weight_decay,
            decay_biases,
            ..
        } = self.config;
        let decays = decay_biases || dimensions > 1;
        let weight_decay = if decays { weight_decay } else { 0.0 };
        let time = i32::try_from(time).unwrap_or(i32::MAX);
        let (penalty, keep) = match self.decay {
            Decay::Penalty => (weight_decay, 1.0),
            Decay::Decoupled => (0.0, 1.0 - learning_rate * weight_decay),
        };
        AdamSpec {
            beta_1: beta_1 as f32,
            beta_2: beta_2 as f32,
            epsilon: epsilon as f32,
            step_size: (learning_rate / (1.0 - beta_1.powi(time))) as f32,
            root_correction: (1.0 / (1.0 - beta_2.powi(time)).sqrt()) as f32,
            penalty: penalty as f32,
            keep: keep as f32,
        }
    }
}

impl Optimizer for FusedAdam {
    type State<const D: usize> = AdamState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let (time, moments) = match state {
            Some(AdamState { momentum }) => {
                (momentum.time + 1, [momentum.moment_1, momentum.moment_2])
            }
            None => (1, [grad.zeros_like(), grad.zeros_like()]),
        };
        let spec = self.spec(D, learning_rate, time);
        let (tensor, [first, second]) = adam(tensor, grad, moments, spec);
        let momentum = AdaptiveMomentumState::new(time, first, second);
        (tensor, Some(AdamState::new(momentum)))
    }

    fn to_device<const D: usize>(mut state: Self::State<D>, device: &Device) -> Self::State<D> {
        state.momentum = state.momentum.to_device(device);
        state
    }
}
