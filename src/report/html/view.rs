//! What the page's script is given, as JSON.

use serde::Serialize;

use super::data::Samples;
use super::gallery::Gallery;
use super::record::shown_rows;
use super::result::{SHADES, matrix_classes};
use super::run::Run;

#[derive(Serialize)]
pub(super) struct View<'a> {
    pub(super) shades: &'static [f64],
    pub(super) runs: Vec<RunView<'a>>,
}

#[derive(Serialize)]
pub(super) struct RunView<'a> {
    id: &'a str,
    name: &'a str,
    curves: Curves,
    best: Option<u64>,
    class_names: &'a [String],
    /// None without a test result.
    matrix: Option<Matrix>,
    /// Lower and upper end, images, mean confidence, accuracy of each bin.
    bins: Vec<(f64, f64, u64, f64, f64)>,
    gallery: Gallery,
    samples: Samples,
    /// Why there are no images, if there are none.
    images_missing: Option<&'a str>,
}

/// An entry per epoch; null where there is no number.
#[derive(Serialize)]
struct Curves {
    epoch: Vec<u64>,
    train_loss: Vec<f64>,
    train_accuracy: Vec<f64>,
    valid_loss: Vec<Option<f64>>,
    valid_accuracy: Vec<Option<f64>>,
    learning_rate: Vec<f64>,
    seconds: Vec<f64>,
}

#[derive(Serialize)]
struct Matrix {
    /// The classes that are shown.
    classes: Vec<usize>,
    /// Images of those by actual and predicted class.
    counts: Vec<Vec<u64>>,
    /// All images of those.
    support: Vec<u64>,
}

impl<'a> View<'a> {
    /// `galleries`: of each run, in their order. `samples`: whether the training images are shown.
    pub(super) fn new(runs: &'a [Run<'a>], galleries: Vec<Gallery>, samples: bool) -> Self {
        let runs = runs.iter().zip(galleries);
        Self {
            shades: &SHADES,
            runs: runs
                .map(|(run, gallery)| RunView::new(run, gallery, samples))
                .collect(),
        }
    }
}

impl<'a> RunView<'a> {
    fn new(run: &'a Run<'a>, gallery: Gallery, samples: bool) -> Self {
        let evaluation = run.records.evaluated.as_ref().map(|it| &it.evaluation);
        let recorded = run.input.as_ref();
        let recorded = recorded.map_or(&[][..], |input| &input.class_names);
        let matrix = evaluation.map(|evaluation| {
            let classes = matrix_classes(&evaluation.confusion);
            let row = |&actual: &usize| -> Vec<u64> {
                let cells = classes.iter();
                cells
                    .map(|&predicted| evaluation.confusion.count(actual, predicted))
                    .collect()
            };
            let support = |&class: &usize| evaluation.classes[class].support;
            Matrix {
                counts: classes.iter().map(row).collect(),
                support: classes.iter().map(support).collect(),
                classes,
            }
        });
        let bins = evaluation.map_or(&[][..], |evaluation| &evaluation.calibration.bins);
        let bins = bins.iter().map(|bin| {
            (
                bin.lower,
                bin.upper,
                bin.n_images,
                bin.confidence,
                bin.accuracy,
            )
        });
        let shown = run.data.filter(|_| samples);
        Self {
            id: &run.id,
            name: &run.name,
            curves: Curves::of(run),
            best: run.records.best_epoch(),
            class_names: evaluation.map_or(recorded, |evaluation| &evaluation.class_names),
            matrix,
            bins: bins.collect(),
            gallery,
            samples: shown.map(|data| data.samples.clone()).unwrap_or_default(),
            images_missing: run.images_missing(),
        }
    }
}

impl Curves {
    fn of(run: &Run) -> Self {
        let rows = shown_rows(&run.records.rows);
        let of = |value: fn(&crate::run::records::EpochRow) -> f64| -> Vec<f64> {
            rows.iter().map(|row| value(row)).collect()
        };
        Self {
            epoch: rows.iter().map(|row| row.epoch).collect(),
            train_loss: of(|row| row.train_loss),
            train_accuracy: of(|row| row.train_accuracy),
            valid_loss: rows.iter().map(|row| row.valid_loss).collect(),
            valid_accuracy: rows.iter().map(|row| row.valid_accuracy).collect(),
            learning_rate: of(|row| row.learning_rate),
            seconds: of(|row| (row.seconds * 1e3).round() / 1e3),
        }
    }
}
