//! Softmax cross-entropy, its gradient, and how many were right, in one launch each way: the CPU twin
//! of `shaders/cross_entropy.wgsl`.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend, Dispatch};
use burn::tensor::{Int, Tensor};

use super::{Kernels, f32_output};

/// What is computed beside the shapes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropySpec {
    /// Images in the batch.
    pub n_images: usize,
    /// Classes.
    pub n_classes: usize,
    /// Label smoothing e (Szegedy et al., 2016): the target is 1 - e on the label plus e / n_classes on
    /// every class.
    pub smoothing: f32,
}

/// What a batch gives.
pub struct CrossEntropy {
    /// `[1]`, the mean of the images' losses: what is differentiated.
    pub mean: Tensor<1>,
    /// `[1]`, their sum; it carries no gradient.
    pub sum: Tensor<1>,
    /// `[1]`, images whose largest logit is at their label.
    pub correct: Tensor<1, Int>,
}

/// * `logits`: `[batch, class]`
/// * `labels`: `[batch]`, class indices
/// * `smoothing`: in [0, 1)
pub fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>, smoothing: f64) -> CrossEntropy {
    let [n_images, n_classes] = logits.dims();
    let spec = CrossEntropySpec {
        n_images,
        n_classes,
        smoothing: smoothing as f32,
    };
    let (mean, sum, correct) =
        <Dispatch as Kernels>::cross_entropy(logits.into_dispatch(), labels.into_dispatch(), spec);
    CrossEntropy {
        mean: Tensor::from_dispatch(mean),
        sum: Tensor::from_dispatch(sum),
        correct: Tensor::from_dispatch(correct),
    }
}

pub(super) fn output(
    _logits: &TensorSpec,
    labels: &TensorSpec,
    _spec: &CrossEntropySpec,
) -> (TensorSpec, TensorSpec, TensorSpec) {
    let correct = TensorSpec::new(vec![1].into(), labels.dtype);
    (f32_output(vec![1]), f32_output(vec![1]), correct)
}

pub(super) fn grad_output(
    _logits: &TensorSpec,
    _labels: &TensorSpec,
    _grad: &TensorSpec,
    spec: &CrossEntropySpec,
) -> TensorSpec {
    f32_output(vec![spec.n_images, spec.n_classes])
}

/// The largest logit, its first place, and the logarithm of the sum of exponentials.
struct Row {
    largest: f32,
    place: usize,
    log_sum: f32,
}

impl Row {
    fn of(logits: &[f32]) -> Self {
        let (mut largest, mut place) = (f32::NEG_INFINITY, 0);
        for (class, &logit) in logits.iter().enumerate() {
            if logit > largest {
                (largest, place) = (logit, class);
            }
        }
        let sum: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        Self {
            largest,
            place,
            log_sum: sum.ln(),
        }
    }
}

/// The CPU twin: the sum of the losses, and how many were right.
pub fn on_cpu(
    logits: &[f32],
    labels: impl Iterator<Item = usize>,
    spec: &CrossEntropySpec,
) -> (f32, usize) {
    let (mut loss_sum, mut correct) = (0f32, 0);
    for (logits, label) in logits.chunks_exact(spec.n_classes).zip(labels) {
        let row = Row::of(logits);
        let log_probability = |logit: f32| logit - row.largest - row.log_sum;
        let mut loss = -(1.0 - spec.smoothing) * log_probability(logits[label]);
        if spec.smoothing > 0.0 {
            let all: f32 = logits.iter().map(|&logit| log_probability(logit)).sum();
            loss -= spec.smoothing * all / spec.n_classes as f32;
        }
        loss_sum += loss;
        correct += usize::from(row.place == label);
    }
    (loss_sum, correct)
}

/// The CPU twin: the gradient of the mean loss times `grad`, `[batch, class]`.
pub fn grad_on_cpu(
    logits: &[f32],
    labels: impl Iterator<Item = usize>,
    grad: f32,
    spec: &CrossEntropySpec,
) -> Vec<f32> {
    let scale = grad / spec.n_images as f32;
    let even = spec.smoothing / spec.n_classes as f32;
    let mut gradient = Vec::with_capacity(logits.len());
    for (logits, label) in logits.chunks_exact(spec.n_classes).zip(labels) {
        let row = Row::of(logits);
        for (class, logit) in logits.iter().enumerate() {
            let probability = (logit - row.largest - row.log_sum).exp();
            let target = even
                + if class == label {
                    1.0 - spec.smoothing
                } else {
                    0.0
                };
            gradient.push((probability - target) * scale);
        }
    }
    gradient
}

#[derive(Debug)]
struct CrossEntropyGrad;

impl<B: Kernels> Backward<B, 1> for CrossEntropyGrad {
    type State = (NodeId, IntTensor<B>, CrossEntropySpec);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let [for_logits] = ops.parents;
        let (logits, labels, spec) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let logits = checkpointer.retrieve_node_output::<FloatTensor<B>>(logits);
        if let Some(node) = for_logits {
            let grad = B::cross_entropy_grad(logits, labels, grad, spec);
            grads.register::<B>(node.id, grad);
        }
    }
}

type Outputs<B> = (FloatTensor<B>, FloatTensor<B>, IntTensor<B>);

pub(super) fn with_gradient<B: Kernels, C: CheckpointStrategy>(
    logits: FloatTensor<Autodiff<B, C>>,
    labels: IntTensor<B>,
    spec: CrossEntropySpec,
) -> Outputs<Autodiff<B, C>> {
    let operation = CrossEntropyGrad
        .prepare::<C>([logits.node()])
        .compute_bound();
    let inner = <Autodiff<B, C> as AutodiffBackend>::inner;
    let (mean, sum, correct) = match operation.stateful() {
        OpsKind::Tracked(mut operation) => {
            let saved = operation.checkpoint(&logits);
            let (mean, sum, correct) = B::cross_entropy(inner(logits), labels.clone(), spec);
            let mean = operation.finish((saved, labels, spec), mean);
            (mean, sum, correct)
        }
        OpsKind::UnTracked(operation) => {
            let (mean, sum, correct) = B::cross_entropy(inner(logits), labels, spec);
            (operation.finish(mean), sum, correct)
        }
    };
    (
        mean,
        <Autodiff<B, C> as AutodiffBackend>::from_inner(sum),
        correct,
    )
}
