//! Kernels against their CPU twins, on real images: the same bits on flex, ndarray and wgpu.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use weft::data::fashion_mnist::{self, Dataset, Lookup};
use weft::kernels::gather_batch::{Augmentation, on_cpu, pack, table};
use weft::kernels::{DropoutSpec, GatherSpec, dropout, dropout_mask, gather_batch};

use crate::devices;

const AUGMENTED: fn() -> Augmentation = || Augmentation::new(0.5, 3, 0.7, 4, 12);

fn sample() -> Dataset {
    let lookup = Lookup::standard("sample", None);
    fashion_mnist::load(&lookup, &mut weft::data::download::NoProgress).unwrap()
}

fn ints(values: &[i32], device: &Device) -> Tensor<1, Int> {
    let data = TensorData::new(values.to_vec(), [values.len()]);
    Tensor::from_data(data, (device, DType::I32))
}

fn bits(tensor: Tensor<4>) -> Vec<u32> {
    let data = tensor.into_data();
    data.iter::<f32>().map(f32::to_bits).collect()
}

fn spec(augmentation: Augmentation) -> GatherSpec {
    GatherSpec {
        first: 7,
        n_images: 129,
        height: 28,
        width: 28,
        key: 0xdead_beef,
        augmentation,
    }
}

/// The order of the test: every third image, backwards.
fn order() -> Vec<i32> {
    (0..300).rev().map(|index| index * 3).collect()
}

#[test]
fn gather_batch_gives_the_twins_bits_on_every_device() {
    let images = sample().train.images;
    let all: Vec<u32> = (0..images.n_images as u32).collect();
    let packed = pack(&images.pixels, 28 * 28, &all);
    let table = table(0.286, 0.353);
    for augmentation in [Augmentation::default(), AUGMENTED()] {
        let spec = spec(augmentation);
        let expected: Vec<u32> = on_cpu(&packed, &order(), &table, &spec)
            .into_iter()
            .map(f32::to_bits)
            .collect();
        for base in devices::all("gather_batch_gives_the_twins_bits_on_every_device") {
            for device in [base.clone(), base.autodiff()] {
                let batch = gather_batch(
                    &ints(&packed, &device),
                    &ints(&order(), &device),
                    &ints(&table, &device),
                    spec,
                );
                assert_eq!(batch.dims(), [129, 1, 28, 28]);
                assert_eq!(bits(batch), expected, "{device:?} {augmentation:?}");
            }
        }
    }
}

#[test]
fn without_augmentation_a_batch_is_the_pixels() {
    let images = sample().train.images;
    let all: Vec<u32> = (0..images.n_images as u32).collect();
    let packed = pack(&images.pixels, 28 * 28, &all);
    let batch = on_cpu(
        &packed,
        &order(),
        &table(0.0, 1.0),
        &spec(Augmentation::default()),
    );
    let order = order();
    for (position, pixels) in batch.chunks(784).enumerate() {
        let image = order[7 + position] as usize;
        let bytes = &images.pixels[image * 784..][..784];
        for (pixel, byte) in pixels.iter().zip(bytes) {
            assert_eq!(*pixel, (f64::from(*byte) / 255.0) as f32);
        }
    }
}

