//! The pictures of a run, each as PNG and as SVG. They are drawn with plotters: the scenes here say
//! what is where, its backends draw it.
//!
//! The same records give the same bytes: no clock, no system font, no order of a hash map.

mod axis;
mod calibration;
mod class_counts;
mod confusion_matrix;
mod curves;
mod misclassified;
mod palette;
mod picture;
mod raster;
mod samples;
mod scene;
mod svg;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rayon::prelude::*;

use super::{Evaluated, RunRecords};
use crate::data::Splits;
use crate::data::fashion_mnist::LabeledImages;
use crate::run::atomic;
use crate::run::records::Evaluation;
use crate::text::thousands;
use picture::Picture;
use scene::{Point, Scene};

/// How the pictures are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether the cells of the confusion matrix have counts instead of per cent.
    pub counts: bool,
}

/// Training images, and what the network sees of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Augmented {
    pub height: usize,
    pub width: usize,
    /// What is changed, for people.
    pub what: String,
    pub images: Vec<AugmentedImage>,
}

/// One image, `[channel, row, column]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AugmentedImage {
    /// Its class.
    pub label: usize,
    pub stored: Vec<u8>,
    /// In epoch 1, epoch 2, and so on.
    pub drawn: Vec<Vec<u8>>,
}

/// What was made of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plots {
    /// The files that were written.
    pub files: Vec<PathBuf>,
    /// Pictures that could not be drawn, and why. Their files of an earlier time are gone.
    pub left_out: Vec<(&'static str, String)>,
}

/// A scene, or why there is none.
type Drawn = std::result::Result<Scene, String>;
type Draw = fn(&Figure) -> Drawn;

/// Draws what the records allow and writes it to the run's plots folder. The errors are those of the
/// disk.
///
/// * `splits`: the images, where they are at hand
/// * `augmented`: None where the config changes no image
pub fn write_all(
    records: &RunRecords,
    splits: Option<&Splits>,
    augmented: Option<&Augmented>,
    seed: u64,
    options: Options,
) -> Result<Plots> {
    let figure = Figure {
        records,
        splits,
        augmented,
        seed,
        options,
    };
    let run = &records.run;
    // Drawn on all cores; written from here, where a test of faults is watching.
    let rendered: Vec<_> = FIGURES
        .par_iter()
        .map(|(name, draw)| (*name, draw(&figure).and_then(|scene| rendered(&scene))))
        .collect();
    let folder = run.create_plots()?;
    remove_leftovers(&folder);
    let mut plots = Plots::default();
    for (name, rendered) in rendered {
        let paths = ["png", "svg"].map(|kind| folder.join(format!("{name}.{kind}")));
        match rendered {
            Ok(files) => {
                for (path, bytes) in paths.into_iter().zip(files) {
                    atomic::write_file(&path, &bytes)
                        .with_context(|| "the pictures were not written".to_owned())?;
                    plots.files.push(path);
                }
            }
            Err(why) => {
                for path in paths {
                    atomic::remove_file(&path)?;
                }
                plots.left_out.push((name, why));
            }
        }
    }
    Ok(plots)
}

/// What a kill or a full disk left of an earlier time. It does no harm, so it may stay.
fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(atomic::TEMPORARY_PREFIX) {
            let _ = atomic::remove_file(&entry.path());
        }
    }
}

/// PNG and SVG.
fn rendered(scene: &Scene) -> std::result::Result<[Vec<u8>; 2], String> {
    let (png, svg) = rayon::join(|| raster::png(scene), || svg::svg(scene));
    let told = |error: anyhow::Error| format!("{error:#}");
    Ok([png.map_err(told)?, svg.map_err(told)?.into_bytes()])
}

/// Name and how it is drawn.
const FIGURES: [(&str, Draw); 7] = [
    ("curves", curves::draw),
    ("confusion_matrix", confusion_matrix::draw),
    ("misclassified", misclassified::draw),
    ("calibration", calibration::draw),
    ("class_counts", class_counts::draw),
    ("samples", samples::samples),
    ("augmented", samples::augmented),
];

/// What a picture is drawn from.
struct Figure<'a> {
    records: &'a RunRecords,
    splits: Option<&'a Splits>,
    augmented: Option<&'a Augmented>,
    seed: u64,
    options: Options,
}

impl Figure<'_> {
    /// A title that ends in the name of the run.
    fn titled(&self, title: &str) -> String {
        match self.records.run.root.file_name() {
            Some(name) => format!("{title} \u{2013} {}", text::clean(&name.to_string_lossy())),
            None => title.to_owned(),
        }
    }

    fn evaluated(&self) -> std::result::Result<&Evaluated, String> {
        let evaluated = self.records.evaluated.as_ref();
        evaluated.ok_or_else(|| "the run is not evaluated".to_owned())
    }

    /// "test split, 10,000 images, epoch 6", and of which views.
    fn evaluated_on(&self, evaluation: &Evaluation) -> String {
        let views = evaluation.tta.and_then(|tta| {
            let without = tta.plain_accuracy;
            let told = tta.mode.told()?;
            Some(format!(", {told} (accuracy {without:.4} without)"))
        });
        format!(
            "{} split, {} images, {}{}",
            evaluation.split,
            thousands(evaluation.n_images),
            evaluation.epochs(),
            views.unwrap_or_default()
        )
    }

    fn splits(&self) -> std::result::Result<&Splits, String> {
        self.splits
            .ok_or_else(|| "the images are not at hand".to_owned())
    }

    fn labels(&self) -> std::result::Result<Vec<String>, String> {
        let names = &self.splits()?.dataset.class_names;
        Ok(text::class_labels(names, names.len()))
    }

    /// The image of each index of the predictions.
    fn splits_of_evaluation<'a>(
        &'a self,
        evaluated: &Evaluated,
    ) -> std::result::Result<impl Fn(usize) -> Picture + 'a, String> {
        let splits = self.splits()?;
        let dataset = &splits.dataset;
        let (images, indices): (&LabeledImages, Vec<u32>) =
            match evaluated.evaluation.split.as_str() {
                "test" => (
                    &dataset.test,
                    (0..dataset.test.labels.len() as u32).collect(),
                ),
                "validation" => (&dataset.train, splits.split.validation.clone()),
                _ => (&dataset.train, splits.split.train.clone()),
            };
        let predictions = &evaluated.predictions;
        let labels = indices
            .iter()
            .map(|&index| usize::from(images.labels[index as usize]));
        let evaluated_labels = (0..predictions.n_images()).map(|image| predictions.label(image));
        if !labels.eq(evaluated_labels) {
            return Err("predictions.csv is of other images".to_owned());
        }
        Ok(move |image: usize| Picture::of(&images.images, indices[image] as usize))
    }
}

/// An image of the data in a square frame, as large as its shape allows.
fn framed(scene: &mut Scene, picture: Picture, at: Point, side: f64) {
    let picture = picture.at_most((side * 2.0) as u32);
    let (offset, size) = picture.fit(side);
    let at = (at.0 + offset.0, at.1 + offset.1);
    scene.outline(
        (at.0 - 1.0, at.1 - 1.0),
        (size.0 + 2.0, size.1 + 2.0),
        1.0,
        palette::FRAME,
    );
    scene.picture(at, size, picture);
}
