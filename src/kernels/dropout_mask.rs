//! The mask of inverted dropout. The CPU twin of `shaders/dropout_mask.wgsl` is
//! [`weft_cpu::dropout_mask`].

use burn::backend::fusion::custom::TensorSpec;
pub use weft_cpu::dropout_mask::*;

pub(super) fn output(like: &TensorSpec, _spec: &DropoutSpec) -> TensorSpec {
    super::f32_output(like.shape.to_vec())
}
