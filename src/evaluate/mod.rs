//! Evaluation: a model and a split give an [`Outcome`].

pub mod confusion;

use anyhow::{Context, Result};
use burn::data::dataloader::DataLoader;
use burn::tensor::{Int, Tensor};

use crate::data::loader::{Order, ResidentLoader, ResidentSplit};
use crate::model::{Classifier, Mode};
use crate::train::step::cross_entropy;
use confusion::Confusion;

/// What a model does on a split.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Images evaluated.
    pub n_images: u64,
    /// Mean cross-entropy in nats, without label smoothing.
    pub loss: f64,
    /// Images by actual and predicted class.
    pub confusion: Confusion,
}

impl Outcome {
    /// Part of the images that was predicted right.
    pub fn accuracy(&self) -> f64 {
        self.confusion.accuracy()
    }
}

/// Runs the model over a split, in inference mode. The model and the split are on one device, without
/// autodiff. `on_progress` hears how many images are done, and may end it with an error.
pub fn evaluate(
    model: &Classifier,
    split: ResidentSplit,
    labels: impl IntoIterator<Item = u8>,
    n_classes: usize,
    batch_size: usize,
    on_progress: &dyn Fn(usize) -> Result<()>,
) -> Result<Outcome> {
    let loader = ResidentLoader::new(split, batch_size, Order::Stored);
    let mut loss_sum = 0.0;
    let mut confusion = Confusion::new(n_classes);
    let mut labels = labels.into_iter();
    for batch in loader.iter() {
        let batch = batch.context("the next batch")?;
        let logits = model.forward(batch.images, Mode::Inference);
        let losses = cross_entropy(logits.clone(), batch.labels, 0.0);
        let predicted: Tensor<1, Int> = logits.argmax(1).squeeze_dim(1);
        let losses = losses.try_into_data_as::<f32>()?;
        loss_sum += losses.iter::<f32>().map(f64::from).sum::<f64>();
        let predicted = predicted.try_into_data_as::<i32>()?;
        // The predictions come first: `zip` takes from its left side before it sees the right one's end.
        for (predicted, actual) in predicted.iter::<i32>().zip(labels.by_ref()) {
            confusion.add(usize::from(actual), predicted as usize);
        }
        on_progress(confusion.n_images() as usize)?;
    }
    crate::failure::check()?;
    let n_images = loader.num_items() as u64;
    Ok(Outcome {
        n_images,
        loss: loss_sum / n_images.max(1) as f64,
        confusion,
    })
}
