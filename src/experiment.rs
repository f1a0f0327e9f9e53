//! An experiment: a config becomes splits, a model and a device, and is trained in a run folder.

mod augmented;
mod fits;
mod loaded;
mod resident;
mod resume;

pub use loaded::LoadedModel;
pub(crate) use loaded::named_step;
use resident::Resident;
pub use resume::{ResumePoint, config_of, state_of};

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use burn::module::Module;
use burn::tensor::Device;

use crate::config::{ExperimentConfig, Loaded};
use crate::data::download;
use crate::data::fashion_mnist::{LabeledImages, Lookup};
use crate::data::loader::{HostSplit, ResidentSplit};
use crate::data::{self, Splits};
use crate::device::{self, Selected};
use crate::evaluate::predictions::CALIBRATION_BINS;
use crate::evaluate::tta::Tta;
use crate::evaluate::{self, Outcome};
use crate::model::{Classifier, InputShape};
use crate::run::RunFolder;
use crate::run::checkpoints::{Checkpoint, sha256_hex};
use crate::run::input::ModelInput;
use crate::run::records::{self, Environment, Evaluation, Start, TestTimeAugmentation, TrainState};
use crate::train::checkpoint::{is_averaged, weights_file};
use crate::train::progress::Progress;
use crate::train::step::Trainee;
use crate::train::{
    Ended, MAX_ROLLBACKS, OnDivergence, ROLLBACK_FACTOR, StopFlag, Training, TrainingData,
};

/// A config with its data and its device.
pub struct Experiment {
    /// The config, checked.
    pub config: ExperimentConfig,
    /// The images.
    pub splits: Arc<Splits>,
    /// Where tensors live.
    pub device: Selected,
    /// What a model takes and gives.
    pub input: InputShape,
    resident: Resident,
}

/// One of the three splits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitName {
    /// What the weights are fitted to.
    Train,
    /// What early stopping and choices are made on.
    Validation,
    /// What is read once, at the end.
    Test,
}

impl SplitName {
    /// For people and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// Finds the data of a config and divides it.
pub fn load_splits(
    config: &ExperimentConfig,
    data_dir: Option<&Path>,
    progress: &mut dyn download::Progress,
) -> Result<Splits> {
    let lookup = Lookup::standard(&config.data.source, data_dir);
    let dataset = data::load(&config.data, config.seed, &lookup, progress)?;
    Ok(Splits::new(dataset, &config.data, config.seed)?)
}

impl Experiment {
    /// Finds the data, checks the model against it and both against the device.
    pub fn prepare(
        loaded: Loaded,
        device: Selected,
        data_dir: Option<&Path>,
        progress: &mut dyn download::Progress,
    ) -> Result<Self> {
        let splits = load_splits(&loaded.config, data_dir, progress)?;
        let images = &splits.dataset.train.images;
        let input = InputShape {
            channels: images.channels,
            height: images.height,
            width: images.width,
            n_classes: splits.dataset.class_names.len(),
        };
        loaded.validate_model(input)?;
        let experiment = Self {
            config: loaded.config,
            splits: Arc::new(splits),
            device,
            input,
            resident: Resident::default(),
        };
        experiment.check_evaluation_fits()?;
        Ok(experiment)
    }

    /// The same config and device with other images.
    #[must_use]
    pub fn with_splits(self, splits: Splits, input: InputShape) -> Self {
        Self {
            splits: Arc::new(splits),
            input,
            resident: Resident::default(),
            ..self
        }
    }

    /// Another config for the same images and device, whose copies of the images there are shared. The
    /// two must have the same `[data]`, but for its normalization, and the same seed.
    pub fn with_config(&self, loaded: Loaded) -> Result<Self> {
        loaded.validate_model(self.input)?;
        let experiment = Self {
            config: loaded.config,
            splits: self.splits.clone(),
            device: self.device.clone(),
            input: self.input,
            resident: self.resident.clone(),
        };
        experiment.check_evaluation_fits()?;
        Ok(experiment)
    }

    /// Parameters of the model.
    pub fn n_parameters(&self) -> usize {
        self.untrained(&device::host()).num_params()
    }

