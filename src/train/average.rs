//! The exponential moving average of the weights (Polyak and Juditsky, 1992, average them all alike), which
//! often classifies better than the weights of any one step. It is kept beside the training and changes
//! nothing about it: the optimizer never sees it.
//!
//! After step `n`, counted from 1, `average += (1 - d) * (weight - average)` with
//! `d = min(train.ema_decay, (1 + n) / (10 + n))`, as TensorFlow's `tf.train.ExponentialMovingAverage` has
//! it with `num_updates = n`: the initial weights, which the average starts with, are forgotten soon.
//!
//! The running statistics of a batch norm are averaged with the same decay, as timm's `ModelEmaV3` and
//! torch's `AveragedModel(use_buffers=True)` do. To compute them anew would take a pass over the
//! training split before each validation and each checkpoint.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;
use burn::tensor::container::TensorContainer;

use crate::kernels::average::{AverageSpec, average};

/// The average of each float parameter and running statistic of a model, on its device.
#[derive(Debug)]
pub(super) struct Average {
    decay: f64,
    /// Steps that it has seen.
    n_updates: u64,
    /// By the parameter's id, without autodiff.
    tensors: TensorContainer<ParamId>,
}

impl Average {
    /// * `decay`: `train.ema_decay`
    /// * `n_updates`: steps that were taken before
    /// * `average`: the average after them: before the first step, the model itself; without autodiff
    pub(super) fn new(decay: f64, n_updates: u64, average: &impl Module) -> Self {
        let mut take = Take(TensorContainer::new());
        average.visit(&mut take);
        Self {
            decay,
            n_updates,
            tensors: take.0,
        }
    }

    /// Takes in the weights after a step. Nothing is read back.
    ///
    /// * `model`: without autodiff
    pub(super) fn update(&mut self, model: &impl Module) {
        self.n_updates += 1;
        model.visit(&mut Update {
            spec: AverageSpec {
                rate: rate(self.decay, self.n_updates),
            },
            tensors: &mut self.tensors,
        });
    }

    /// The model with the average in place of its weights.
    ///
    /// * `model`: without autodiff, as `valid()` gives it
    pub(super) fn model<M: Module>(&self, model: M) -> M {
        model.map(&mut Fill(&self.tensors))
    }
}

/// What a step's weights count: 1 less the decay of update `n`, counted from 1.
fn rate(decay: f64, n: u64) -> f32 {
    let n = n as f64;
    (1.0 - decay.min((1.0 + n) / (10.0 + n))) as f32
}

struct Take(TensorContainer<ParamId>);

impl ModuleVisitor for Take {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.register(param.id, param.val());
    }
}

struct Update<'a> {
    spec: AverageSpec,
    tensors: &'a mut TensorContainer<ParamId>,
}

impl ModuleVisitor for Update<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(old) = self.tensors.remove::<Tensor<D>>(&param.id) {
            let new = average(old, param.val(), self.spec);
            self.tensors.register(param.id, new);
        }
    }
}

struct Fill<'a>(&'a TensorContainer<ParamId>);

impl ModuleMapper for Fill<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.0.get::<Tensor<D>>(&param.id) {
            Some(tensor) => param.map(|_| tensor),
            None => param,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::rate;

    /// The decays that TensorFlow's documentation gives, and the limit.
    #[test]
    fn the_first_steps_count_more() {
        let decay = |decay, n| 1.0 - rate(decay, n);
        assert!((decay(0.999, 1) - 2.0 / 11.0).abs() < 1e-6);
        assert!((decay(0.999, 90) - 0.91).abs() < 1e-6);
        assert!((decay(0.9, 80) - 0.9).abs() < 1e-6);
        assert!((decay(0.9, 1_000_000) - 0.9).abs() < 1e-6);
        assert!(rate(0.999_999, u64::MAX) > 0.0);
    }
}
