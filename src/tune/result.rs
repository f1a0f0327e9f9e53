//! What came out of a search: the best trial, its config, and the records that the report and the table
//! are made of.

use anyhow::Result;
use toml::Value;

use super::schedule::Rung;
use super::space::{self, Dimension};
use super::{Monitor, Study, importance};
use crate::report::study::{
    self, FinalRun, Objective, PlannedRung, Status, StudyRecords, TrialRung,
};
use crate::run::records;
use crate::run::study::{StudyFolder, StudyLog, Trial};

/// The best trial so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// Counted from 1.
    pub trial: usize,
    /// Of the objective.
    pub value: f64,
    /// In which it had that.
    pub epoch: u64,
}

/// What is known beside the log.
pub struct Circumstances {
    /// What to call the device.
    pub device: String,
    /// What to call the images.
    pub data: String,
    /// Whether the search is over.
    pub finished: bool,
}

impl Study {
    /// The trial with the best value; the first of equal ones. One that failed in a later rung is none.
    #[must_use]
    pub fn best(&self, log: &StudyLog) -> Option<Best> {
        let mut best: Option<Best> = None;
        for (number, trial) in (1..).zip(&log.trials) {
            let Some(rung) = trial.rungs.last().filter(|_| trial.failed.is_none()) else {
                continue;
            };
            let is_better = best
                .as_ref()
                .is_none_or(|best| self.score(rung.value) > self.score(best.value));
            if is_better {
                best = Some(Best {
                    trial: number,
                    value: rung.value,
                    epoch: rung.best_epoch,
                });
            }
        }
        best
    }

    /// "validation accuracy"
    #[must_use]
    pub fn objective(&self) -> &'static str {
        match self.search.objective {
            Monitor::ValidationAccuracy => "validation accuracy",
            Monitor::ValidationLoss => "validation loss",
        }
    }

    /// The config of a trial as a file for `weft train`, for as many epochs as the study's experiment has.
    pub fn best_toml(&self, log: &StudyLog, best: &Best) -> Result<String> {
        let mut config = self.varied(&log.trials[best.trial - 1].values)?.config;
        let epochs = log.trials[best.trial - 1].rungs.last();
        let epochs = epochs.map_or(0, |rung| rung.epochs);
        let head = format!(
            "# Trial {} of the study {}: {} {:.4} in epoch {} of the {epochs} that it had.\n",
            best.trial,
            self.config.name,
            self.objective(),
            best.value,
            best.epoch
        );
        config.name = format!("{}-best", self.config.name);
        Ok(head + &config.to_toml()?)
    }

    /// What the report and the table are made of.
    pub fn records(
        &self,
        folder: &StudyFolder,
        log: &StudyLog,
        around: &Circumstances,
    ) -> Result<StudyRecords> {
        let axes = space::axes(&self.dimensions);
        let observed: Vec<_> = log
            .trials
            .iter()
            .flat_map(|trial| self.observed(trial))
            .collect();
        let importance = importance::importance(&axes, &observed, self.search.seed);
        let best = self.best(log);
        let best_config = best.as_ref().map(|best| self.best_toml(log, best));
        let trials = (1..).zip(&log.trials);
        Ok(StudyRecords {
            name: self.config.name.clone(),
            root: folder.root.display().to_string(),
            algorithm: word(&self.search.algorithm),
            sampling: word(&self.search.sampling),
            objective: match self.search.objective {
                Monitor::ValidationAccuracy => Objective::ValidationAccuracy,
                Monitor::ValidationLoss => Objective::ValidationLoss,
            },
            min_epochs: self.search.min_epochs,
            max_epochs: self.search.max_epochs,
            factor: self.search.factor,
            seed: self.search.seed,
            device: around.device.clone(),
            data: around.data.clone(),
            weft: env!("CARGO_PKG_VERSION").to_owned(),
            started: log.started.clone().unwrap_or_default(),
            dimensions: self.dimensions.iter().map(dimension_record).collect(),
            planned: self.planned(log),
            trials: trials
                .map(|(number, trial)| self.trial_record(folder, number, trial))
                .collect(),
            importance: importance.map(|found| study::Importance {
                shares: found.main,
                interactions: found.interactions,
                n_trials: found.n_trials,
                epochs: found.epochs,
            }),
            epochs_spent: log.epochs(),
            seconds: log.trials.iter().map(Trial::seconds).sum(),
            finished: around.finished,
            final_run: final_record(folder, log),
            best_config: best_config.transpose()?,
        })
    }

    /// The rungs that are planned; of a great many brackets those that have begun.
    #[must_use]
    pub fn rungs(&self, log: &StudyLog) -> Vec<Rung> {
        const MANY: usize = 24;
        let begun = log
            .trials
            .iter()
            .map(|trial| trial.bracket)
            .max()
            .unwrap_or(0);
        let mut rungs = self.plan().rungs();
        rungs.retain(|rung| rung.bracket < MANY || rung.bracket <= begun);
        rungs
    }

    fn planned(&self, log: &StudyLog) -> Vec<PlannedRung> {
        let rungs = self.rungs(log);
        rungs
            .iter()
            .map(|rung| PlannedRung {
                bracket: rung.bracket,
                rung: rung.rung,
                n_trials: rung.n_trials,
                epochs: rung.epochs,
            })
            .collect()
    }

    fn trial_record(&self, folder: &StudyFolder, number: usize, trial: &Trial) -> study::Trial {
        let run = folder.trial(number);
        let last = trial.rungs.last();
        // A row of an epoch that no rung has counted yet is not shown.
        let epochs = last.map_or(0, |rung| rung.epochs);
        let rows = records::read(&run.results()).unwrap_or_default();
        study::Trial {
            number,
            bracket: trial.bracket,
            values: self
                .dimensions
                .iter()
                .map(|dimension| value_record(dimension, trial))
                .collect(),
            status: match (&trial.failed, &trial.running) {
                (Some(failure), _) => Status::Failed(failure.why.clone()),
                (None, Some(_)) => Status::Running,
                (None, None) => Status::Done,
            },
            rungs: (0..)
                .zip(&trial.rungs)
                .map(|(rung, result)| TrialRung {
                    rung,
                    epochs: result.epochs,
                    value: result.value,
                    seconds: result.seconds,
                })
                .collect(),
            best: last.map(|rung| rung.value),
            best_epoch: last.map(|rung| rung.best_epoch),
            folder: run.root.display().to_string(),
            curve: rows.into_iter().filter(|row| row.epoch <= epochs).collect(),
        }
    }
}