    /// Images of a split.
    pub fn n_images(&self, split: SplitName) -> usize {
        match split {
            SplitName::Train => self.splits.split.train.len(),
            SplitName::Validation => self.splits.split.validation.len(),
            SplitName::Test => self.splits.dataset.test.labels.len(),
        }
    }

    /// SHA-256 over the content of the data.
    pub fn data_sha256(&self) -> String {
        let mut all = String::new();
        for file in &self.splits.source().sha256 {
            all.push_str(&file.sha256);
        }
        sha256_hex(all.as_bytes())
    }

    /// Trains in a run folder, from the start or from a checkpoint.
    pub fn train(
        &self,
        run: &RunFolder,
        resume: Option<(Checkpoint, TrainState)>,
        progress: Progress,
        dashboard: bool,
        stop: StopFlag,
    ) -> Result<(Ended, TrainState)> {
        let ended = self.train_with_rollbacks(run, resume, &progress, dashboard, &stop);
        progress.finish();
        ended
    }

    fn train_with_rollbacks(
        &self,
        run: &RunFolder,
        resume: Option<(Checkpoint, TrainState)>,
        progress: &Progress,
        dashboard: bool,
        stop: &StopFlag,
    ) -> Result<(Ended, TrainState)> {
        let device = &self.device.device;
        let training_device = device.clone().autodiff();
        let (mut checkpoint, mut state) = match resume {
            Some((checkpoint, state)) => (Some(checkpoint), state),
            None => (None, TrainState::new()),
        };
        let start = self.start(checkpoint.as_ref(), &state)?;
        let mut save_first = start.overruled_patience;
        state.starts.push(start);
        let config_sha256 = self.config.identity()?;
        let config_toml = self.resolved_config()?.to_toml()?;
        loop {
            let (ended, after) = Training {
                config: &self.config,
                config_sha256: config_sha256.clone(),
                config_toml: config_toml.clone(),
                data: TrainingData {
                    train: self.resident(SplitName::Train, &training_device),
                    validation: self.resident(SplitName::Validation, device),
                    sha256: self.data_sha256(),
                },
                model: self.untrained(&training_device),
                device: device.clone(),
                run: run.clone(),
                resume: checkpoint.take(),
                state,
                save_first: std::mem::take(&mut save_first),
                progress: progress.clone(),
                dashboard,
                stop: stop.clone(),
            }
            .run()?;
            let Ended::Diverged(diverged) = &ended else {
                return Ok((ended, after));
            };
            let rolls_back = self.config.train.on_divergence == OnDivergence::Rollback;
            if !rolls_back || after.rollbacks.len() >= MAX_ROLLBACKS {
                return Ok((ended, after));
            }
            let (back, back_state) = resume::roll_back(run, diverged, after)?;
            progress.note(&format!(
                "{diverged}: back to step {} with {ROLLBACK_FACTOR} times the learning rate (rollback \
                 {} of {MAX_ROLLBACKS})",
                back_state.step,
                back_state.rollbacks.len()
            ));
            // Saved at once, so that the count of rollbacks outlives a kill.
            (checkpoint, state, save_first) = (Some(back), back_state, true);
        }
    }

    /// The record of this process.
    fn start(&self, from: Option<&Checkpoint>, state: &TrainState) -> Result<Start> {
        let (mut changes, mut overruled_patience) = (Vec::new(), false);
        if let Some(from) = from {
            changes = self.changes_since(from)?;
            let epochs_without = state_of(from)?.epochs_without_improvement;
            overruled_patience = state.epochs_without_improvement != epochs_without;
        }
        Ok(Start {
            step: state.step,
            n_rollbacks: state.rollbacks.len(),
            time: records::utc_now(),
            weft: env!("CARGO_PKG_VERSION").to_owned(),
            git_commit: git_commit(),
            backend: self.device.backend.to_owned(),
            device: self.device.name.clone(),
            cpu_threads: device::threads(),
            changes,
            overruled_patience,
        })
    }

    /// The config with the place where the data was found.
    fn resolved_config(&self) -> Result<ExperimentConfig> {
        let mut config = self.config.clone();
        config.data.source = self.splits.source().to_config()?;
        Ok(config)
    }

