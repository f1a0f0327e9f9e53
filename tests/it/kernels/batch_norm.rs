//! Batch norm: the shaders against the CPU twins on real images, gradients against burn's operations.

use std::sync::PoisonError;

use burn::tensor::activation::{relu, selu, tanh};
use burn::tensor::module;
use burn::tensor::{Device, Tensor, TensorData};
use weft::kernels::batch_norm::{Layer, Spec, batch_norm, runs_on, statistics};
use weft::kernels::conv_block::Activation;
use weft::kernels::{Machine, random};
use weft_cpu::batch_norm as twin;
use weft_cpu::simd::Instructions;

use super::{ASSUMED, sample};
use crate::devices;

const EPSILON: f32 = 1e-5;
const ACTIVATIONS: [Activation; 4] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Tanh,
    Activation::Selu,
];

fn spec(channels: usize, activation: Activation, of_batch: bool) -> Spec {
    Spec {
        channels,
        activation,
        epsilon_bits: EPSILON.to_bits(),
        of_batch,
    }
}

fn numbers(key: u32, n: usize, middle: f32, scale: f32) -> Vec<f32> {
    let number = |i| random::draw(key, i, 0) as f32 / u32::MAX as f32 * 2.0 - 1.0;
    (0..n as u32).map(|i| middle + scale * number(i)).collect()
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// What goes into a batch norm. The gradient is zero where a derivative jumps, so that rounding cannot
/// choose its side.
struct Case {
    spec: Spec,
    rows: usize,
    x: Vec<f32>,
    mean: Vec<f32>,
    variance: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    grad: Vec<f32>,
}

impl Case {
    /// Pixels of the sample's images, in the order in which they lie there.
    fn of(rows: usize, spec: Spec) -> Self {
        let n = rows * spec.channels;
        let pixels = sample().train.images.pixels;
        let x = pixels.iter().cycle().take(n);
        Self::new(rows, spec, x.map(|&p| f32::from(p) / 255.0).collect())
    }

    fn new(rows: usize, spec: Spec, x: Vec<f32>) -> Self {
        let channels = spec.channels;
        let [mean, variance] = match spec.of_batch {
            true => twin::statistics(Instructions::best(), channels, &x),
            false => [
                numbers(5, channels, 0.3, 0.1),
                numbers(6, channels, 0.2, 0.1),
            ],
        };
        let grad = numbers(4, x.len(), 0.0, 1.0);
        let mut case = Self {
            spec,
            rows,
            x,
            mean,
            variance,
            gamma: numbers(2, channels, 0.6, 1.0),
            beta: numbers(3, channels, 0.1, 0.3),
            grad,
        };
        for at in 0..case.x.len() {
            let channel = at % channels;
            let z = case.normalized(at) * f64::from(case.gamma[channel]);
            if (z + f64::from(case.beta[channel])).abs() < 1e-3 {
                case.grad[at] = 0.0;
            }
        }
        case
    }

    fn rate(&self, channel: usize) -> f64 {
        1.0 / (f64::from(self.variance[channel]) + f64::from(EPSILON)).sqrt()
    }

    fn normalized(&self, at: usize) -> f64 {
        let channel = at % self.spec.channels;
        (f64::from(self.x[at]) - f64::from(self.mean[channel])) * self.rate(channel)
    }

    fn layer(&self) -> twin::Layer<'_> {
        twin::Layer {
            mean: &self.mean,
            variance: &self.variance,
            gamma: &self.gamma,
            beta: &self.beta,
        }
    }

    /// Output and the gradients of x, gamma and beta, by the twin.
    fn by_twin(&self) -> [Vec<f32>; 4] {
        let best = Instructions::best();
        let y = twin::forward(best, &self.spec, self.layer(), &self.x);
        let [x, gamma, beta] = twin::gradient(best, &self.spec, self.layer(), &self.x, &self.grad);
        [y, x, gamma, beta]
    }

    /// The same by weft's kernel on a device, under autodiff.
    fn by_kernel(&self, device: &Device) -> [Vec<f32>; 4] {
        let device = &device.clone().autodiff();
        let channels = [self.spec.channels];
        let shape = [self.rows, self.spec.channels];
        let x = tensor(&self.x, shape, device).require_grad();
        let gamma = tensor(&self.gamma, channels, device).require_grad();
        let beta = tensor(&self.beta, channels, device).require_grad();
        let layer = Layer {
            mean: tensor(&self.mean, channels, device),
            variance: tensor(&self.variance, channels, device),
            gamma: gamma.clone(),
            beta: beta.clone(),
        };
        let y = batch_norm(x.clone(), layer, self.spec);
        assert_eq!(y.dims(), shape);
        let grads = (y.clone() * tensor(&self.grad, shape, device))
            .sum()
            .backward();
        [
            values(y),
            values(x.grad(&grads).unwrap()),
            values(gamma.grad(&grads).unwrap()),
            values(beta.grad(&grads).unwrap()),
        ]
    }

    /// The same by burn's own operations.
    fn by_burn(&self, device: &Device) -> [Vec<f32>; 4] {
        let device = &device.clone().autodiff();
        let channels = [self.spec.channels];
        let shape = [self.rows, self.spec.channels];
        let x = tensor(&self.x, shape, device).require_grad();
        let gamma = tensor(&self.gamma, channels, device).require_grad();
        let beta = tensor(&self.beta, channels, device).require_grad();
        let [mean, variance] = [&self.mean, &self.variance].map(|v| tensor(v, channels, device));
        let epsilon = f64::from(EPSILON);
        let (x_, gamma_, beta_) = (x.clone(), gamma.clone(), beta.clone());
        let z = match self.spec.of_batch {
            true => module::batch_norm_train(x_, gamma_, beta_, epsilon).output,
            false => module::batch_norm(x_, gamma_, beta_, mean, variance, epsilon),
        };
        let y = match self.spec.activation {
            Activation::Identity => z,
            Activation::Relu => relu(z),
            Activation::Tanh => tanh(z),
            Activation::Selu => selu(z),
        };
        let grads = (y.clone() * tensor(&self.grad, shape, device))
            .sum()
            .backward();
        [
            values(y),
            values(x.grad(&grads).unwrap()),
            values(gamma.grad(&grads).unwrap()),
            values(beta.grad(&grads).unwrap()),
        ]
    }

    /// Each number is right beside what it is a sum of, channel by channel.
    fn assert_close(&self, got: &[Vec<f32>; 4], want: &[Vec<f32>; 4]) {
        let channels = self.spec.channels;
        let mut sums = vec![0f64; channels];
        let mut largest = vec![1f64; channels];
        for at in 0..self.x.len() {
            // The twin's line starts at -mean * rate, which is large where a channel hardly varies.
            let channel = at % channels;
            let offset = f64::from(self.mean[channel]).abs() * self.rate(channel);
            let size = self.normalized(at).abs().max(offset);
            sums[channel] += f64::from(self.grad[at].abs()) * (1.0 + size);
            largest[channel] = largest[channel].max(size);
        }
        for (which, what) in ["output", "x", "gamma", "beta"].iter().enumerate() {
            assert_eq!(got[which].len(), want[which].len(), "{what}");
            for (at, (&got, &want)) in got[which].iter().zip(&want[which]).enumerate() {
                let channel = at % channels;
                let size = match which {
                    0 => largest[channel],
                    1 => largest[channel] * self.rate(channel),
                    _ => 1.0 + sums[channel],
                };
                let difference = (f64::from(got) - f64::from(want)).abs();
                assert!(
                    difference <= 1e-5 * size,
                    "{what}[{at}]: {got} instead of {want}, of size {size}, {} rows, {:?}",
                    self.rows,
                    self.spec
                );
            }
        }
    }
}