/// As a config has it: "hyperband".
fn word(value: &impl serde::Serialize) -> String {
    match Value::try_from(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

/// A value as people read it: texts without quotes.
#[must_use]
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn dimension_record(dimension: &Dimension) -> study::Dimension {
    /// More labels than an axis has room for.
    const MOST_LABELS: u64 = 64;
    let values = &dimension.values;
    let few = values.count().is_some_and(|n| n <= MOST_LABELS) && !values.is_log();
    let conditions: Vec<String> = dimension
        .conditions
        .iter()
        .map(ToString::to_string)
        .collect();
    let (min, max) = values.range();
    study::Dimension {
        name: dimension.name.clone(),
        keys: dimension.keys.clone(),
        values: few.then(|| values.samples(MOST_LABELS).iter().map(shown).collect()),
        min,
        max,
        log: values.is_log(),
        condition: (!conditions.is_empty()).then(|| conditions.join(" and ")),
    }
}

fn value_record(dimension: &Dimension, trial: &Trial) -> Option<study::Value> {
    let value = trial.values.get(&dimension.name)?;
    Some(study::Value {
        text: shown(value),
        position: dimension.values.coordinate(value)?,
    })
}

fn final_record(folder: &StudyFolder, log: &StudyLog) -> Option<FinalRun> {
    let last = log.last.as_ref()?;
    // A kill may have come between the result and the log's line of it.
    let evaluation = records::read_evaluation(&folder.last().evaluation()).ok();
    let evaluated = evaluation.as_ref().map(|it| (it.loss, it.accuracy));
    let (test_loss, test_accuracy) = last.tested.or(evaluated)?;
    let views = evaluation.filter(|it| it.accuracy == test_accuracy);
    Some(FinalRun {
        folder: folder.last().root.display().to_string(),
        trained_on: last.trained_on.clone(),
        test_loss,
        test_accuracy,
        views: views.and_then(|it| it.views()),
    })
}
