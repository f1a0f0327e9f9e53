//! Kernels against their CPU twins, on real images: the same bits on flex, ndarray and wgpu, or as close
//! as sums in another order are.

mod batch_norm;
mod conv_block;
mod dense;
mod loss_and_adam;
mod orthogonal;

use std::sync::Mutex;

use burn::data::dataloader::DataLoader;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use weft::data::fashion_mnist::{self, Dataset, Lookup};
use weft::data::idx::Images;
use weft::data::loader::{Cursor, HostSplit, Order, ResidentLoader, ResidentSplit};
use weft::data::{AugmentationConfig, FlipMode};
use weft::kernels::gather_batch::{Augmentation, FlipDraw, on_cpu, pack, table};
use weft::kernels::{DropoutSpec, GatherSpec, dropout, dropout_mask, gather_batch};
use weft::run::checkpoints::sha256_hex;

use crate::devices;

const AUGMENTED: fn() -> Augmentation = || Augmentation::new(0.5, 3, 0.7, 4, 12);

/// Tests run beside one another, and the machine that is assumed holds for all.
static ASSUMED: Mutex<()> = Mutex::new(());

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
        channels: 1,
        height: 28,
        width: 28,
        key: 0xdead_beef,
        flip: FlipDraw::anew(0xdead_beef),
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
    let other_way = GatherSpec {
        flip: FlipDraw {
            key: 99,
            other_way: true,
        },
        ..spec(AUGMENTED())
    };
    for spec in [spec(Augmentation::default()), spec(AUGMENTED()), other_way] {
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
                assert_eq!(bits(batch), expected, "{device:?} {spec:?}");
            }
        }
    }
}

/// The bits of before there were flips that alternate: a run of before goes on with them.
#[test]
fn random_changes_stay_what_they_were() {
    let images = sample().train.images;
    let all: Vec<u32> = (0..images.n_images as u32).collect();
    let packed = pack(&images.pixels, 28 * 28, &all);
    let batch = on_cpu(&packed, &order(), &table(0.286, 0.353), &spec(AUGMENTED()));
    let bytes: Vec<u8> = batch.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(
        sha256_hex(&bytes),
        "5da936d2628ee69b0c71dd5e61f307678adff16a8b1b945b967947e2255a858a"
    );
}

/// In which epochs images are flipped, by their place in the split. The images tell their place and side by
/// two pixels.
fn flipped(seed: u64, flip: f64, batch_size: usize, device: &Device) -> Vec<Vec<bool>> {
    const N: usize = 200;
    let images = Images {
        n_images: N,
        channels: 1,
        height: 1,
        width: 2,
        pixels: (0..N).flat_map(|image| [image as u8, 255]).collect(),
    };
    let host = HostSplit {
        images: &images,
        labels: &[0; N],
        image_indices: &(0..N as u32).collect::<Vec<_>>(),
        table: &table(0.0, 1.0),
    };
    let augmentation = AugmentationConfig {
        flip,
        flip_mode: FlipMode::Alternating,
        ..AugmentationConfig::default()
    };
    let cursor = Cursor::default();
    let order = Order::Shuffled {
        seed,
        augmentation: augmentation.for_kernel(),
        cursor: cursor.clone(),
    };
    let loader = ResidentLoader::new(ResidentSplit::upload(&host, device), batch_size, order);
    let of_epoch = |epoch| {
        let mut found = vec![false; N];
        cursor.set(epoch, 0);
        for batch in loader.iter() {
            let data = batch.unwrap().images.into_data();
            let bytes: Vec<u8> = data
                .iter::<f32>()
                .map(|v| (v * 255.0).round() as u8)
                .collect();
            for sides in bytes.chunks(2) {
                let is_flipped = sides[0] == 255;
                found[usize::from(sides[usize::from(is_flipped)])] = is_flipped;
            }
        }
        found
    };
    (1..=4).map(of_epoch).collect()
}

