//! Launching `shaders/adam.wgsl`.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;

use super::template::{Numbers, expand};
use super::{Program, WORKGROUP, empty, launch};
use crate::kernels::adam::AdamSpec;

type Float = FloatTensor<CubeBackend>;

/// Which of the parameter and its two moments get new memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Adam {
    new: [bool; 3],
}

impl Program for Adam {
    fn text(&self) -> String {
        let mut numbers = Numbers::default();
        numbers.set("GROUP", WORKGROUP);
        for (name, new) in ["NEW_PARAMETER", "NEW_FIRST", "NEW_SECOND"]
            .iter()
            .zip(self.new)
        {
            numbers.set(name, u8::from(new));
        }
        expand(include_str!("../../../shaders/adam.wgsl"), &numbers)
    }
}

pub(super) fn adam(
    parameter: Float,
    grad: Float,
    moments: [Float; 2],
    spec: &AdamSpec,
) -> (Float, Float, Float) {
    let [first, second] = moments;
    let [parameter, grad, first, second] = [parameter, grad, first, second].map(into_contiguous);
    let old = [&parameter, &first, &second];
    let new = old.map(|tensor| match tensor.can_mut() {
        true => None,
        false => Some(empty(tensor, tensor.shape(), DType::F32)),
    });
    let n = parameter.shape().num_elements();
    let groups = n.div_ceil(WORKGROUP as usize);
    let kernel = Adam {
        new: new.each_ref().map(Option::is_some),
    };
    let mut tensors = vec![&parameter, &grad, &first, &second];
    tensors.extend(new.iter().flatten());
    let words = [
        n as u32,
        spec.beta_1.to_bits(),
        spec.beta_2.to_bits(),
        spec.epsilon.to_bits(),
        spec.step_size.to_bits(),
        spec.root_correction.to_bits(),
        spec.penalty.to_bits(),
        spec.keep.to_bits(),
    ];
    launch(kernel, [groups, 1], &tensors, &words);
    let [new_parameter, new_first, new_second] = new;
    (
        new_parameter.unwrap_or(parameter),
        new_first.unwrap_or(first),
        new_second.unwrap_or(second),
    )
}
