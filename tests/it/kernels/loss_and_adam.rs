//! The loss, Adam and the average: the shaders against the CPU twins, gradients against burn's operations
//! and differences in f64.

use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use weft::kernels::adam::{AdamSpec, adam};
use weft::kernels::average::{AverageSpec, average};
use weft::kernels::cross_entropy::{self, CrossEntropySpec, cross_entropy};
use weft::kernels::random;
use weft_cpu::simd::Instructions;

use crate::devices;

fn numbers(key: u32, n: usize, scale: f32) -> Vec<f32> {
    (0..n as u32)
        .map(|i| (random::draw(key, i, 0) as f32 / u32::MAX as f32 * 2.0 - 1.0) * scale)
        .collect()
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn assert_close(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let difference = (got - want).abs();
        assert!(
            difference <= tolerance * want.abs().max(1e-2),
            "{what}[{at}]: {got} instead of {want}"
        );
    }
}

fn spec(n_images: usize, n_classes: usize, smoothing: f32) -> CrossEntropySpec {
    CrossEntropySpec {
        n_images,
        n_classes,
        smoothing,
    }
}

/// Logits and labels; the first row is right and the second is all the same.
fn batch(spec: &CrossEntropySpec) -> (Vec<f32>, Vec<i32>) {
    let mut logits = numbers(1, spec.n_images * spec.n_classes, 8.0);
    let labels: Vec<i32> = (0..spec.n_images as u32)
        .map(|i| (random::draw(2, i, 0) as usize % spec.n_classes) as i32)
        .collect();
    logits[labels[0] as usize] = 9.0;
    if spec.n_images > 1 {
        logits[spec.n_classes..2 * spec.n_classes].fill(0.5);
    }
    (logits, labels)
}

fn labels_on(labels: &[i32], dtype: DType, device: &Device) -> Tensor<1, Int> {
    let data = TensorData::new(labels.to_vec(), [labels.len()]);
    Tensor::<1, Int>::from_data(data, (device, DType::I32)).cast(dtype)
}

#[test]
fn the_loss_is_the_twins_on_every_device() {
    for spec in [
        spec(1, 2, 0.0),
        spec(128, 10, 0.0),
        spec(1000, 10, 0.1),
        spec(77, 103, 0.25),
        spec(5000, 17, 0.0),
    ] {
        let (logits, labels) = batch(&spec);
        let indices = || labels.iter().map(|&label| label as usize);
        let (sum_want, correct_want) = cross_entropy::on_cpu(&logits, indices(), &spec);
        let grad_want = cross_entropy::grad_on_cpu(&logits, indices(), 2.5, &spec);
        let shape = [spec.n_images, spec.n_classes];
        for base in devices::all("the_loss_is_the_twins_on_every_device") {
            let device = base.autodiff();
            let input = tensor(&logits, shape, &device).require_grad();
            let targets = labels_on(&labels, DType::I32, &device);
            let loss = cross_entropy(input.clone(), targets, f64::from(spec.smoothing));
            let sums = [values(loss.mean.clone())[0], values(loss.sum)[0]];
            let wants = [sum_want / spec.n_images as f32, sum_want];
            assert_close("mean and sum", &sums, &wants, 1e-5);
            let correct: Vec<i64> = loss.correct.into_data().iter::<i64>().collect();
            assert_eq!(correct, [correct_want as i64], "{spec:?} {device:?}");
            let grads = (loss.mean * 2.5).backward();
            let grad = values(input.grad(&grads).unwrap());
            assert_close("gradient", &grad, &grad_want, 1e-4);
        }
    }
}

#[test]
fn the_losss_gradient_is_that_of_burns_operations_and_the_slope() {
    let spec = spec(6, 5, 0.2);
    let (logits, labels) = batch(&spec);
    let shape = [spec.n_images, spec.n_classes];

    let device = devices::cpus()[0].clone().autodiff();
    let input = tensor(&logits, shape, &device).require_grad();
    let log_probability = log_softmax(input.clone(), 1);
    let mut target = vec![spec.smoothing / 5.0; 30];
    for (row, &label) in labels.iter().enumerate() {
        target[row * 5 + label as usize] += 1.0 - spec.smoothing;
    }
    let loss = -(log_probability * tensor(&target, shape, &device)).sum() / 6.0;
    let composed = values(input.grad(&loss.backward()).unwrap());

    let loss = |logits: &[f64]| {
        let rows = logits.chunks(5).zip(target.chunks(5));
        let losses = rows.map(|(logits, target)| {
            let log_sum = logits.iter().map(|z| z.exp()).sum::<f64>().ln();
            let terms = logits.iter().zip(target);
            terms
                .map(|(z, &t)| f64::from(t) * (log_sum - z))
                .sum::<f64>()
        });
        losses.sum::<f64>() / 6.0
    };
    let mut at: Vec<f64> = logits.iter().map(|&z| f64::from(z)).collect();
    let slopes: Vec<f32> = (0..at.len())
        .map(|i| {
            let (z, h) = (at[i], 1e-5);
            at[i] = z + h;
            let above = loss(&at);
            at[i] = z - h;
            let below = loss(&at);
            at[i] = z;
            ((above - below) / (2.0 * h)) as f32
        })
        .collect();
    assert_close("composed", &composed, &slopes, 1e-3);

    for base in devices::all("the_losss_gradient_is_that_of_burns_operations_and_the_slope") {
        let device = base.autodiff();
        let input = tensor(&logits, shape, &device).require_grad();
        let targets = labels_on(&labels, DType::I32, &device);
        let loss = cross_entropy(input.clone(), targets, f64::from(spec.smoothing));
        let grad = values(input.grad(&loss.mean.backward()).unwrap());
        assert_close("burn", &grad, &composed, 1e-4);
        assert_close("slope", &grad, &slopes, 1e-3);
    }
}

