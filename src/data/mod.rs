//! From the `[data]` section to the splits of an experiment.

pub mod download;
pub mod epoch_order;
pub mod fashion_mnist;
pub mod idx;
pub mod image_file;
pub mod image_folder;
pub mod loader;
pub mod split;

use serde::{Deserialize, Serialize};

use fashion_mnist::{DataError, Dataset, LabeledImages, Lookup, Source, SourceKind};
use image_folder::{Color, Size};

use crate::kernels::gather_batch::{Augmentation, table};
use crate::run::input::Background;

/// The `[data]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// `"auto"`, `"fashion-mnist"`, `"sample"`, or a directory: in MNIST's format, or with a folder of
    /// images for each class.
    pub source: String,
    /// What image files are fitted to.
    pub size: Size,
    /// The channels that image files are read as.
    pub color: Color,
    /// Whether to go on without image files that cannot be used.
    pub skip_bad: bool,
    /// Part of the images that is set aside for the test, in (0, 1), where the set has no test split.
    pub test_fraction: f64,
    /// Part of the training images that validates, in [0, 1); each class gives the same part.
    pub validation_fraction: f64,
    /// How a byte becomes a number.
    pub normalization: Normalization,
}

/// How a pixel's byte becomes a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalization {
    /// byte / 255, in [0, 1].
    #[default]
    Unit,
    /// (byte / 255 - mean) / deviation, with the training split's own mean and deviation.
    Standardize,
}

/// The `[augmentation]` section: random changes of the training images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentationConfig {
    /// Probability of a horizontal flip.
    pub flip: f64,
    /// In which epochs an image is flipped.
    pub flip_mode: FlipMode,
    /// Largest shift in pixels, each way and on each axis; what enters is black.
    pub shift: u32,
    /// Probability of erasing a rectangle.
    pub erase: f64,
    /// Shortest side of that rectangle in pixels.
    pub erase_min: u32,
    /// Longest side of that rectangle in pixels.
    pub erase_max: u32,
}

/// In which epochs an image is flipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlipMode {
    /// Drawn anew for each epoch.
    #[default]
    Random,
    /// Drawn for the first epoch; then in every second one (Jordan, 2024, "94% on CIFAR-10 in 3.29 seconds on a
    /// single GPU").
    Alternating,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            source: "auto".to_owned(),
            size: Size::Auto,
            color: Color::Auto,
            skip_bad: false,
            test_fraction: 0.1,
            validation_fraction: 0.2,
            normalization: Normalization::Unit,
        }
    }
}

/// Finds the images of a config, checked, so that a trainer can rely on every count and label.
pub fn load(
    config: &DataConfig,
    seed: u64,
    lookup: &Lookup,
    progress: &mut dyn download::Progress,
) -> Result<Dataset, DataError> {
    let Some(folder) = lookup.image_folder()? else {
        let dataset = fashion_mnist::load(lookup, progress)?;
        check_unfitted(config, &dataset)?;
        return Ok(dataset);
    };
    let options = image_folder::Options {
        folder,
        size: config.size,
        color: config.color,
        test_fraction: config.test_fraction,
        seed,
        skip_bad: config.skip_bad,
        cache_root: &lookup.cache_root,
    };
    let mut dataset = image_folder::load(&options, progress)?;
    if let Some(unused) = lookup.warning_if_unused() {
        let found = dataset.source.warning.take();
        let all = found.map_or(unused.clone(), |found| format!("{found}\n{unused}"));
        dataset.source.warning = Some(all);
    }
    Ok(dataset)
}

/// IDX files are taken as they are: a config that wants them otherwise is not followed in silence.
fn check_unfitted(config: &DataConfig, dataset: &Dataset) -> Result<(), DataError> {
    let (height, width) = (dataset.train.images.height, dataset.train.images.width);
    let (key, value) = match (config.size.allows(height, width), config.color) {
        (false, _) => ("size", config.size.to_string()),
        (_, Color::Rgb) => ("color", "\"rgb\"".to_owned()),
        _ => return Ok(()),
    };
    Err(DataError::NotFitted {
        key,
        value,
        what: dataset.source.title(),
        height,
        width,
    })
}

impl AugmentationConfig {
    /// As the kernel takes it.
    pub fn for_kernel(&self) -> Augmentation {
        let (min, max) = (self.erase_min, self.erase_max);
        Augmentation {
            alternates: self.flip_mode == FlipMode::Alternating,
            ..Augmentation::new(self.flip, self.shift, self.erase, min, max)
        }
    }
}

/// The images of an experiment, on the host, divided into splits.
pub struct Splits {
    /// All training images of the source, and the test images.
    pub dataset: Dataset,
    /// Which of the training images train and validate.
    pub split: split::Split,
    /// Of the training split's pixels, one for each channel.
    pub statistics: Vec<Statistics>,
}

/// Mean and standard deviation of pixels scaled to [0, 1].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Mean.
    pub mean: f64,
    /// Standard deviation (of the population).
    pub deviation: f64,
}

