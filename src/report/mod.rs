//! What a run folder says, for pictures and pages. Reads records; no tensors.

pub mod html;
pub mod plots;
pub mod recipes;
pub mod study;
pub mod tensorboard;

use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::config::ExperimentConfig;
use crate::evaluate::predictions::Predictions;
use crate::run::RunFolder;
use crate::run::records::{self, Environment, EpochRow, Evaluation};

/// The `[report]` section: what a training writes for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReportConfig {
    /// Whether the end of a training writes report.html.
    pub at_end: bool,
    /// It is written while the run trains too, at the end of an epoch, when so many minutes have passed
    /// since the last one; 0 is only at the end.
    pub every_minutes: f64,
    /// Whether the end of a training draws plots/.
    pub plots: bool,
    /// Whether a training writes TensorBoard's event files.
    pub tensorboard: bool,
}

impl ReportConfig {
    /// Nothing is drawn nor written.
    pub const NONE: Self = Self {
        at_end: false,
        every_minutes: 0.0,
        plots: false,
        tensorboard: false,
    };
}

impl Default for ReportConfig {
    fn default() -> Self {
        Self {
            at_end: true,
            every_minutes: 0.0,
            plots: true,
            tensorboard: false,
        }
    }
}

/// The records of a run, finished or not.
#[derive(Clone, Debug)]
pub struct RunRecords {
    pub run: RunFolder,
    /// config.toml as it is.
    pub config_toml: String,
    pub environment: Environment,
    /// results.csv; empty before the first epoch is done.
    pub rows: Vec<EpochRow>,
    /// None before `weft evaluate`, or the end of the training.
    pub evaluated: Option<Evaluated>,
}

/// evaluation.json with the predictions.csv that belongs to it.
#[derive(Clone, Debug)]
pub struct Evaluated {
    pub evaluation: Evaluation,
    pub predictions: Predictions,
}

impl RunRecords {
    /// Reads a run folder; what is damaged is an error that names the file.
    pub fn read(run: &RunFolder) -> Result<Self> {
        Ok(Self {
            evaluated: Evaluated::read(run)?,
            ..Self::in_training(run)?
        })
    }

    /// The same without the test result: while a run trains, that of an earlier end says nothing.
    pub fn in_training(run: &RunFolder) -> Result<Self> {
        let config = run.config();
        let config_toml = fs::read_to_string(&config)
            .with_context(|| format!("{} cannot be read", config.display()))?;
        Ok(Self {
            config_toml,
            environment: records::read_json(&run.environment())?,
            rows: records::read(&run.results())?,
            evaluated: None,
            run: run.clone(),
        })
    }

    /// The epoch that is marked as the best one.
    #[must_use]
    pub fn best_epoch(&self) -> Option<u64> {
        let best = self.rows.iter().rev().find(|row| row.best);
        best.map(|row| row.epoch)
    }

    /// `train.label_smoothing`, which the training loss has in it and no other loss. 0 where config.toml
    /// cannot be read.
    #[must_use]
    pub fn label_smoothing(&self) -> f64 {
        let config: Option<ExperimentConfig> = toml::from_str(&self.config_toml).ok();
        config.map_or(0.0, |config| config.train.label_smoothing)
    }
}

impl Evaluated {
    /// None where there is no evaluation, or one without its predictions.
    fn read(run: &RunFolder) -> Result<Option<Self>> {
        if !run.evaluation().exists() || !run.predictions().exists() {
            return Ok(None);
        }
        let evaluation = records::read_evaluation(&run.evaluation())?;
        let predictions = records::read_predictions(&run.predictions())?;
        // A kill between the two leaves one of them from before.
        anyhow::ensure!(
            predictions.confusion() == evaluation.confusion,
            "{} does not belong to {}\nhint: `weft evaluate {}` writes both anew",
            run.predictions().display(),
            run.evaluation().display(),
            run.root.display()
        );
        Ok(Some(Self {
            evaluation,
            predictions,
        }))
    }
}
