//! What does not fit the device is refused before anything is written, with the key and the largest
//! value that fits; and that value does fit, while one more does not.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use burn::data::dataloader::DataLoader;
use weft::data::idx::Images;
use weft::data::loader::{HostSplit, Order, ResidentLoader, ResidentSplit};
use weft::device::{DeviceChoice, adapters};

/// The error of a training that must not begin.
fn refused(args: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_weft"))
        .args(["train", "--set", "data.source=sample"])
        .args(args)
        .current_dir(folder.path())
        .env("WEFT_OFFLINE", "1")
        .env("WEFT_DATA", "")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(!folder.path().join("runs").exists(), "{stderr}");
    let at = stderr.find("error: ").unwrap_or_else(|| panic!("{stderr}"));
    stderr[at..].to_owned()
}

/// The largest buffer of the adapter, unless there is none or it is so large that a test cannot outgrow it.
fn largest_buffer(test: &str) -> Option<usize> {
    let adapters = adapters();
    let limit = adapters
        .first()
        .map(|gpu| gpu.max_binding.min(gpu.max_buffer));
    let required = std::env::var_os("WEFT_REQUIRE_GPU").is_some_and(|value| value == "1");
    assert!(
        limit.is_some() || !required,
        "{test}: there is no wgpu adapter"
    );
    let limit = limit.filter(|&bytes| bytes <= 256 << 20);
    if limit.is_none() {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: no adapter with small buffers"
        );
    }
    limit.map(|bytes| bytes as usize)
}

#[test]
fn a_batch_that_no_buffer_can_hold_is_refused_with_one_that_fits() {
    let Some(limit) = largest_buffer("a_batch_that_no_buffer_can_hold") else {
        return;
    };
    // The convolution's output for all of the 4,000 images is above the limit, for half of them below.
    let filters = limit / (784 * 4 * 4000) + 1;
    let fits = limit / (784 * 4 * filters);
    let model = format!(
        "model={{kind=\"cnn\", dense=[], blocks=[{{filters={filters}, kernel=1, pool=28}}]}}"
    );
    for key in ["train.batch_size", "train.evaluation_batch_size"] {
        let batch = format!("{key}=1000000");
        let error = refused(&["--device", "gpu:0", "--set", &model, "--set", &batch]);
        assert!(
            error.starts_with(&format!(
                "error: `{key}` is 1000000, but the convolution of model.blocks[0] then takes "
            )),
            "{error}"
        );
        let hint = format!("\nhint: {key} = {fits} is the largest that fits");
        assert!(error.contains(&hint), "{error}\nshould have {hint}");
    }
    let units = limit / (784 * 4) + 1;
    let wide = format!("model={{kind=\"mlp\", hidden=[{units}]}}");
    let error = refused(&["--device", "gpu:0", "--set", &wide]);
    assert!(
        error.contains("weights behind the output of model.hidden[0]"),
        "{error}"
    );
}

#[test]
fn the_largest_batch_that_fits_is_computed_and_one_image_more_is_not() {
    let Some(limit) = largest_buffer("the_largest_batch_that_fits") else {
        return;
    };
    // Large images, so that few make a batch of the largest size.
    let (height, width) = (1024, 1024);
    let fits = limit / (height * width * 4);
    let n_images = fits + 1;
    let images = Images {
        n_images,
        channels: 1,
        height,
        width,
        pixels: (0..n_images * height * width)
            .map(|at| (at % 251) as u8)
            .collect(),
    };
    let table: Vec<i32> = (0..256)
        .map(|byte| (byte as f32).to_bits() as i32)
        .collect();
    let indices: Vec<u32> = (0..n_images as u32).collect();
    let device = "gpu:0"
        .parse::<DeviceChoice>()
        .unwrap()
        .open()
        .unwrap()
        .device;
    let last_pixel = |batch_size: usize| {
        let split = HostSplit {
            images: &images,
            labels: &vec![0; n_images],
            image_indices: &indices,
            table: &table,
        };
        let split = ResidentSplit::upload(&split, &device);
        let loader = ResidentLoader::new(split, batch_size, Order::Stored);
        let batch = loader.iter().next().unwrap().unwrap().images;
        let last = batch_size - 1;
        let pixel = batch.slice([last..last + 1, 0..1, height - 1..height, width - 1..width]);
        pixel
            .try_into_data_as::<f32>()
            .map(|data| data.iter::<f32>().next())
    };
    let expected = f32::from(images.pixels[fits * height * width - 1]);
    assert_eq!(last_pixel(fits).unwrap(), Some(expected));
    let error = last_pixel(fits + 1).unwrap_err().to_string();
    assert!(error.contains("buffer of size"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_model_above_the_main_memory_is_refused_on_the_cpu() {
    // A feature map of 50 MB for each of 4,000 images.
    let huge = "model={kind=\"cnn\", dense=[], blocks=[{filters=16384, pool=28}]}";
    let batch = "train.evaluation_batch_size=4000";
    for device in ["cpu", "ndarray"] {
        let error = refused(&["--device", device, "--set", huge, "--set", batch]);
        assert!(
            error
                .starts_with("error: `train.evaluation_batch_size` is 4000, which needs at least ")
                && error.contains(" MiB are free"),
            "{error}"
        );
    }
}

/// A CNN of 28 x 28 images at batch 128 sums 100,352 numbers for a bias.
#[test]
fn a_sum_that_the_driver_would_cut_short_is_refused() {
    let adapters = weft::device::adapters();
    let Some(adapter) = adapters.iter().find(|it| it.longest_sum().is_some()) else {
        return crate::common::say("SKIPPED: a sum that is cut short: no llvmpipe here");
    };
    let device = format!("gpu:{}", adapter.index);
    // A block with GELU runs burn's operations, whose sums the driver cuts.
    let blocks = "model.blocks=[{filters = 16, activation = \"gelu\"}]";
    let batch = "train.batch_size=128";
    let error = refused(&["--device", &device, "--set", blocks, "--set", batch]);
    assert!(
        error.contains("`train.batch_size` is 128, but the convolution of model.blocks[0]")
            && error.contains("100,352 numbers")
            && error.contains("train.batch_size = 82 is the largest that fits"),
        "{error}"
    );
}
