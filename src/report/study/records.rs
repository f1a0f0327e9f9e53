//! What a page and a table of a study are made of: plain records, which `weft tune` fills.

use serde::Serialize;

use crate::report::html::text::{fixed, percent};
use crate::run::records::EpochRow;

/// What the search looks for, on the validation split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Objective {
    /// The higher the better.
    ValidationAccuracy,
    /// The lower the better.
    ValidationLoss,
}

/// A study, finished or not.
#[derive(Clone, Debug, Serialize)]
pub struct StudyRecords {
    pub name: String,
    /// The folder, as it is shown.
    pub root: String,
    /// Such as "hyperband".
    pub algorithm: String,
    /// How configurations are drawn, such as "random".
    pub sampling: String,
    pub objective: Objective,
    pub min_epochs: u64,
    pub max_epochs: u64,
    /// Of a rung's trials one in so many goes on.
    pub factor: u64,
    pub seed: u64,
    pub device: String,
    pub data: String,
    /// The version of weft.
    pub weft: String,
    pub started: String,
    pub dimensions: Vec<Dimension>,
    pub planned: Vec<PlannedRung>,
    pub trials: Vec<Trial>,
    /// None with too few trials.
    pub importance: Option<Importance>,
    pub epochs_spent: u64,
    pub seconds: f64,
    pub finished: bool,
    /// The training with the best configuration, once it is done.
    pub final_run: Option<FinalRun>,
    /// The best configuration as TOML.
    pub best_config: Option<String>,
}

/// Shares of the objective's variance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Importance {
    /// By dimension: main effects of a functional ANOVA.
    pub shares: Vec<f64>,
    pub interactions: f64,
    /// The trials that it is an estimate from, and after how many epochs.
    pub n_trials: usize,
    pub epochs: u64,
}

/// What is searched along.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Dimension {
    pub name: String,
    /// The keys of the config that it sets.
    pub keys: Vec<String>,
    /// The texts of the values in order, if they are few or a grid.
    pub values: Option<Vec<String>>,
    pub min: f64,
    pub max: f64,
    pub log: bool,
    /// When it is searched at all, such as `model.kind = "mlp"`.
    pub condition: Option<String>,
}

/// So many trials are to reach so many epochs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedRung {
    pub bracket: usize,
    pub rung: usize,
    pub n_trials: usize,
    pub epochs: u64,
}

/// How far a trial is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Status {
    Running,
    Done,
    /// With the reason.
    Failed(String),
}

/// A value of a dimension.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Value {
    pub text: String,
    /// Its place on the dimension's axis, 0 to 1.
    pub position: f64,
}

/// One configuration, and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// From 1.
    pub number: usize,
    pub bracket: usize,
    /// Of each dimension; None where it is not active.
    pub values: Vec<Option<Value>>,
    pub status: Status,
    /// Those that it has done.
    pub rungs: Vec<TrialRung>,
    /// The best value of the objective.
    pub best: Option<f64>,
    pub best_epoch: Option<u64>,
    pub folder: String,
    /// Its epochs.
    pub curve: Vec<EpochRow>,
}

/// A rung that a trial has done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrialRung {
    pub rung: usize,
    /// All that it has been trained for by then.
    pub epochs: u64,
    pub value: f64,
    pub seconds: f64,
}

/// The best configuration, trained and tested.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FinalRun {
    pub folder: String,
    /// "train" or "train + validation".
    pub trained_on: String,
    pub test_loss: f64,
    pub test_accuracy: f64,
    /// Of which views both are the mean; None is of the images alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub views: Option<String>,
}

impl Objective {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::ValidationAccuracy => "validation accuracy",
            Self::ValidationLoss => "validation loss",
        }
    }

    pub(super) fn column(self) -> &'static str {
        match self {
            Self::ValidationAccuracy => "validation_accuracy",
            Self::ValidationLoss => "validation_loss",
        }
    }

    pub(super) fn is_better(self, a: f64, b: f64) -> bool {
        match self {
            Self::ValidationAccuracy => a > b,
            Self::ValidationLoss => a < b,
        }
    }

    /// The best first.
    pub(super) fn order(self, a: f64, b: f64) -> std::cmp::Ordering {
        match self {
            Self::ValidationAccuracy => b.total_cmp(&a),
            Self::ValidationLoss => a.total_cmp(&b),
        }
    }

    pub(super) fn shown(self, value: f64) -> String {
        match self {
            Self::ValidationAccuracy if value.is_finite() => percent(value, 2),
            _ => fixed(value, 4),
        }
    }

    /// That of an epoch.
    pub(super) fn of(self, row: &EpochRow) -> Option<f64> {
        match self {
            Self::ValidationAccuracy => row.valid_accuracy,
            Self::ValidationLoss => row.valid_loss,
        }
    }
}

impl StudyRecords {
    /// The best of the trials that did not fail; of equal ones the first.
    pub(super) fn best(&self) -> Option<&Trial> {
        let counted = self.trials.iter().filter(|trial| trial.counts().is_some());
        counted.reduce(|best, next| match (best.counts(), next.counts()) {
            (Some(a), Some(b)) if self.objective.is_better(b, a) => next,
            _ => best,
        })
    }

    /// How many trials the plan has.
    pub(super) fn n_planned(&self) -> usize {
        let starts = self.planned.iter().filter(|planned| {
            let of_bracket = self
                .planned
                .iter()
                .filter(|it| it.bracket == planned.bracket);
            of_bracket.map(|it| it.rung).min() == Some(planned.rung)
        });
        starts.map(|planned| planned.n_trials).sum()
    }

    /// Whether trials are stopped early: a bracket has a rung after another.
    pub(super) fn has_rungs(&self) -> bool {
        let first = self.planned.iter().map(|planned| planned.rung).min();
        self.planned
            .iter()
            .any(|planned| Some(planned.rung) > first)
    }

    pub(super) fn n_failed(&self) -> usize {
        self.trials
            .iter()
            .filter(|trial| trial.has_failed())
            .count()
    }

    pub(super) fn n_running(&self) -> usize {
        let running = self.trials.iter();
        running
            .filter(|trial| trial.status == Status::Running)
            .count()
    }
}

impl Trial {
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.status, Status::Failed(_))
    }

    /// Its value, if that counts: it is a number, and the trial did not fail.
    pub(super) fn counts(&self) -> Option<f64> {
        self.best
            .filter(|best| best.is_finite() && !self.has_failed())
    }

    pub(super) fn last_rung(&self) -> Option<usize> {
        self.rungs.iter().map(|rung| rung.rung).max()
    }

    /// The epochs that it was trained for.
    pub(super) fn epochs(&self) -> u64 {
        let of_rungs = self.rungs.iter().map(|rung| rung.epochs).max();
        let of_curve = self.curve.last().map(|row| row.epoch);
        of_rungs.max(of_curve).unwrap_or(0)
    }

    /// Of its rungs; of one that has done none, of its epochs.
    pub(super) fn seconds(&self) -> f64 {
        let seconds: f64 = match &self.rungs[..] {
            [] => self.curve.iter().map(|row| row.seconds).sum(),
            rungs => rungs.iter().map(|rung| rung.seconds).sum(),
        };
        seconds + 0.0 // the sum of nothing is -0
    }
}
