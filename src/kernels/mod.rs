//! Kernels of our own, behind one backend extension: each is a WGSL shader for the GPU with a CPU
//! twin of the same name, and a test that compares the two.
//!
//! The functions of this module are what the rest of weft calls; they work on every device, under
//! fusion and under autodiff.

#![expect(
    deprecated,
    reason = "burn deprecates ndarray in favour of flex; weft keeps it as a second CPU path"
)]

pub mod adam;
pub mod average;
pub mod batch_norm;
pub mod conv_block;
mod cpu;
pub mod cross_entropy;
mod cube;
pub mod dense;
pub mod dropout_mask;
pub mod gather_batch;
pub mod orthogonal;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, BackendTypes, Dispatch, backend_extension,
};
use burn::tensor::{DType, Device, Int, Tensor};
pub use weft_cpu::random;

use adam::AdamSpec;
use average::AverageSpec;
use cross_entropy::CrossEntropySpec;
#[doc(hidden)]
pub use cube::Machine;
pub use dropout_mask::DropoutSpec;
pub use gather_batch::GatherSpec;

/// The operations that weft adds to burn's backends.
#[backend_extension(Cube, Flex, NdArray, Fusion, Autodiff)]
pub trait Kernels: Backend {
    /// See [`gather_batch()`].
    #[fusion(meta = gather_batch::output)]
    fn gather_batch(
        packed: IntTensor<Self>,
        order: IntTensor<Self>,
        table: IntTensor<Self>,
        spec: GatherSpec,
    ) -> FloatTensor<Self>;

    /// See [`dropout()`]. `like` gives the shape and the device.
    #[fusion(meta = dropout_mask::output)]
    fn dropout_mask(like: FloatTensor<Self>, spec: DropoutSpec) -> FloatTensor<Self>;

    /// See [`conv_block()`](conv_block::conv_block). Gives the output and the route, of one shape, or `[0]`
    /// where there is no route; it is a byte on a CPU and an i32 elsewhere.
    #[fusion(meta = conv_block::output)]
    fn conv_block(
        images: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        spec: conv_block::Spec,
    ) -> (FloatTensor<Self>, IntTensor<Self>);

