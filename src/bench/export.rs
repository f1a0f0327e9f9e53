//! An experiment before its first step, as files that another framework can start from: the same
//! weights, images and order.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail};

use crate::data::epoch_order::epoch_order;
use crate::experiment::Experiment;
use crate::export::safetensors::{self, Tensor};
use crate::export::{Exported, Format};
use crate::run::{atomic, disk};
use crate::train::checkpoint::model_file;

/// The files of an export.
pub const FILES: [&str; 3] = ["config.json", "weights.safetensors", "data.safetensors"];

/// Writes the files of an experiment to `folder`/NAME, which is made if it is missing, and returns that.
///
/// * `config.json`: the whole config, every key given
/// * `weights.safetensors`: the initial weights, with the names and layouts of PyTorch
/// * `data.safetensors`: of the training split `images` u8 `[image, channel, height, width]` and
///   `labels` i64 `[image]`; `order` i64 `[image]`, the order of the first epoch; `table` f32
///   `[channel, 256]`, what each byte becomes
///
/// # Errors
/// When the folder has some of the files, but is no earlier export, or the disk fails.
pub fn write(experiment: &Experiment, folder: &Path) -> Result<PathBuf> {
    let folder = folder.join(&experiment.config.name);
    check_place(&folder)?;
    let contents = [
        serde_json::to_vec_pretty(&experiment.config)?,
        weights(experiment)?,
        data(experiment)?,
    ];
    disk::create_folders(&folder).map_err(|error| cannot_write(error, &folder))?;
    for (name, bytes) in FILES.iter().zip(contents) {
        let written = atomic::write_file(&folder.join(name), &bytes);
        written.map_err(|error| cannot_write(error, &folder))?;
    }
    Ok(folder)
}

/// An earlier export is replaced; a file of somebody else's is not.
fn check_place(folder: &Path) -> Result<()> {
    let is_there = |name: &&str| folder.join(name).symlink_metadata().is_ok();
    let found: Vec<&str> = FILES.into_iter().filter(|name| is_there(name)).collect();
    match found.as_slice() {
        [first, ..] if found.len() < FILES.len() => bail!(
            "{} is there already, and is no part of an earlier export\n\
             hint: choose another folder for --export",
            folder.join(first).display()
        ),
        _ => Ok(()),
    }
}

fn cannot_write(error: io::Error, folder: &Path) -> Error {
    let remedy = disk::remedy(&error);
    Error::from(error).context(format!(
        "{} could not be written\nhint: {remedy}, or choose another place with --export",
        folder.display()
    ))
}

fn weights(experiment: &Experiment) -> Result<Vec<u8>> {
    let model = experiment.untrained(&crate::device::host());
    let bytes = model_file(model).context("the initial weights")?;
    let about = experiment.model_input();
    Exported::at_step(&experiment.config, &about, &bytes, 0)?.to_bytes(Format::Safetensors)
}

fn data(experiment: &Experiment) -> Result<Vec<u8>> {
    let splits = &experiment.splits;
    let train = &splits.dataset.train;
    let indices = &splits.split.train;
    let n_images = indices.len();
    let images = &train.images;
    let pixels = indices.iter();
    let pixels = pixels.flat_map(|&index| images.image(index as usize));
    let labels = indices.iter();
    let labels = labels.map(|&index| i64::from(train.labels[index as usize]));
    let order = epoch_order(n_images, experiment.config.seed, 1).into_iter();
    let table = splits.table(experiment.config.data.normalization);
    let shape = vec![n_images, images.channels, images.height, images.width];
    let tensors: [Tensor; 4] = [
        integers("order", order.map(i64::from)),
        integers("labels", labels),
        (
            "table".to_owned(),
            "F32",
            vec![images.channels, 256],
            table.iter().flat_map(|bits| bits.to_le_bytes()).collect(),
        ),
        ("images".to_owned(), "U8", shape, pixels.copied().collect()),
    ];
    safetensors::file(&BTreeMap::new(), tensors.into())
}

fn integers(name: &str, values: impl Iterator<Item = i64>) -> Tensor {
    let bytes: Vec<u8> = values.flat_map(i64::to_le_bytes).collect();
    (name.to_owned(), "I64", vec![bytes.len() / 8], bytes)
}