#[test]
fn augmentation_does_what_it_says() {
    // One image, white but for a black first column, walked through many keys.
    let (height, width) = (8usize, 8usize);
    let pixels: Vec<u8> = (0..64)
        .map(|at| if at % 8 == 0 { 0 } else { 255 })
        .collect();
    let packed = pack(&pixels, 64, &[0]);
    let run = |augmentation, key| {
        let spec = GatherSpec {
            first: 0,
            n_images: 1,
            height: height as u32,
            width: width as u32,
            key,
            augmentation,
        };
        on_cpu(&packed, &[0], &table(0.0, 1.0), &spec)
    };
    let column = |image: &[f32], x: usize| (0..8).map(|y| image[y * 8 + x]).sum::<f32>();
    let mut flips = 0;
    for key in 0..400 {
        let image = run(Augmentation::new(0.5, 0, 0.0, 0, 0), key);
        let (left, right) = (column(&image, 0), column(&image, 7));
        assert!(left == 0.0 && right == 8.0 || left == 8.0 && right == 0.0);
        flips += usize::from(right == 0.0);
    }
    assert!((150..250).contains(&flips), "{flips} of 400 flipped");

    let mut shifts = std::collections::BTreeSet::new();
    for key in 0..400 {
        let image = run(Augmentation::new(0.0, 2, 0.0, 0, 0), key);
        let rows_of_zeros = |rows: std::ops::Range<usize>| {
            rows.filter(|y| image[y * 8..][..8].iter().all(|&v| v == 0.0))
                .count() as i32
        };
        shifts.insert(rows_of_zeros(0..4) - rows_of_zeros(4..8));
    }
    assert_eq!(shifts.into_iter().collect::<Vec<_>>(), [-2, -1, 0, 1, 2]);

    for key in 0..100 {
        let image = run(Augmentation::new(0.0, 0, 1.0, 3, 3), key);
        let erased = image.iter().filter(|&&v| v == 0.0).count() - 8;
        assert!(erased <= 9, "at most 3 x 3 is erased, not {erased}");
    }
}

#[test]
fn dropout_gives_the_twins_mask_on_every_device_and_scales_gradients() {
    let spec = DropoutSpec {
        key: 99,
        layer: 3,
        probability: 0.4,
    };
    let n = 70 * 1000;
    let expected = dropout_mask::on_cpu(n, &spec);
    for base in devices::all("dropout_gives_the_twins_mask_on_every_device") {
        let device = base.autodiff();
        let input = Tensor::<2>::ones([70, 1000], &device).require_grad();
        let output = dropout(input.clone(), spec);
        let grads = output.clone().sum().backward();
        let values: Vec<f32> = output.into_data().iter::<f32>().collect();
        assert_eq!(values, expected, "{device:?}");
        let grad: Vec<f32> = input
            .grad(&grads)
            .unwrap()
            .into_data()
            .iter::<f32>()
            .collect();
        assert_eq!(grad, expected, "{device:?}");
    }
}

#[test]
fn odd_sizes_and_many_workgroups_give_the_twins_bits() {
    // 17 x 31 pixels leave the last word of an image half empty.
    let (height, width, n_images) = (17u32, 31u32, 50u32);
    let n_pixels = (height * width) as usize;
    let pixels: Vec<u8> = (0..n_images as usize * n_pixels)
        .map(|at| (at * 7 % 251) as u8)
        .collect();
    let all: Vec<u32> = (0..n_images).collect();
    let packed = pack(&pixels, n_pixels, &all);
    let order: Vec<i32> = (0..n_images as i32).rev().collect();
    let spec = GatherSpec {
        first: 0,
        n_images,
        height,
        width,
        key: 5,
        augmentation: AUGMENTED(),
    };
    let table = table(0.0, 1.0);
    let expected = on_cpu(&packed, &order, &table, &spec);
    // More than 65,535 workgroups of 256: the launch needs its second axis.
    let n_elements = 65_536 * 256 + 3;
    let dropped = DropoutSpec {
        key: 1,
        layer: 0,
        probability: 0.5,
    };
    let mask = dropout_mask::on_cpu(n_elements, &dropped);
    for device in devices::all("odd_sizes_and_many_workgroups_give_the_twins_bits") {
        let inputs = [&packed, &order, &table].map(|values| ints(values, &device));
        let batch = gather_batch(&inputs[0], &inputs[1], &inputs[2], spec);
        let values: Vec<f32> = batch.into_data().iter::<f32>().collect();
        assert!(values == expected, "{device:?}");
        let ones = Tensor::<1>::ones([n_elements], &device);
        let found: Vec<f32> = dropout(ones, dropped).into_data().iter::<f32>().collect();
        assert!(found == mask, "{device:?}");
    }
}
