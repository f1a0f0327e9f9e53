//! A fully connected layer in one pass: product, bias, activation and dropout; and backward.

pub use crate::elementwise::{Activation, Dropout};
use crate::memory::written;
use crate::product::{Finish, Matrix, Plain, Size, product};
use crate::simd::Instructions;
use crate::threads::{Parts, for_each, part_of};

/// A layer's shapes and functions. Inputs are `[batch, input]`, weights `[input, output]`, outputs
/// `[batch, output]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// Images.
    pub batch: usize,
    /// Inputs of an image.
    pub inputs: usize,
    /// Units.
    pub outputs: usize,
    /// The nonlinearity.
    pub activation: Activation,
    /// Dropout, in training.
    pub dropout: Option<Dropout>,
    /// Whether the backward pass gives the gradient of the inputs.
    pub input_grad: bool,
}

/// Bias, activation, dropout.
struct Layer<'a> {
    spec: &'a Spec,
    bias: &'a [f32],
}

impl Finish for Layer<'_> {
    #[inline(always)]
    fn finish(&self, row: usize, column: usize, numbers: &mut [f32]) {
        let activation = self.spec.activation;
        let biases = &self.bias[column..][..numbers.len()];
        match activation {
            Activation::Relu => {
                for (number, bias) in numbers.iter_mut().zip(biases) {
                    let sum = *number + bias;
                    *number = if sum <= 0.0 { 0.0 } else { sum };
                }
            }
            _ => {
                for (number, bias) in numbers.iter_mut().zip(biases) {
                    *number = activation.value(*number + bias);
                }
            }
        }
        if let Some(dropout) = &self.spec.dropout {
            let first = (row * self.spec.outputs + column) as u32;
            let scale = dropout.scale();
            for (element, number) in (first..).zip(numbers) {
                let dropped = dropout.drops(element);
                *number = if dropped { 0.0 } else { *number * scale };
            }
        }
    }
}

/// The layer's output, `[batch, output]`.
///
/// * `inputs`: `[batch, input]`; `weight`: `[input, output]`; `bias`: `[output]`
pub fn forward(
    instructions: Instructions,
    spec: &Spec,
    inputs: &[f32],
    weight: &[f32],
    bias: &[f32],
    outputs: &mut [f32],
) {
    let size = Size {
        rows: spec.batch,
        columns: spec.outputs,
        inner: spec.inputs,
    };
    let (left, right) = (
        Matrix::new(inputs, spec.inputs),
        Matrix::new(weight, spec.outputs),
    );
    product(
        instructions,
        size,
        left,
        right,
        &Layer { spec, bias },
        outputs,
    );
}

/// A layer's gradients.
pub struct Gradients {
    /// `[batch, input]`, or nothing.
    pub inputs: Vec<f32>,
    /// `[input, output]`
    pub weight: Vec<f32>,
    /// `[output]`
    pub bias: Vec<f32>,
}

/// * `inputs`, `weight`, `outputs`: of the forward pass
/// * `grad`: the gradient of the outputs
pub fn backward(
    instructions: Instructions,
    spec: &Spec,
    inputs: &[f32],
    weight: &[f32],
    outputs: &[f32],
    grad: &[f32],
) -> Gradients {
    let changed;
    let grad = match (spec.activation, spec.dropout) {
        (Activation::Identity, None) => grad,
        _ => {
            changed = before_activation(spec, outputs, grad);
            &changed[..]
        }
    };
    let mut bias = vec![0f32; spec.outputs];
    for line in grad.chunks_exact(spec.outputs) {
        for (bias, grad) in bias.iter_mut().zip(line) {
            *bias += grad;
        }
    }
    let size = Size {
        rows: spec.inputs,
        columns: spec.outputs,
        inner: spec.batch,
    };
    let (inputs, grad) = (
        Matrix::new(inputs, spec.inputs),
        Matrix::new(grad, spec.outputs),
    );
    // SAFETY (of both): a product writes each number before it reads it.
    let weight_grad = unsafe {
        written(weight.len(), |to| {
            product(instructions, size, inputs.transposed(), grad, &Plain, to);
        })
    };
    let mut inputs_grad = Vec::new();
    if spec.input_grad {
        let size = Size {
            rows: spec.batch,
            columns: spec.inputs,
            inner: spec.outputs,
        };
        let weight = Matrix::new(weight, spec.outputs).transposed();
        inputs_grad = unsafe {
            written(spec.batch * spec.inputs, |to| {
                product(instructions, size, grad, weight, &Plain, to);
            })
        };
    }
    Gradients {
        inputs: inputs_grad,
        weight: weight_grad,
        bias,
    }
}

