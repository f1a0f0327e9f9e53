//! One update of an exponential moving average in one pass: the CPU twin of `shaders/average.wgsl` is
//! [`weft_cpu::average`].

use burn::backend::Dispatch;
use burn::backend::fusion::custom::TensorSpec;
use burn::tensor::Tensor;

use super::Kernels;

/// What a value counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AverageSpec {
    /// 1 less the decay.
    pub rate: f32,
}

/// `average + rate * (value - average)`, in place where nobody else has the average.
pub fn average<const D: usize>(
    average: Tensor<D>,
    value: Tensor<D>,
    spec: AverageSpec,
) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as Kernels>::average(
        average.into_dispatch(),
        value.into_dispatch(),
        spec,
    ))
}

pub(super) fn output(average: &TensorSpec, _value: &TensorSpec, _spec: &AverageSpec) -> TensorSpec {
    average.clone()
}
