//! Training: assembles burn-train's `SupervisedTraining` from our parts.

mod adam;
mod average;
pub mod checkpoint;
mod dashboard;
pub mod early_stopping;
pub mod metrics;
mod muon;
pub mod optimizer;
pub mod progress;
pub mod schedule;
mod sgd;
pub mod step;
pub mod steps;
pub mod stop;
mod strategy;

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use burn::module::Module;
use burn::tensor::Device;
use burn::train::renderer::MetricsRenderer;
use burn::train::{Interrupter, SupervisedTraining, TrainingStrategy};
use serde::{Deserialize, Serialize};

use crate::config::ExperimentConfig;
use crate::data::loader::{Cursor, Order, ResidentLoader, ResidentSplit};
use crate::run::RunFolder;
use crate::run::checkpoints::Checkpoint;
use crate::run::records::TrainState;
use average::Average;
use checkpoint::{AVERAGE_FILE, Part, PartCheckpointer, Slot, WhenAsked};
use dashboard::Dashboard;
use metrics::RunningMetric;
use progress::Progress;
use schedule::{RateFactor, ScheduleConfig};
use step::Trainee;
pub use stop::{Place, StopFlag};
use strategy::EpochLoop;

/// The `[train]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Most passes over the training split.
    pub epochs: u64,
    /// Images of a training step.
    pub batch_size: usize,
    /// Images of a forward pass in validation and evaluation; changes speed and memory only.
    pub evaluation_batch_size: usize,
    /// Part of each target that is spread over all classes, in [0, 1).
    pub label_smoothing: f64,
    /// Largest joint L2 norm of all gradients; 0 does not clip.
    pub clip_norm: f64,
    /// Decay of the exponential moving average of the weights, which then validates and is the result;
    /// in [0, 1), 0 keeps none.
    pub ema_decay: f64,
    /// `"auto"`, `"gpu"`, `"gpu:INDEX"`, `"gpu:NAME-PART"`, `"cpu"` or `"ndarray"`.
    pub device: String,
    /// What happens when the loss or a weight is NaN or infinite.
    pub on_divergence: OnDivergence,
}

/// What happens when the loss or a weight is NaN or infinite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDivergence {
    /// The run stops with an error; its checkpoints are from before.
    #[default]
    Stop,
    /// It goes back to the start of the epoch with a smaller learning rate: [`ROLLBACK_FACTOR`] times
    /// the one before, at most [`MAX_ROLLBACKS`] times in a run.
    Rollback,
}

/// What a rollback multiplies the learning rate by.
pub const ROLLBACK_FACTOR: f64 = 0.25;

/// Most rollbacks of a run.
pub const MAX_ROLLBACKS: usize = 3;

impl TrainConfig {
    /// Whether the average of the weights is the model.
    pub fn averages(&self) -> bool {
        self.ema_decay > 0.0
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch_size: 128,
            evaluation_batch_size: 250,
            label_smoothing: 0.0,
            clip_norm: 0.0,
            ema_decay: 0.0,
            device: "auto".to_owned(),
            on_divergence: OnDivergence::default(),
        }
    }
}

/// How a training ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All epochs are done.
    Finished,
    /// Patience is at its end.
    EarlyStopped,
    /// It was told to stop, and has saved a checkpoint.
    Stopped,
    /// The loss or a weight is NaN or infinite. What is saved is from before that.
    Diverged(Diverged),
}

/// Where a training diverged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at step {step} (epoch {epoch})")]
pub struct Diverged {
    /// "the training loss is NaN"
    pub what: String,
    /// The step, counted from 1.
    pub step: u64,
    /// The epoch.
    pub epoch: u64,
    /// Steps that were done when that epoch began.
    pub epoch_start: u64,
}

/// The two splits of a training, on its device.
pub struct TrainingData {
    /// The training split.
    pub train: ResidentSplit,
    /// The validation split; it may be empty.
    pub validation: ResidentSplit,
    /// SHA-256 of the data's content, for the checkpoints.
    pub sha256: String,
}

/// All that a training takes.
pub struct Training<'a> {
    /// The experiment.
    pub config: &'a ExperimentConfig,
    /// SHA-256 of the experiment's part that fixes its result.
    pub config_sha256: String,
    /// The config as the checkpoints keep it.
    pub config_toml: String,
    /// The images.
    pub data: TrainingData,
    /// The untrained model.
    pub model: Trainee,
    /// Where to train (without autodiff).
    pub device: Device,
    /// Where everything is written.
    pub run: RunFolder,
    /// What to go on from: nothing, or a checkpoint.
    pub resume: Option<Checkpoint>,
    /// The state to start with: a new one, or that of the checkpoint.
    pub state: TrainState,
    /// Whether the checkpoint does not have that state yet.
    pub save_first: bool,
    /// What a person sees.
    pub progress: Progress,
    /// Whether burn's dashboard is the display.
    pub dashboard: bool,
    /// Set when it should stop.
    pub stop: StopFlag,
}

