//! A convolution block in one launch each way: convolution, bias, max pool, activation, dropout. The
//! CPU twin of `shaders/conv_block.wgsl` is [`weft_cpu::conv_block`], which says how it works; here are
//! its tensors and its gradient.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend, Dispatch};
use burn::tensor::{DType, Device, Tensor};
pub use weft_cpu::conv_block::{Activation, Dropout, NO_ROUTE, Spec};

use super::{DropoutSpec, Kernels, cube, f32_output, is_cpu};

/// The block's output, as [`Spec::output_shape`] has it.
///
/// * `images`: `[batch, height, width, channel]`
/// * `weight`: `[filter, channel, kernel, kernel]`; `bias`: `[filter]`, or not read where the spec has none
pub fn conv_block(images: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, spec: Spec) -> Tensor<4> {
    let (output, _route) = <Dispatch as Kernels>::conv_block(
        images.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        spec,
    );
    Tensor::from_dispatch(output)
}

/// Whether [`conv_block()`] and its gradients work for a spec on a device. The CPU twins do all that is
/// valid; the shaders do kernels up to 7 x 7, pools and strides up to 4, and windows up to 8 pixels apart, in
/// any size that can be counted.
pub fn runs_on(spec: &Spec, device: &Device) -> bool {
    runs(spec, is_cpu(device))
}

/// [`runs_on`] for a device that is one of the CPU backends, or is not.
pub fn runs(spec: &Spec, on_cpu: bool) -> bool {
    match on_cpu {
        true => spec.is_valid(),
        false => cube::does_block(spec),
    }
}

/// As the kernels take dropout.
pub fn dropout_of(spec: DropoutSpec) -> Dropout {
    let [_, key, layer, threshold, scale_bits] = spec.words(0);
    Dropout {
        key,
        layer,
        threshold,
        scale_bits,
    }
}

pub(super) fn output(
    _images: &TensorSpec,
    _weight: &TensorSpec,
    _bias: &TensorSpec,
    spec: &Spec,
) -> (TensorSpec, TensorSpec) {
    let shape = spec.output_shape().to_vec();
    let route = match spec.has_route() {
        true => shape.clone(),
        false => vec![0],
    };
    let route = TensorSpec::new(route.into(), DType::I32);
    (f32_output(shape), route)
}

pub(super) fn weight_grad_output(
    _images: &TensorSpec,
    _output: &TensorSpec,
    _route: &TensorSpec,
    _grad: &TensorSpec,
    spec: &Spec,
) -> (TensorSpec, TensorSpec) {
    let weight = weight_shape(spec).to_vec();
    let n_biases = if spec.bias { spec.out_channels } else { 0 };
    (f32_output(weight), f32_output(vec![n_biases]))
}

pub(super) fn input_grad_output(
    _weight: &TensorSpec,
    _output: &TensorSpec,
    _route: &TensorSpec,
    _grad: &TensorSpec,
    spec: &Spec,
) -> TensorSpec {
    f32_output(images_shape(spec).to_vec())
}

/// Shape of the images.
pub(super) fn images_shape(spec: &Spec) -> [usize; 4] {
    [spec.batch, spec.height, spec.width, spec.in_channels]
}

/// Shape of the weights.
pub(super) fn weight_shape(spec: &Spec) -> [usize; 4] {
    let side = spec.kernel;
    [spec.out_channels, spec.in_channels, side, side]
}

/// The gradient of a block.
#[derive(Debug)]
struct ConvBlockGrad;

impl<B: Kernels> Backward<B, 3> for ConvBlockGrad {
    /// Images and weights, output, route.
    type State = (NodeId, NodeId, FloatTensor<B>, IntTensor<B>, Spec);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let [for_images, for_weight, for_bias] = ops.parents;
        let (images, weight, output, route, spec) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let images = checkpointer.retrieve_node_output::<FloatTensor<B>>(images);
        let weight = checkpointer.retrieve_node_output::<FloatTensor<B>>(weight);
        if let Some(node) = for_images {
            let (output, route, grad) = (output.clone(), route.clone(), grad.clone());
            let images_grad = B::conv_block_input_grad(weight, output, route, grad, spec);
            grads.register::<B>(node.id, images_grad);
        }
        if for_weight.is_some() || for_bias.is_some() {
            let (weight, bias) = B::conv_block_weight_grad(images, output, route, grad, spec);
            for (node, grad) in [(for_weight, weight), (for_bias, bias)] {
                if let Some(node) = node {
                    grads.register::<B>(node.id, grad);
                }
            }
        }
    }
}

/// Output and route.
type Outputs<B> = (FloatTensor<B>, IntTensor<B>);

pub(super) fn with_gradient<B: Kernels, C: CheckpointStrategy>(
    images: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: FloatTensor<Autodiff<B, C>>,
    spec: Spec,
) -> Outputs<Autodiff<B, C>> {
    let nodes = [images.node(), weight.node(), bias.node()];
    let operation = ConvBlockGrad.prepare::<C>(nodes).compute_bound();
    match operation.stateful() {
        OpsKind::Tracked(mut operation) => {
            let saved = (operation.checkpoint(&images), operation.checkpoint(&weight));
            let (output, route) = B::conv_block(
                inner::<B, C>(images),
                inner::<B, C>(weight),
                inner::<B, C>(bias),
                spec,
            );
            let state = (saved.0, saved.1, output.clone(), route.clone(), spec);
            (operation.finish(state, output), route)
        }
        OpsKind::UnTracked(operation) => {
            let (output, route) = B::conv_block(
                inner::<B, C>(images),
                inner::<B, C>(weight),
                inner::<B, C>(bias),
                spec,
            );
            (operation.finish(output), route)
        }
    }
}

fn inner<B: Kernels, C: CheckpointStrategy>(tensor: FloatTensor<Autodiff<B, C>>) -> FloatTensor<B> {
    <Autodiff<B, C> as AutodiffBackend>::inner(tensor)
}