fn on_both_machines(f: impl Fn()) {
    let _one_at_a_time = ASSUMED.lock().unwrap_or_else(PoisonError::into_inner);
    for machine in [Machine::Software, Machine::Gpu] {
        machine.assume();
        f();
    }
}

/// Rows and channels: alone, odd, wide, long.
const SHAPES: [(usize, usize); 11] = [
    (1, 1),
    (1, 1030),
    (2, 3),
    (37, 100),
    (128, 1024),
    (257, 33),
    (3000, 130),
    (20_000, 32),
    (300_000, 3),
    (70_001, 1),
    (40, 4100),
];

#[test]
fn outputs_and_gradients_are_the_twins() {
    for device in devices::all("outputs_and_gradients_are_the_twins") {
        for (index, (rows, channels)) in SHAPES.into_iter().enumerate() {
            for of_batch in [true, false] {
                let activation = ACTIVATIONS[(index + usize::from(of_batch)) % 4];
                let case = Case::of(rows, spec(channels, activation, of_batch));
                assert!(runs_on(rows, channels, &device));
                let want = case.by_twin();
                on_both_machines(|| case.assert_close(&case.by_kernel(&device), &want));
            }
        }
    }
}

/// Mean and variance in f64.
fn plain_statistics(channels: usize, x: &[f32]) -> [Vec<f64>; 2] {
    let of_channel = |channel: usize| {
        let x = || x[channel..].iter().step_by(channels).map(|&x| f64::from(x));
        let n = x().count() as f64;
        let mean = x().sum::<f64>() / n;
        (mean, x().map(|x| (x - mean).powi(2)).sum::<f64>() / n)
    };
    let (mean, variance) = (0..channels).map(of_channel).unzip();
    [mean, variance]
}

fn check_statistics(x: &[f32], channels: usize, device: &Device) {
    let rows = x.len() / channels;
    let got = statistics(&tensor(x, [rows, channels], device)).map(values);
    let want = plain_statistics(channels, x);
    for (channel, (got, want)) in got[0].iter().zip(&want[0]).enumerate() {
        let difference = (f64::from(*got) - want).abs();
        assert!(
            difference <= 1e-5 * want.abs().max(0.1),
            "mean[{channel}]: {got} instead of {want}, {rows} x {channels}"
        );
    }
    for (channel, (got, want)) in got[1].iter().zip(&want[1]).enumerate() {
        let difference = (f64::from(*got) - want).abs();
        // A mean of a thousand is known to 6e-5 in f32.
        assert!(
            difference <= 5e-5 * want.max(1e-3),
            "variance[{channel}]: {got} instead of {want}, {rows} x {channels}"
        );
    }
}