    /// Which checkpoint is the result, given the state of the newest one: the best epoch's, where
    /// that was asked for.
    pub fn result_step(&self, newest: &TrainState) -> u64 {
        self.config.early_stopping.result_step(newest)
    }

    /// Evaluates a checkpoint on the images of a split as they are. `on_progress` hears how many images are
    /// done, and may end it with an error.
    pub fn evaluate(
        &self,
        checkpoint: &Checkpoint,
        split: SplitName,
        on_progress: &dyn Fn(usize) -> Result<()>,
    ) -> Result<Outcome> {
        self.evaluate_views(checkpoint, split, Tta::None, on_progress)
    }

    /// The same with the mean of several views of each image.
    pub fn evaluate_views(
        &self,
        checkpoint: &Checkpoint,
        split: SplitName,
        tta: Tta,
        on_progress: &dyn Fn(usize) -> Result<()>,
    ) -> Result<Outcome> {
        let (images, indices) = self.images(split);
        let labels = indices.iter().map(|&index| images.labels[index as usize]);
        evaluate::evaluate(
            &self.trained(checkpoint)?,
            self.upload(split, &self.device.device),
            labels,
            self.input.n_classes,
            self.config.train.evaluation_batch_size,
            tta,
            on_progress,
        )
    }

    fn trained(&self, checkpoint: &Checkpoint) -> Result<Classifier> {
        let bytes = checkpoint.file(weights_file(checkpoint))?;
        let trainee = self.untrained(&self.device.device).with_weights(bytes);
        let trainee = trainee.with_context(|| {
            format!(
                "{} does not fit the model of the run's config",
                checkpoint.folder.display()
            )
        })?;
        Ok(trainee.classifier)
    }

    /// Writes evaluation.json and predictions.csv.
    pub fn write_evaluation(
        &self,
        run: &RunFolder,
        outcome: &Outcome,
        of: &Checkpoint,
        split: SplitName,
    ) -> Result<Evaluation> {
        let record = self.record(outcome, of, split)?;
        records::write_text(&run.predictions(), &outcome.predictions.to_csv())?;
        records::write_json(&run.evaluation(), &record)?;
        Ok(record)
    }

    fn record(&self, outcome: &Outcome, of: &Checkpoint, split: SplitName) -> Result<Evaluation> {
        let state = state_of(of)?;
        let (confusion, predictions) = (&outcome.confusion, &outcome.predictions);
        let classes = (0..confusion.n_classes()).map(|class| confusion.class_scores(class));
        Ok(Evaluation {
            schema: records::EVALUATION_SCHEMA,
            split: split.as_str().to_owned(),
            checkpoint_step: of.manifest.step,
            checkpoint_epoch: state.history.last().map_or(0, |row| row.epoch),
            within_epoch: state.batch > 0,
            averaged: is_averaged(of),
            tta: outcome.plain.map(|plain| TestTimeAugmentation {
                mode: outcome.tta,
                n_views: outcome.tta.views().len(),
                plain_loss: plain.loss,
                plain_accuracy: plain.accuracy,
            }),
            n_images: outcome.n_images,
            loss: outcome.loss,
            negative_log_likelihood: predictions.negative_log_likelihood(),
            accuracy: outcome.accuracy(),
            top_2_accuracy: predictions.top_k_accuracy(2),
            class_names: self.splits.dataset.class_names.clone(),
            classes: classes.collect(),
            macro_mean: confusion.macro_mean(),
            weighted_mean: confusion.weighted_mean(),
            confusion: confusion.clone(),
            calibration: predictions.calibration(CALIBRATION_BINS),
            images_per_second: outcome.images_per_second(),
            device: self.device.name.clone(),
            time: records::utc_now(),
        })
    }

    /// Writes what a new run folder starts with.
    pub fn describe(&self, run: &RunFolder, command_line: Vec<String>) -> Result<()> {
        self.write_environment(run, command_line)?;
        self.model_input().write(&run.input())?;
        // Last: it is what makes the folder a run.
        records::write_text(&run.config(), &self.resolved_config()?.to_toml()?)?;
        Ok(())
    }

