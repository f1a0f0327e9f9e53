//! Optimizers, and clipping by the global norm.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::adam::{Decay, FusedAdam};
use super::muon::muon;
use super::sgd::Sgd;

/// The `[optimizer]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OptimizerConfig {
    /// Stochastic gradient descent with momentum.
    Sgd(SgdConfig),
    /// Adam (Kingma and Ba, 2015).
    Adam(AdamConfig),
    /// Adam with decoupled weight decay (Loshchilov and Hutter, 2019).
    #[serde(rename = "adamw")]
    AdamW(AdamConfig),
    /// Muon for hidden weights (Jordan et al., 2024), AdamW for the rest.
    Muon(MuonConfig),
}

/// Hyper-parameters of SGD.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SgdConfig {
    /// Learning rate (the schedule's peak).
    pub learning_rate: f64,
    /// Momentum; 0 is none.
    pub momentum: f64,
    /// Nesterov's form of momentum.
    pub nesterov: bool,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
    /// Whether biases and the scales and shifts of norms decay too: all that is no matrix or filter.
    pub decay_biases: bool,
}

/// Hyper-parameters of Adam and AdamW.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamConfig {
    /// Learning rate (the schedule's peak).
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta_1: f64,
    /// Decay of the second moment.
    pub beta_2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Adam: L2 penalty, added to the gradient. AdamW: decoupled decay, times the learning rate.
    pub weight_decay: f64,
    /// Whether biases and the scales and shifts of norms decay too: all that is no matrix or filter.
    pub decay_biases: bool,
}

/// Hyper-parameters of Muon, and of AdamW for what Muon does not take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MuonConfig {
    /// Learning rate of the hidden weights (the schedule's peak).
    pub learning_rate: f64,
    /// Momentum; 0 is none.
    pub momentum: f64,
    /// Nesterov's form of momentum.
    pub nesterov: bool,
    /// Decoupled decay of matrices and filters, times their learning rate.
    pub weight_decay: f64,
    /// AdamW's learning rate (the schedule's peak), for the output layer, biases and norms.
    pub adam_learning_rate: f64,
    /// AdamW's decay of the first moment.
    pub beta_1: f64,
    /// AdamW's decay of the second moment.
    pub beta_2: f64,
    /// Added to AdamW's denominator.
    pub epsilon: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Adam(AdamConfig::default())
    }
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self {
            learning_rate: 0.05,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 0.0,
            decay_biases: false,
        }
    }
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            decay_biases: false,
        }
    }
}

impl Default for MuonConfig {
    fn default() -> Self {
        Self {
            learning_rate: 0.02,
            momentum: 0.95,
            nesterov: true,
            weight_decay: 0.0,
            adam_learning_rate: 1e-3,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
        }
    }
}

impl OptimizerConfig {
    /// The schedule's peak.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Sgd(config) => config.learning_rate,
            Self::Adam(config) | Self::AdamW(config) => config.learning_rate,
            Self::Muon(config) => config.learning_rate,
        }
    }

    /// Running averages that it keeps of each weight's gradient, at most.
    pub fn n_averages(&self) -> u64 {
        match self {
            Self::Sgd(config) => u64::from(config.momentum > 0.0),
            // Muon: one of hidden weights, two of the others.
            Self::Adam(_) | Self::AdamW(_) | Self::Muon(_) => 2,
        }
    }

    /// Copies of the weights that a step needs for itself, at most.
    pub(crate) fn n_working_copies(&self) -> u64 {
        match self {
            Self::Sgd(_) | Self::Adam(_) | Self::AdamW(_) => 0,
            Self::Muon(_) => 3,
        }
    }

    /// The same for all configs that have the same effect: which tensors decay is nothing without decay.
    pub(crate) fn in_effect(mut self) -> Self {
        match &mut self {
            Self::Sgd(SgdConfig {
                weight_decay,
                decay_biases,
                ..
            })
            | Self::Adam(AdamConfig {
                weight_decay,
                decay_biases,
                ..
            })
            | Self::AdamW(AdamConfig {
                weight_decay,
                decay_biases,
                ..
            }) => *decay_biases |= *weight_decay == 0.0,
            Self::Muon(_) => {}
        }
        self
    }

    /// Makes the optimizer.
    pub fn init(&self) -> ModuleOptimizer {
        match self {
            Self::Sgd(config) => ModuleOptimizer::from(Sgd::new(config)),
            Self::Adam(config) => fused_adam(config, Decay::Penalty),
            Self::AdamW(config) => fused_adam(config, Decay::Decoupled),
            Self::Muon(config) => muon(config),
        }
    }
}

fn fused_adam(config: &AdamConfig, decay: Decay) -> ModuleOptimizer {
    ModuleOptimizer::from(FusedAdam {
        config: config.clone(),
        decay,
    })
}

/// Scales all gradients by one number so that their joint L2 norm is at most `max_norm` (Pascanu et
/// al., 2013). burn's own clipping is per tensor. Nothing is read back from the device.
pub(super) fn clip_by_global_norm<M: Module>(
    module: &M,
    mut grads: GradientsParams,
    max_norm: f64,
) -> GradientsParams {
    let mut squares = SumOfSquares {
        grads: &grads,
        sum: None,
    };
    module.visit(&mut squares);
    let Some(sum) = squares.sum else {
        return grads;
    };
    // max_norm / (norm + 1e-6), at most 1, as PyTorch's clip_grad_norm_.
    let scale = sum
        .sqrt()
        .add_scalar(1e-6)
        .recip()
        .mul_scalar(max_norm)
        .clamp_max(1.0);
    module.visit(&mut Scale {
        grads: &mut grads,
        scale,
    });
    grads
}

struct SumOfSquares<'a> {
    grads: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for SumOfSquares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            let square = grad.square().sum();
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + square,
                None => square,
            });
        }
    }
}

struct Scale<'a> {
    grads: &'a mut GradientsParams,
    scale: Tensor<1>,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            let scaled = grad * self.scale.clone().unsqueeze();
            self.grads.register(param.id, scaled);
        }
    }
}
