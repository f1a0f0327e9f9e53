//! Loss and accuracy, summed on the device. burn's own metrics read back at every step; these are
//! read when somebody looks: a few times a second for the progress bar, once per epoch for the row.

use std::sync::Arc;

use burn::data::dataloader::Progress;
use burn::tensor::{Device, ExecutionError, Int, Tensor, TensorReadError};
use burn::train::ItemLazy;
use burn::train::logger::MetricLogger;
use burn::train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn::train::metric::{
    Adaptor, Metric, MetricAttributes, MetricDefinition, MetricMetadata, MetricName, Numeric,
    NumericAttributes, NumericEntry, SerializedEntry,
};

use crate::run::records::EpochTotals;

/// Sums over the images of a step or of an epoch so far, on the device.
#[derive(Clone, Debug)]
pub struct Sums {
    loss_sum: Tensor<1>,
    correct: Tensor<1, Int>,
    n_images: usize,
    /// The losses that were added since the last read: should the sum not be finite, they tell where
    /// that began. Scalars that exist anyway, a quarter of a second's worth.
    added: Vec<Tensor<1>>,
}

/// Why sums could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The device failed.
    #[error("{0}")]
    Device(#[from] TensorReadError),
    /// The loss is NaN or infinite, first in the step so many steps before the last one added.
    #[error("the loss is {value}")]
    NotFinite {
        /// The first loss that is not finite.
        value: f32,
        /// Steps after it.
        steps_since: u64,
    },
}

impl Sums {
    /// * `loss_sum`: `[1]`, the sum of the images' losses
    /// * `correct`: `[1]`, images predicted right
    pub fn new(loss_sum: Tensor<1>, correct: Tensor<1, Int>, n_images: usize) -> Self {
        Self {
            loss_sum,
            correct,
            n_images,
            added: Vec::new(),
        }
    }

    /// Sums that were read before: zeros, or those of a checkpoint.
    pub fn of(totals: &EpochTotals, device: &Device) -> Self {
        let loss_sum = Tensor::from_data([totals.loss_sum as f32], device);
        let correct = Tensor::from_data([totals.correct as i32], device);
        Self::new(loss_sum, correct, totals.images as usize)
    }

    /// Adds a step's sums; nothing is read.
    pub fn add(&mut self, step: Self) {
        self.loss_sum = self.loss_sum.clone() + step.loss_sum.clone();
        self.added.push(step.loss_sum);
        self.correct = self.correct.clone() + step.correct;
        self.n_images += step.n_images;
    }

    /// Reads the sums back: waits for the device. A loss that is not finite is an error.
    pub fn read(&mut self) -> Result<EpochTotals, ReadError> {
        let loss_sum = self.loss_sum.clone().try_into_scalar::<f32>()?;
        if !loss_sum.is_finite() {
            return Err(self.find_fault(loss_sum)?);
        }
        self.added.clear();
        let correct = self.correct.clone().try_into_scalar::<i64>()?;
        Ok(EpochTotals {
            loss_sum: f64::from(loss_sum),
            correct: correct.unsigned_abs(),
            images: self.n_images as u64,
        })
    }

    /// The loss of each step that was added since the last read, summed over its images. Waits for the device.
    pub fn losses(&self) -> Result<Vec<f32>, TensorReadError> {
        let losses = self.added.iter();
        losses.map(|loss| loss.clone().try_into_scalar()).collect()
    }

    fn find_fault(&self, loss_sum: f32) -> Result<ReadError, TensorReadError> {
        for (index, loss) in self.added.iter().enumerate() {
            let value = loss.clone().try_into_scalar::<f32>()?;
            if !value.is_finite() {
                let steps_since = (self.added.len() - 1 - index) as u64;
                return Ok(ReadError::NotFinite { value, steps_since });
            }
        }
        // Finite losses whose sum is not: the last one made it so.
        Ok(ReadError::NotFinite {
            value: loss_sum,
            steps_since: 0,
        })
    }
}

/// What a step gives, and what burn-train's metrics take.
#[derive(Clone, Debug)]
pub enum StepOutput {
    /// From a step: not read yet.
    OnDevice(Box<Sums>),
    /// For the metrics, which live on another thread. A tensor must not go there: under fusion it
    /// belongs to the stream of the thread that made it.
    Read(EpochTotals),
}

