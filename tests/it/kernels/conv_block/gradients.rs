//! The gradients of a convolution block on every device against burn's composed operations, and against
//! differences of a plain loss in f64.

use burn::tensor::Device;
use burn::tensor::activation::{relu, tanh};
use burn::tensor::module::{conv2d, max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use weft::kernels::conv_block::{Activation, Spec};

use super::{
    Case, assert_close, gradients, images_shape, numbers, position, spec, tensor, values,
    weight_shape,
};
use crate::devices;

/// The same, of burn's own operations.
fn composed(spec: &Spec, case: &Case, device: &Device) -> [Vec<f32>; 3] {
    let device = &device.clone().autodiff();
    let images = tensor(&case.images, images_shape(spec), device).require_grad();
    let weight = tensor(&case.weight, weight_shape(spec), device).require_grad();
    let bias = tensor(&case.bias, [spec.out_channels], device).require_grad();
    let side = |n| [n, n];
    let options = ConvOptions::new(side(spec.stride), side(spec.padding), side(1), 1);
    let planes = images.clone().permute([0, 3, 1, 2]);
    let x = conv2d(planes, weight.clone(), Some(bias.clone()), options);
    let x = match spec.activation {
        Activation::Relu => relu(x),
        Activation::Tanh => tanh(x),
        _ => x,
    };
    let pool = MaxPoolOptions::new(side(spec.pool)).with_stride(side(spec.pool));
    let x = max_pool2d(x, pool);
    let x = match spec.channels_first {
        true => x,
        false => x.permute([0, 2, 3, 1]),
    };
    let grads = (x * tensor(&case.grad, spec.output_shape(), device))
        .sum()
        .backward();
    [
        values(images.grad(&grads).unwrap()),
        values(weight.grad(&grads).unwrap()),
        values(bias.grad(&grads).unwrap()),
    ]
}

#[test]
fn gradients_are_those_of_burns_operations() {
    for (activation, kernel, padding, stride, pool, channels_first) in [
        (Activation::Relu, 3, 0, 1, 2, false),
        (Activation::Tanh, 3, 1, 1, 3, true),
        (Activation::Identity, 3, 1, 1, 1, false),
        (Activation::Identity, 3, 1, 2, 1, false),
        (Activation::Tanh, 1, 0, 2, 1, true),
        (Activation::Relu, 5, 2, 2, 2, false),
        (Activation::Relu, 3, 1, 3, 1, true),
        (Activation::Identity, 1, 0, 3, 2, false),
    ] {
        let spec = Spec {
            height: 12,
            width: 10,
            in_channels: 3,
            activation,
            kernel,
            padding,
            stride,
            pool,
            channels_first,
            ..spec()
        };
        // No two places of a window are equal here, so that there is one gradient.
        let case = Case::new(&spec, numbers(1, spec.batch * spec.image_len(), 1.0));
        let want = composed(&spec, &case, &devices::cpus()[0]);
        for device in devices::all("gradients_are_those_of_burns_operations") {
            let got = gradients(&spec, &case, &device);
            for (what, (got, want)) in ["images", "weight", "bias"]
                .iter()
                .zip(got.iter().zip(&want))
            {
                assert_close(what, &spec, got, want, 1e-5);
            }
        }
    }
}

/// The sum of the outputs times `grad`, plainly and in f64.
fn loss(spec: &Spec, [images, weight, bias]: &[Vec<f64>; 3], grad: &[f32]) -> f64 {
    let mut sum = 0.0;
    for image in 0..spec.batch {
        for window in 0..spec.windows() {
            for (filter, bias) in bias.iter().enumerate() {
                let (y, x) = (window / spec.out_width(), window % spec.out_width());
                let places = (0..spec.pool * spec.pool).map(|place| {
                    let y = y * spec.pool + place / spec.pool;
                    let x = x * spec.pool + place % spec.pool;
                    position(spec, images, weight, [image, filter, y, x])
                });
                let z = places.fold(f64::NEG_INFINITY, f64::max) + bias;
                let value = match spec.activation {
                    Activation::Identity => z,
                    Activation::Relu => z.max(0.0),
                    Activation::Tanh => z.tanh(),
                    Activation::Selu if z > 0.0 => 1.0507009873554805 * z,
                    Activation::Selu => 1.0507009873554805 * 1.6732632423543772 * z.exp_m1(),
                };
                let at = (image * spec.windows() + window) * spec.out_channels + filter;
                sum += value * f64::from(grad[at]);
            }
        }
    }
    sum
}

#[test]
fn gradients_are_the_slope_of_the_loss() {
    for (activation, stride) in [
        (Activation::Relu, 1),
        (Activation::Tanh, 1),
        (Activation::Selu, 1),
        (Activation::Selu, 2),
    ] {
        let spec = Spec {
            batch: 2,
            height: 7,
            width: 6,
            in_channels: 2,
            out_channels: 3,
            padding: 1,
            stride,
            activation,
            ..spec()
        };
        let case = Case::new(&spec, numbers(1, spec.batch * spec.image_len(), 1.0));
        let f64s = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let mut inputs = [f64s(&case.images), f64s(&case.weight), f64s(&case.bias)];
        let mut slopes: [Vec<f32>; 3] = Default::default();
        for (which, slopes) in slopes.iter_mut().enumerate() {
            for at in 0..inputs[which].len() {
                let at_distance = |inputs: &mut [Vec<f64>; 3], h: f64| {
                    let before = inputs[which][at];
                    inputs[which][at] = before + h;
                    let loss = loss(&spec, inputs, &case.grad);
                    inputs[which][at] = before;
                    loss
                };
                let h = 1e-6;
                let rise = at_distance(&mut inputs, h) - at_distance(&mut inputs, -h);
                slopes.push((rise / (2.0 * h)) as f32);
            }
        }
        for device in devices::all("gradients_are_the_slope_of_the_loss") {
            let got = gradients(&spec, &case, &device);
            for (what, (got, want)) in ["images", "weight", "bias"]
                .iter()
                .zip(got.iter().zip(&slopes))
            {
                assert_close(what, &spec, got, want, 1e-5);
            }
        }
    }
}
