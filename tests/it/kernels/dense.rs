//! Fully connected layers: the shaders against the CPU twins, and the gradients on every device against
//! burn's own operations.

use burn::backend::Dispatch;
use burn::tensor::activation::{relu, tanh};
use burn::tensor::{Device, Tensor, TensorData};
use weft::kernels::dense::{Activation, Dropout, Spec, dense, runs_on};
use weft::kernels::{Kernels, random};
use weft_cpu::dense as twin;
use weft_cpu::simd::Instructions;

use crate::devices;

const ACTIVATIONS: [Activation; 4] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Tanh,
    Activation::Selu,
];

fn spec([batch, inputs, outputs]: [usize; 3]) -> Spec {
    Spec {
        batch,
        inputs,
        outputs,
        activation: Activation::Relu,
        dropout: None,
        input_grad: true,
    }
}

fn dropout() -> Option<Dropout> {
    Some(Dropout {
        key: 5,
        layer: 1,
        threshold: 1 << 22,
        scale_bits: (4.0f32 / 3.0).to_bits(),
    })
}

fn numbers(key: u32, n: usize, scale: f32) -> Vec<f32> {
    (0..n as u32)
        .map(|i| (random::draw(key, i, 0) as f32 / u32::MAX as f32 * 2.0 - 1.0) * scale)
        .collect()
}

/// What goes into a layer.
struct Case {
    inputs: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    grad: Vec<f32>,
}

impl Case {
    fn of(spec: &Spec) -> Self {
        let scale = (3.0 / spec.inputs as f32).sqrt();
        Self {
            inputs: numbers(1, spec.batch * spec.inputs, 1.0),
            weight: numbers(2, spec.inputs * spec.outputs, scale),
            bias: numbers(3, spec.outputs, 0.3),
            grad: numbers(4, spec.batch * spec.outputs, 1.0),
        }
    }

    fn twin_outputs(&self, spec: &Spec) -> Vec<f32> {
        let mut outputs = vec![0f32; self.grad.len()];
        let best = Instructions::best();
        twin::forward(
            best,
            spec,
            &self.inputs,
            &self.weight,
            &self.bias,
            &mut outputs,
        );
        outputs
    }

    /// Inputs, weights and bias on a device.
    fn tensors(&self, spec: &Spec, device: &Device) -> (Tensor<2>, Tensor<2>, Tensor<1>) {
        (
            tensor(&self.inputs, [spec.batch, spec.inputs], device),
            tensor(&self.weight, [spec.inputs, spec.outputs], device),
            tensor(&self.bias, [spec.outputs], device),
        )
    }
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn assert_close(what: &str, spec: &Spec, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what} {spec:?}");
    let largest = want.iter().fold(1e-3f32, |max, v| max.max(v.abs()));
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let difference = (got - want).abs();
        assert!(
            difference <= 1e-5 * largest,
            "{what}[{at}]: {got} instead of {want}, largest {largest}, {spec:?}"
        );
    }
}

/// The shaders against the twins: forward, then the gradients from the twin's outputs.
fn check(spec: Spec, device: &Device) {
    assert!(runs_on(&spec, device), "{spec:?}");
    let case = Case::of(&spec);
    let (inputs, weight, bias) = case.tensors(&spec, device);
    let got = dense(inputs.clone(), weight.clone(), bias, spec);
    assert_eq!(got.dims(), [spec.batch, spec.outputs]);
    let outputs = case.twin_outputs(&spec);
    assert_close("outputs", &spec, &values(got), &outputs);

    let best = Instructions::best();
    let want = twin::backward(
        best,
        &spec,
        &case.inputs,
        &case.weight,
        &outputs,
        &case.grad,
    );
    let shape = [spec.batch, spec.outputs];
    let (inputs_got, weight_got, bias_got) = <Dispatch as Kernels>::dense_grad(
        inputs.into_dispatch(),
        weight.into_dispatch(),
        tensor(&outputs, shape, device).into_dispatch(),
        tensor(&case.grad, shape, device).into_dispatch(),
        spec,
    );
    let weight_got = values(Tensor::<2>::from_dispatch(weight_got));
    assert_close("weight gradient", &spec, &weight_got, &want.weight);
    let bias_got = values(Tensor::<1>::from_dispatch(bias_got));
    assert_close("bias gradient", &spec, &bias_got, &want.bias);
    if spec.input_grad {
        let inputs_got = values(Tensor::<2>::from_dispatch(inputs_got));
        assert_close("inputs' gradient", &spec, &inputs_got, &want.inputs);
    }
}

#[test]
fn shapes_of_real_models() {
    let Some(device) = devices::gpu("shapes_of_real_models") else {
        return;
    };
    for size in [
        [128, 784, 512],
        [128, 512, 512],
        [128, 512, 10],
        [128, 800, 128],
        [100, 1600, 448],
        [1024, 64, 64],
        [1024, 300, 512],
    ] {
        check(spec(size), &device);
    }
    let first = spec([128, 784, 512]);
    check(
        Spec {
            input_grad: false,
            ..first
        },
        &device,
    );
}

