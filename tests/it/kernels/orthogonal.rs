//! Muon's iteration: the shaders against the CPU twin, and that against burn's operations.

use burn::tensor::{Device, Tensor, TensorData};
use weft::kernels::orthogonal::{Spec, by_operations, orthogonal};
use weft::kernels::random;
use weft_cpu::simd::Instructions;

use crate::devices;

fn numbers(n: usize, scale: f32) -> Vec<f32> {
    let number = |i| random::draw(7, i, 0) as f32 / u32::MAX as f32 * 2.0 - 1.0;
    (0..n as u32).map(|i| number(i) * scale).collect()
}

fn tensor(values: &[f32], shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn values(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Rounding errors in the direction of a small singular value grow by up to A^5, 485.
fn assert_close(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let difference = (got - want).abs();
        assert!(difference < 1e-3, "{what}[{at}]: {got} instead of {want}");
    }
}

#[test]
fn it_is_the_twin_on_every_device_wide_or_tall_and_leaves_what_it_is_given() {
    let cases = [
        ([32, 9], 1e6),
        ([48, 288], 1e12),
        ([192, 100], 1e-4),
        ([7, 5], 1.0),
        ([33, 34], 1.0),
        ([1, 30], 1.0),
        ([1, 1], 1.0),
        ([16, 16], 1.0),
        // Four numbers at a time of one matrix, and one of the other.
        ([16, 27], 1.0),
        ([27, 16], 1.0),
        // More on the diagonal than a workgroup has invocations.
        ([260, 300], 1.0),
    ];
    for (shape, scale) in cases {
        let before = numbers(shape[0] * shape[1], scale);
        let [rows, columns] = shape;
        let spec = Spec { rows, columns };
        let want = weft_cpu::orthogonal::orthogonal(Instructions::best(), &spec, &before);
        for set in Instructions::available() {
            let got = weft_cpu::orthogonal::orthogonal(set, &spec, &before);
            assert_close(&format!("{shape:?} {set:?}"), &got, &want);
        }
        for device in
            devices::all("it_is_the_twin_on_every_device_wide_or_tall_and_leaves_what_it_is_given")
        {
            let what = format!("{shape:?} times {scale} on {device:?}");
            let given = tensor(&before, shape, &device);
            assert_close(&what, &values(orthogonal(given.clone())), &want);
            assert_eq!(values(given), before, "{what}");
            // A view, whose numbers do not lie in its order.
            let turned = tensor(&before, shape, &device).transpose();
            let back = orthogonal(turned).transpose();
            assert_close(&what, &values(back), &want);
        }
    }
}

#[test]
fn nothing_stays_nothing_and_what_is_not_finite_shows() {
    for device in devices::all("nothing_stays_nothing_and_what_is_not_finite_shows") {
        let zeros = values(orthogonal(tensor(&[0.0; 24], [4, 6], &device)));
        assert!(zeros.iter().all(|value| *value == 0.0), "{device:?}");
        for bad in [f32::NAN, f32::INFINITY] {
            let mut one = numbers(24, 1.0);
            one[5] = bad;
            let nan = values(orthogonal(tensor(&one, [4, 6], &device)));
            assert!(nan.iter().any(|value| value.is_nan()), "{bad} {device:?}");
        }
    }
}

/// What serves where the shaders cannot count a matrix.
#[test]
fn burn_s_operations_do_the_same_on_every_device() {
    for device in devices::all("burn_s_operations_do_the_same_on_every_device") {
        for shape in [[20, 50], [50, 20]] {
            let before = tensor(&numbers(1000, 1.0), shape, &device);
            let by_burn = values(by_operations(before.clone()));
            assert_close(
                &format!("{device:?}"),
                &by_burn,
                &values(orthogonal(before)),
            );
        }
    }
}