impl StepOutput {
    /// Adds the sums of a step to `sums`; nothing is read.
    pub fn add_to(self, sums: &mut Sums) {
        if let Self::OnDevice(step) = self {
            sums.add(*step);
        }
    }
}

impl From<Sums> for StepOutput {
    fn from(sums: Sums) -> Self {
        Self::OnDevice(Box::new(sums))
    }
}

impl ItemLazy for StepOutput {
    fn sync(self) -> Result<Self, ExecutionError> {
        let read = match self {
            Self::Read(totals) => Ok(totals),
            Self::OnDevice(mut sums) => sums.read(),
        };
        read.map(Self::Read)
            .map_err(|error| ExecutionError::with_context(error.to_string()))
    }
}

impl Adaptor<EpochTotals> for StepOutput {
    fn adapt(&self) -> EpochTotals {
        match self {
            Self::Read(totals) => *totals,
            Self::OnDevice(_) => EpochTotals::default(),
        }
    }
}

/// Mean loss over the images of the epoch so far.
pub fn mean_loss(totals: &EpochTotals) -> f64 {
    totals.loss_sum / totals.images.max(1) as f64
}

/// Part of the images of the epoch so far that was predicted right.
pub fn accuracy(totals: &EpochTotals) -> f64 {
    totals.correct as f64 / totals.images.max(1) as f64
}

/// A number of the epoch so far, as burn-train's dashboard and renderers take it.
#[derive(Clone)]
pub struct RunningMetric {
    name: MetricName,
    value_of: fn(&EpochTotals) -> f64,
    higher_is_better: bool,
    value: Option<f64>,
}

impl RunningMetric {
    /// The name under which [`super::progress`] finds the loss.
    pub const LOSS: &'static str = "Loss";

    /// Mean loss.
    pub fn loss() -> Self {
        Self::new(Self::LOSS, mean_loss, false)
    }

    /// Accuracy.
    pub fn accuracy() -> Self {
        Self::new("Accuracy", accuracy, true)
    }

    fn new(name: &str, value_of: fn(&EpochTotals) -> f64, higher_is_better: bool) -> Self {
        Self {
            name: Arc::new(name.to_owned()),
            value_of,
            higher_is_better,
            value: None,
        }
    }

    fn entry(&self) -> SerializedEntry {
        match self.value {
            Some(value) => SerializedEntry::new(format!("{value:.4}"), value.to_string()),
            None => SerializedEntry::not_available(None),
        }
    }
}

impl Metric for RunningMetric {
    type Input = EpochTotals;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes {
            unit: None,
            higher_is_better: self.higher_is_better,
        }
        .into()
    }

    fn update(
        &mut self,
        totals: &EpochTotals,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.value = Some((self.value_of)(totals));
        Ok(self.entry())
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.entry())
    }

    fn clear(&mut self) {
        self.value = None;
    }
}

impl Numeric for RunningMetric {
    fn value(&self) -> Option<NumericEntry> {
        self.value.map(NumericEntry::Value)
    }

    fn running_value(&self) -> Option<NumericEntry> {
        self.value()
    }

    fn final_value(&self) -> NumericEntry {
        NumericEntry::Final(self.value.unwrap_or(f64::NAN))
    }
}

/// Keeps nothing: the rows of the run are its record. burn-train's loggers keep every number that was
/// ever shown, in memory or in files.
pub(super) struct NoLogger;

impl MetricLogger for NoLogger {
    fn log(&mut self, _: MetricsUpdate, _: usize, _: &Split) {}

    fn read_numeric(&mut self, _: &str, _: usize, _: &Split) -> Result<Vec<NumericEntry>, String> {
        Ok(Vec::new())
    }

    fn log_metric_definition(&mut self, _: MetricDefinition) {}

    fn log_epoch_summary(&mut self, _: EpochSummary) {}
}

/// Progress through a split, in images.
pub(super) fn images(done: usize, of: usize) -> Progress {
    Progress::new(done, of, Some("images".to_owned()))
}
