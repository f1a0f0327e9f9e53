//! Against plain loops in f64, for each set of instructions that the processor has.

use super::*;
use crate::random::draw;
use crate::simd::Instructions;

/// In steps of 1/64, so that the sums of a forward pass are exact and no two positions of a window are
/// told apart by rounding.
fn numbers(key: u32, n: usize) -> Vec<f32> {
    (0..n as u32)
        .map(|i| (draw(key, i, 0) % 129) as f32 / 64.0 - 1.0)
        .collect()
}

struct Case {
    images: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    grad: Vec<f32>,
}

impl Case {
    fn of(spec: &Spec) -> Self {
        Self {
            images: numbers(1, spec.batch * spec.image_len()),
            weight: numbers(2, spec.weight_len()),
            bias: match spec.bias {
                true => numbers(3, spec.out_channels),
                false => vec![0.0; spec.out_channels],
            },
            grad: numbers(4, spec.batch * spec.output_len()),
        }
    }
}

struct Passes {
    output: Vec<f32>,
    route: Vec<u8>,
    images_grad: Vec<f32>,
    weight_grad: Vec<f32>,
    bias_grad: Vec<f32>,
}

fn fast(instructions: Instructions, spec: &Spec, case: &Case) -> Passes {
    let len = spec.batch * spec.output_len();
    let (mut output, mut route) = (vec![f32::NAN; len], vec![77; len]);
    let Case {
        images,
        weight,
        bias,
        grad,
    } = case;
    forward(
        instructions,
        spec,
        images,
        weight,
        // Nothing where it must not be read.
        if spec.bias { bias } else { &[] },
        &mut output,
        &mut route,
    );
    let (weight_grad, bias_grad) = weight_grad(instructions, spec, images, &output, &route, grad);
    let mut images_grad = vec![f32::NAN; images.len()];
    input_grad(
        instructions,
        spec,
        weight,
        &output,
        &route,
        grad,
        &mut images_grad,
    );
    Passes {
        output,
        route,
        images_grad,
        weight_grad,
        bias_grad,
    }
}

/// A pixel of the padded image, and its index if it is inside.
fn pixel(spec: &Spec, b: usize, y: usize, x: usize, c: usize) -> Option<usize> {
    let (y, x) = (y.checked_sub(spec.padding)?, x.checked_sub(spec.padding)?);
    (y < spec.height && x < spec.width)
        .then(|| ((b * spec.height + y) * spec.width + x) * spec.in_channels + c)
}

/// Calls `f(weight index, image index)` for each tap under a position that lies inside the image.
fn taps(spec: &Spec, b: usize, o: usize, y: usize, x: usize, mut f: impl FnMut(usize, usize)) {
    for c in 0..spec.in_channels {
        for ky in 0..spec.kernel {
            for kx in 0..spec.kernel {
                let weight = ((o * spec.in_channels + c) * spec.kernel + ky) * spec.kernel + kx;
                let (y, x) = (y * spec.stride + ky, x * spec.stride + kx);
                if let Some(image) = pixel(spec, b, y, x, c) {
                    f(weight, image);
                }
            }
        }
    }
}

