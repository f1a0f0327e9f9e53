//! Batch normalisation and the activation behind it: the CPU twin of `shaders/batch_norm*.wgsl`.
//!
//! Numbers are `[row, channel]`: a row is a pixel of an image, or an image where there are no pixels. Each
//! channel is normalised over all rows (Ioffe and Szegedy, 2015): `activation(gamma * (x - mean) /
//! sqrt(variance + epsilon) + beta)`.

use crate::elementwise::Activation;
use crate::memory::written;
use crate::simd::{Instructions, Simd, for_each_instruction_set};
use crate::threads::{Parts, for_each, part_of};

/// What a layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// Channels.
    pub channels: usize,
    /// The nonlinearity.
    pub activation: Activation,
    /// The bits of what is added to a variance.
    pub epsilon_bits: u32,
    /// Whether mean and variance are those of the rows, as in training: then the gradient goes through
    /// them too.
    pub of_batch: bool,
}

impl Spec {
    fn epsilon(&self) -> f32 {
        f32::from_bits(self.epsilon_bits)
    }
}

/// A layer's numbers, one for each channel.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    /// Of the rows, or of the training so far.
    pub mean: &'a [f32],
    /// Likewise; of a batch the biased one, over the number of rows.
    pub variance: &'a [f32],
    /// Scale.
    pub gamma: &'a [f32],
    /// Shift.
    pub beta: &'a [f32],
}

/// Rows that one task takes: what it reads twice stays in the nearest caches. The parts are added in
/// order, whatever thread made them.
fn rows_of_task(channels: usize) -> usize {
    (8 * 1024 / channels.max(1)).max(1)
}

/// Mean and biased variance of each channel.
pub fn statistics(instructions: Instructions, channels: usize, x: &[f32]) -> [Vec<f32>; 2] {
    let part = rows_of_task(channels) * channels;
    let n_parts = x.len().div_ceil(part.max(1));
    let mut sums = vec![0f32; n_parts * 2 * channels];
    let parts = Parts::new(&mut sums, 2 * channels);
    for_each(n_parts, &|index| {
        let x = part_of(x, part, index);
        // SAFETY: each task has an index of its own.
        some_statistics(instructions, channels, x, unsafe { parts.of(index) });
    });
    // Parts are joined as in Chan, Golub and LeVeque (1979), which loses nothing where a mean is large
    // beside its deviation.
    let (mut mean, mut squares) = (vec![0f64; channels], vec![0f64; channels]);
    let mut before = 0f64;
    for (index, sums) in sums.chunks_exact(2 * channels).enumerate() {
        let rows = (part_of(x, part, index).len() / channels) as f64;
        let (means, of_part) = sums.split_at(channels);
        for channel in 0..channels {
            let difference = f64::from(means[channel]) - mean[channel];
            mean[channel] += difference * rows / (before + rows);
            squares[channel] += f64::from(of_part[channel])
                + difference * difference * before * rows / (before + rows);
        }
        before += rows;
    }
    let mean = mean.into_iter().map(|mean| mean as f32).collect();
    let variance = squares
        .into_iter()
        .map(|sum| (sum / before.max(1.0)) as f32);
    [mean, variance.collect()]
}

for_each_instruction_set! {
    fn some_statistics = mean_and_squares(channels: usize, x: &[f32], sums: &mut [f32])
}

/// `sums`: the mean of each channel, then the sum of the squares of what differs from it.
#[inline(always)]
unsafe fn mean_and_squares<S: Simd>(channels: usize, x: &[f32], sums: &mut [f32]) {
    let (means, squares) = sums.split_at_mut(channels);
    means.fill(0.0);
    squares.fill(0.0);
    for row in x.chunks_exact(channels) {
        for (mean, x) in means.iter_mut().zip(row) {
            *mean += x;
        }
    }
    let part = 1.0 / (x.len() / channels).max(1) as f32;
    means.iter_mut().for_each(|mean| *mean *= part);
    for row in x.chunks_exact(channels) {
        for ((square, &mean), x) in squares.iter_mut().zip(&*means).zip(row) {
            *square += (x - mean) * (x - mean);
        }
    }
}

/// Normalises, scales, shifts and activates.
pub fn forward(instructions: Instructions, spec: &Spec, layer: Layer, x: &[f32]) -> Vec<f32> {
    let lines = Lines::of(spec, layer);
    let part = rows_of_task(spec.channels) * spec.channels;
    // SAFETY: each number is written by the task that has it.
    unsafe {
        written(x.len(), |y| {
            let parts = Parts::new(y, part);
            for_each(parts.count(), &|index| {
                let x = part_of(x, part, index);
                some_forward(instructions, spec, &lines, x, parts.of(index));
            });
        })
    }
}

