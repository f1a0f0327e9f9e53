//! Which kernels compute a model's layers.

use super::ModelConfig;
use crate::device::Adapter;

/// The kernels that a model's training step runs on a device: `"composed"` are burn's own, one after
/// another. `adapter` is None on a CPU backend.
pub fn kernel_path(_model: &ModelConfig, _adapter: Option<&Adapter>) -> &'static str {
    "composed"
}
