//! Launching `shaders/cross_entropy*.wgsl`.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::{cast, into_contiguous};

use super::template::{Numbers, expand};
use super::{Program, WORKGROUP, empty, launch};
use crate::kernels::cross_entropy::CrossEntropySpec;

type Float = FloatTensor<CubeBackend>;
type Int = IntTensor<CubeBackend>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CrossEntropy {
    gradient: bool,
    n_images: usize,
    n_classes: usize,
    smoothing_bits: u32,
}

impl CrossEntropy {
    fn new(spec: &CrossEntropySpec, gradient: bool) -> Self {
        Self {
            gradient,
            n_images: spec.n_images,
            n_classes: spec.n_classes,
            smoothing_bits: spec.smoothing.to_bits(),
        }
    }
}

impl Program for CrossEntropy {
    fn text(&self) -> String {
        let mut numbers = Numbers::default();
        numbers.set("GROUP", WORKGROUP);
        numbers.set("IMAGES", self.n_images);
        numbers.set("CLASSES", self.n_classes);
        numbers.set("SMOOTHING_BITS", self.smoothing_bits);
        let shader = match self.gradient {
            true => include_str!("../../../shaders/cross_entropy_grad.wgsl"),
            false => include_str!("../../../shaders/cross_entropy.wgsl"),
        };
        let row = include_str!("../../../shaders/cross_entropy_row.wgsl");
        expand(&[shader, row].concat(), &numbers)
    }
}

/// Whether one workgroup can do it before Mesa's llvmpipe cuts its loops off.
pub(super) fn fits(spec: &CrossEntropySpec) -> bool {
    let rows = spec.n_images.div_ceil(WORKGROUP as usize);
    rows * (3 * spec.n_classes + 1) < 60_000
}

pub(super) fn forward(logits: Float, labels: Int, spec: &CrossEntropySpec) -> (Float, Float, Int) {
    let dtype = labels.dtype;
    let [logits, labels] = [logits, as_i32(labels)].map(into_contiguous);
    let mean = empty(&logits, [1], DType::F32);
    let sum = empty(&logits, [1], DType::F32);
    let correct = empty(&logits, [1], DType::I32);
    let tensors = [&logits, &labels, &mean, &sum, &correct];
    launch(CrossEntropy::new(spec, false), [1, 1], &tensors, &[]);
    (mean, sum, cast(correct, dtype))
}

pub(super) fn gradient(logits: Float, labels: Int, grad: Float, spec: &CrossEntropySpec) -> Float {
    let [logits, labels, grad] = [logits, as_i32(labels), grad].map(into_contiguous);
    let output = empty(&logits, [spec.n_images, spec.n_classes], DType::F32);
    let groups = spec.n_images.div_ceil(WORKGROUP as usize);
    let tensors = [&logits, &labels, &grad, &output];
    launch(CrossEntropy::new(spec, true), [groups, 1], &tensors, &[]);
    output
}

/// As the shaders read labels.
fn as_i32(labels: Int) -> Int {
    match labels.dtype {
        DType::I32 => labels,
        _ => cast(labels, DType::I32),
    }
}