/// What a channel's numbers go through. The mean is taken off first: a line `scale * x + shift` would lose
/// digits where a channel hardly varies around a large mean.
struct Lines<'a> {
    mean: &'a [f32],
    /// 1 / sqrt(variance + epsilon)
    rate: Vec<f32>,
    /// gamma * rate
    scale: Vec<f32>,
    /// beta
    shift: &'a [f32],
}

impl<'a> Lines<'a> {
    fn of(spec: &Spec, layer: Layer<'a>) -> Self {
        let variance = layer.variance.iter();
        let rate: Vec<f32> = variance
            .map(|variance| 1.0 / (variance + spec.epsilon()).sqrt())
            .collect();
        let scale = layer.gamma.iter().zip(&rate);
        Self {
            mean: layer.mean,
            scale: scale.map(|(gamma, rate)| gamma * rate).collect(),
            rate,
            shift: layer.beta,
        }
    }
}

for_each_instruction_set! {
    fn some_forward = activated(spec: &Spec, lines: &Lines, x: &[f32], y: &mut [f32])
}

#[inline(always)]
unsafe fn activated<S: Simd>(spec: &Spec, lines: &Lines, x: &[f32], y: &mut [f32]) {
    match spec.activation {
        Activation::Identity => rows(spec, lines, x, y, |z| z),
        // Not `max`, which would lose a NaN.
        Activation::Relu => rows(spec, lines, x, y, |z| if z <= 0.0 { 0.0 } else { z }),
        other => rows(spec, lines, x, y, |z| other.value(z)),
    }
}

#[inline(always)]
fn rows(spec: &Spec, lines: &Lines, x: &[f32], y: &mut [f32], value: impl Fn(f32) -> f32) {
    let n = spec.channels;
    // Slices of one length: the compiler sees that no index is out of bounds.
    let (mean, scale, shift) = (&lines.mean[..n], &lines.scale[..n], &lines.shift[..n]);
    for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
        for c in 0..n {
            y[c] = value((x[c] - mean[c]) * scale[c] + shift[c]);
        }
    }
}

/// The gradients of `x`, of gamma and of beta.
///
/// * `grad`: of the output, as `x`
pub fn gradient(
    instructions: Instructions,
    spec: &Spec,
    layer: Layer,
    x: &[f32],
    grad: &[f32],
) -> [Vec<f32>; 3] {
    let lines = Lines::of(spec, layer);
    let channels = spec.channels;
    let part = rows_of_task(channels) * channels;
    let n_parts = x.len().div_ceil(part.max(1));
    let mut sums = vec![0f32; n_parts * 2 * channels];
    let parts = Parts::new(&mut sums, 2 * channels);
    for_each(n_parts, &|index| {
        let (x, grad) = (part_of(x, part, index), part_of(grad, part, index));
        // SAFETY: each task has an index of its own.
        some_sums(instructions, spec, &lines, x, grad, unsafe {
            parts.of(index)
        });
    });
    let total = |first: usize| -> Vec<f32> {
        let channel = |channel: usize| {
            let of_parts = sums.chunks_exact(2 * channels);
            let sum: f64 = of_parts.map(|sums| f64::from(sums[first + channel])).sum();
            sum as f32
        };
        (0..channels).map(channel).collect()
    };
    let (beta_grad, gamma_grad) = (total(0), total(channels));
    // Zero where mean and variance do not depend on `x`.
    let share = match spec.of_batch {
        true => 1.0 / (x.len() / channels).max(1) as f32,
        false => 0.0,
    };
    let means = [&beta_grad, &gamma_grad].map(|sums| -> Vec<f32> {
        let means = sums.iter().map(|sum| sum * share);
        means.collect()
    });
    // SAFETY: each number is written by the task that has it.
    let x_grad = unsafe {
        written(x.len(), |x_grad| {
            let parts = Parts::new(x_grad, part);
            for_each(parts.count(), &|index| {
                let (x, grad) = (part_of(x, part, index), part_of(grad, part, index));
                let to = parts.of(index);
                some_gradient(instructions, spec, &lines, &means, x, grad, to);
            });
        })
    };
    [x_grad, gamma_grad, beta_grad]
}

for_each_instruction_set! {
    fn some_sums = both_sums(spec: &Spec, lines: &Lines, x: &[f32], grad: &[f32], sums: &mut [f32])
}
for_each_instruction_set! {
    fn some_gradient = x_grad(
        spec: &Spec,
        lines: &Lines,
        means: &[Vec<f32>; 2],
        x: &[f32],
        grad: &[f32],
        to: &mut [f32],
    )
}

/// The gradient before the activation, from the line's value there.
#[inline(always)]
fn before(activation: Activation) -> impl Fn(f32, f32) -> f32 {
    move |z, grad| match activation {
        Activation::Identity => grad,
        Activation::Relu => {
            if z > 0.0 {
                grad
            } else {
                0.0
            }
        }
        other => grad * other.derivative(other.value(z)),
    }
}