impl Training<'_> {
    /// Trains, from the start or from a checkpoint, until it ends.
    pub fn run(self) -> Result<(Ended, TrainState)> {
        let config = self.config;
        let average = self.average()?;
        let (cursor, slot, factor) = (Cursor::default(), Slot::default(), RateFactor::default());
        let train = steps::loader(config, self.data.train, &cursor);
        let validation = ResidentLoader::new(
            self.data.validation,
            config.train.evaluation_batch_size,
            Order::Stored,
        );
        let peak = config.optimizer.learning_rate();
        let learner = steps::learner(config, self.model, train.n_batches(), factor.clone());
        let state = self.state;
        factor.set(rate_factor(&state));
        if let Some(checkpoint) = &self.resume {
            for part in Part::ALL {
                slot.put(part, checkpoint.file(part.file_name())?.to_vec());
            }
        }
        let epochs_done = state.epoch.saturating_sub(1) as usize;
        let interrupter = Interrupter::new();
        let epoch_loop = Arc::new(EpochLoop {
            epochs: config.train.epochs,
            batch_size: config.train.batch_size as u64,
            save_every: config.checkpoint.interval(),
            saved: self.resume.is_some() && !self.save_first,
            early_stopping: config.early_stopping.clone(),
            plateau: match &config.schedule {
                ScheduleConfig::ReduceOnPlateau(plateau) => Some((plateau.clone(), peak)),
                _ => None,
            },
            factor,
            cursor,
            slot: slot.clone(),
            run: self.run.clone(),
            config_sha256: self.config_sha256,
            config_toml: self.config_toml,
            data_sha256: self.data.sha256,
            progress: self.progress.clone(),
            stop: self.stop,
            device: self.device,
            average: Mutex::new(average),
            state: Mutex::new(state),
            ended: Mutex::new(None),
        });
        let renderer: Box<dyn MetricsRenderer> = if self.dashboard {
            Box::new(Dashboard::open(interrupter.clone()))
        } else {
            self.progress.renderer()
        };
        let part = |part| PartCheckpointer {
            part,
            slot: slot.clone(),
        };
        let mut training =
            SupervisedTraining::new(&self.run.root, Arc::new(train), Arc::new(validation))
                .with_training_strategy(TrainingStrategy::Custom(epoch_loop.clone()))
                .with_custom_checkpointers(
                    part(Part::Model),
                    part(Part::Optimizer),
                    part(Part::Scheduler),
                )
                .with_checkpointing_strategy(WhenAsked)
                .with_metric_logger(metrics::NoLogger)
                .with_application_logger(None)
                .with_interrupter(interrupter)
                .metrics((RunningMetric::loss(), RunningMetric::accuracy()))
                .renderer(renderer)
                .num_epochs(config.train.epochs as usize);
        if self.resume.is_some() {
            training = training.checkpoint(epochs_done);
        }
        let result = training.launch(learner);
        drop(result.renderer);
        let unpoison = PoisonError::into_inner;
        let ended = epoch_loop.ended.lock().unwrap_or_else(unpoison).take();
        let state = epoch_loop
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match (ended, result.error) {
            (Some(Ok(ended)), None) => Ok((ended, state)),
            (Some(Err(error)), _) => Err(error),
            (_, Some(error)) => bail!("{error}"),
            (None, None) => None.context("the training ended without a result"),
        }
    }

    /// The average to go on with, if one is kept: the untrained model, or that of the checkpoint.
    fn average(&self) -> Result<Option<Average>> {
        let train = &self.config.train;
        if !train.averages() {
            return Ok(None);
        }
        let mut average = self.model.valid();
        if let Some(checkpoint) = &self.resume {
            let bytes = checkpoint.file(AVERAGE_FILE)?;
            average = average.with_weights(bytes).with_context(|| {
                let file = checkpoint.folder.join(AVERAGE_FILE);
                format!("{} does not fit the run's config", file.display())
            })?;
        }
        Ok(Some(Average::new(
            train.ema_decay,
            self.state.step,
            &average,
        )))
    }
}

/// What the learning rate is multiplied by.
fn rate_factor(state: &TrainState) -> f64 {
    let rollbacks = i32::try_from(state.rollbacks.len()).unwrap_or(i32::MAX);
    state.plateau.factor * ROLLBACK_FACTOR.powi(rollbacks)
}
