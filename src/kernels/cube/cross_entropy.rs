//! Launching `shaders/cross_entropy*.wgsl`: one launch each way, and one more forward where the batch is
//! too much for one workgroup.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::{cast, into_contiguous};

use super::template::{Numbers, expand};
use super::{Program, WORKGROUP, empty, launch};
use crate::kernels::cross_entropy::CrossEntropySpec;

type Float = FloatTensor<CubeBackend>;
type Int = IntTensor<CubeBackend>;

/// Most logits that one workgroup takes alone.
const ALONE: usize = 32 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Forward,
    Sum,
    Gradient,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct CrossEntropy {
    part: Part,
    n_images: usize,
    n_classes: usize,
    smoothing_bits: u32,
}

impl CrossEntropy {
    fn new(spec: &CrossEntropySpec, part: Part) -> Self {
        Self {
            part,
            n_images: spec.n_images,
            n_classes: spec.n_classes,
            smoothing_bits: spec.smoothing.to_bits(),
        }
    }

    /// Workgroups of the forward pass.
    fn groups(&self) -> usize {
        match self.n_images * self.n_classes <= ALONE {
            true => 1,
            false => self.n_images.div_ceil(WORKGROUP as usize),
        }
    }
}

impl Program for CrossEntropy {
    fn text(&self) -> String {
        let mut numbers = Numbers::default();
        numbers.set("GROUP", WORKGROUP);
        numbers.set("GROUPS", self.groups());
        numbers.set("IMAGES", self.n_images);
        numbers.set("CLASSES", self.n_classes);
        numbers.set("SMOOTHING_BITS", self.smoothing_bits);
        let row = include_str!("../../../shaders/cross_entropy_row.wgsl");
        let shader = match self.part {
            Part::Forward => include_str!("../../../shaders/cross_entropy.wgsl"),
            Part::Sum => {
                return expand(
                    include_str!("../../../shaders/cross_entropy_sum.wgsl"),
                    &numbers,
                );
            }
            Part::Gradient => include_str!("../../../shaders/cross_entropy_grad.wgsl"),
        };
        expand(&[shader, row].concat(), &numbers)
    }
}

pub(super) fn forward(logits: Float, labels: Int, spec: &CrossEntropySpec) -> (Float, Float, Int) {
    let dtype = labels.dtype;
    let [logits, labels] = [logits, as_i32(labels)].map(into_contiguous);
    let mean = empty(&logits, [1], DType::F32);
    let sum = empty(&logits, [1], DType::F32);
    let correct = empty(&logits, [1], DType::I32);
    let program = CrossEntropy::new(spec, Part::Forward);
    match program.groups() {
        1 => {
            let tensors = [&logits, &labels, &sum, &correct, &mean];
            launch(program, [1, 1], &tensors, &[]);
        }
        groups => {
            let losses = empty(&logits, [groups], DType::F32);
            let rights = empty(&logits, [groups], DType::I32);
            let tensors = [&logits, &labels, &losses, &rights];
            launch(program, [groups, 1], &tensors, &[]);
            let program = CrossEntropy::new(spec, Part::Sum);
            let tensors = [&losses, &rights, &sum, &correct, &mean];
            launch(program, [1, 1], &tensors, &[]);
        }
    }
    let correct = match dtype {
        DType::I32 => correct,
        dtype => cast(correct, dtype),
    };
    (mean, sum, correct)
}

pub(super) fn gradient(logits: Float, labels: Int, grad: Float, spec: &CrossEntropySpec) -> Float {
    let [logits, labels, grad] = [logits, as_i32(labels), grad].map(into_contiguous);
    let output = empty(&logits, [spec.n_images, spec.n_classes], DType::F32);
    let groups = spec.n_images.div_ceil(WORKGROUP as usize);
    let tensors = [&logits, &labels, &grad, &output];
    let program = CrossEntropy::new(spec, Part::Gradient);
    launch(program, [groups, 1], &tensors, &[]);
    output
}

/// As the shaders read labels.
fn as_i32(labels: Int) -> Int {
    match labels.dtype {
        DType::I32 => labels,
        _ => cast(labels, DType::I32),
    }
}