#[test]
fn flips_that_alternate_show_both_sides_in_every_two_epochs() {
    let count = |flips: &[bool]| flips.iter().filter(|&&flip| flip).count();
    for device in devices::all("flips_that_alternate_show_both_sides_in_every_two_epochs") {
        let epochs = flipped(1, 0.5, 64, &device);
        assert!((80..120).contains(&count(&epochs[0])), "{epochs:?}");
        for pair in epochs.windows(2) {
            let differ = pair[0]
                .iter()
                .zip(&pair[1])
                .all(|(one, other)| one != other);
            assert!(differ, "{device:?} {pair:?}");
        }
        // Neither the batches nor where an image lies in them counts, but the seed does.
        assert_eq!(flipped(1, 0.5, 7, &device), epochs);
        assert_ne!(flipped(2, 0.5, 64, &device)[0], epochs[0]);
        assert!((5..40).contains(&count(&flipped(1, 0.1, 64, &device)[0])));
        assert_eq!(count(&flipped(1, 1.0, 64, &device)[1]), 0);
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
            channels: 1,
            height: height as u32,
            width: width as u32,
            key,
            flip: FlipDraw::anew(key),
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

/// Three channels of 9 x 7 pixels: 189 bytes, so that channels begin within a word. Each channel has
/// bytes and a table of its own.
fn colour(n_images: usize) -> (Vec<u8>, Vec<i32>) {
    let byte = |at: usize| ((at * 31 + at / 63 * 17) % 256) as u8;
    let pixels = (0..n_images * 189).map(byte).collect();
    let tables = [(0.1, 0.2), (0.5, 0.7), (0.9, 0.3)].map(|(mean, dev)| table(mean, dev));
    (pixels, tables.concat())
}

fn colour_spec(n_images: usize, augmentation: Augmentation) -> GatherSpec {
    GatherSpec {
        first: 1,
        n_images: n_images as u32,
        channels: 3,
        height: 9,
        width: 7,
        key: 77,
        flip: FlipDraw::anew(77),
        augmentation,
    }
}

#[test]
fn colour_gives_the_twins_bits_on_every_device() {
    let (pixels, table) = colour(200);
    let all: Vec<u32> = (0..200).collect();
    let packed = pack(&pixels, 189, &all);
    let order: Vec<i32> = (0..200).rev().collect();
    for augmentation in [Augmentation::default(), AUGMENTED()] {
        let spec = colour_spec(150, augmentation);
        let expected = on_cpu(&packed, &order, &table, &spec);
        let expected: Vec<u32> = expected.into_iter().map(f32::to_bits).collect();
        for device in devices::all("colour_gives_the_twins_bits_on_every_device") {
            let inputs = [&packed, &order, &table].map(|values| ints(values, &device));
            let batch = gather_batch(&inputs[0], &inputs[1], &inputs[2], spec);
            assert_eq!(batch.dims(), [150, 3, 9, 7]);
            assert_eq!(bits(batch), expected, "{device:?} {augmentation:?}");
        }
    }
}

#[test]
fn the_channels_of_an_image_are_changed_alike_and_normalised_each_on_its_own() {
    let (pixels, tables) = colour(8);
    let all: Vec<u32> = (0..8).collect();
    let order: Vec<i32> = (0..8).collect();
    let packed = pack(&pixels, 189, &all);
    let plain = colour_spec(7, Augmentation::default());
    let batch = on_cpu(&packed, &order, &tables, &plain);
    for (at, value) in batch.iter().enumerate() {
        let (byte, channel) = (pixels[189 + at], at % 189 / 63);
        let expected = tables[channel * 256 + usize::from(byte)];
        assert_eq!(value.to_bits(), expected as u32);
    }
    // Each channel of a colour batch is what a grey batch of that channel alone gives.
    let spec = colour_spec(7, AUGMENTED());
    let batch = on_cpu(&packed, &order, &tables, &spec);
    assert_ne!(batch, on_cpu(&packed, &order, &tables, &plain));
    for channel in 0..3 {
        let planes = pixels.chunks(63).skip(channel).step_by(3);
        let grey = pack(&planes.flatten().copied().collect::<Vec<u8>>(), 63, &all);
        let table = &tables[channel * 256..][..256];
        let grey = on_cpu(
            &grey,
            &order,
            table,
            &GatherSpec {
                channels: 1,
                ..spec
            },
        );
        let of_batch = batch.chunks(63).skip(channel).step_by(3);
        let of_batch: Vec<f32> = of_batch.flatten().copied().collect();
        assert_eq!(of_batch, grey, "channel {channel}");
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
        channels: 1,
        height,
        width,
        key: 5,
        flip: FlipDraw::anew(5),
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