#[test]
fn any_shape() {
    let Some(device) = devices::gpu("any_shape") else {
        return;
    };
    for size in [
        [1, 1, 1],
        [100, 33, 70],
        [5, 200, 3],
        [3, 5, 2],
        [1, 1000, 4],
        [1000, 1, 7],
        [7, 6, 1001],
        [65, 64, 64],
        [64, 66, 63],
        [1025, 18, 516],
        [515, 257, 514],
    ] {
        check(spec(size), &device);
    }
    let pick = |i: u32, counter: u32, n: u32| 1 + (random::draw(9, i, counter) % n) as usize;
    for i in 0..4 {
        check(
            spec([pick(i, 0, 200), pick(i, 1, 150), pick(i, 2, 150)]),
            &device,
        );
    }
}

#[test]
fn activations_and_dropout() {
    let Some(device) = devices::gpu("activations_and_dropout") else {
        return;
    };
    for size in [[33, 20, 24], [30, 17, 25]] {
        for activation in ACTIVATIONS {
            for dropout in [None, dropout()] {
                check(
                    Spec {
                        activation,
                        dropout,
                        ..spec(size)
                    },
                    &device,
                );
            }
        }
    }
}

#[test]
fn dropout_follows_its_key() {
    let Some(device) = devices::gpu("dropout_follows_its_key") else {
        return;
    };
    let outputs: Vec<Vec<f32>> = [1, 2, 1]
        .map(|key| {
            let dropout = dropout().map(|dropout| Dropout { key, ..dropout });
            let spec = Spec {
                dropout,
                activation: Activation::Tanh,
                ..spec([20, 30, 40])
            };
            check(spec, &device);
            let (inputs, weight, bias) = Case::of(&spec).tensors(&spec, &device);
            values(dense(inputs, weight, bias, spec))
        })
        .into();
    assert!(outputs[0] == outputs[2] && outputs[0] != outputs[1]);
}

#[test]
fn sizes_that_cannot_be_counted_are_refused() {
    let Some(device) = devices::gpu("sizes_that_cannot_be_counted_are_refused") else {
        return;
    };
    for size in [
        [1 << 20, 1 << 10, 10],
        [10, 1 << 20, 10],
        [0, 10, 10],
        [usize::MAX; 3],
    ] {
        assert!(!runs_on(&spec(size), &device), "{size:?}");
        assert!(runs_on(&spec(size), &devices::cpus()[0]), "{size:?}");
    }
}

#[test]
fn a_nan_is_seen_on_every_device() {
    for activation in ACTIVATIONS {
        let spec = Spec {
            activation,
            ..spec([50, 40, 30])
        };
        let mut case = Case::of(&spec);
        case.inputs[3 * spec.inputs + 7] = f32::NAN;
        for device in devices::all("a_nan_is_seen_on_every_device") {
            let (inputs, weight, bias) = case.tensors(&spec, &device);
            let outputs = values(dense(inputs, weight, bias, spec));
            for (at, value) in outputs.iter().enumerate() {
                let row = at / spec.outputs;
                assert_eq!(value.is_nan(), row == 3, "{activation:?} {device:?}");
            }
        }
    }
}

#[test]
fn sums_are_the_same_bits_each_time() {
    let Some(device) = devices::gpu("sums_are_the_same_bits_each_time") else {
        return;
    };
    let spec = spec([300, 200, 50]);
    let case = Case::of(&spec);
    let run = || gradients(&spec, &case, &device, dense);
    assert!(run() == run());
}

/// Gradients of inputs, weights and bias by autodiff, of the sum of a layer's outputs times `case.grad`.
fn gradients(
    spec: &Spec,
    case: &Case,
    device: &Device,
    layer: impl Fn(Tensor<2>, Tensor<2>, Tensor<1>, Spec) -> Tensor<2>,
) -> [Vec<f32>; 3] {
    let device = &device.clone().autodiff();
    let (inputs, weight, bias) = case.tensors(spec, device);
    let (inputs, weight) = (inputs.require_grad(), weight.require_grad());
    let bias = bias.require_grad();
    let outputs = layer(inputs.clone(), weight.clone(), bias.clone(), *spec);
    let grads = (outputs * tensor(&case.grad, [spec.batch, spec.outputs], device))
        .sum()
        .backward();
    [
        values(inputs.grad(&grads).unwrap()),
        values(weight.grad(&grads).unwrap()),
        values(bias.grad(&grads).unwrap()),
    ]
}

/// A layer of burn's own operations.
fn composed(inputs: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>, spec: Spec) -> Tensor<2> {
    let sums = inputs.matmul(weight) + bias.unsqueeze();
    match spec.activation {
        Activation::Relu => relu(sums),
        Activation::Tanh => tanh(sums),
        _ => sums,
    }
}

#[test]
fn gradients_are_those_of_burns_operations() {
    for activation in [Activation::Identity, Activation::Relu, Activation::Tanh] {
        let spec = Spec {
            activation,
            ..spec([37, 50, 22])
        };
        let case = Case::of(&spec);
        let want = gradients(&spec, &case, &devices::cpus()[0], composed);
        for device in devices::all("gradients_are_those_of_burns_operations") {
            let got = gradients(&spec, &case, &device, dense);
            for (what, (got, want)) in ["inputs", "weight", "bias"]
                .iter()
                .zip(got.iter().zip(&want))
            {
                assert_close(what, &spec, got, want);
            }
        }
    }
}
