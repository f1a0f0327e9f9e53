//! What `weft bench` measures, and what it hands to other programs to measure themselves by.

pub mod export;
pub mod measure;
mod memory;
pub mod record;
pub mod start;
pub mod turns;

use std::path::Path;

use anyhow::{Result, bail};

use crate::config::Loaded;
use crate::data::download;
use crate::device::Selected;
use crate::experiment::{Experiment, SplitName};
use crate::text::thousands;

/// The data of a config that is measured. What a step costs depends on the images' shape and not on
/// how many there are, so wherever a config asks for Fashion-MNIST the embedded sample of it serves,
/// unless a folder or a source is `named` by hand. Returns whether `data_dir` is to be looked at.
pub fn choose_data(loaded: &mut Loaded, named: bool) -> bool {
    let source = &mut loaded.config.data.source;
    let is_keyword = matches!(source.as_str(), "auto" | "fashion-mnist");
    if is_keyword && !named {
        *source = "sample".to_owned();
    }
    *source != "sample"
}

/// An experiment that can be measured: it fits the device, and its data has a whole batch.
pub fn prepare(
    loaded: Loaded,
    device: Selected,
    data_dir: Option<&Path>,
    progress: &mut dyn download::Progress,
) -> Result<Experiment> {
    let experiment = Experiment::prepare(loaded, device, data_dir, progress)?;
    let n_images = experiment.n_images(SplitName::Train);
    let batch_size = experiment.config.train.batch_size;
    if batch_size > n_images {
        bail!(
            "a batch of {} images is more than the {} of the training split\n\
             hint: use a smaller --batch, or name a larger data set with --data DIR",
            thousands(batch_size as u64),
            thousands(n_images as u64)
        );
    }
    experiment.check_training_fits()?;
    Ok(experiment)
}
