//! SGD: burn's, with weight decay for some tensors only. The record of the state is burn's.

use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{LearningRate, Optimizer, Sgd as BurnSgd, SgdConfig as BurnConfig, SgdState};
use burn::tensor::{Device, Tensor};

use super::optimizer::SgdConfig;

/// The optimizer of one tensor.
#[derive(Clone)]
pub(super) struct Sgd {
    matrices: BurnSgd,
    /// Biases, and the scales and shifts of norms.
    vectors: BurnSgd,
}

impl Sgd {
    pub(super) fn new(config: &SgdConfig) -> Self {
        let momentum = (config.momentum > 0.0).then(|| {
            MomentumConfig::new()
                .with_momentum(config.momentum)
                .with_dampening(0.0)
                .with_nesterov(config.nesterov)
        });
        let plain = BurnConfig::new().with_momentum(momentum);
        let penalty =
            (config.weight_decay > 0.0).then(|| WeightDecayConfig::new(config.weight_decay as f32));
        let matrices = plain.clone().with_weight_decay(penalty).build();
        let vectors = match config.decay_biases {
            true => matrices.clone(),
            false => plain.build(),
        };
        Self { matrices, vectors }
    }
}

impl Optimizer for Sgd {
    type State<const D: usize> = SgdState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let rule = if D > 1 { &self.matrices } else { &self.vectors };
        rule.step(learning_rate, tensor, grad, state)
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        BurnSgd::to_device(state, device)
    }
}