/// `sums`: over the rows, of the gradient before the activation, then of that times the normalised number.
#[inline(always)]
unsafe fn both_sums<S: Simd>(
    spec: &Spec,
    lines: &Lines,
    x: &[f32],
    grad: &[f32],
    sums: &mut [f32],
) {
    macro_rules! with {
        ($activation:expr) => {
            add_sums(spec, lines, x, grad, sums, before($activation))
        };
    }
    match spec.activation {
        Activation::Identity => with!(Activation::Identity),
        Activation::Relu => with!(Activation::Relu),
        other => with!(other),
    }
}

#[inline(always)]
fn add_sums(
    spec: &Spec,
    lines: &Lines,
    x: &[f32],
    grad: &[f32],
    sums: &mut [f32],
    before: impl Fn(f32, f32) -> f32,
) {
    let n = spec.channels;
    sums.fill(0.0);
    let (plain, times) = sums.split_at_mut(n);
    // Slices of one length: the compiler sees that no index is out of bounds.
    let (plain, times) = (&mut plain[..n], &mut times[..n]);
    let (scale, shift) = (&lines.scale[..n], &lines.shift[..n]);
    let (rate, mean) = (&lines.rate[..n], &lines.mean[..n]);
    for (x, grad) in x.chunks_exact(n).zip(grad.chunks_exact(n)) {
        for c in 0..n {
            let x = x[c] - mean[c];
            let grad = before(x * scale[c] + shift[c], grad[c]);
            plain[c] += grad;
            times[c] += grad * (x * rate[c]);
        }
    }
}

#[inline(always)]
unsafe fn x_grad<S: Simd>(
    spec: &Spec,
    lines: &Lines,
    means: &[Vec<f32>; 2],
    x: &[f32],
    grad: &[f32],
    to: &mut [f32],
) {
    macro_rules! with {
        ($activation:expr) => {
            write_gradient(spec, lines, means, x, grad, to, before($activation))
        };
    }
    match spec.activation {
        Activation::Identity => with!(Activation::Identity),
        Activation::Relu => with!(Activation::Relu),
        other => with!(other),
    }
}

