//! One step of Adam or AdamW for one tensor in one pass: the CPU twin of `shaders/adam.wgsl` is
//! [`weft_cpu::adam`].

use burn::backend::Dispatch;
use burn::backend::fusion::custom::TensorSpec;
use burn::tensor::Tensor;
pub use weft_cpu::adam::Spec as AdamSpec;

use super::Kernels;

/// The parameter, its first and second moment after a step; all of one shape.
pub fn adam<const D: usize>(
    parameter: Tensor<D>,
    grad: Tensor<D>,
    moments: [Tensor<D>; 2],
    spec: AdamSpec,
) -> (Tensor<D>, [Tensor<D>; 2]) {
    let [first, second] = moments;
    let (parameter, first, second) = <Dispatch as Kernels>::adam(
        parameter.into_dispatch(),
        grad.into_dispatch(),
        first.into_dispatch(),
        second.into_dispatch(),
        spec,
    );
    let moments = [first, second].map(Tensor::from_dispatch);
    (Tensor::from_dispatch(parameter), moments)
}

pub(super) fn output(
    parameter: &TensorSpec,
    _grad: &TensorSpec,
    first: &TensorSpec,
    second: &TensorSpec,
    _spec: &AdamSpec,
) -> (TensorSpec, TensorSpec, TensorSpec) {
    (parameter.clone(), first.clone(), second.clone())
}
