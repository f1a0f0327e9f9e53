//! Gather, augment and normalise one batch. The CPU twin of `shaders/gather_batch.wgsl` is
//! [`weft_cpu::gather_batch`].

use burn::backend::fusion::custom::TensorSpec;
pub use weft_cpu::gather_batch::*;

pub(super) fn output(
    _packed: &TensorSpec,
    _order: &TensorSpec,
    _table: &TensorSpec,
    spec: &GatherSpec,
) -> TensorSpec {
    super::f32_output(spec.shape())
}
