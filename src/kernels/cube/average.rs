//! Launching `shaders/average.wgsl`.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;

use super::template::{Numbers, expand};
use super::{Program, WORKGROUP, empty, groups, launch};
use crate::kernels::average::AverageSpec;

type Float = FloatTensor<CubeBackend>;

/// Whether the average gets new memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Average {
    new: bool,
}

impl Program for Average {
    fn text(&self) -> String {
        let mut numbers = Numbers::default();
        numbers.set("GROUP", WORKGROUP);
        numbers.set("NEW", u8::from(self.new));
        expand(include_str!("../../../shaders/average.wgsl"), &numbers)
    }
}

pub(super) fn average(average: Float, value: Float, spec: &AverageSpec) -> Float {
    let [average, value] = [average, value].map(into_contiguous);
    let new = match average.can_mut() {
        true => None,
        false => Some(empty(&average, average.shape(), DType::F32)),
    };
    let mut tensors = vec![&average, &value];
    tensors.extend(&new);
    let words = [average.shape().num_elements() as u32, spec.rate.to_bits()];
    let program = Average { new: new.is_some() };
    launch(program, groups(&average), &tensors, &words);
    new.unwrap_or(average)
}
