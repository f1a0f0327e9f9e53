//! burn's own file: the record of a [`Classifier`], with all that is needed to use it in its metadata.
//! Written and read here.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::module::Module;
use burn::store::ModuleRecord;
use burn::tensor::activation::softmax;
use burn::tensor::{Bytes, Device, Tensor, TensorData};
use burn_pack::{Reader, Writer};

use super::Exported;
use crate::config::ExperimentConfig;
use crate::data::Statistics;
use crate::data::image_file::{self, Backdrop};
use crate::model::{Classifier, InputShape, Mode};

/// What a checkpoint's model file has before each name.
const TRAINEE_PREFIX: &str = "classifier.";

/// The bytes of a file.
pub(super) fn to_bytes(model: &Exported) -> Result<Vec<u8>> {
    let record = Bytes::from_bytes_vec(model.model_file.clone());
    let mut tensors = Reader::from_bytes(record)?.into_tensors()?;
    for tensor in &mut tensors {
        if let Some(name) = tensor.name.strip_prefix(TRAINEE_PREFIX) {
            tensor.name = name.to_owned();
        }
    }
    let mut writer = Writer::new(tensors);
    for (key, value) in &model.metadata {
        writer = writer.with_metadata(key, value);
    }
    Ok(writer.into_bytes()?.to_vec())
}

/// A model from a file that `weft export --format bpk` wrote.
pub struct Predictor {
    /// The model.
    pub classifier: Classifier,
    /// What it takes and gives.
    pub input: InputShape,
    /// Names of the classes, in the order of the probabilities.
    pub class_names: Vec<String>,
    /// Brightness of what is put around a picture.
    around: u8,
    normalization: Option<Vec<Statistics>>,
    device: Device,
}

impl Predictor {
    /// Reads a file; the weights go to `device`.
    pub fn read(path: &Path, device: &Device) -> Result<Self> {
        let bytes = std::fs::read(path)
            .with_context(|| format!("{} cannot be read\nhint: check the path", path.display()))?;
        Self::from_bytes(bytes, device).with_context(|| {
            format!(
                "{} is not a model that this weft reads\n\
                 hint: `weft export RUN --format bpk` makes one",
                path.display()
            )
        })
    }

    fn from_bytes(bytes: Vec<u8>, device: &Device) -> Result<Self> {
        let reader = Reader::from_bytes(Bytes::from_bytes_vec(bytes.clone()))?;
        let metadata = |key: &str| {
            let value = reader.metadata().get(key);
            value.with_context(|| format!("its metadata have no `{key}`"))
        };
        let config: ExperimentConfig = toml::from_str(metadata("weft_config")?)?;
        let class_names: Vec<String> = serde_json::from_str(metadata("class_names")?)?;
        let [channels, height, width] = serde_json::from_str(metadata("input_shape")?)?;
        let normalization: Option<Vec<Statistics>> =
            serde_json::from_str(metadata("normalization")?)?;
        let around = serde_json::from_str(metadata("around")?)?;
        let input = InputShape {
            channels,
            height,
            width,
            n_classes: class_names.len(),
        };
        config.model.validate(input)?;
        let n_normalized = normalization.as_ref().map_or(channels, Vec::len);
        ensure!(
            n_normalized == channels,
            "its normalisation is of other channels"
        );
        let record = ModuleRecord::from_bytes(Bytes::from_bytes_vec(bytes))?;
        let untrained = config.model.init(input, config.seed, device);
        Ok(Self {
            classifier: untrained.try_load_record(record)?,
            input,
            class_names,
            around,
            normalization,
            device: device.clone(),
        })
    }

    /// A PNG, JPEG, WebP, BMP or GIF file as the model takes it, for [`Self::probabilities`]: the whole
    /// picture with its sides' ratio kept, and white where it is transparent. So image files are trained on;
    /// a model of objects on a common background should be given such objects, as nothing is cut out or
    /// inverted here.
    pub fn pixels(&self, file: &[u8]) -> Result<Vec<f32>> {
        let InputShape {
            channels,
            height,
            width,
            ..
        } = self.input;
        let picture = image_file::decode(file, Backdrop::White)?;
        let bytes = image_file::fit(&picture, height, width, channels, self.around);
        Ok(bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect())
    }

    /// The probabilities of the classes, for each image.
    ///
    /// * `pixels`: in [0, 1], images after images of `[channel, height, width]`
    pub fn probabilities(&self, pixels: &[f32]) -> Result<Vec<Vec<f32>>> {
        let input = self.input;
        let n_pixels = input.height * input.width;
        let n_values = input.channels * n_pixels;
        ensure!(
            pixels.len().is_multiple_of(n_values),
            "{} numbers are not images of {n_values}",
            pixels.len()
        );
        if pixels.is_empty() {
            return Ok(Vec::new());
        }
        let values = match &self.normalization {
            None => pixels.to_vec(),
            Some(channels) => normalized(pixels, n_pixels, channels),
        };
        let shape = [
            pixels.len() / n_values,
            input.channels,
            input.height,
            input.width,
        ];
        let images = Tensor::<4>::from_data(TensorData::new(values, shape), &self.device);
        let logits = self.classifier.forward(images, Mode::Inference);
        let probabilities = softmax(logits, 1).try_into_data_as::<f32>()?;
        let values: Vec<f32> = probabilities.iter::<f32>().collect();
        Ok(values
            .chunks(input.n_classes)
            .map(<[f32]>::to_vec)
            .collect())
    }
}

/// `n_pixels`: of one channel
fn normalized(pixels: &[f32], n_pixels: usize, channels: &[Statistics]) -> Vec<f32> {
    let normalized = |(pixels, channel): (&[f32], &Statistics)| -> Vec<f32> {
        let Statistics { mean, deviation } = channel;
        let normalized = |&pixel: &f32| ((f64::from(pixel) - mean) / deviation) as f32;
        pixels.iter().map(normalized).collect()
    };
    let pixels = pixels.chunks(n_pixels).zip(channels.iter().cycle());
    pixels.flat_map(normalized).collect()
}
