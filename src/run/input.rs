//! input.json: what a run's model takes and gives, so that it can be used where its data is not. Written
//! when the run begins, from its data; covered by a SHA-256 of itself.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::atomic;
use super::checkpoints::sha256_hex;
use super::records::{self, RecordError};

const SCHEMA: u32 = 1;
/// Far above what 256 class names take.
const MOST_BYTES: u64 = 1 << 20;
const MOST_MEAN_BYTES: usize = 64 << 10;

/// What a model takes and gives, as its training data said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelInput {
    pub schema: u32,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// One for each logit, in their order.
    pub class_names: Vec<String>,
    /// A byte becomes (byte / 255 - mean) / deviation: one number for all channels, or one for each.
    pub mean: Vec<f64>,
    pub deviation: Vec<f64>,
    /// What stands around the objects. None where the images have no background in common, as photos.
    pub background: Option<Background>,
    /// The mean image of each class, one byte for each pixel, in Base64. Empty without a background, and
    /// for images so large or classes so many that this would be no small file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_means: Vec<String>,
    /// As in the manifest of each checkpoint.
    pub data_sha256: String,
}

/// The background that the training images have in common, and how the object lies on it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Background {
    /// Brightness, 0 to 255: the median over the images of the median of their border.
    pub value: u8,
    /// Part of the longer side that the object takes: the median over the images.
    pub fill: f64,
    /// Brightness that is farthest from the background: the median over the images.
    pub peak: u8,
}

impl Background {
    /// Whether the objects are light and the background is dark, as in MNIST.
    #[must_use]
    pub fn is_dark(&self) -> bool {
        self.value < 128
    }
}

/// As on disk: with the SHA-256 of the rest.
#[derive(Serialize, Deserialize)]
struct Sealed {
    #[serde(flatten)]
    input: ModelInput,
    sha256: String,
}

impl ModelInput {
    pub const SCHEMA: u32 = SCHEMA;

    /// The mean image of each class, `[class][row][column]`; None where there are none. For grey images.
    #[must_use]
    pub fn class_means(&self) -> Option<Vec<Vec<u8>>> {
        let decode = |text: &String| BASE64_STANDARD.decode(text).ok();
        let means: Vec<Vec<u8>> = self.class_means.iter().map(decode).collect::<Option<_>>()?;
        let n_pixels = self.height * self.width;
        let fits = means.len() == self.class_names.len();
        (fits && means.iter().all(|mean| mean.len() == n_pixels)).then_some(means)
    }

    /// Sets the mean image of each class, unless they are too many bytes.
    pub fn set_class_means(&mut self, means: &[Vec<u8>]) {
        let bytes: usize = means.iter().map(Vec::len).sum();
        if bytes <= MOST_MEAN_BYTES {
            self.class_means = means.iter().map(|it| BASE64_STANDARD.encode(it)).collect();
        }
    }

    /// Writes input.json.
    pub fn write(&self, path: &Path) -> Result<(), RecordError> {
        let failed = |source| RecordError::Io {
            path: path.to_owned(),
            source,
        };
        let bytes = self.sealed().map_err(io::Error::from).map_err(failed)?;
        atomic::write_file(path, &bytes).map_err(failed)
    }

    /// Reads input.json, and returns it only if it is whole and makes sense.
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let bytes = atomic::read_regular(path, MOST_BYTES).map_err(|source| RecordError::Io {
            path: path.to_owned(),
            source,
        })?;
        let invalid = |reason: String| RecordError::Invalid {
            path: path.to_owned(),
            reason,
            hint: "`weft evaluate RUN` writes it anew, from the run's data",
        };
        let sealed: Sealed = records::from_json(&bytes, path).map_err(|error| match error {
            RecordError::Invalid { reason, .. } => invalid(reason),
            other => other,
        })?;
        let input = sealed.input;
        if input.sealed().ok().as_deref() != Some(&bytes) {
            return Err(invalid("it does not match its own SHA-256".to_owned()));
        }
        input.check().map_err(invalid)?;
        Ok(input)
    }

    /// A function of the content alone, so that reading can compare.
    fn sealed(&self) -> serde_json::Result<Vec<u8>> {
        records::to_json(&Sealed {
            input: self.clone(),
            sha256: sha256_hex(&serde_json::to_vec(self)?),
        })
    }

    fn check(&self) -> Result<(), String> {
        let per_channel = [1, self.channels];
        let finite = |numbers: &[f64]| numbers.iter().all(|number| number.is_finite());
        if self.schema != SCHEMA {
            Err(format!(
                "it has schema {}, and this weft reads schema {SCHEMA}",
                self.schema
            ))
        } else if self.height * self.width == 0 || ![1, 3].contains(&self.channels) {
            let (height, width, channels) = (self.height, self.width, self.channels);
            Err(format!("it says {channels} x {height} x {width} pixels"))
        } else if self.class_names.is_empty() || self.class_names.len() > 256 {
            Err(format!("it names {} classes", self.class_names.len()))
        } else if !per_channel.contains(&self.mean.len())
            || self.deviation.len() != self.mean.len()
            || !finite(&self.mean)
            || !finite(&self.deviation)
            || self.deviation.contains(&0.0)
        {
            Err("its mean and deviation cannot be used".to_owned())
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> ModelInput {
        ModelInput {
            schema: SCHEMA,
            height: 28,
            width: 28,
            channels: 1,
            class_names: vec!["T-shirt/top".to_owned(), "Bag".to_owned()],
            mean: vec![0.286_040_6],
            deviation: vec![0.353_024_2],
            background: Some(Background {
                value: 0,
                fill: 1.0,
                peak: 255,
            }),
            class_means: Vec::new(),
            data_sha256: "ab".repeat(32),
        }
    }

    #[test]
    fn it_comes_back_and_any_changed_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("input.json");
        input().write(&path).unwrap();
        assert_eq!(ModelInput::read(&path).unwrap(), input());
        assert_eq!(input().class_means(), None);
        let means = vec![vec![7; 784], vec![9; 784]];
        let mut with_means = input();
        with_means.set_class_means(&means);
        with_means.write(&path).unwrap();
        assert_eq!(ModelInput::read(&path).unwrap().class_means(), Some(means));
        input().write(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            std::fs::write(&path, changed).unwrap();
            let error = ModelInput::read(&path).unwrap_err().to_string();
            assert!(
                error.contains("input.json") && error.contains("weft evaluate RUN"),
                "{at}: {error}"
            );
        }
    }

    #[test]
    fn what_no_model_can_take_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("input.json");
        let changes: [fn(&mut ModelInput); 5] = [
            |it| it.channels = 2,
            |it| it.height = 0,
            |it| it.class_names.clear(),
            |it| it.deviation = vec![0.0],
            |it| it.mean = vec![0.5; 2],
        ];
        for change in changes {
            let mut changed = input();
            change(&mut changed);
            changed.write(&path).unwrap();
            assert!(ModelInput::read(&path).is_err(), "{changed:?}");
        }
    }
}