impl Splits {
    /// Divides a data set: stratified, a pure function of `seed`.
    pub fn new(
        dataset: Dataset,
        config: &DataConfig,
        seed: u64,
    ) -> Result<Self, split::SplitError> {
        let n_classes = dataset.class_names.len();
        let labels = &dataset.train.labels;
        let split = match &dataset.validation {
            Some(validation) => split::Split::without(labels.len() as u32, validation),
            None => split::stratified(labels, n_classes, config.validation_fraction, seed)?,
        };
        let statistics = statistics(&dataset.train, &split.train);
        Ok(Self {
            dataset,
            split,
            statistics,
        })
    }

    /// Where the data came from.
    pub fn source(&self) -> &Source {
        &self.dataset.source
    }

    /// Images of each class among `indices` of the training images.
    pub fn class_counts(&self, indices: &[u32]) -> Vec<usize> {
        let labels = &self.dataset.train.labels;
        let picked = indices.iter().map(|&index| labels[index as usize]);
        count(picked, self.dataset.class_names.len())
    }

    /// Images of each class of the test split.
    pub fn test_class_counts(&self) -> Vec<usize> {
        let labels = self.dataset.test.labels.iter().copied();
        count(labels, self.dataset.class_names.len())
    }

    /// The f32 bits of each byte under a normalisation, 256 for each channel.
    pub fn table(&self, normalization: Normalization) -> Vec<i32> {
        let channels = self.normalization(normalization).into_iter();
        channels
            .flat_map(|channel| table(channel.mean, channel.deviation))
            .collect()
    }

    /// For each channel what is subtracted, and what the rest is divided by, after a byte was divided
    /// by 255.
    pub fn normalization(&self, normalization: Normalization) -> Vec<Statistics> {
        let unit = Statistics {
            mean: 0.0,
            deviation: 1.0,
        };
        match normalization {
            Normalization::Unit => vec![unit; self.statistics.len()],
            Normalization::Standardize => self.statistics.clone(),
        }
    }

    /// The mean image of each class over the training split, `[class][row][column]`, rounded to bytes.
    /// Empty for images that are not grey.
    pub fn class_means(&self) -> Vec<Vec<u8>> {
        let LabeledImages { images, labels } = &self.dataset.train;
        if images.channels != 1 {
            return Vec::new();
        }
        let n_classes = self.dataset.class_names.len();
        let mut sums = vec![vec![0u64; images.height * images.width]; n_classes];
        for &index in &self.split.train {
            let class = usize::from(labels[index as usize]);
            let pixels = images.image(index as usize);
            for (sum, &pixel) in sums[class].iter_mut().zip(pixels) {
                *sum += u64::from(pixel);
            }
        }
        let counts = self.class_counts(&self.split.train);
        let mean = |(sums, count): (&Vec<u64>, usize)| {
            let count = count.max(1) as u64;
            sums.iter()
                .map(|sum| ((sum + count / 2) / count) as u8)
                .collect()
        };
        sums.iter().zip(counts).map(mean).collect()
    }

    /// The background that the training images have in common, if they are grey and have one. Not of a
    /// folder of image files: those were fitted whole, and so is every other picture then.
    pub fn background(&self) -> Option<Background> {
        let images = &self.dataset.train.images;
        let is_fitted = self.source().kind == SourceKind::ImageFolder;
        if images.channels != 1 || is_fitted {
            return None;
        }
        let indices = self.split.train.iter();
        let pixels = indices.map(|&index| images.image(index as usize));
        image_file::common_background(pixels, images.height, images.width)
    }
}

fn count(labels: impl Iterator<Item = u8>, n_classes: usize) -> Vec<usize> {
    let mut counts = vec![0; n_classes];
    for label in labels {
        counts[usize::from(label)] += 1;
    }
    counts
}

/// Exact sums of bytes, so that the order of the images does not matter. One for each channel.
fn statistics(images: &LabeledImages, indices: &[u32]) -> Vec<Statistics> {
    let images = &images.images;
    let n_pixels = images.height * images.width;
    let mut histograms = vec![[0u64; 256]; images.channels];
    for &index in indices {
        let channels = images.image(index as usize).chunks(n_pixels);
        for (histogram, channel) in histograms.iter_mut().zip(channels) {
            for &byte in channel {
                histogram[usize::from(byte)] += 1;
            }
        }
    }
    histograms.iter().map(Statistics::of).collect()
}

impl Statistics {
    /// From how often each byte occurs.
    fn of(histogram: &[u64; 256]) -> Self {
        let n = histogram.iter().sum::<u64>() as f64;
        let moment = |power: i32| -> f64 {
            let terms = histogram.iter().enumerate();
            terms
                .map(|(byte, &count)| (byte as f64 / 255.0).powi(power) * count as f64)
                .sum::<f64>()
                / n
        };
        let mean = moment(1);
        let deviation = (moment(2) - mean * mean).max(0.0).sqrt();
        Self {
            mean,
            // A constant image set has no deviation; dividing by one keeps it finite.
            deviation: if deviation > 0.0 { deviation } else { 1.0 },
        }
    }
}
