//! What the page's script is given, as JSON. The texts of values are not among it: the script reads them in
//! the table of trials.

use std::collections::BTreeSet;

use serde::Serialize;

use super::ticks::ticks;
use super::trials::COLUMNS_BEFORE;
use super::{Dimension, Objective, Status, StudyRecords, Trial};
use crate::text::printable;

/// The most learning curves: of more trials the better half of these are the best, the rest are spread.
pub(super) const MOST_CURVES: usize = 300;
/// The most epochs of a curve.
const MOST_EPOCHS: usize = 120;

#[derive(Serialize)]
pub(super) struct View {
    objective: &'static str,
    /// Whether a higher objective is a better one.
    higher: bool,
    dimensions: Vec<Axis>,
    /// The columns of the table of trials that are before those of the dimensions.
    columns_before: usize,
    /// The epochs of rungs that were the last ones of trials, and the brackets, for legends.
    levels: BTreeSet<u64>,
    brackets: Vec<usize>,
    /// Where in `trials` the best one is.
    best: Option<usize>,
    trials: Trials,
    curves: Vec<Curve>,
}

#[derive(Serialize)]
struct Axis {
    name: String,
    log: bool,
    /// How many values it has, if they are few or a grid.
    n_values: Option<usize>,
    /// Places from 0 to 1 with their texts, the ends first.
    ticks: Vec<(f64, String)>,
}

/// An entry for each trial.
#[derive(Serialize)]
struct Trials {
    number: Vec<usize>,
    bracket: Vec<usize>,
    /// 0 is running, 1 done, 2 failed.
    status: Vec<u8>,
    /// The last rung that is done, and its epochs.
    rung: Vec<Option<usize>>,
    reached: Vec<Option<u64>>,
    epochs: Vec<u64>,
    best: Vec<Option<f64>>,
    /// For each dimension the places of all trials; null where it is not active.
    at: Vec<Vec<Option<f64>>>,
}

/// The trial (its place in `trials`), epochs, values.
#[derive(Serialize)]
struct Curve(usize, Vec<u64>, Vec<Option<f64>>);

impl View {
    pub(super) fn new(study: &StudyRecords) -> Self {
        let best = study.best().map(|trial| trial.number);
        let axes = study.dimensions.iter().enumerate();
        let axis = |(index, dimension): (usize, &Dimension)| Axis {
            name: printable(&dimension.name),
            log: dimension.log,
            n_values: dimension.values.as_ref().map(Vec::len),
            ticks: ticks(study, index)
                .into_iter()
                .map(|(at, text)| (rounded(at, 1e4), text))
                .collect(),
        };
        let brackets: BTreeSet<usize> = study.trials.iter().map(|trial| trial.bracket).collect();
        Self {
            objective: study.objective.title(),
            higher: study.objective == Objective::ValidationAccuracy,
            dimensions: axes.map(axis).collect(),
            columns_before: COLUMNS_BEFORE,
            levels: study.trials.iter().filter_map(reached).collect(),
            brackets: brackets.into_iter().collect(),
            best: study
                .trials
                .iter()
                .position(|trial| Some(trial.number) == best),
            trials: Trials::new(study),
            curves: shown_curves(study)
                .into_iter()
                .map(|index| curve(study, index))
                .collect(),
        }
    }
}

/// The epochs of its last rung.
fn reached(trial: &Trial) -> Option<u64> {
    trial.rungs.iter().map(|rung| rung.epochs).max()
}

impl Trials {
    fn new(study: &StudyRecords) -> Self {
        let trials = &study.trials;
        let place = |trial: &Trial, index: usize| {
            let value = trial.values.get(index)?.as_ref()?;
            let is_number = value.position.is_finite();
            is_number.then(|| rounded(value.position.clamp(0.0, 1.0), 1e4))
        };
        let dimensions = 0..study.dimensions.len();
        Self {
            number: trials.iter().map(|trial| trial.number).collect(),
            bracket: trials.iter().map(|trial| trial.bracket).collect(),
            status: trials.iter().map(|trial| status(&trial.status)).collect(),
            rung: trials.iter().map(Trial::last_rung).collect(),
            reached: trials.iter().map(reached).collect(),
            epochs: trials.iter().map(Trial::epochs).collect(),
            best: trials.iter().map(|trial| value(trial.best)).collect(),
            at: dimensions
                .map(|index| trials.iter().map(|trial| place(trial, index)).collect())
                .collect(),
        }
    }
}

fn status(status: &Status) -> u8 {
    match status {
        Status::Running => 0,
        Status::Done => 1,
        Status::Failed(_) => 2,
    }
}

/// The trials whose curves are shown: the best, and every nth of the others.
pub(super) fn shown_curves(study: &StudyRecords) -> Vec<usize> {
    let has_curve = |index: &usize| !study.trials[*index].curve.is_empty();
    let mut all: Vec<usize> = (0..study.trials.len()).filter(has_curve).collect();
    if all.len() <= MOST_CURVES {
        return all;
    }
    let value = |index: usize| study.trials[index].counts();
    all.sort_by(|&a, &b| match (value(a), value(b)) {
        (Some(a), Some(b)) => study.objective.order(a, b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
    let others = all.split_off(MOST_CURVES / 2);
    let every = others.len().div_ceil(MOST_CURVES / 2);
    all.extend(others.into_iter().step_by(every));
    all.sort_unstable();
    all
}

/// Every epoch of a trial, or every nth with the last.
fn curve(study: &StudyRecords, index: usize) -> Curve {
    let rows = &study.trials[index].curve;
    let every = rows.len().div_ceil(MOST_EPOCHS).max(1);
    let is_shown = |at: &usize| at.is_multiple_of(every) || at + 1 == rows.len();
    let shown: Vec<_> = (0..rows.len())
        .filter(is_shown)
        .map(|at| &rows[at])
        .collect();
    Curve(
        index,
        shown.iter().map(|row| row.epoch).collect(),
        shown
            .iter()
            .map(|row| value(study.objective.of(row)))
            .collect(),
    )
}

/// What JSON has no word for is no value.
fn value(value: Option<f64>) -> Option<f64> {
    value
        .filter(|value| value.is_finite())
        .map(|value| rounded(value, 1e5))
}

fn rounded(value: f64, by: f64) -> f64 {
    (value * by).round() / by
}
