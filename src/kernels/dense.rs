//! A fully connected layer in one operation each way: product, bias, activation, dropout. The CPU twin
//! of `shaders/dense*.wgsl` is [`weft_cpu::dense`]; here are its tensors and its gradient.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Dispatch};
use burn::tensor::{Device, Tensor};
pub use weft_cpu::dense::{Activation, Dropout, Spec};

use super::{Kernels, cube, f32_output, is_cpu};

/// The layer's output, `[batch, output]`; only where [`runs_on`] says so.
///
/// * `inputs`: `[batch, input]`
/// * `weight`: `[input, output]`; `bias`: `[output]`
pub fn dense(inputs: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>, spec: Spec) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as Kernels>::dense(
        inputs.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        spec,
    ))
}

/// Whether [`dense()`] and its gradients work for a spec on a device: on a CPU always, on a GPU in any
/// size that its shaders can count.
pub fn runs_on(spec: &Spec, device: &Device) -> bool {
    runs(spec, is_cpu(device))
}

/// [`runs_on`] for a device that is one of the CPU backends, or is not.
pub fn runs(spec: &Spec, on_cpu: bool) -> bool {
    on_cpu || cube::does_layer(spec)
}

pub(super) fn output(
    _inputs: &TensorSpec,
    _weight: &TensorSpec,
    _bias: &TensorSpec,
    spec: &Spec,
) -> TensorSpec {
    f32_output(vec![spec.batch, spec.outputs])
}

pub(super) fn grad_output(
    inputs: &TensorSpec,
    weight: &TensorSpec,
    _outputs: &TensorSpec,
    _grad: &TensorSpec,
    spec: &Spec,
) -> (TensorSpec, TensorSpec, TensorSpec) {
    let inputs = match spec.input_grad {
        true => inputs.clone(),
        false => f32_output(vec![0]),
    };
    (inputs, weight.clone(), f32_output(vec![spec.outputs]))
}

#[derive(Debug)]
struct DenseGrad;

impl<B: Kernels> Backward<B, 3> for DenseGrad {
    /// Inputs and weights, outputs.
    type State = (NodeId, NodeId, FloatTensor<B>, Spec);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let (inputs, weight, outputs, mut spec) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let inputs = checkpointer.retrieve_node_output::<FloatTensor<B>>(inputs);
        let weight = checkpointer.retrieve_node_output::<FloatTensor<B>>(weight);
        spec.input_grad = ops.parents[0].is_some();
        let (inputs, weight, bias) = B::dense_grad(inputs, weight, outputs, grad, spec);
        for (node, grad) in ops.parents.into_iter().zip([inputs, weight, bias]) {
            if let Some(node) = node {
                grads.register::<B>(node.id, grad);
            }
        }
    }
}

pub(super) fn with_gradient<B: Kernels, C: CheckpointStrategy>(
    inputs: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: FloatTensor<Autodiff<B, C>>,
    spec: Spec,
) -> FloatTensor<Autodiff<B, C>> {
    let inner = <Autodiff<B, C> as AutodiffBackend>::inner;
    let nodes = [inputs.node(), weight.node(), bias.node()];
    match DenseGrad.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut operation) => {
            let saved = (operation.checkpoint(&inputs), operation.checkpoint(&weight));
            let outputs = B::dense(inner(inputs), inner(weight), inner(bias), spec);
            operation.finish((saved.0, saved.1, outputs.clone(), spec), outputs)
        }
        OpsKind::UnTracked(operation) => {
            operation.finish(B::dense(inner(inputs), inner(weight), inner(bias), spec))
        }
    }
}