fn plain(spec: &Spec, case: &Case) -> Passes {
    let len = spec.batch * spec.output_len();
    let (mut output, mut route) = (vec![0f32; len], vec![NO_ROUTE; len]);
    let mut images_grad = vec![0f64; case.images.len()];
    let mut weight_grad = vec![0f64; case.weight.len()];
    let mut bias_grad = vec![0f64; case.bias.len()];
    for b in 0..spec.batch {
        for window in 0..spec.windows() {
            let (wy, wx) = (window / spec.out_width(), window % spec.out_width());
            for (o, bias_grad) in bias_grad.iter_mut().enumerate() {
                let at = match spec.channels_first {
                    true => (b * spec.out_channels + o) * spec.windows() + window,
                    false => (b * spec.windows() + window) * spec.out_channels + o,
                };
                let (mut best, mut place) = (f64::NEG_INFINITY, 0);
                for p in 0..spec.pool * spec.pool {
                    let (y, x) = (
                        wy * spec.pool + p / spec.pool,
                        wx * spec.pool + p % spec.pool,
                    );
                    let mut sum = f64::from(case.bias[o]);
                    taps(spec, b, o, y, x, |w, i| {
                        sum += f64::from(case.weight[w]) * f64::from(case.images[i]);
                    });
                    if sum > best {
                        (best, place) = (sum, p);
                    }
                }
                let dropped = spec
                    .dropout
                    .is_some_and(|d| d.drops(spec.element(b, window, o)));
                let closed = spec.activation == Activation::Relu && best <= 0.0;
                let scale = spec.dropout.map_or(1.0, |d| f64::from(d.scale()));
                let (value, slope) = match spec.activation {
                    Activation::Identity => (best, 1.0),
                    Activation::Relu => (best.max(0.0), f64::from(u8::from(best > 0.0))),
                    Activation::Tanh => (best.tanh(), 1.0 - best.tanh().powi(2)),
                    Activation::Selu => {
                        let (alpha, lambda) = (1.6732632423543772, 1.0507009873554805);
                        match best > 0.0 {
                            true => (lambda * best, lambda),
                            false => (lambda * alpha * best.exp_m1(), lambda * alpha * best.exp()),
                        }
                    }
                };
                if dropped {
                    continue;
                }
                output[at] = (value * scale) as f32;
                if closed {
                    continue;
                }
                route[at] = place as u8;
                let grad = f64::from(case.grad[at]) * slope * scale;
                *bias_grad += grad;
                let (y, x) = (
                    wy * spec.pool + place / spec.pool,
                    wx * spec.pool + place % spec.pool,
                );
                taps(spec, b, o, y, x, |w, i| {
                    weight_grad[w] += grad * f64::from(case.images[i]);
                    images_grad[i] += grad * f64::from(case.weight[w]);
                });
            }
        }
    }
    let to_f32 = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect();
    Passes {
        output,
        route,
        images_grad: to_f32(images_grad),
        weight_grad: to_f32(weight_grad),
        bias_grad: to_f32(bias_grad),
    }
}

fn assert_close(what: &str, spec: &Spec, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(1f32, |max, v| max.max(v.abs()));
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let difference = (got - want).abs();
        assert!(
            difference <= 1e-5 * largest,
            "{what}[{at}]: {got} instead of {want}, {spec:?}"
        );
    }
}

fn check(spec: Spec) {
    assert!(spec.is_valid(), "{spec:?}");
    let case = Case::of(&spec);
    let want = plain(&spec, &case);
    for instructions in Instructions::available() {
        let got = fast(instructions, &spec, &case);
        assert_close("output", &spec, &got.output, &want.output);
        assert_eq!(got.route, want.route, "{instructions:?} {spec:?}");
        assert_close("images_grad", &spec, &got.images_grad, &want.images_grad);
        if !spec.has_route() {
            let mut output = vec![f32::NAN; got.output.len()];
            let Case {
                images,
                weight,
                bias,
                ..
            } = &case;
            forward(
                instructions,
                &spec,
                images,
                weight,
                bias,
                &mut output,
                &mut [],
            );
            assert_eq!(output, got.output, "{instructions:?} {spec:?}");
            let mut images_grad = vec![f32::NAN; case.images.len()];
            input_grad(
                instructions,
                &spec,
                &case.weight,
                &got.output,
                &[],
                &case.grad,
                &mut images_grad,
            );
            assert_eq!(images_grad, got.images_grad);
        }
        assert_close("weight_grad", &spec, &got.weight_grad, &want.weight_grad);
        if spec.bias {
            assert_close("bias_grad", &spec, &got.bias_grad, &want.bias_grad);
        }
    }
}

