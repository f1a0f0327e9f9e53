//! A run's model without its data: what predicting and exporting begin with.

use std::io;

use anyhow::{Context, Result, bail};

use super::{ResumePoint, config_of};
use crate::config::{ExperimentConfig, Loaded};
use crate::device::Selected;
use crate::model::{Classifier, InputShape};
use crate::run::RunFolder;
use crate::run::checkpoints::{Checkpoint, Store};
use crate::run::input::ModelInput;
use crate::run::records::{RecordError, TrainState};
use crate::text::first_line;
use crate::train::checkpoint::weights_file;
use crate::train::step::Trainee;

/// The model of a run, and how it is fed.
pub struct LoadedModel {
    /// The weights, on the device that was asked for, without autodiff.
    pub classifier: Classifier,
    /// What it takes and gives.
    pub input: InputShape,
    /// The same with class names, normalisation and background: the run's input.json.
    pub about: ModelInput,
    /// The config that the checkpoint was written with.
    pub config: ExperimentConfig,
    /// Where the weights are from, verified.
    pub checkpoint: Checkpoint,
    /// What a person should know: damaged checkpoints that were passed over.
    pub warnings: Vec<String>,
}

impl LoadedModel {
    /// Loads a checkpoint of a run: `best`, `last` or a step; the run's result where none is named.
    pub fn open(run: &RunFolder, name: Option<&str>, device: &Selected) -> Result<Self> {
        let about = read_input(run)?;
        let (checkpoint, warnings) = find(run, name)?;
        if checkpoint.manifest.data_sha256 != about.data_sha256 {
            bail!(
                "{} is of other data than {} was trained on\nhint: `weft evaluate {}` writes it anew, \
                 from the run's data",
                run.input().display(),
                checkpoint.folder.display(),
                run.root.display()
            );
        }
        let config = config_of(&checkpoint)?;
        let input = InputShape {
            channels: about.channels,
            height: about.height,
            width: about.width,
            n_classes: about.class_names.len(),
        };
        let does_not_fit = || {
            format!(
                "{} does not fit {} and {}",
                checkpoint.folder.display(),
                run.config().display(),
                run.input().display()
            )
        };
        config.model.validate(input).with_context(does_not_fit)?;
        let classifier = config.model.init(input, config.seed, &device.device);
        let bytes = checkpoint.file(weights_file(&checkpoint))?;
        let trainee = Trainee::new(classifier, 0.0, 0.0)
            .with_weights(bytes)
            .with_context(does_not_fit)?;
        Ok(Self {
            classifier: trainee.classifier,
            input,
            about,
            config,
            checkpoint,
            warnings,
        })
    }

    /// Step of the weights.
    pub fn step(&self) -> u64 {
        self.checkpoint.manifest.step
    }

    /// What each byte becomes, per channel: the f32 values that training computed with.
    pub fn table(&self, channel: usize) -> [f32; 256] {
        let of = |numbers: &[f64]| numbers[channel.min(numbers.len() - 1)];
        let bits =
            crate::kernels::gather_batch::table(of(&self.about.mean), of(&self.about.deviation));
        let mut values = [0.0; 256];
        for (value, bits) in values.iter_mut().zip(bits) {
            *value = f32::from_bits(bits as u32);
        }
        values
    }
}

fn read_input(run: &RunFolder) -> Result<ModelInput> {
    match ModelInput::read(&run.input()) {
        Err(RecordError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => bail!(
            "{} has no input.json, which says what its model takes: an earlier weft trained it\n\
             hint: `weft evaluate {}` adds it (that needs the data set once)",
            run.root.display(),
            run.root.display()
        ),
        read => Ok(read?),
    }
}

/// The checkpoint and what is to be said about it.
fn find(run: &RunFolder, name: Option<&str>) -> Result<(Checkpoint, Vec<String>)> {
    let store = Store::new(&run.root);
    let mut newest = ResumePoint::find(run)?;
    let mut warnings: Vec<String> = newest
        .damaged
        .iter()
        .map(|damaged| format!("{damaged}; it is left out"))
        .collect();
    let step = match name {
        Some(name) => named_step(run, &newest.state, name)?,
        None => {
            if let Some(lost) = newest.forget_lost_best(run) {
                let lost = first_line(&lost);
                warnings.push(format!(
                    "the best epoch is lost: {lost}; the last one is used"
                ));
            }
            let config = Loaded::new(Some(&run.config()), &[])?.config;
            config.early_stopping.result_step(&newest.state)
        }
    };
    match step == newest.checkpoint.manifest.step {
        true => Ok((newest.checkpoint, warnings)),
        false => Ok((store.load(step)?, warnings)),
    }
}

/// The step that `best`, `last`, `step-N` or `N` means.
pub(crate) fn named_step(run: &RunFolder, newest: &TrainState, name: &str) -> Result<u64> {
    let step = match name {
        "best" => newest.best.as_ref().map(|best| best.step),
        "last" => Some(newest.step),
        step => step.trim_start_matches("step-").parse().ok(),
    };
    step.with_context(|| {
        let steps = Store::new(&run.root).steps().unwrap_or_default();
        let steps: Vec<String> = steps.iter().map(u64::to_string).collect();
        format!(
            "{} has no checkpoint `{name}`\nhint: use best, last, or one of these steps: {}",
            run.root.display(),
            steps.join(", ")
        )
    })
}
