//! Predicting: pictures become what the model was trained on, then logits, then probabilities. Pictures
//! are decoded on all cores within a fixed amount of memory, and go through the model in batches.

mod budget;
pub mod explain;
pub mod files;
pub mod prepare;

use anyhow::Result;
use burn::tensor::{DType, Device, Tensor, TensorData};
use rayon::prelude::*;

use crate::data::image_file::{self, Backdrop, ImageError};
use crate::evaluate::predictions::softmax;
use crate::evaluate::tta::Tta;
use crate::evaluate::views;
use crate::experiment::LoadedModel;
use crate::model::memory::Totals;
use budget::Budget;
use files::Input;
use prepare::{Prepared, Target};

/// Most bytes of files in a batch: what is large is told soon rather than in large batches.
const BATCH_FILE_BYTES: u64 = 64 << 20;
/// Most bytes that a batch takes on its way through the model. More would not be faster on a CPU.
const BATCH_BYTES: u64 = 64 << 20;
/// Most pictures in a batch that are explained, as each is kept in a copy for people.
const MOST_EXPLAINED: usize = 32;

/// A picture that went through the model.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// One for each class, adding up to 1.
    pub probabilities: Vec<f64>,
    /// What the model gave, one for each class.
    pub logits: Vec<f32>,
    /// What it was given.
    pub prepared: Prepared,
    /// The picture in small, where it is to be explained.
    pub sketch: Option<explain::Sketch>,
}

impl Prediction {
    /// Classes from the most to the least probable; of equal ones the first comes first.
    pub fn ranking(&self) -> Vec<usize> {
        let mut classes: Vec<usize> = (0..self.logits.len()).collect();
        classes.sort_by(|&a, &b| self.logits[b].total_cmp(&self.logits[a]));
        classes
    }
}

/// A model that predicts pictures.
pub struct Predictor<'a> {
    model: &'a LoadedModel,
    device: &'a Device,
    target: Target,
    tables: Vec<[f32; 256]>,
    batch_size: usize,
    explains: bool,
    tta: Tta,
    budget: Budget,
}

impl<'a> Predictor<'a> {
    /// Whether pictures are inverted and mirrored: None decides for each one. With `explains` each prediction has a sketch.
    pub fn new(
        model: &'a LoadedModel,
        device: &'a Device,
        (invert, mirror): (Option<bool>, Option<bool>),
        explains: bool,
    ) -> Self {
        let about = &model.about;
        let per_image = Totals::of(&model.config.model.layers(model.input)).inference_per_image;
        let fits = BATCH_BYTES / (4 * per_image).max(1);
        let mut batch_size = model.config.train.evaluation_batch_size.min(fits as usize);
        if explains {
            batch_size = batch_size.min(MOST_EXPLAINED);
        }
        Self {
            model,
            device,
            target: Target {
                height: about.height,
                width: about.width,
                channels: about.channels,
                background: about.background,
                class_means: about.class_means().unwrap_or_default(),
                invert,
                mirror,
            },
            tables: (0..about.channels)
                .map(|channel| model.table(channel))
                .collect(),
            batch_size: batch_size.max(1),
            explains,
            tta: Tta::None,
            budget: Budget::new(),
        }
    }

    /// Averages the logits of several views of each picture.
    #[must_use]
    pub fn with_views(self, tta: Tta) -> Self {
        Self { tta, ..self }
    }

    /// Predicts in batches. `tell` hears of each input in its order, and may end it all by returning
    /// false.
    pub fn run(
        &self,
        inputs: &[Input],
        mut tell: impl FnMut(&Input, Result<Prediction, ImageError>) -> Result<bool>,
    ) -> Result<()> {
        let mut rest = inputs;
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(self.next_batch(rest));
            rest = after;
            for (input, result) in batch.iter().zip(self.predict(batch)?) {
                if !tell(input, result)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// How many of the inputs come next.
    fn next_batch(&self, inputs: &[Input]) -> usize {
        let mut bytes = 0u64;
        let fits = |input: &&Input| {
            bytes += input.file_bytes();
            bytes <= BATCH_FILE_BYTES
        };
        let n_fitting = inputs.iter().take(self.batch_size).take_while(fits).count();
        n_fitting.max(1)
    }

    fn predict(&self, batch: &[Input]) -> Result<Vec<Result<Prediction, ImageError>>> {
        type Loaded = (Prepared, Option<explain::Sketch>);
        let loaded: Vec<Result<Loaded, ImageError>> =
            batch.par_iter().map(|input| self.load(input)).collect();
        let good: Vec<&Prepared> = loaded.iter().flatten().map(|(it, _)| it).collect();
        let mut logits = self.forward(&good)?.into_iter();
        let predictions = loaded.into_iter().map(|loaded| {
            loaded.map(|(prepared, sketch)| {
                let logits = logits.next().unwrap_or_default();
                Prediction {
                    probabilities: softmax(&logits),
                    logits,
                    prepared,
                    sketch,
                }
            })
        });
        Ok(predictions.collect())
    }

    fn load(&self, input: &Input) -> Result<(Prepared, Option<explain::Sketch>), ImageError> {
        let _file = self.budget.file(input.file_bytes());
        let bytes = input.read()?;
        let header = image_file::header(&bytes)?;
        let _pixels = self.budget.pixels(header.cost - bytes.len() as u64);
        // Image files that a model was trained on were decoded with white behind them.
        let backdrop = match self.target.background {
            Some(_) => Backdrop::Contrasting,
            None => Backdrop::White,
        };
        let picture = image_file::decode(&bytes, backdrop)?;
        drop(bytes);
        let prepared = prepare::prepare(&picture, &self.target);
        let sketch = self
            .explains
            .then(|| explain::Sketch::new(&picture, &prepared, &self.target));
        Ok((prepared, sketch))
    }

    /// Logits of each picture: those of evaluating the same bytes.
    fn forward(&self, images: &[&Prepared]) -> Result<Vec<Vec<f32>>> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let &Target {
            height,
            width,
            channels,
            ..
        } = &self.target;
        let mut values = Vec::with_capacity(images.len() * channels * height * width);
        for image in images {
            for (plane, table) in image.pixels.chunks(height * width).zip(&self.tables) {
                values.extend(plane.iter().map(|&byte| table[usize::from(byte)]));
            }
        }
        let data = TensorData::new(values, [images.len(), channels, height, width]);
        let images = Tensor::<4>::from_data(data, (self.device, DType::F32));
        let black: Vec<f32> = self.tables.iter().map(|table| table[0]).collect();
        let logits = views::logits(&self.model.classifier, &images, self.tta, &black)?;
        crate::failure::check()?;
        let logits = self.tta.mean(&logits);
        let n_classes = self.model.input.n_classes;
        Ok(logits.chunks(n_classes).map(<[f32]>::to_vec).collect())
    }
}