#[test]
fn statistics_are_those_in_f64() {
    for device in devices::all("statistics_are_those_in_f64") {
        for (rows, channels) in SHAPES {
            let case = Case::of(rows, spec(channels, Activation::Identity, false));
            on_both_machines(|| check_statistics(&case.x, channels, &device));
        }
    }
}

#[test]
fn a_large_mean_costs_no_variance_on_any_device() {
    for device in devices::all("a_large_mean_costs_no_variance_on_any_device") {
        for channels in [3, 4] {
            let x = numbers(1, 30_000 * channels, 1000.0, 1.0);
            on_both_machines(|| check_statistics(&x, channels, &device));
        }
    }
}

#[test]
fn outputs_and_gradients_are_those_of_burns_operations() {
    for (rows, channels) in [(2, 3), (600, 5), (256, 64)] {
        for activation in ACTIVATIONS {
            for of_batch in [true, false] {
                let spec = spec(channels, activation, of_batch);
                let case = Case::new(rows, spec, numbers(1, rows * channels, 0.4, 1.0));
                let want = case.by_burn(&devices::cpus()[0]);
                let test = "outputs_and_gradients_are_those_of_burns_operations";
                for device in devices::all(test) {
                    case.assert_close(&case.by_kernel(&device), &want);
                }
            }
        }
    }
}

/// Images, channels last, with the statistics of the batch: as a model calls it.
#[test]
fn images_are_normalised_by_their_own_statistics() {
    let (shape, channels) = ([6, 7, 9, 12], 12);
    let spec = spec(channels, Activation::Relu, true);
    let case = Case::of(6 * 7 * 9, spec);
    let [want, ..] = case.by_twin();
    for device in devices::all("images_are_normalised_by_their_own_statistics") {
        let x = tensor(&case.x, shape, &device);
        let [mean, variance] = statistics(&x);
        let layer = Layer {
            mean,
            variance,
            gamma: tensor(&case.gamma, [channels], &device),
            beta: tensor(&case.beta, [channels], &device),
        };
        let y = batch_norm(x, layer, spec);
        assert_eq!(y.dims(), shape);
        for (got, want) in values(y).iter().zip(&want) {
            let difference = (got - want).abs();
            assert!(difference < 2e-5, "{got} instead of {want} on {device:?}");
        }
    }
}

#[test]
fn a_nan_is_seen_on_every_device() {
    for channels in [3, 4] {
        for activation in ACTIVATIONS {
            let mut case = Case::of(40, spec(channels, activation, false));
            case.x[5 * channels + 1] = f32::NAN;
            for device in devices::all("a_nan_is_seen_on_every_device") {
                let x = tensor(&case.x, [40, channels], &device);
                for numbers in statistics(&x).map(values) {
                    let seen: Vec<usize> = (0..channels).filter(|&c| numbers[c].is_nan()).collect();
                    assert_eq!(seen, [1], "{numbers:?} {device:?}");
                }
                let [y, ..] = case.by_kernel(&device);
                let of_y: Vec<usize> = (0..y.len()).filter(|&at| y[at].is_nan()).collect();
                assert_eq!(of_y, [5 * channels + 1], "{activation:?} {device:?}");

                // A channel with such a variance is lost as a whole.
                let mut case = Case::of(40, spec(channels, activation, true));
                case.variance[1] = f32::NAN;
                let [y, ..] = case.by_kernel(&device);
                for (at, y) in y.iter().enumerate() {
                    assert_eq!(y.is_nan(), at % channels == 1, "{activation:?} {device:?}");
                }
            }
        }
    }
}

#[test]
fn sums_are_the_same_bits_each_time() {
    let Some(device) = devices::gpu("sums_are_the_same_bits_each_time") else {
        return;
    };
    for (rows, channels) in [(50_000, 6), (900, 200)] {
        let case = Case::of(rows, spec(channels, Activation::Tanh, true));
        on_both_machines(|| {
            let run = || {
                let x = tensor(&case.x, [rows, channels], &device);
                (statistics(&x).map(values), case.by_kernel(&device))
            };
            assert!(run() == run());
        });
    }
}

#[test]
fn what_cannot_be_counted_is_refused() {
    let Some(gpu) = devices::gpu("what_cannot_be_counted_is_refused") else {
        return;
    };
    for (rows, channels) in [
        (1 << 27, 8),
        (1, 1 << 30),
        (1 << 60, 1 << 10),
        (0, 8),
        (8, 0),
    ] {
        assert!(!runs_on(rows, channels, &gpu), "{rows} x {channels}");
    }
    for (rows, channels) in [
        (1, 1),
        (1024 * 28 * 28, 64),
        ((1 << 30) - 1, 1),
        (1, 1 << 20),
    ] {
        assert!(runs_on(rows, channels, &gpu), "{rows} x {channels}");
    }
}