fn spec() -> Spec {
    Spec {
        batch: 3,
        height: 11,
        width: 9,
        in_channels: 5,
        out_channels: 7,
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

#[test]
fn shapes_of_real_models() {
    for (side, channels, filters, padding) in [
        (28, 1, 32, 0),
        (13, 32, 32, 0),
        (13, 64, 64, 0),
        (28, 1, 16, 1),
    ] {
        let side = (side, side);
        check(Spec {
            batch: 18,
            height: side.0,
            width: side.1,
            in_channels: channels,
            out_channels: filters,
            padding,
            ..spec()
        });
    }
}

#[test]
fn any_shape() {
    let mut checked = 0;
    for i in 0..120 {
        let pick = |counter: u32, n: u32| (draw(9, i, counter) % n) as usize;
        let kernel = 1 + pick(0, 5);
        let s = Spec {
            batch: 1 + pick(1, 5),
            height: 6 + pick(2, 12),
            width: 6 + pick(3, 30),
            in_channels: 1 + pick(4, 20),
            out_channels: 1 + pick(5, 40),
            kernel,
            padding: pick(6, kernel as u32),
            stride: 1 + pick(9, 3),
            pool: [1, 1, 2, 3][pick(7, 4)],
            bias: pick(12, 3) > 0,
            activation: [Activation::Relu, Activation::Identity][pick(10, 2)],
            channels_first: pick(8, 2) == 0,
            ..spec()
        };
        if s.is_valid() {
            check(s);
            checked += 1;
        }
    }
    assert!(checked > 60, "{checked}");
}

/// What minimal filtering does: nothing but a convolution over every pixel.
fn plain_3x3() -> Spec {
    Spec {
        height: 14,
        width: 14,
        in_channels: 16,
        out_channels: 16,
        padding: 1,
        pool: 1,
        activation: Activation::Identity,
        ..spec()
    }
}

fn pooled_3x3() -> Spec {
    Spec {
        pool: 2,
        activation: Activation::Relu,
        ..plain_3x3()
    }
}

#[test]
fn tiles_of_any_number_and_width() {
    let mut checked = 0;
    for i in 0..60 {
        let pick = |counter: u32, n: u32| (draw(11, i, counter) % n) as usize;
        let s = Spec {
            batch: 1 + pick(0, 21),
            height: 3 + pick(1, 14),
            width: 3 + pick(2, 14),
            in_channels: 8 + pick(3, 60),
            out_channels: 8 + pick(4, 60),
            padding: pick(5, 3),
            bias: pick(6, 2) > 0,
            ..plain_3x3()
        };
        if super::winograd::serves(&s) {
            check(s);
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}

#[test]
fn tiles_that_are_windows_of_a_pool() {
    let dropout = Dropout {
        key: 5,
        layer: 1,
        threshold: 1 << 22,
        scale_bits: (4.0f32 / 3.0).to_bits(),
    };
    for i in 0..40 {
        let pick = |counter: u32, n: u32| (draw(13, i, counter) % n) as usize;
        let s = Spec {
            batch: 1 + pick(0, 9),
            height: 4 + pick(1, 12),
            width: 4 + pick(2, 12),
            in_channels: 8 + pick(3, 30),
            out_channels: 8 + pick(4, 60),
            padding: pick(5, 3),
            pool: 2,
            bias: pick(6, 2) > 0,
            activation: [
                Activation::Relu,
                Activation::Identity,
                Activation::Tanh,
                Activation::Selu,
            ][pick(7, 4)],
            dropout: [None, Some(dropout)][pick(8, 2)],
            channels_first: pick(9, 2) > 0,
            ..spec()
        };
        assert!(super::winograd::serves_pooled(&s), "{s:?}");
        check(s);
    }
}

#[test]
fn tiles_of_the_smallest_images_and_of_none() {
    for padding in 0..3 {
        for side in 1..4 {
            for pool in [1, 2] {
                let s = Spec {
                    height: side,
                    width: side + 1,
                    in_channels: 9,
                    out_channels: 17,
                    padding,
                    pool,
                    ..plain_3x3()
                };
                if s.is_valid() {
                    check(s);
                    check(Spec { batch: 0, ..s });
                }
            }
        }
    }
}

/// The other tests have numbers whose sums are exact.
#[test]
fn tiles_round_no_more_than_direct_sums() {
    for channels in [8, 16, 64] {
        let s = Spec {
            batch: 8,
            in_channels: channels,
            out_channels: channels,
            ..plain_3x3()
        };
        assert!(super::winograd::serves(&s));
        let numbers = |key: u32, n: usize| -> Vec<f32> {
            let unit = |i| draw(key, i, 0) as f32 / u32::MAX as f32 - 0.5;
            (0..n as u32).map(unit).collect()
        };
        let case = Case {
            images: numbers(1, s.batch * s.image_len()),
            weight: numbers(2, s.weight_len()),
            bias: vec![0.0; s.out_channels],
            grad: numbers(4, s.batch * s.output_len()),
        };
        let want = plain(&s, &case);
        let error = |got: &[f32], want: &[f32]| {
            let square = |x: f32| f64::from(x).powi(2);
            let errors: f64 = got.iter().zip(want).map(|(a, b)| square(a - b)).sum();
            let sizes: f64 = want.iter().map(|&b| square(b)).sum();
            (errors / sizes).sqrt()
        };
        // In f32, one product after the other.
        let mut direct = vec![0f32; want.output.len()];
        let mut images_grad = vec![0f32; want.images_grad.len()];
        let mut weight_grad = vec![0f32; want.weight_grad.len()];
        for (at, sum) in direct.iter_mut().enumerate() {
            let (b, o) = (at / s.output_len(), at % s.out_channels);
            let window = at / s.out_channels % s.windows();
            let (y, x) = (window / s.out_width(), window % s.out_width());
            taps(&s, b, o, y, x, |w, i| {
                *sum += case.weight[w] * case.images[i];
                images_grad[i] += case.grad[at] * case.weight[w];
                weight_grad[w] += case.grad[at] * case.images[i];
            });
        }
        for instructions in Instructions::available() {
            let got = fast(instructions, &s, &case);
            for (what, got, direct, want) in [
                ("output", &got.output, &direct, &want.output),
                (
                    "images_grad",
                    &got.images_grad,
                    &images_grad,
                    &want.images_grad,
                ),
                (
                    "weight_grad",
                    &got.weight_grad,
                    &weight_grad,
                    &want.weight_grad,
                ),
            ] {
                let (tiles, direct) = (error(got, want), error(direct, want));
                assert!(
                    tiles <= direct,
                    "{what}, {channels} channels, {instructions:?}: {tiles:e}, directly {direct:e}"
                );
            }
        }
    }
}

#[test]
fn activations_and_dropout() {
    let dropout = Dropout {
        key: 5,
        layer: 1,
        threshold: 1 << 22,
        scale_bits: (4.0f32 / 3.0).to_bits(),
    };
    for activation in [
        Activation::Identity,
        Activation::Relu,
        Activation::Tanh,
        Activation::Selu,
    ] {
        for dropout in [None, Some(dropout)] {
            for channels_first in [false, true] {
                for pool in [1, 2] {
                    check(Spec {
                        activation,
                        dropout,
                        channels_first,
                        pool,
                        ..spec()
                    });
                }
            }
        }
    }
}

#[test]
fn a_nan_is_seen() {
    for spec in [spec(), plain_3x3(), pooled_3x3()] {
        let mut case = Case::of(&spec);
        case.images[245] = f32::NAN;
        for instructions in Instructions::available() {
            let output = fast(instructions, &spec, &case).output;
            assert!(output.iter().any(|v| v.is_nan()));
        }
    }
}

#[test]
fn sums_do_not_depend_on_the_threads() {
    for spec in [spec(), plain_3x3(), pooled_3x3()] {
        let spec = Spec { batch: 50, ..spec };
        threads_change_nothing(&spec);
    }
}

fn threads_change_nothing(spec: &Spec) {
    let case = Case::of(spec);
    let all = fast(Instructions::best(), spec, &case);
    // Within a task everything is done by one thread.
    let alone = std::sync::Mutex::new(None);
    crate::threads::for_each(2, &|task| {
        if task == 1 {
            let passes = fast(Instructions::best(), spec, &case);
            *alone.lock().unwrap() = Some(passes);
        }
    });
    let alone = alone.into_inner().unwrap().unwrap();
    assert_eq!(all.output, alone.output);
    assert_eq!(all.weight_grad, alone.weight_grad);
    assert_eq!(all.bias_grad, alone.bias_grad);
    assert_eq!(all.images_grad, alone.images_grad);
}
