//! Studies that never ran, for the tests: the objective is a formula of the values.

use super::{
    Dimension, FinalRun, Importance, Objective, PlannedRung, Status, StudyRecords, Trial,
    TrialRung, Value,
};
use crate::run::records::EpochRow;

const MAX_EPOCHS: u64 = 27;
const FACTOR: u64 = 3;

/// Numbers from 0 to 1, the same for the same state.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }
}

/// A finished study of so many trials along so many dimensions.
pub(super) fn study(n_trials: usize, n_dimensions: usize, objective: Objective) -> StudyRecords {
    let mut draw = Draw(n_trials as u64 * 31 + n_dimensions as u64);
    let dimensions: Vec<Dimension> = (0..n_dimensions).map(dimension).collect();
    let mut trials = Vec::new();
    while trials.len() < n_trials {
        let bracket = (0..4).rev().nth(trials.len() % 20 / 7).unwrap_or(0);
        trials.push(trial(
            trials.len() + 1,
            bracket,
            &dimensions,
            objective,
            &mut draw,
        ));
    }
    let shares = (0..n_dimensions)
        .map(|at| 0.7 * 0.5f64.powi(at as i32 + 1))
        .collect();
    StudyRecords {
        name: "made-up".to_owned(),
        root: "runs/made-up".to_owned(),
        algorithm: "hyperband".to_owned(),
        sampling: "random".to_owned(),
        objective,
        min_epochs: 1,
        max_epochs: MAX_EPOCHS,
        factor: FACTOR,
        seed: 1,
        device: "Radeon 780M (Vulkan, integrated)".to_owned(),
        data: "Fashion-MNIST".to_owned(),
        weft: "0.1.0".to_owned(),
        started: "2026-01-31T09:05:00Z".to_owned(),
        dimensions,
        planned: planned(n_trials),
        epochs_spent: trials.iter().map(Trial::epochs).sum(),
        seconds: trials.iter().map(Trial::seconds).sum(),
        trials,
        importance: (n_trials > 10).then_some(Importance {
            shares,
            interactions: 0.3,
            n_trials: 11,
            epochs: 3,
        }),
        finished: true,
        final_run: (n_trials > 0).then(|| FinalRun {
            folder: "runs/made-up/final".to_owned(),
            trained_on: "train + validation".to_owned(),
            test_loss: 0.2406,
            test_accuracy: 0.9125,
            views: None,
        }),
        best_config: (n_trials > 0)
            .then(|| "name = \"made-up\"\n\n[optimizer]\nlearning_rate = 0.003\n".to_owned()),
    }
}

fn planned(n_trials: usize) -> Vec<PlannedRung> {
    let brackets = (0..4usize).rev().flat_map(|bracket| {
        (0..=bracket).map(move |rung| PlannedRung {
            bracket,
            rung,
            n_trials: (n_trials * (bracket + 1) / 10) / 3usize.pow(rung as u32),
            epochs: MAX_EPOCHS / FACTOR.pow((bracket - rung) as u32),
        })
    });
    brackets.collect()
}

fn dimension(index: usize) -> Dimension {
    let texts = |values: &[&str]| Some(values.iter().map(|&text| text.to_owned()).collect());
    let (name, values, min, max, log) = match index {
        0 => ("optimizer.learning_rate".to_owned(), None, 1e-4, 1e-1, true),
        1 => (
            "model.hidden.units".to_owned(),
            texts(&["8", "16", "24", "32"]),
            8.0,
            32.0,
            false,
        ),
        2 => (
            "model.hidden.layers".to_owned(),
            texts(&["1", "2"]),
            1.0,
            2.0,
            false,
        ),
        3 => (
            "activation".to_owned(),
            texts(&["relu", "tanh"]),
            0.0,
            1.0,
            false,
        ),
        4 => ("model.dropout".to_owned(), None, 0.0, 0.5, false),
        5 => (
            "augmentation.random_erasing_probability".to_owned(),
            None,
            0.0,
            1.0,
            false,
        ),
        n => (format!("dimension.number_{n}"), None, 1e-6, 1.0, n % 2 == 0),
    };
    Dimension {
        keys: vec![name.clone()],
        name,
        values,
        min,
        max,
        log,
        condition: (index == 4).then(|| "model.hidden.layers = 2".to_owned()),
    }
}

fn value(dimension: &Dimension, at: f64) -> Value {
    if let Some(values) = &dimension.values {
        let index = ((at * values.len() as f64) as usize).min(values.len() - 1);
        let last = (values.len() - 1).max(1);
        return Value {
            text: values[index].clone(),
            position: index as f64 / last as f64,
        };
    }
    let value = match dimension.log {
        true => (dimension.min.ln() + at * (dimension.max / dimension.min).ln()).exp(),
        false => dimension.min + at * (dimension.max - dimension.min),
    };
    Value {
        text: format!("{value:.3e}"),
        position: at,
    }
}

fn trial(
    number: usize,
    bracket: usize,
    dimensions: &[Dimension],
    objective: Objective,
    draw: &mut Draw,
) -> Trial {
    let mut values: Vec<Option<Value>> = dimensions
        .iter()
        .map(|dimension| Some(value(dimension, draw.next())))
        .collect();
    let place = |index: usize, values: &[Option<Value>]| {
        values
            .get(index)
            .and_then(|it| it.as_ref())
            .map_or(0.5, |it| it.position)
    };
    if dimensions.len() > 4 && place(2, &values) < 0.5 {
        values[4] = None;
    }
    let rate = place(0, &values);
    let limit = 0.9
        - 1.1 * (rate - 0.55).powi(2)
        - 0.03 * place(1, &values) * draw.next()
        - 0.02 * draw.next();
    let survives = (0..bracket).take_while(|_| draw.next() < 0.4).count();
    let epochs = MAX_EPOCHS / FACTOR.pow((bracket - survives) as u32);
    let curve: Vec<EpochRow> = (1..=epochs).map(|epoch| row(epoch, limit, draw)).collect();
    let of = |row: &EpochRow| objective.of(row).unwrap_or(f64::NAN);
    let best = curve.iter().min_by(|a, b| objective.order(of(a), of(b)));
    let rungs = (0..=survives).map(|rung| {
        let epochs = MAX_EPOCHS / FACTOR.pow((bracket - rung) as u32);
        TrialRung {
            rung,
            epochs,
            value: of(&curve[epochs as usize - 1]),
            seconds: epochs as f64 * 0.37,
        }
    });
    Trial {
        number,
        bracket,
        values,
        status: Status::Done,
        rungs: rungs.collect(),
        best: best.map(of),
        best_epoch: best.map(|row| row.epoch),
        folder: format!("runs/made-up/trials/{number:04}"),
        curve,
    }
}

fn row(epoch: u64, limit: f64, draw: &mut Draw) -> EpochRow {
    let noise = 0.01 * (draw.next() - 0.5);
    let accuracy = limit * (1.0 - 0.6 * (-0.5 * epoch as f64).exp()) + noise;
    EpochRow {
        epoch,
        step: epoch * 32,
        seconds: 0.37,
        learning_rate: 1e-3,
        train_loss: 1.2 - accuracy,
        train_accuracy: accuracy,
        valid_loss: Some((1.05 - accuracy) * 2.5),
        valid_accuracy: Some(accuracy),
        best: false,
    }
}
