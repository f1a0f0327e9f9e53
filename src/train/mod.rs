//! Training: assembles burn-train's `SupervisedTraining` from our parts.

pub mod checkpoint;
pub mod early_stopping;
pub mod metrics;
pub mod optimizer;
pub mod progress;
pub mod schedule;
pub mod step;
mod strategy;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use burn::train::renderer::MetricsRenderer;
use burn::train::renderer::tui::TuiMetricsRendererWrapper;
use burn::train::{Interrupter, Learner, SupervisedTraining, TrainingStrategy};
use serde::{Deserialize, Serialize};

use crate::config::ExperimentConfig;
use crate::data::loader::{Cursor, Order, ResidentLoader, ResidentSplit};
use crate::run::RunFolder;
use crate::run::checkpoints::Checkpoint;
use crate::run::records::TrainState;
use checkpoint::{Part, PartCheckpointer, Slot, WhenAsked};
use metrics::RunningMetric;
use progress::Progress;
use schedule::{PlateauFactor, Schedule, ScheduleConfig};
use step::Trainee;
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
    /// `"auto"`, `"gpu"`, `"gpu:INDEX"`, `"gpu:NAME-PART"`, `"cpu"` or `"ndarray"`.
    pub device: String,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch_size: 128,
            evaluation_batch_size: 250,
            label_smoothing: 0.0,
            clip_norm: 0.0,
            device: "auto".to_owned(),
        }
    }
}

/// How a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All epochs are done.
    Finished,
    /// Patience is at its end.
    EarlyStopped,
    /// It was told to stop, and has saved a checkpoint.
    Stopped,
}

/// Asks a training to save a checkpoint and end; looked at between steps.
#[derive(Clone, Debug)]
pub struct StopFlag {
    signal: Arc<AtomicUsize>,
    step: u64,
}

impl Default for StopFlag {
    fn default() -> Self {
        Self::at_step(u64::MAX)
    }
}

impl StopFlag {
    /// A flag that is up once this many steps are done.
    pub fn at_step(step: u64) -> Self {
        Self {
            signal: Arc::default(),
            step,
        }
    }

    /// The number of the signal that was caught, if any.
    pub fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::Acquire) {
            0 => None,
            signal => Some(signal as i32),
        }
    }

    /// What a signal handler sets.
    pub fn handle(&self) -> Arc<AtomicUsize> {
        self.signal.clone()
    }

    fn is_up(&self, steps_done: u64) -> bool {
        self.signal().is_some() || steps_done >= self.step
    }
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
    /// The images.
    pub data: TrainingData,
    /// The untrained model.
    pub model: Trainee,
    /// Where to train (without autodiff).
    pub device: Device,
    /// Where everything is written.
    pub run: RunFolder,
    /// What to go on from.
    pub resume: Option<(Checkpoint, TrainState)>,
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
        let (cursor, slot, factor) = (Cursor::default(), Slot::default(), PlateauFactor::default());
        let train = ResidentLoader::new(
            self.data.train,
            config.train.batch_size,
            Order::Shuffled {
                seed: config.seed,
                augmentation: config.augmentation.for_kernel(),
                cursor: cursor.clone(),
            },
        );
        let validation = ResidentLoader::new(
            self.data.validation,
            config.train.evaluation_batch_size,
            Order::Stored,
        );
        let peak = config.optimizer.learning_rate();
        let schedule = Schedule::new(
            &config.schedule,
            peak,
            train.n_batches() as u64,
            config.train.epochs,
            factor.clone(),
        );
        let (resumed, state) = match self.resume {
            Some((checkpoint, state)) => (Some(checkpoint), state),
            None => (None, TrainState::new()),
        };
        factor.set(state.plateau.factor);
        if let Some(checkpoint) = &resumed {
            for part in Part::ALL {
                slot.put(part, checkpoint.file(part.file_name())?.to_vec());
            }
        }
        let epochs_done = state.epoch.saturating_sub(1) as usize;
        let interrupter = Interrupter::new();
        let epoch_loop = Arc::new(EpochLoop {
            epochs: config.train.epochs,
            batch_size: config.train.batch_size as u64,
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
            data_sha256: self.data.sha256,
            progress: self.progress.clone(),
            stop: self.stop,
            device: self.device,
            state: Mutex::new(state),
            ended: Mutex::new(None),
        });
        let renderer: Box<dyn MetricsRenderer> = if self.dashboard {
            Box::new(TuiMetricsRendererWrapper::new(interrupter.clone(), None))
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
                .with_metric_logger(burn::train::logger::InMemoryMetricLogger::default())
                .with_application_logger(None)
                .with_interrupter(interrupter)
                .metrics((RunningMetric::loss(), RunningMetric::accuracy()))
                .renderer(renderer)
                .num_epochs(config.train.epochs as usize);
        if resumed.is_some() {
            training = training.checkpoint(epochs_done);
        }
        let result = training.launch(Learner::new(
            self.model,
            config.optimizer.init(),
            burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler::new(schedule),
        ));
        drop(result.renderer);
        self.progress.finish();
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
}
