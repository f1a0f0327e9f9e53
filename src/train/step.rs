//! One training and one validation step: what burn-train calls.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::Bytes;
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use super::metrics::{StepOutput, Sums};
use super::optimizer::clip_by_global_norm;
use crate::data::loader::Batch;
use crate::kernels::cross_entropy::{CrossEntropy, cross_entropy};
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
    loss: CrossEntropy,
    n_images: usize,
}

/// The parts of a step, in their order.
impl Trainee {
    pub(super) fn forward(&self, batch: Batch) -> Forward {
        let mode = Mode::Training { key: batch.key };
        let logits = self.classifier.forward(batch.images, mode);
        Forward {
            loss: cross_entropy(logits, batch.labels, self.label_smoothing),
            n_images: batch.n_images,
        }
    }

    pub(super) fn backward(&self, forward: &Forward) -> GradientsParams {
        let gradients = forward.loss.mean.clone().backward();
        let grads = GradientsParams::from_grads(gradients, self);
        match self.clip_norm > 0.0 {
            true => clip_by_global_norm(self, grads, self.clip_norm),
            false => grads,
        }
    }
}

impl Forward {
    pub(super) fn sums(self) -> StepOutput {
        let CrossEntropy { sum, correct, .. } = self.loss;
        Sums::new(sum.inner(), correct.inner(), self.n_images).into()
    }
}

impl InferenceStep for Trainee {
    type Input = Batch;
    type Output = StepOutput;

    fn step(&self, batch: Batch) -> StepOutput {
        let logits = self.classifier.forward(batch.images, Mode::Inference);
        let loss = cross_entropy(logits, batch.labels, 0.0);
        Sums::new(loss.sum, loss.correct, batch.n_images).into()
    }
}
