//! Training images as the network sees them: for a picture.

use anyhow::{Context, Result};
use burn::data::dataloader::DataLoader;

use super::Experiment;
use crate::data::epoch_order::epoch_order;
use crate::data::loader::{Cursor, HostSplit, Order, ResidentLoader, ResidentSplit};
use crate::data::{AugmentationConfig, FlipMode};
use crate::device;
use crate::report::plots::{Augmented, AugmentedImage};

const MOST_IMAGES: usize = 10;
const EPOCHS: u64 = 9;

impl Experiment {
    /// The first training image of each class (ten at most) as it is stored and as the loader gives it
    /// in the first epochs. None where the config changes no image.
    pub fn augmented(&self) -> Result<Option<Augmented>> {
        let config = &self.config.augmentation;
        if config.flip == 0.0 && config.shift == 0 && config.erase == 0.0 {
            return Ok(None);
        }
        let train = &self.splits.dataset.train;
        let positions = self.first_of_each_class();
        // What is drawn depends on the position within the split, and on no image behind it.
        let n = positions.iter().max().map_or(0, |last| last + 1);
        let image_indices = &self.splits.split.train[..n];
        // The loader gives bytes instead of normalised numbers, whatever the number of channels.
        let bytes = (0..256).map(|byte: u16| f32::from(byte).to_bits() as i32);
        let table: Vec<i32> = bytes.cycle().take(3 * 256).collect();
        let host = HostSplit {
            images: &train.images,
            labels: &train.labels,
            image_indices,
            table: &table,
        };
        let cursor = Cursor::default();
        let loader = ResidentLoader::new(
            ResidentSplit::upload(&host, &device::host()),
            1,
            Order::Shuffled {
                seed: self.config.seed,
                augmentation: config.for_kernel(),
                cursor: cursor.clone(),
            },
        );
        let mut images: Vec<AugmentedImage> = positions
            .iter()
            .map(|&position| self.stored(image_indices[position] as usize))
            .collect();
        for epoch in 1..=EPOCHS {
            let order = epoch_order(n, self.config.seed, epoch);
            for (image, &position) in images.iter_mut().zip(&positions) {
                let at = order.iter().position(|&there| there as usize == position);
                cursor.set(epoch, at.unwrap_or_default() as u64);
                let batch = loader.iter().next().context("an image of the loader")??;
                let values = batch.images.try_into_data_as::<f32>()?;
                image
                    .drawn
                    .push(values.iter::<f32>().map(|value| value as u8).collect());
            }
        }
        Ok(Some(Augmented {
            height: train.images.height,
            width: train.images.width,
            what: told(config),
            images,
        }))
    }

    /// Positions in the training split.
    fn first_of_each_class(&self) -> Vec<usize> {
        let labels = &self.splits.dataset.train.labels;
        let mut first = vec![None; self.input.n_classes];
        for (position, &index) in self.splits.split.train.iter().enumerate() {
            first[usize::from(labels[index as usize])].get_or_insert(position);
        }
        first.into_iter().flatten().take(MOST_IMAGES).collect()
    }

    fn stored(&self, image_index: usize) -> AugmentedImage {
        let train = &self.splits.dataset.train;
        AugmentedImage {
            label: usize::from(train.labels[image_index]),
            stored: train.images.image(image_index).to_vec(),
            drawn: Vec::new(),
        }
    }
}

fn told(config: &AugmentationConfig) -> String {
    let mut all = Vec::new();
    if config.flip > 0.0 {
        let when = match config.flip_mode {
            FlipMode::Random => "",
            FlipMode::Alternating => " in the first epoch, then in every second one",
        };
        all.push(format!("flipped with probability {}{when}", config.flip));
    }
    if config.shift > 0 {
        all.push(format!("shifted by up to {} pixels", config.shift));
    }
    if config.erase > 0.0 {
        all.push(format!(
            "a rectangle of {} to {} pixels a side erased with probability {}",
            config.erase_min, config.erase_max, config.erase
        ));
    }
    all.join(", ")
}
