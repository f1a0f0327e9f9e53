//! Convolution blocks: the shaders against the CPU twins on real images.

mod gradients;

use std::sync::PoisonError;

use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use weft::kernels::conv_block::{Activation, Dropout, NO_ROUTE, Spec, conv_block, runs_on};
use weft::kernels::{Kernels, Machine, random};
use weft_cpu::conv_block as twin;
use weft_cpu::simd::Instructions;

use super::{ASSUMED, sample};
use crate::devices;

fn spec() -> Spec {
    Spec {
        batch: 5,
        height: 28,
        width: 28,
        in_channels: 1,
        out_channels: 8,
        kernel: 3,
        padding: 0,
        stride: 1,
        pool: 2,
        bias: true,
        activation: Activation::Relu,
        dropout: None,
        channels_first: false,
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

/// What goes into a block, and what its twin makes of it.
struct Case {
    images: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    grad: Vec<f32>,
    output: Vec<f32>,
    route: Vec<u8>,
}

impl Case {
    /// Pixels of the sample's images, in the order in which they lie there.
    fn of(spec: &Spec) -> Self {
        let pixels = sample().train.images.pixels;
        let n = spec.batch * spec.image_len();
        let images = pixels.iter().cycle().take(n);
        Self::new(spec, images.map(|&p| f32::from(p) / 255.0).collect())
    }

    fn new(spec: &Spec, images: Vec<f32>) -> Self {
        let fan_in = (spec.weight_len() / spec.out_channels) as f32;
        let weight = numbers(2, spec.weight_len(), (3.0 / fan_in).sqrt());
        let scale = if spec.bias { 0.3 } else { 0.0 };
        let bias = numbers(3, spec.out_channels, scale);
        let n = spec.batch * spec.output_len();
        let (mut output, mut route) = (vec![0f32; n], vec![0u8; n]);
        let best = Instructions::best();
        twin::forward(best, spec, &images, &weight, &bias, &mut output, &mut route);
        let grad = numbers(4, n, 1.0);
        Self {
            images,
            weight,
            bias,
            grad,
            output,
            route,
        }
    }

    /// Nothing where it must not be read.
    fn bias_tensor(&self, spec: &Spec, device: &Device) -> Tensor<1> {
        let n = if spec.bias { spec.out_channels } else { 0 };
        tensor(&self.bias[..n], [n], device)
    }

    /// The convolution with bias at a place of a window, in f64.
    fn convolved(&self, spec: &Spec, at: usize, place: usize) -> f64 {
        let (windows, filters) = (spec.windows(), spec.out_channels);
        let (image, within) = (at / spec.output_len(), at % spec.output_len());
        let (window, filter) = match spec.channels_first {
            true => (within % windows, within / windows),
            false => (within / filters, within % filters),
        };
        let y = window / spec.out_width() * spec.pool + place / spec.pool;
        let x = window % spec.out_width() * spec.pool + place % spec.pool;
        let images: Vec<f64> = self.images.iter().map(|&v| f64::from(v)).collect();
        let weight: Vec<f64> = self.weight.iter().map(|&v| f64::from(v)).collect();
        f64::from(self.bias[filter]) + position(spec, &images, &weight, [image, filter, y, x])
    }
}

/// The convolution at a position.
fn position(spec: &Spec, images: &[f64], weight: &[f64], at: [usize; 4]) -> f64 {
    let [image, filter, y, x] = at;
    let mut sum = 0.0;
    for ky in 0..spec.kernel {
        for kx in 0..spec.kernel {
            let (Some(y), Some(x)) = (
                (y * spec.stride + ky).checked_sub(spec.padding),
                (x * spec.stride + kx).checked_sub(spec.padding),
            ) else {
                continue;
            };
            if y >= spec.height || x >= spec.width {
                continue;
            }
            for c in 0..spec.in_channels {
                let pixel = ((image * spec.height + y) * spec.width + x) * spec.in_channels + c;
                let tap = ((filter * spec.in_channels + c) * spec.kernel + ky) * spec.kernel + kx;
                sum += images[pixel] * weight[tap];
            }
        }
    }
    sum
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn images_shape(spec: &Spec) -> [usize; 4] {
    [spec.batch, spec.height, spec.width, spec.in_channels]
}

fn weight_shape(spec: &Spec) -> [usize; 4] {
    let side = spec.kernel;
    [spec.out_channels, spec.in_channels, side, side]
}

fn assert_close(what: &str, spec: &Spec, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what} {spec:?}");
    let largest = want.iter().fold(1e-3f32, |max, v| max.max(v.abs()));
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let difference = (got - want).abs();
        assert!(
            difference <= tolerance * largest,
            "{what}[{at}]: {got} instead of {want}, largest {largest}, {spec:?}"
        );
    }
}

/// The shaders against the twins: forward, then each gradient from the twin's output and route.
fn check(spec: Spec, device: &Device) {
    assert!(runs_on(&spec, device), "{spec:?}");
    let case = Case::of(&spec);
    let images = tensor(&case.images, images_shape(&spec), device).into_dispatch();
    let weight = tensor(&case.weight, weight_shape(&spec), device).into_dispatch();
    let bias = case.bias_tensor(&spec, device).into_dispatch();
    let (output, route) =
        <Dispatch as Kernels>::conv_block(images.clone(), weight.clone(), bias, spec);
    let output = Tensor::<4>::from_dispatch(output);
    assert_eq!(output.dims(), spec.output_shape());
    assert_close("output", &spec, &values(output), &case.output, 1e-5);
    match spec.has_route() {
        true => {
            let route = Tensor::<4, Int>::from_dispatch(route);
            assert_eq!(route.dims(), spec.output_shape());
            check_route(
                &spec,
                &case,
                &route.into_data().iter::<i32>().collect::<Vec<_>>(),
            );
        }
        false => assert_eq!(Tensor::<1, Int>::from_dispatch(route).dims(), [0]),
    }

    let _one_at_a_time = ASSUMED.lock().unwrap_or_else(PoisonError::into_inner);
    for machine in [Machine::Software, Machine::Gpu] {
        machine.assume();
        check_gradients(&spec, &case, device);
    }
}

/// The gradients from the twin's output and route.
fn check_gradients(spec: &Spec, case: &Case, device: &Device) {
    let images = tensor(&case.images, images_shape(spec), device).into_dispatch();
    let weight = tensor(&case.weight, weight_shape(spec), device).into_dispatch();
    let shape = spec.output_shape();
    let route: Vec<i32> = case.route.iter().map(|&place| i32::from(place)).collect();
    let place = (device, DType::I32);
    let route = match spec.has_route() {
        true => Tensor::<4, Int>::from_data(TensorData::new(route, shape), place).into_dispatch(),
        false => Tensor::<1, Int>::empty([0], place).into_dispatch(),
    };
    let output = tensor(&case.output, shape, device).into_dispatch();
    let grad = tensor(&case.grad, shape, device).into_dispatch();
    let best = Instructions::best();
    let (weight_want, bias_want) = twin::weight_grad(
        best,
        spec,
        &case.images,
        &case.output,
        &case.route,
        &case.grad,
    );
    let (weight_got, bias_got) = <Dispatch as Kernels>::conv_block_weight_grad(
        images,
        output.clone(),
        route.clone(),
        grad.clone(),
        *spec,
    );
    let weight_got = values(Tensor::<4>::from_dispatch(weight_got));
    assert_close("weight gradient", spec, &weight_got, &weight_want, 1e-5);
    let bias_got = values(Tensor::<1>::from_dispatch(bias_got));
    match spec.bias {
        true => assert_close("bias gradient", spec, &bias_got, &bias_want, 1e-5),
        false => assert!(bias_got.is_empty(), "{spec:?}"),
    }

    let mut images_want = vec![f32::NAN; case.images.len()];
    twin::input_grad(
        best,
        spec,
        &case.weight,
        &case.output,
        &case.route,
        &case.grad,
        &mut images_want,
    );
    let images_got =
        <Dispatch as Kernels>::conv_block_input_grad(weight, output, route, grad, *spec);
    let images_got = values(Tensor::<4>::from_dispatch(images_got));
    assert_close("images' gradient", spec, &images_got, &images_want, 1e-5);
}

/// Another route than the twin's is one to a value that is as large, to f32 rounding.
fn check_route(spec: &Spec, case: &Case, route: &[i32]) {
    let mut others = 0;
    for (at, (&got, &want)) in route.iter().zip(&case.route).enumerate() {
        if got == i32::from(want) {
            continue;
        }
        others += 1;
        let value = |place: i32| match place {
            place if place == i32::from(NO_ROUTE) => 0.0,
            place => case.convolved(spec, at, place as usize),
        };
        let (got, want) = (value(got), value(i32::from(want)));
        assert!(
            (got - want).abs() < 1e-5,
            "route[{at}] {got} {want} {spec:?}"
        );
    }
    assert!(
        others * 100 <= route.len(),
        "{others} of {} routes differ: {spec:?}",
        route.len()
    );
}

#[test]
fn shapes_of_real_models() {
    let Some(device) = devices::gpu("shapes_of_real_models") else {
        return;
    };
    for (side, channels, filters, padding, dropout) in [
        (28, 1, 32, 0, None),
        (13, 32, 32, 0, None),
        (13, 64, 64, 0, dropout()),
        (14, 16, 32, 1, None),
        (32, 3, 24, 1, None),
    ] {
        check(
            Spec {
                height: side,
                width: side,
                in_channels: channels,
                out_channels: filters,
                padding,
                dropout,
                ..spec()
            },
            &device,
        );
    }
}

#[test]
fn any_shape() {
    let Some(device) = devices::gpu("any_shape") else {
        return;
    };
    for i in 0..7 {
        let pick = |counter: u32, n: u32| (random::draw(9, i, counter) % n) as usize;
        let kernel = 1 + pick(0, 5);
        let spec = Spec {
            batch: 1 + pick(1, 5),
            height: 6 + pick(2, 12),
            width: 6 + pick(3, 30),
            in_channels: 1 + pick(4, 20),
            out_channels: 1 + pick(5, 40),
            kernel,
            padding: pick(6, kernel as u32),
            pool: 1 + pick(7, 3),
            bias: pick(12, 3) > 0,
            channels_first: pick(8, 2) == 0,
            stride: 1 + pick(9, 2),
            activation: [Activation::Relu, Activation::Identity][pick(10, 2)],
            ..spec()
        };
        if spec.is_valid() {
            check(spec, &device);
        }
    }
}

/// Strides with pools, kernels, paddings and both layouts; also a stride over the kernel, which skips pixels.
#[test]
fn strides() {
    let Some(device) = devices::gpu("strides") else {
        return;
    };
    for (stride, pool, kernel, padding, channels, channels_first) in [
        (2, 1, 3, 1, 16, false),
        (2, 1, 1, 0, 8, false),
        (2, 2, 3, 1, 3, true),
        (3, 2, 1, 0, 7, false),
        (3, 1, 5, 4, 3, true),
        (4, 2, 5, 2, 2, false),
        (4, 1, 3, 1, 12, false),
    ] {
        let dropout = if pool == 2 { dropout() } else { None };
        // As residual networks have it.
        let plain = pool == 1;
        check(
            Spec {
                batch: 3,
                height: 19,
                width: 22,
                in_channels: channels,
                out_channels: if channels_first { 7 } else { 12 },
                kernel,
                padding,
                stride,
                pool,
                dropout,
                channels_first,
                bias: !plain,
                activation: if plain {
                    Activation::Identity
                } else {
                    Activation::Relu
                },
            },
            &device,
        );
    }
}

/// The convolutions of a residual network: no pool, no activation, many channels.
#[test]
fn convolutions_of_many_channels() {
    let Some(device) = devices::gpu("convolutions_of_many_channels") else {
        return;
    };
    for (side, channels, filters, kernel, stride) in [
        (8, 64, 64, 3, 1),
        (9, 64, 128, 3, 2),
        (9, 64, 128, 1, 2),
        (4, 256, 256, 3, 1),
    ] {
        check(
            Spec {
                batch: 3,
                height: side,
                width: side,
                in_channels: channels,
                out_channels: filters,
                kernel,
                padding: kernel / 2,
                stride,
                pool: 1,
                activation: Activation::Identity,
                ..spec()
            },
            &device,
        );
    }
}

/// More sums of weights than 65,535 workgroups have, the most of one axis: the rest is on the second axis.
#[test]
fn more_weights_than_an_axis_of_workgroups() {
    let Some(device) = devices::gpu("more_weights_than_an_axis_of_workgroups") else {
        return;
    };
    for bias in [true, false] {
        check(
            Spec {
                batch: 1,
                height: 3,
                width: 3,
                in_channels: 512,
                out_channels: 512,
                padding: 1,
                pool: 1,
                bias,
                activation: Activation::Identity,
                ..spec()
            },
            &device,
        );
    }
}

#[test]
fn the_largest_kernels_and_pools() {
    let Some(device) = devices::gpu("the_largest_kernels_and_pools") else {
        return;
    };
    for (kernel, pool, channels) in [(7, 1, 2), (5, 4, 3), (6, 2, 40), (1, 3, 33)] {
        check(
            Spec {
                batch: 3,
                height: 23,
                width: 26,
                in_channels: channels,
                out_channels: 10,
                kernel,
                padding: kernel / 2,
                pool,
                ..spec()
            },
            &device,
        );
    }
    let too_large = [
        Spec {
            stride: 5,
            pool: 1,
            ..spec()
        },
        Spec {
            stride: 3,
            pool: 3,
            ..spec()
        },
        Spec {
            kernel: 8,
            ..spec()
        },
        Spec { pool: 5, ..spec() },
        Spec {
            batch: 1 << 28,
            ..spec()
        },
    ];
    for spec in too_large {
        assert!(
            !runs_on(&spec, &device) && runs_on(&spec, &devices::cpus()[0]),
            "{spec:?}"
        );
    }
}

#[test]
fn activations_dropout_and_layouts() {
    let Some(device) = devices::gpu("activations_dropout_and_layouts") else {
        return;
    };
    for (activation, dropout, channels_first) in [
        (Activation::Identity, None, true),
        (Activation::Relu, dropout(), true),
        (Activation::Tanh, dropout(), false),
        (Activation::Tanh, None, true),
        (Activation::Selu, dropout(), true),
    ] {
        check(
            Spec {
                height: 11,
                width: 9,
                in_channels: 5,
                out_channels: if channels_first { 7 } else { 12 },
                activation,
                dropout,
                channels_first,
                ..spec()
            },
            &device,
        );
    }
}

/// Without a pool or a stride the images' gradient is a convolution again.
#[test]
fn a_gradient_everywhere() {
    let Some(device) = devices::gpu("a_gradient_everywhere") else {
        return;
    };
    for (activation, kernel, padding, dropout, channels_first) in [
        (Activation::Identity, 3, 0, None, false),
        (Activation::Relu, 3, 1, dropout(), false),
        (Activation::Selu, 4, 1, dropout(), true),
        (Activation::Identity, 5, 4, None, true),
        // More padding than the kernel has pixels: not everywhere.
        (Activation::Identity, 2, 2, None, false),
    ] {
        check(
            Spec {
                height: 11,
                width: 8,
                in_channels: if channels_first { 5 } else { 8 },
                out_channels: 6,
                kernel,
                padding,
                pool: 1,
                activation,
                dropout,
                channels_first,
                ..spec()
            },
            &device,
        );
    }
}

#[test]
fn without_a_bias_on_every_device() {
    for (activation, dropout, pool, channels_first) in [
        (Activation::Identity, None, 1, false),
        (Activation::Identity, None, 1, true),
        (Activation::Identity, None, 2, true),
        (Activation::Relu, dropout(), 2, false),
        (Activation::Tanh, dropout(), 1, true),
    ] {
        let spec = Spec {
            bias: false,
            activation,
            dropout,
            pool,
            channels_first,
            ..spec()
        };
        let case = Case::of(&spec);
        for device in devices::cpus() {
            let output = values(conv_block(
                tensor(&case.images, images_shape(&spec), &device),
                tensor(&case.weight, weight_shape(&spec), &device),
                case.bias_tensor(&spec, &device),
                spec,
            ));
            assert_close("output", &spec, &output, &case.output, 1e-5);
        }
        if let Some(device) = devices::gpu("without_a_bias_on_every_device") {
            check(spec, &device);
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
            let spec = Spec { dropout, ..spec() };
            let case = Case::of(&spec);
            let output = values(conv_block(
                tensor(&case.images, images_shape(&spec), &device),
                tensor(&case.weight, weight_shape(&spec), &device),
                tensor(&case.bias, [spec.out_channels], &device),
                spec,
            ));
            assert_close("output", &spec, &output, &case.output, 1e-5);
            output
        })
        .into();
    assert!(outputs[0] == outputs[2] && outputs[0] != outputs[1]);
}

#[test]
fn a_nan_is_seen_on_every_device() {
    for activation in [Activation::Relu, Activation::Tanh, Activation::Selu] {
        let spec = Spec {
            activation,
            ..spec()
        };
        let mut case = Case::of(&spec);
        case.images[300] = f32::NAN;
        for device in devices::all("a_nan_is_seen_on_every_device") {
            let output = values(conv_block(
                tensor(&case.images, images_shape(&spec), &device),
                tensor(&case.weight, weight_shape(&spec), &device),
                tensor(&case.bias, [spec.out_channels], &device),
                spec,
            ));
            // The pixel, in the eleventh row and twenty-first column, is under four windows.
            let n_nan = output.iter().filter(|v| v.is_nan()).count();
            assert_eq!(n_nan, 4 * spec.out_channels, "{activation:?} {device:?}");
        }
    }
}

#[test]
fn sums_are_the_same_bits_each_time() {
    let Some(device) = devices::gpu("sums_are_the_same_bits_each_time") else {
        return;
    };
    let spec = Spec {
        batch: 60,
        in_channels: 3,
        ..spec()
    };
    let case = Case::of(&spec);
    let _one_at_a_time = ASSUMED.lock().unwrap_or_else(PoisonError::into_inner);
    for machine in [Machine::Software, Machine::Gpu] {
        machine.assume();
        let run = || gradients(&spec, &case, &device);
        assert!(run() == run());
    }
}

/// Gradients of images, weights and bias by autodiff, of the sum of the outputs times `case.grad`.
fn gradients(spec: &Spec, case: &Case, device: &Device) -> [Vec<f32>; 3] {
    let device = &device.clone().autodiff();
    let images = tensor(&case.images, images_shape(spec), device).require_grad();
    let weight = tensor(&case.weight, weight_shape(spec), device).require_grad();
    let bias = tensor(&case.bias, [spec.out_channels], device).require_grad();
    let output = conv_block(images.clone(), weight.clone(), bias.clone(), *spec);
    let grads = (output * tensor(&case.grad, spec.output_shape(), device))
        .sum()
        .backward();
    [
        values(images.grad(&grads).unwrap()),
        values(weight.grad(&grads).unwrap()),
        values(bias.grad(&grads).unwrap()),
    ]
}
