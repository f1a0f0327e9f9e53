//! Launching `shaders/dense*.wgsl`.

use burn::backend::tensor::FloatTensor;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;

use super::product::{self, Product, cores};
use super::template::{Numbers, expand};
use super::{Program, activation, empty, launch};
use crate::kernels::dense::{Activation, Spec};

type Float = FloatTensor<CubeBackend>;

/// Whether the shaders can do a layer on any WebGPU device: refused are sizes that no index or loop can
/// count.
pub(super) fn fits(spec: &Spec) -> bool {
    product::fits([spec.batch, spec.outputs, spec.inputs])
}

/// Which of a layer's products; all about it is in the shader's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Forward,
    WeightGrad,
    InputGrad,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Dense {
    part: Part,
    /// Without what changes from step to step.
    spec: Spec,
    /// Workgroups that the device computes at a time.
    cores: usize,
}

impl Dense {
    fn new(part: Part, spec: &Spec, cores: usize) -> Self {
        let dropout = spec.dropout.map(|mut dropout| {
            dropout.key = 0;
            dropout
        });
        let spec = Spec {
            dropout,
            input_grad: false,
            ..*spec
        };
        Self { part, spec, cores }
    }

    /// Rows, columns, and what is summed over.
    fn size(&self) -> [usize; 3] {
        let spec = &self.spec;
        match self.part {
            Part::Forward => [spec.batch, spec.outputs, spec.inputs],
            Part::WeightGrad => [spec.inputs, spec.outputs, spec.batch],
            Part::InputGrad => [spec.batch, spec.inputs, spec.outputs],
        }
    }

    fn product(&self) -> Product {
        Product::new(self.size(), self.along(), self.cores)
    }

    /// Whether the lines of the left and of the right matrix lie along what is summed over.
    fn along(&self) -> [bool; 2] {
        match self.part {
            Part::Forward => [true, false],
            Part::WeightGrad => [false, false],
            Part::InputGrad => [true, true],
        }
    }

    /// Whether the gradient before the activation needs the outputs.
    fn derived(&self) -> bool {
        self.part != Part::Forward && self.spec.activation != Activation::Identity
    }

    /// Whether it is drawn what was dropped: a ReLU's outputs tell.
    fn draws(&self) -> bool {
        let seen = self.part != Part::Forward && self.spec.activation == Activation::Relu;
        self.spec.dropout.is_some() && !seen
    }

    fn numbers(&self) -> Numbers {
        let spec = &self.spec;
        let mut numbers = self.product().numbers();
        for (name, value) in [
            ("GRAD_WIDE", usize::from(spec.outputs.is_multiple_of(4))),
            ("BIAS_GRAD", usize::from(self.part == Part::WeightGrad)),
            ("DERIVED", usize::from(self.derived())),
            ("DRAWS", usize::from(self.draws())),
            ("DROPOUT", usize::from(spec.dropout.is_some())),
        ] {
            numbers.set(name, value);
        }
        numbers.set("ACTIVATION", activation(spec.activation));
        let scale = spec.dropout.map_or(1f32.to_bits(), |d| d.scale_bits);
        numbers.set("SCALE_BITS", scale);
        if let Some(dropout) = spec.dropout {
            numbers.set("DROPOUT_LAYER", dropout.layer);
            numbers.set("DROPOUT_THRESHOLD", dropout.threshold);
        }
        numbers
    }
}

impl Program for Dense {
    fn text(&self) -> String {
        let mut text = include_str!("../../../shaders/activation.wgsl").to_owned();
        text += include_str!("../../../shaders/dense_product.wgsl");
        if self.draws() {
            text += include_str!("../../../shaders/random.wgsl");
            text += include_str!("../../../shaders/dense_drops.wgsl");
        }
        if self.part != Part::Forward {
            text += include_str!("../../../shaders/dense_before.wgsl");
        }
        text += match self.part {
            Part::Forward => include_str!("../../../shaders/dense.wgsl"),
            Part::WeightGrad => include_str!("../../../shaders/dense_weight_grad.wgsl"),
            Part::InputGrad => include_str!("../../../shaders/dense_input_grad.wgsl"),
        };
        expand(&text, &self.numbers())
    }
}

/// Launches a part. The outputs, if given, are bound where their derivative is needed, and the key where
/// it is drawn with.
fn run(part: Part, spec: &Spec, tensors: &[&Float], outputs: Option<&Float>) {
    let mut tensors = tensors.to_vec();
    let kernel = Dense::new(part, spec, cores(tensors[0]));
    tensors.extend(outputs.filter(|_| kernel.derived()));
    let key = spec.dropout.filter(|_| kernel.draws());
    let words: Vec<u32> = key.iter().map(|dropout| dropout.key).collect();
    launch(kernel, [kernel.product().groups(), 1], &tensors, &words);
}

pub(super) fn forward(inputs: Float, weight: Float, bias: Float, spec: &Spec) -> Float {
    let [inputs, weight, bias] = [inputs, weight, bias].map(into_contiguous);
    let result = empty(&inputs, [spec.batch, spec.outputs], DType::F32);
    let tensors = [&inputs, &weight, &bias, &result];
    run(Part::Forward, spec, &tensors, None);
    result
}

/// The gradients of inputs (empty if nobody wants it), weights and bias.
pub(super) fn gradient(
    inputs: Float,
    weight: Float,
    outputs: Float,
    grad: Float,
    spec: &Spec,
) -> (Float, Float, Float) {
    let [inputs, weight, outputs, grad] = [inputs, weight, outputs, grad].map(into_contiguous);
    let weight_grad = empty(&inputs, [spec.inputs, spec.outputs], DType::F32);
    let bias_grad = empty(&inputs, [spec.outputs], DType::F32);
    let tensors = [&inputs, &grad, &weight_grad, &bias_grad];
    run(Part::WeightGrad, spec, &tensors, Some(&outputs));
    if !spec.input_grad {
        return (empty(&inputs, [0], DType::F32), weight_grad, bias_grad);
    }
    let inputs_grad = empty(&inputs, [spec.batch, spec.inputs], DType::F32);
    let tensors = [&weight, &grad, &inputs_grad];
    run(Part::InputGrad, spec, &tensors, Some(&outputs));
    (inputs_grad, weight_grad, bias_grad)
}