/// The gradient before dropout and activation.
fn before_activation(spec: &Spec, outputs: &[f32], grad: &[f32]) -> Vec<f32> {
    let scale = spec.dropout.map_or(1.0, |dropout| dropout.scale());
    let mut before = vec![0f32; grad.len()];
    let len = 16 * spec.outputs;
    let parts = Parts::new(&mut before, len);
    for_each(parts.count(), &|chunk| {
        let (outputs, grad) = (part_of(outputs, len, chunk), part_of(grad, len, chunk));
        // SAFETY: each task has an index of its own.
        let before = unsafe { parts.of(chunk) };
        let numbers = before.iter_mut().zip(outputs).zip(grad);
        match (spec.activation, spec.dropout) {
            // What was dropped is zero, as a closed ReLU.
            (Activation::Relu, _) => {
                for ((before, &output), &grad) in numbers {
                    *before = if output > 0.0 { grad * scale } else { 0.0 };
                }
            }
            (activation, None) => {
                for ((before, &output), &grad) in numbers {
                    *before = grad * activation.derivative(output);
                }
            }
            (activation, Some(dropout)) => {
                let first = (chunk * 16 * spec.outputs) as u32;
                for (element, ((before, &output), &grad)) in (first..).zip(numbers) {
                    if !dropout.drops(element) {
                        *before = grad * scale * activation.derivative(output / scale);
                    }
                }
            }
        }
    });
    before
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::draw;

    fn numbers(key: u32, n: usize) -> Vec<f32> {
        let unit = |i| draw(key, i, 0) as f32 / u32::MAX as f32 - 0.5;
        (0..n as u32).map(unit).collect()
    }

    /// Central differences of a random linear form of the outputs.
    #[test]
    fn gradients_are_those_of_finite_differences() {
        let dropout = Dropout {
            key: 3,
            layer: 0,
            threshold: 1 << 22,
            scale_bits: (4.0f32 / 3.0).to_bits(),
        };
        let activations = [
            Activation::Identity,
            Activation::Relu,
            Activation::Tanh,
            Activation::Selu,
        ];
        for set in Instructions::available() {
            for activation in activations {
                for dropout in [None, Some(dropout)] {
                    let spec = Spec {
                        batch: 5,
                        inputs: 7,
                        outputs: 6,
                        activation,
                        dropout,
                        input_grad: true,
                    };
                    check(set, &spec);
                }
            }
        }
    }

    fn check(set: Instructions, spec: &Spec) {
        let (x, w) = (numbers(1, 35), numbers(2, 42));
        let (b, g) = (numbers(3, 6), numbers(4, 30));
        let form = |x: &[f32], w: &[f32], b: &[f32]| -> f64 {
            let mut y = vec![0f32; 30];
            forward(set, spec, x, w, b, &mut y);
            y.iter()
                .zip(&g)
                .map(|(y, g)| f64::from(*y) * f64::from(*g))
                .sum()
        };
        let mut y = vec![0f32; 30];
        forward(set, spec, &x, &w, &b, &mut y);
        let grads = backward(set, spec, &x, &w, &y, &g);
        for (which, (values, grads)) in [(&x, grads.inputs), (&w, grads.weight), (&b, grads.bias)]
            .into_iter()
            .enumerate()
        {
            for at in 0..values.len() {
                let step = 1e-3;
                let moved = |by: f32| {
                    let mut values = values.clone();
                    values[at] += by;
                    match which {
                        0 => form(&values, &w, &b),
                        1 => form(&x, &values, &b),
                        _ => form(&x, &w, &values),
                    }
                };
                let want = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
                let got = f64::from(grads[at]);
                assert!(
                    (got - want).abs() < 2e-3,
                    "{set:?} {spec:?} {which}[{at}] {got} {want}"
                );
            }
        }
    }
}