#[test]
fn a_nan_reaches_the_loss_on_every_device() {
    let spec = spec(40, 10, 0.0);
    let (mut logits, labels) = batch(&spec);
    logits[123] = f32::NAN;
    for device in devices::all("a_nan_reaches_the_loss_on_every_device") {
        let logits = tensor(&logits, [40, 10], &device);
        let loss = cross_entropy(logits, labels_on(&labels, DType::I32, &device), 0.0);
        assert!(values(loss.mean)[0].is_nan(), "{device:?}");
    }
}

#[test]
fn adam_is_the_twin_on_every_device_in_place_or_not() {
    let step = AdamSpec {
        beta_1: 0.9,
        beta_2: 0.999,
        epsilon: 1e-8,
        step_size: 0.01,
        root_correction: 1.5,
        penalty: 0.02,
        keep: 0.99,
    };
    for shape in [[1, 1], [3, 67], [300, 257]] {
        let n = shape[0] * shape[1];
        let parameter = numbers(1, n, 1.0);
        let grads: Vec<_> = (2..5).map(|key| numbers(key, n, 1.0)).collect();
        let second: Vec<f32> = numbers(6, n, 1.0).iter().map(|v| v * v).collect();
        let mut want = (parameter.clone(), numbers(5, n, 1.0), second.clone());
        for grad in &grads {
            let mut updated = vec![0f32; n];
            let moments = [&mut want.1[..], &mut want.2[..]];
            let best = Instructions::best();
            weft_cpu::adam::step(best, &step, &want.0, grad, moments, &mut updated);
            want.0 = updated;
        }
        for device in devices::all("adam_is_the_twin_on_every_device_in_place_or_not") {
            for keep in [false, true] {
                let on = |values: &[f32]| tensor(values, shape, &device);
                let mut got = (on(&parameter), [on(&numbers(5, n, 1.0)), on(&second)]);
                let mut kept = Vec::new();
                for grad in &grads {
                    if keep {
                        kept.push((values(got.0.clone()), got.clone()));
                    }
                    got = adam(got.0, on(grad), got.1, step);
                }
                assert_close("parameter", &values(got.0), &want.0, 1e-4);
                let [first, second] = got.1;
                assert_close("first moment", &values(first), &want.1, 1e-4);
                assert_close("second moment", &values(second), &want.2, 1e-4);
                // What somebody else has is not changed.
                for (before, (parameter, _)) in kept {
                    assert_eq!(before, values(parameter));
                }
            }
        }
    }
}

#[test]
fn an_average_is_the_twin_on_every_device_in_place_or_not() {
    for shape in [[1, 1], [3, 67], [300, 257]] {
        let n = shape[0] * shape[1];
        let values_of: Vec<_> = (2..5).map(|key| numbers(key, n, 1.0)).collect();
        let mut want = numbers(1, n, 1.0);
        for value in &values_of {
            weft_cpu::average::update(Instructions::best(), 0.3, value, &mut want);
        }
        for device in devices::all("an_average_is_the_twin_on_every_device_in_place_or_not") {
            for keep in [false, true] {
                let on = |values: &[f32]| tensor(values, shape, &device);
                let mut got = on(&numbers(1, n, 1.0));
                let mut kept = Vec::new();
                for value in &values_of {
                    if keep {
                        kept.push((values(got.clone()), got.clone()));
                    }
                    got = average(got, on(value), AverageSpec { rate: 0.3 });
                }
                // Rounded as numbers up to 1 are, also where old and new nearly cancel.
                for (at, (got, want)) in values(got).iter().zip(&want).enumerate() {
                    let difference = (got - want).abs();
                    assert!(
                        difference < 3e-7,
                        "{device:?}, {shape:?}[{at}]: {got} instead of {want}"
                    );
                }
                // What somebody else has is not changed.
                for (before, tensor) in kept {
                    assert_eq!(before, values(tensor));
                }
            }
        }
    }
}
