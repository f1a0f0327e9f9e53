//! Makes the embedded sample: the first images of each class, in file order.
//!
//! `cargo run --release --example make_sample -- /usr/share/datasets/fashion-mnist assets/sample`
//!
//! The same input gives the same bytes with the same flate2.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use flate2::{Compression, GzBuilder};
use weft::data::download::NoProgress;
use weft::data::fashion_mnist::{FILES, LabeledImages, Lookup, load};
use weft::data::idx::{Images, write_images, write_labels};

const TRAIN_PER_CLASS: usize = 500;
const TEST_PER_CLASS: usize = 100;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [source, output] = &arguments[..] else {
        bail!("usage: make_sample FASHION_MNIST_FOLDER OUTPUT_FOLDER");
    };
    // With --data, "fashion-mnist" takes the folder only if its checksums are right.
    let dataset = load(
        &Lookup::standard("fashion-mnist", Some(source)),
        &mut NoProgress,
    )?;
    let n_classes = dataset.class_names.len();
    let train = first_of_each_class(&dataset.train, n_classes, TRAIN_PER_CLASS)?;
    let test = first_of_each_class(&dataset.test, n_classes, TEST_PER_CLASS)?;
    let contents = [
        write_images(&train.images),
        write_labels(&train.labels),
        write_images(&test.images),
        write_labels(&test.labels),
    ];
    for ((name, _), content) in FILES.iter().zip(&contents) {
        write_gzip(&output.join(format!("{name}.gz")), content)?;
    }
    Ok(())
}

fn first_of_each_class(
    all: &LabeledImages,
    n_classes: usize,
    per_class: usize,
) -> anyhow::Result<LabeledImages> {
    let Images { height, width, .. } = all.images;
    let mut taken = vec![0; n_classes];
    let (mut labels, mut pixels) = (Vec::new(), Vec::new());
    for (&label, image) in all
        .labels
        .iter()
        .zip(all.images.pixels.chunks_exact(height * width))
    {
        let taken = &mut taken[usize::from(label)];
        if *taken < per_class {
            *taken += 1;
            labels.push(label);
            pixels.extend_from_slice(image);
        }
    }
    ensure!(
        labels.len() == n_classes * per_class,
        "a class has fewer than {per_class} images"
    );
    let images = Images {
        n_images: labels.len(),
        channels: 1,
        height,
        width,
        pixels,
    };
    Ok(LabeledImages { images, labels })
}

fn write_gzip(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let mut encoder = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    encoder.write_all(content)?;
    fs::write(path, encoder.finish()?).with_context(|| format!("cannot write {}", path.display()))
}