    /// What the model takes and gives, for whoever uses it without the data.
    pub fn model_input(&self) -> ModelInput {
        let statistics = self.splits.normalization(self.config.data.normalization);
        let background = self.splits.background();
        let mut input = ModelInput {
            schema: ModelInput::SCHEMA,
            height: self.input.height,
            width: self.input.width,
            channels: self.input.channels,
            class_names: self.splits.dataset.class_names.clone(),
            mean: statistics.iter().map(|channel| channel.mean).collect(),
            deviation: statistics.iter().map(|channel| channel.deviation).collect(),
            background,
            class_means: Vec::new(),
            data_sha256: self.data_sha256(),
        };
        if background.is_some() {
            input.set_class_means(&self.splits.class_means());
        }
        input
    }

    /// Writes input.json if it is missing, damaged, of other data or of other class names: a run of an
    /// earlier weft has none, and classes.txt may have been put right. Returns what was wrong.
    pub fn mend_input(&self, run: &RunFolder) -> Result<Option<&'static str>> {
        let fault = match ModelInput::read(&run.input()) {
            Ok(found) if found.data_sha256 != self.data_sha256() => "of other data",
            Ok(found) if found.class_names != self.splits.dataset.class_names => {
                "of other class names than the data has by now"
            }
            Ok(_) => return Ok(None),
            Err(_) => "damaged or gone",
        };
        self.model_input().write(&run.input())?;
        Ok(Some(fault))
    }

    /// Writes environment.json.
    pub fn write_environment(&self, run: &RunFolder, command_line: Vec<String>) -> Result<()> {
        let adapter = self
            .device
            .adapter
            .as_ref()
            .map(|adapter| records::Adapter {
                name: adapter.name.clone(),
                api: adapter.api.to_owned(),
                driver: adapter.driver.clone(),
            });
        let environment = Environment {
            weft: env!("CARGO_PKG_VERSION").to_owned(),
            burn: BURN_VERSION.to_owned(),
            device: self.device.name.clone(),
            adapter,
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            cpu_threads: device::threads(),
            data: serde_json::to_value(self.splits.source())?,
            git_commit: git_commit(),
            command_line,
            started: records::utc_now(),
        };
        Ok(records::write_json(&run.environment(), &environment)?)
    }

    /// The model with its initial weights.
    pub fn untrained(&self, device: &Device) -> Trainee {
        let classifier = self.config.model.init(self.input, self.config.seed, device);
        let train = &self.config.train;
        Trainee::new(classifier, train.label_smoothing, train.clip_norm)
    }

    fn images(&self, split: SplitName) -> (&LabeledImages, Vec<u32>) {
        let dataset = &self.splits.dataset;
        match split {
            SplitName::Train => (&dataset.train, self.splits.split.train.clone()),
            SplitName::Validation => (&dataset.train, self.splits.split.validation.clone()),
            SplitName::Test => {
                let n_images = dataset.test.labels.len() as u32;
                (&dataset.test, (0..n_images).collect())
            }
        }
    }

    /// Copies a split to a device.
    pub fn upload(&self, split: SplitName, device: &Device) -> ResidentSplit {
        let (images, indices) = self.images(split);
        let split = HostSplit {
            images: &images.images,
            labels: &images.labels,
            image_indices: &indices,
            table: &self.splits.table(self.config.data.normalization),
        };
        ResidentSplit::upload(&split, device)
    }
}

/// burn's version, for the records. A test compares it with the lock file.
pub const BURN_VERSION: &str = "0.22.1";

/// How this process was called, for the records.
pub fn command_line() -> Vec<String> {
    std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect()
}

fn git_commit() -> Option<String> {
    let output = std::process::Command::new("git")
        .args(["rev-parse", "HEAD"])
        .stderr(std::process::Stdio::null())
        .output()
        .ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}

#[cfg(test)]
mod tests {
    use super::BURN_VERSION;

    #[test]
    fn the_recorded_burn_version_is_the_locked_one() {
        let lock: toml::Table = toml::from_str(include_str!("../Cargo.lock")).unwrap();
        let packages = lock["package"].as_array().unwrap();
        let burn = packages
            .iter()
            .find(|package| package["name"].as_str() == Some("burn"))
            .unwrap();
        assert_eq!(burn["version"].as_str(), Some(BURN_VERSION));
    }
}