    /// The gradients of a block's weights, `[filter, channel, kernel, kernel]`, and bias, `[filter]`, or `[0]`
    /// where there is none.
    #[fusion(meta = conv_block::weight_grad_output)]
    fn conv_block_weight_grad(
        images: FloatTensor<Self>,
        output: FloatTensor<Self>,
        route: IntTensor<Self>,
        grad: FloatTensor<Self>,
        spec: conv_block::Spec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The gradient of a block's images, `[batch, height, width, channel]`.
    #[fusion(meta = conv_block::input_grad_output)]
    fn conv_block_input_grad(
        weight: FloatTensor<Self>,
        output: FloatTensor<Self>,
        route: IntTensor<Self>,
        grad: FloatTensor<Self>,
        spec: conv_block::Spec,
    ) -> FloatTensor<Self>;

    /// See [`dense()`](dense::dense).
    #[fusion(meta = dense::output)]
    fn dense(
        inputs: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        spec: dense::Spec,
    ) -> FloatTensor<Self>;

    /// The gradients of a layer's inputs (empty if nobody wants it), weights and bias.
    #[fusion(meta = dense::grad_output)]
    fn dense_grad(
        inputs: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        outputs: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        spec: dense::Spec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// See [`batch_norm::statistics`]. The number of channels is that of the last axis.
    #[fusion(meta = batch_norm::statistics_output)]
    fn batch_statistics(
        x: FloatTensor<Self>,
        channels: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// See [`batch_norm()`](batch_norm::batch_norm).
    #[fusion(meta = batch_norm::output)]
    fn normalize(
        x: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        spec: batch_norm::Spec,
    ) -> FloatTensor<Self>;

    /// The gradients of `x`, of its shape, of gamma and of beta, `[channel]`.
    #[fusion(meta = batch_norm::grad_output)]
    fn normalize_grad(
        x: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        spec: batch_norm::Spec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// See [`cross_entropy()`](cross_entropy::cross_entropy). Gives the mean of the losses, their sum, and
    /// how many were right, `[1]` each.
    #[fusion(meta = cross_entropy::output)]
    fn cross_entropy(
        logits: FloatTensor<Self>,
        labels: IntTensor<Self>,
        spec: CrossEntropySpec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, IntTensor<Self>);

    /// The gradient of the mean loss by the logits, `[batch, class]`, times `grad`, `[1]`.
    #[fusion(meta = cross_entropy::grad_output)]
    fn cross_entropy_grad(
        logits: FloatTensor<Self>,
        labels: IntTensor<Self>,
        grad: FloatTensor<Self>,
        spec: CrossEntropySpec,
    ) -> FloatTensor<Self>;

    /// See [`adam()`](adam::adam). Gives the parameter and its two moments after a step.
    #[fusion(meta = adam::output)]
    fn adam(
        parameter: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        spec: AdamSpec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// See [`orthogonal()`](orthogonal::orthogonal).
    #[fusion(meta = orthogonal::output)]
    fn orthogonal(matrix: FloatTensor<Self>, spec: orthogonal::Spec) -> FloatTensor<Self>;

    /// See [`average()`](average::average).
    #[fusion(meta = average::output)]
    fn average(
        average: FloatTensor<Self>,
        value: FloatTensor<Self>,
        spec: AverageSpec,
    ) -> FloatTensor<Self>;
}

/// Gathers, augments and normalises one batch: `[batch, channel, height, width]` f32.
///
/// * `packed`: `[n_images * words]`, four bytes to an i32 (see [`gather_batch::pack`]).
/// * `order`: `[n_positions]`, image indices; the batch is `spec.first .. spec.first + spec.n_images`.
/// * `table`: `[channels * 256]`, the bits of the f32 value of each byte (see [`gather_batch::table`]).
pub fn gather_batch(
    packed: &Tensor<1, Int>,
    order: &Tensor<1, Int>,
    table: &Tensor<1, Int>,
    spec: GatherSpec,
) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as Kernels>::gather_batch(
        packed.clone().into_dispatch(),
        order.clone().into_dispatch(),
        table.clone().into_dispatch(),
        spec,
    ))
}

/// Inverted dropout: each element is zeroed with the spec's probability, the rest scaled up. Which
/// ones is a pure function of (key, layer, element), so a resumed step drops what it would have.
pub fn dropout<const D: usize>(input: Tensor<D>, spec: DropoutSpec) -> Tensor<D> {
    let mask = <Dispatch as Kernels>::dropout_mask(input.clone().into_dispatch(), spec);
    input * Tensor::from_dispatch(mask)
}

/// Batches are constants to autodiff, and so are masks: the multiplication by a mask is tracked. Blocks
/// and the loss are differentiated; what only a backward pass or an optimizer calls is not.
impl<B: Kernels, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn gather_batch(
        packed: IntTensor<Self>,
        order: IntTensor<Self>,
        table: IntTensor<Self>,
        spec: GatherSpec,
    ) -> FloatTensor<Self> {
        <Self as AutodiffBackend>::from_inner(B::gather_batch(packed, order, table, spec))
    }

    fn dropout_mask(like: FloatTensor<Self>, spec: DropoutSpec) -> FloatTensor<Self> {
        let like = <Self as AutodiffBackend>::inner(like);
        <Self as AutodiffBackend>::from_inner(B::dropout_mask(like, spec))
    }

    fn conv_block(
        images: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        spec: conv_block::Spec,
    ) -> (FloatTensor<Self>, IntTensor<Self>) {
        conv_block::with_gradient::<B, C>(images, weight, bias, spec)
    }

    fn conv_block_weight_grad(
        images: FloatTensor<Self>,
        output: FloatTensor<Self>,
        route: IntTensor<Self>,
        grad: FloatTensor<Self>,
        spec: conv_block::Spec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [images, output, grad] = [images, output, grad].map(<Self as AutodiffBackend>::inner);
        let (weight, bias) = B::conv_block_weight_grad(images, output, route, grad, spec);
        let constant = <Self as AutodiffBackend>::from_inner;
        (constant(weight), constant(bias))
    }

    fn conv_block_input_grad(
        weight: FloatTensor<Self>,
        output: FloatTensor<Self>,
        route: IntTensor<Self>,
        grad: FloatTensor<Self>,
        spec: conv_block::Spec,
    ) -> FloatTensor<Self> {
        let [weight, output, grad] = [weight, output, grad].map(<Self as AutodiffBackend>::inner);
        let images = B::conv_block_input_grad(weight, output, route, grad, spec);
        <Self as AutodiffBackend>::from_inner(images)
    }

    fn dense(
        inputs: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        spec: dense::Spec,
    ) -> FloatTensor<Self> {
        dense::with_gradient::<B, C>(inputs, weight, bias, spec)
    }

    fn dense_grad(
        inputs: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        outputs: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        spec: dense::Spec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let inner = <Self as AutodiffBackend>::inner;
        let (inputs, weight, bias) = B::dense_grad(
            inner(inputs),
            inner(weight),
            inner(outputs),
            inner(grad),
            spec,
        );
        let constant = <Self as AutodiffBackend>::from_inner;
        (constant(inputs), constant(weight), constant(bias))
    }

    fn batch_statistics(
        x: FloatTensor<Self>,
        channels: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let x = <Self as AutodiffBackend>::inner(x);
        let (mean, variance) = B::batch_statistics(x, channels);
        let constant = <Self as AutodiffBackend>::from_inner;
        (constant(mean), constant(variance))
    }

    fn normalize(
        x: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        spec: batch_norm::Spec,
    ) -> FloatTensor<Self> {
        batch_norm::with_gradient::<B, C>([x, mean, variance, gamma, beta], spec)
    }

    fn normalize_grad(
        x: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        spec: batch_norm::Spec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [x, mean, variance, gamma, beta, grad] =
            [x, mean, variance, gamma, beta, grad].map(<Self as AutodiffBackend>::inner);
        let (x, gamma, beta) = B::normalize_grad(x, mean, variance, gamma, beta, grad, spec);
        let constant = <Self as AutodiffBackend>::from_inner;
        (constant(x), constant(gamma), constant(beta))
    }

    fn cross_entropy(
        logits: FloatTensor<Self>,
        labels: IntTensor<Self>,
        spec: CrossEntropySpec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, IntTensor<Self>) {
        cross_entropy::with_gradient::<B, C>(logits, labels, spec)
    }

    fn cross_entropy_grad(
        logits: FloatTensor<Self>,
        labels: IntTensor<Self>,
        grad: FloatTensor<Self>,
        spec: CrossEntropySpec,
    ) -> FloatTensor<Self> {
        let [logits, grad] = [logits, grad].map(<Self as AutodiffBackend>::inner);
        let grad = B::cross_entropy_grad(logits, labels, grad, spec);
        <Self as AutodiffBackend>::from_inner(grad)
    }

    fn adam(
        parameter: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        spec: AdamSpec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let inner = <Self as AutodiffBackend>::inner;
        let (parameter, first, second) = B::adam(
            inner(parameter),
            inner(grad),
            inner(first),
            inner(second),
            spec,
        );
        let constant = <Self as AutodiffBackend>::from_inner;
        (constant(parameter), constant(first), constant(second))
    }

    fn average(
        average: FloatTensor<Self>,
        value: FloatTensor<Self>,
        spec: AverageSpec,
    ) -> FloatTensor<Self> {
        let [average, value] = [average, value].map(<Self as AutodiffBackend>::inner);
        <Self as AutodiffBackend>::from_inner(B::average(average, value, spec))
    }

    fn orthogonal(matrix: FloatTensor<Self>, spec: orthogonal::Spec) -> FloatTensor<Self> {
        let matrix = <Self as AutodiffBackend>::inner(matrix);
        <Self as AutodiffBackend>::from_inner(B::orthogonal(matrix, spec))
    }
}

/// Whether a device is one of the two CPU backends.
pub(crate) fn is_cpu(device: &Device) -> bool {
    type Any = <Dispatch as BackendTypes>::Device;
    let device = device.clone().inner();
    matches!(device.as_dispatch(), Any::Flex(_) | Any::NdArray(_))
}

/// The metadata that fusion needs before a kernel runs.
pub(crate) fn f32_output(shape: Vec<usize>) -> burn::backend::fusion::custom::TensorSpec {
    burn::backend::fusion::custom::TensorSpec::new(shape.into(), DType::F32)
}
