//! One training and one validation step: what burn-train calls.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Bytes, Int, Tensor};
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use super::metrics::{StepOutput, Sums};
use super::optimizer::clip_by_global_norm;
use crate::data::loader::Batch;
use crate::model::{Classifier, Mode};

/// A model in training: the classifier, its loss, and how its gradients are clipped.
#[derive(Module, Debug)]
pub struct Trainee {
    /// The model.
    pub classifier: Classifier,
    label_smoothing: f64,
    clip_norm: f64,
}

impl Trainee {
    /// `clip_norm` of 0 does not clip.
    pub fn new(classifier: Classifier, label_smoothing: f64, clip_norm: f64) -> Self {
        Self {
            classifier,
            label_smoothing,
            clip_norm,
        }
    }

    /// Takes the weights of a checkpoint's model file.
    pub fn with_weights(self, bytes: &[u8]) -> Result<Self, RecordError> {
        let record = ModuleRecord::from_bytes(Bytes::from_bytes_vec(bytes.to_vec()))?;
        self.try_load_record(record)
    }
}

impl TrainStep for Trainee {
    type Input = Batch;
    type Output = StepOutput;

    fn step(&self, batch: Batch) -> TrainOutput<StepOutput> {
        let forward = self.forward(batch);
        let grads = self.backward(&forward);
        let item = forward.sums();
        TrainOutput { grads, item }
    }
}

/// What a forward pass of training gives.
pub(super) struct Forward {
    /// `[batch, class]`
    logits: Tensor<2>,
    /// `[batch]`
    losses: Tensor<1>,
    labels: Tensor<1, Int>,
    n_images: usize,
}

/// The parts of a step, in their order.
impl Trainee {
    pub(super) fn forward(&self, batch: Batch) -> Forward {
        let mode = Mode::Training { key: batch.key };
        let logits = self.classifier.forward(batch.images, mode);
        let losses = cross_entropy(logits.clone(), batch.labels.clone(), self.label_smoothing);
        Forward {
            logits,
            losses,
            labels: batch.labels,
            n_images: batch.n_images,
        }
    }

    pub(super) fn backward(&self, forward: &Forward) -> GradientsParams {
        let loss = forward.losses.clone().mean();
        let grads = GradientsParams::from_grads(loss.backward(), self);
        match self.clip_norm > 0.0 {
            true => clip_by_global_norm(self, grads, self.clip_norm),
            false => grads,
        }
    }
}

impl Forward {
    pub(super) fn sums(self) -> StepOutput {
        let loss_sum = self.losses.inner().sum();
        let correct = n_correct(self.logits.inner(), self.labels.inner());
        Sums::new(loss_sum, correct, self.n_images).into()
    }
}

impl InferenceStep for Trainee {
    type Input = Batch;
    type Output = StepOutput;

    fn step(&self, batch: Batch) -> StepOutput {
        let logits = self.classifier.forward(batch.images, Mode::Inference);
        let losses = cross_entropy(logits.clone(), batch.labels.clone(), 0.0);
        let correct = n_correct(logits, batch.labels);
        Sums::new(losses.sum(), correct, batch.n_images).into()
    }
}

/// Cross-entropy of each image, `[batch]`. With label smoothing e (Szegedy et al., 2016) the target
/// is 1 - e on the label plus e / n_classes on every class.
pub fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>, smoothing: f64) -> Tensor<1> {
    let log_probabilities = log_softmax(logits, 1);
    let of_label = log_probabilities
        .clone()
        .gather(1, labels.unsqueeze_dim(1))
        .squeeze_dim(1);
    if smoothing == 0.0 {
        return of_label.neg();
    }
    let of_all: Tensor<1> = log_probabilities.mean_dim(1).squeeze_dim(1);
    of_label.mul_scalar(-(1.0 - smoothing)) - of_all.mul_scalar(smoothing)
}

/// How many images have their largest logit at their label, `[1]`.
fn n_correct(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1, Int> {
    let predicted: Tensor<1, Int> = logits.argmax(1).squeeze_dim(1);
    predicted.equal(labels).int().sum()
}
