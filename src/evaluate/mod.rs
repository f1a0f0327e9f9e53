//! Evaluation: a model and a split give an [`Outcome`].

pub mod confusion;
pub mod logits;
pub mod predictions;
pub mod tta;
pub mod views;

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use burn::data::dataloader::DataLoader;

use crate::data::loader::{Order, ResidentLoader, ResidentSplit};
use crate::model::Classifier;
use confusion::Confusion;
use predictions::Predictions;
use tta::Tta;

/// What a model does on a split.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Images evaluated.
    pub n_images: u64,
    /// Mean cross-entropy in nats, without label smoothing.
    pub loss: f64,
    /// Images by actual and predicted class.
    pub confusion: Confusion,
    /// Each image's class, prediction and probabilities.
    pub predictions: Predictions,
    /// `[image, class]`
    pub logits: Vec<f32>,
    /// The views whose mean all of this is of.
    pub tta: Tta,
    /// Of the images alone, where there are more views.
    pub plain: Option<Plain>,
    /// How long it took, kernels that were compiled on the way included.
    pub seconds: f64,
}

/// Loss and accuracy of the images alone, beside those of several views.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plain {
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// Part of the images that was predicted right.
    pub accuracy: f64,
}

impl Outcome {
    /// Part of the images that was predicted right.
    pub fn accuracy(&self) -> f64 {
        self.confusion.accuracy()
    }

    /// Of the forward pass and what goes with it.
    pub fn images_per_second(&self) -> f64 {
        self.n_images as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }
}

/// Runs the model over a split, in inference mode, and averages the logits of the views of each image. The
/// model and the split are on one device, without autodiff. `on_progress` hears how many images are done, and may end it with an error.
pub fn evaluate(
    model: &Classifier,
    split: ResidentSplit,
    labels: impl IntoIterator<Item = u8>,
    n_classes: usize,
    batch_size: usize,
    tta: Tta,
    on_progress: &dyn Fn(usize) -> Result<()>,
) -> Result<Outcome> {
    let started = Instant::now();
    let black = split.black().to_vec();
    let loader = ResidentLoader::new(split, batch_size, Order::Stored);
    let n_images = loader.num_items();
    let mut logits = Vec::with_capacity(n_images * n_classes);
    let mut plain_logits = Vec::new();
    for batch in loader.iter() {
        let batch = batch.context("the next batch")?;
        let of_views = views::logits(model, &batch.images, tta, &black)?;
        logits.extend(tta.mean(&of_views));
        if tta != Tta::None {
            // The image itself is the first view.
            plain_logits.extend(of_views.into_iter().next().unwrap_or_default());
        }
        on_progress(logits.len() / n_classes)?;
    }
    crate::failure::check()?;
    // Their probabilities would be none, and no record could say more than that.
    let n_unusable = logits.iter().filter(|logit| !logit.is_finite()).count();
    ensure!(
        n_unusable == 0,
        "{n_unusable} of {} outputs of the model are NaN or infinite\nhint: evaluate another checkpoint \
         (--checkpoint), or train with a smaller optimizer.learning_rate",
        logits.len()
    );
    let labels: Vec<u8> = labels.into_iter().collect();
    let mean_loss = |logits: &[f32]| loss_sum(logits, &labels, n_classes) / n_images.max(1) as f64;
    let loss = mean_loss(&logits);
    let plain = (tta != Tta::None).then(|| {
        let of_image = Predictions::from_logits(n_classes, labels.clone(), &plain_logits);
        Plain {
            loss: mean_loss(&plain_logits),
            accuracy: of_image.confusion().accuracy(),
        }
    });
    let predictions = Predictions::from_logits(n_classes, labels, &logits);
    Ok(Outcome {
        n_images: n_images as u64,
        loss,
        confusion: predictions.confusion(),
        predictions,
        logits,
        tta,
        plain,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// The sum over the images of log(sum(exp(logits))) - logit of the label.
fn loss_sum(logits: &[f32], labels: &[u8], n_classes: usize) -> f64 {
    let images = logits.chunks_exact(n_classes).zip(labels);
    images
        .map(|(logits, &label)| {
            let largest = logits.iter().fold(f32::NEG_INFINITY, |max, &v| max.max(v));
            let exponentials = logits.iter().map(|&v| f64::from(v - largest).exp());
            exponentials.sum::<f64>().ln() + f64::from(largest - logits[usize::from(label)])
        })
        .sum()
}