#[inline(always)]
fn write_gradient(
    spec: &Spec,
    lines: &Lines,
    [plain, times]: &[Vec<f32>; 2],
    x: &[f32],
    grad: &[f32],
    to: &mut [f32],
    before: impl Fn(f32, f32) -> f32,
) {
    let n = spec.channels;
    let (plain, times) = (&plain[..n], &times[..n]);
    let (scale, shift) = (&lines.scale[..n], &lines.shift[..n]);
    let (rate, mean) = (&lines.rate[..n], &lines.mean[..n]);
    let rows = x.chunks_exact(n).zip(grad.chunks_exact(n));
    for ((x, grad), to) in rows.zip(to.chunks_exact_mut(n)) {
        for c in 0..n {
            let x = x[c] - mean[c];
            let grad = before(x * scale[c] + shift[c], grad[c]);
            to[c] = scale[c] * (grad - plain[c] - x * rate[c] * times[c]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::draw;

    fn numbers(key: u32, n: usize, middle: f32) -> Vec<f32> {
        let number = |i| draw(key, i, 0) as f32 / u32::MAX as f32 * 2.0 - 1.0 + middle;
        (0..n as u32).map(number).collect()
    }

    struct Case {
        x: Vec<f32>,
        grad: Vec<f32>,
        gamma: Vec<f32>,
        beta: Vec<f32>,
    }

    impl Case {
        fn of(rows: usize, channels: usize) -> Self {
            Self {
                x: numbers(1, rows * channels, 3.0),
                grad: numbers(2, rows * channels, 0.0),
                gamma: numbers(3, channels, 0.3),
                beta: numbers(4, channels, 0.1),
            }
        }
    }

    fn spec(channels: usize, activation: Activation, of_batch: bool) -> Spec {
        Spec {
            channels,
            activation,
            epsilon_bits: 1e-5f32.to_bits(),
            of_batch,
        }
    }

    fn value(activation: Activation, z: f64) -> f64 {
        let (alpha, scale) = (1.6732632423543772, 1.0507009873554805);
        match activation {
            Activation::Identity => z,
            Activation::Relu => z.max(0.0),
            Activation::Tanh => z.tanh(),
            Activation::Selu if z > 0.0 => scale * z,
            Activation::Selu => scale * alpha * z.exp_m1(),
        }
    }

    /// In f64: the outputs of one channel.
    fn plain(spec: &Spec, x: &[f64], of_all: [f64; 2], gamma: f64, beta: f64) -> Vec<f64> {
        let n = x.len() as f64;
        let [mean, variance] = match spec.of_batch {
            true => {
                let mean = x.iter().sum::<f64>() / n;
                let squares = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
                [mean, squares / n]
            }
            false => of_all,
        };
        let rate = 1.0 / (variance + f64::from(spec.epsilon())).sqrt();
        let line = x.iter().map(|x| gamma * (x - mean) * rate + beta);
        line.map(|z| value(spec.activation, z)).collect()
    }

    /// Gradients by finite differences of the f64 loops.
    #[test]
    fn forward_and_gradients_are_those_of_plain_loops() {
        for (rows, channels) in [(2, 1), (37, 5), (300, 19), (1100, 33)] {
            for activation in [
                Activation::Identity,
                Activation::Relu,
                Activation::Tanh,
                Activation::Selu,
            ] {
                for of_batch in [true, false] {
                    check(rows, &spec(channels, activation, of_batch));
                }
            }
        }
    }

    fn check(rows: usize, spec: &Spec) {
        let channels = spec.channels;
        let case = Case::of(rows, channels);
        for instructions in Instructions::available() {
            let [mean, variance] = match spec.of_batch {
                true => statistics(instructions, channels, &case.x),
                false => [vec![2.9; channels], vec![0.4; channels]],
            };
            let layer = Layer {
                mean: &mean,
                variance: &variance,
                gamma: &case.gamma,
                beta: &case.beta,
            };
            let y = forward(instructions, spec, layer, &case.x);
            let [x_grad, gamma_grad, beta_grad] =
                gradient(instructions, spec, layer, &case.x, &case.grad);
            for c in [0, channels / 2, channels - 1] {
                let of = |all: &[f32]| -> Vec<f64> {
                    all[c..]
                        .iter()
                        .step_by(channels)
                        .map(|&v| f64::from(v))
                        .collect()
                };
                let (x, grad) = (of(&case.x), of(&case.grad));
                let all = [2.9f32, 0.4].map(f64::from);
                let (gamma, beta) = (f64::from(case.gamma[c]), f64::from(case.beta[c]));
                let want = plain(spec, &x, all, gamma, beta);
                for (got, want) in of(&y).iter().zip(&want) {
                    assert!((got - want).abs() < 2e-5, "{spec:?}: {got} for {want}");
                }
                let loss = |x: &[f64], gamma: f64, beta: f64| -> f64 {
                    let y = plain(spec, x, all, gamma, beta);
                    y.iter().zip(&grad).map(|(y, g)| y * g).sum()
                };
                let step = 1e-6;
                let slope = |f: &dyn Fn(f64) -> f64| (f(step) - f(-step)) / (2.0 * step);
                let close = |got: f32, want: f64, what: &str| {
                    let fits = (f64::from(got) - want).abs() < 2e-3 * want.abs().max(1.0);
                    assert!(fits, "{what} {spec:?} {instructions:?}: {got} for {want}");
                };
                close(
                    gamma_grad[c],
                    slope(&|d| loss(&x, gamma + d, beta)),
                    "gamma",
                );
                close(beta_grad[c], slope(&|d| loss(&x, gamma, beta + d)), "beta");
                for row in [0, rows / 2, rows - 1] {
                    let moved = |d: f64| {
                        let mut x = x.clone();
                        x[row] += d;
                        loss(&x, gamma, beta)
                    };
                    close(x_grad[row * channels + c], slope(&moved), "x");
                }
            }
        }
    }

    #[test]
    fn a_large_mean_costs_no_variance() {
        let (rows, channels) = (5000, 3);
        let x = numbers(1, rows * channels, 1000.0);
        for instructions in Instructions::available() {
            let [mean, variance] = statistics(instructions, channels, &x);
            // Uniform in ±1 around 1000, to f32's sixteenth of a thousandth there.
            assert!(mean.iter().all(|mean| (mean - 1000.0).abs() < 0.05));
            assert!(
                variance.iter().all(|v| (v - 1.0 / 3.0).abs() < 0.02),
                "{variance:?}"
            );
        }
    }

    #[test]
    fn a_nan_is_seen() {
        let case = Case::of(40, 3);
        let mut x = case.x.clone();
        x[10] = f32::NAN;
        let spec = spec(3, Activation::Relu, true);
        for instructions in Instructions::available() {
            let [mean, variance] = statistics(instructions, 3, &x);
            assert!(mean[1].is_nan() && variance[1].is_nan() && !mean[0].is_nan());
            let layer = Layer {
                mean: &mean,
                variance: &variance,
                gamma: &case.gamma,
                beta: &case.beta,
            };
            let y = forward(instructions, &spec, layer, &x);
            assert!(y[1].is_nan() && !y[0].is_nan());
        }
    }
}
