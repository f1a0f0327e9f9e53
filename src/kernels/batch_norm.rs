//! Batch normalisation and its activation, two passes over the numbers each way. The CPU twin of
//! `shaders/batch_norm*.wgsl` is [`weft_cpu::batch_norm`]; here are its tensors and its gradient.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Dispatch};
use burn::tensor::{Device, Tensor};
pub use weft_cpu::batch_norm::Spec;

use super::{Kernels, cube, f32_output, is_cpu};

/// Mean and biased variance of each channel, `[channel]`, over all other axes; constants to autodiff.
///
/// * `x`: the last axis is the channel
pub fn statistics<const D: usize>(x: &Tensor<D>) -> [Tensor<1>; 2] {
    let (mean, variance) =
        <Dispatch as Kernels>::batch_statistics(x.clone().into_dispatch(), channels(x));
    [mean, variance].map(Tensor::from_dispatch)
}

/// A layer's numbers, `[channel]` each.
pub struct Layer {
    /// Of the batch, or of the training so far.
    pub mean: Tensor<1>,
    /// Likewise.
    pub variance: Tensor<1>,
    /// Scale.
    pub gamma: Tensor<1>,
    /// Shift.
    pub beta: Tensor<1>,
}

/// `activation(gamma * (x - mean) / sqrt(variance + epsilon) + beta)`, of the shape of `x`, whose last
/// axis is the channel. With [`Spec::of_batch`], mean and variance are [`statistics`] of `x`, and the
/// gradient goes through them.
pub fn batch_norm<const D: usize>(x: Tensor<D>, layer: Layer, spec: Spec) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as Kernels>::normalize(
        x.into_dispatch(),
        layer.mean.into_dispatch(),
        layer.variance.into_dispatch(),
        layer.gamma.into_dispatch(),
        layer.beta.into_dispatch(),
        spec,
    ))
}

/// Whether the kernels do `rows` rows of so many channels on a device.
pub fn runs_on(rows: usize, channels: usize, device: &Device) -> bool {
    runs(rows, channels, is_cpu(device))
}

/// [`runs_on`] for a device that is one of the CPU backends, or is not.
pub fn runs(rows: usize, channels: usize, on_cpu: bool) -> bool {
    match on_cpu {
        true => rows > 0 && channels > 0,
        false => cube::does_norm(rows, channels),
    }
}

fn channels<const D: usize>(x: &Tensor<D>) -> usize {
    x.dims()[D - 1]
}

pub(super) fn statistics_output(_x: &TensorSpec, channels: &usize) -> (TensorSpec, TensorSpec) {
    (f32_output(vec![*channels]), f32_output(vec![*channels]))
}

pub(super) fn output(
    x: &TensorSpec,
    _mean: &TensorSpec,
    _variance: &TensorSpec,
    _gamma: &TensorSpec,
    _beta: &TensorSpec,
    _spec: &Spec,
) -> TensorSpec {
    x.clone()
}

pub(super) fn grad_output(
    x: &TensorSpec,
    _mean: &TensorSpec,
    _variance: &TensorSpec,
    _gamma: &TensorSpec,
    _beta: &TensorSpec,
    _grad: &TensorSpec,
    spec: &Spec,
) -> (TensorSpec, TensorSpec, TensorSpec) {
    let channels = || f32_output(vec![spec.channels]);
    (x.clone(), channels(), channels())
}

#[derive(Debug)]
struct BatchNormGrad;

impl<B: Kernels> Backward<B, 3> for BatchNormGrad {
    /// `x`, gamma and beta; mean and variance.
    type State = ([NodeId; 3], [FloatTensor<B>; 2], Spec);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (saved, [mean, variance], spec) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let [x, gamma, beta] =
            saved.map(|node| checkpointer.retrieve_node_output::<FloatTensor<B>>(node));
        let (x, gamma, beta) = B::normalize_grad(x, mean, variance, gamma, beta, grad, spec);
        for (parent, grad) in ops.parents.into_iter().zip([x, gamma, beta]) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, grad);
            }
        }
    }
}

pub(super) fn with_gradient<B: Kernels, C: CheckpointStrategy>(
    [x, mean, variance, gamma, beta]: [FloatTensor<Autodiff<B, C>>; 5],
    spec: Spec,
) -> FloatTensor<Autodiff<B, C>> {
    let inner = <Autodiff<B, C> as AutodiffBackend>::inner;
    let nodes = [x.node(), gamma.node(), beta.node()];
    let [mean, variance] = [mean, variance].map(inner);
    let operation = BatchNormGrad.prepare::<C>(nodes).compute_bound();
    match operation.stateful() {
        OpsKind::Tracked(mut operation) => {
            let saved = [&x, &gamma, &beta].map(|tensor| operation.checkpoint(tensor));
            let [x, gamma, beta] = [x, gamma, beta].map(inner);
            let output = B::normalize(x, mean.clone(), variance.clone(), gamma, beta, spec);
            operation.finish((saved, [mean, variance], spec), output)
        }
        OpsKind::UnTracked(operation) => {
            let [x, gamma, beta] = [x, gamma, beta].map(inner);
            operation.finish(B::normalize(x, mean, variance, gamma, beta, spec))
        }
    }
}
