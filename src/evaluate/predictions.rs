//! What a model says of each image of a split, and what follows from the probabilities: top-k
//! accuracy, negative log-likelihood, calibration. No tensors.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::confusion::Confusion;

/// Bins of the calibration error, as in Guo et al., "On Calibration of Modern Neural Networks" (2017).
pub const CALIBRATION_BINS: usize = 15;

/// Actual class, predicted class and class probabilities of every image of a split, in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    n_classes: usize,
    labels: Vec<u8>,
    predicted: Vec<u8>,
    /// `[image, class]`
    probabilities: Vec<f32>,
}

/// How far confidence and accuracy lie apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Expected calibration error: the mean over the images of |accuracy - confidence| of their bin.
    pub expected_error: f64,
    /// The largest |accuracy - confidence| of a bin that has images.
    pub maximum_error: f64,
    /// Equal parts of [0, 1]; an image on the line between two belongs to the lower one.
    pub bins: Vec<CalibrationBin>,
}

/// The images whose confidence, the largest of their probabilities, lies in (lower, upper].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    pub lower: f64,
    pub upper: f64,
    pub n_images: u64,
    /// Mean confidence; 0 in an empty bin.
    pub confidence: f64,
    /// Part that was predicted right; 0 in an empty bin.
    pub accuracy: f64,
}

impl Predictions {
    /// * `logits`: `[image, class]`, an image per label
    ///
    /// # Panics
    /// When the lengths do not fit each other.
    #[must_use]
    pub fn from_logits(n_classes: usize, labels: Vec<u8>, logits: &[f32]) -> Self {
        assert_eq!(logits.len(), labels.len() * n_classes, "logits per label");
        let rows = || logits.chunks_exact(n_classes.max(1));
        Self {
            n_classes,
            predicted: rows().map(|row| largest(row) as u8).collect(),
            probabilities: rows()
                .flat_map(softmax)
                .map(|probability| probability as f32)
                .collect(),
            labels,
        }
    }

    #[must_use]
    pub fn n_images(&self) -> usize {
        self.labels.len()
    }

    #[must_use]
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// The actual class of an image.
    #[must_use]
    pub fn label(&self, image_index: usize) -> usize {
        usize::from(self.labels[image_index])
    }

    /// The class with the largest logit, the first of equal ones.
    #[must_use]
    pub fn predicted(&self, image_index: usize) -> usize {
        usize::from(self.predicted[image_index])
    }

    /// The probability of each class.
    #[must_use]
    pub fn probabilities(&self, image_index: usize) -> &[f32] {
        &self.probabilities[image_index * self.n_classes..][..self.n_classes]
    }

    /// The cross-entropy of one image, in nats. A probability of 0 counts as f32's smallest.
    #[must_use]
    pub fn loss(&self, image_index: usize) -> f64 {
        let probability = self.probabilities(image_index)[self.label(image_index)];
        -f64::from(probability.max(f32::MIN_POSITIVE)).ln()
    }

    /// Images by actual and predicted class.
    #[must_use]
    pub fn confusion(&self) -> Confusion {
        let pairs = (0..self.n_images()).map(|image| (self.label(image), self.predicted(image)));
        Confusion::from_pairs(self.n_classes, pairs)
    }

    /// Mean of [`loss`](Self::loss); 0 without images.
    #[must_use]
    pub fn negative_log_likelihood(&self) -> f64 {
        let sum: f64 = (0..self.n_images()).map(|image| self.loss(image)).sum();
        sum / self.n_images().max(1) as f64
    }

    /// Part of the images whose class is among the `k` most probable ones. Of equal probabilities, the
    /// predicted class and then the lower class comes first.
    #[must_use]
    pub fn top_k_accuracy(&self, k: usize) -> f64 {
        let hits = (0..self.n_images()).filter(|&image| {
            let (label, predicted) = (self.label(image), self.predicted(image));
            let row = self.probabilities(image);
            let before = |class: usize| {
                class == predicted
                    || row[class] > row[label]
                    || row[class] == row[label] && class < label
            };
            let rank = (0..self.n_classes)
                .filter(|&class| class != label && label != predicted && before(class))
                .count();
            rank < k
        });
        hits.count() as f64 / self.n_images().max(1) as f64
    }

    /// Confidence against accuracy, in `n_bins` equal parts.
    #[must_use]
    pub fn calibration(&self, n_bins: usize) -> Calibration {
        let mut sums = vec![(0u64, 0.0, 0u64); n_bins];
        for image in 0..self.n_images() {
            let predicted = self.predicted(image);
            let confidence = f64::from(self.probabilities(image)[predicted]);
            let bin = (confidence * n_bins as f64).ceil() as usize;
            let (n, confidences, correct) = &mut sums[bin.clamp(1, n_bins) - 1];
            *n += 1;
            *confidences += confidence;
            *correct += u64::from(predicted == self.label(image));
        }
        let bins: Vec<_> = (0..n_bins)
            .map(|bin| {
                let (n_images, confidences, correct) = sums[bin];
                let n = n_images.max(1) as f64;
                CalibrationBin {
                    lower: bin as f64 / n_bins as f64,
                    upper: (bin + 1) as f64 / n_bins as f64,
                    n_images,
                    confidence: confidences / n,
                    accuracy: correct as f64 / n,
                }
            })
            .collect();
        let gap = |bin: &CalibrationBin| (bin.accuracy - bin.confidence).abs();
        let weighted = bins.iter().map(|bin| gap(bin) * bin.n_images as f64);
        Calibration {
            expected_error: weighted.sum::<f64>() / self.n_images().max(1) as f64,
            maximum_error: bins.iter().map(gap).fold(0.0, f64::max),
            bins,
        }
    }

    /// predictions.csv: index, label, predicted, then a probability per class. An f32 is written with
    /// the digits that give the same f32 again.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut text = String::from("index,label,predicted");
        for class in 0..self.n_classes {
            let _ = write!(text, ",probability_{class}");
        }
        text.push('\n');
        for image in 0..self.n_images() {
            let (label, predicted) = (self.label(image), self.predicted(image));
            let _ = write!(text, "{image},{label},{predicted}");
            for probability in self.probabilities(image) {
                let _ = write!(text, ",{probability:?}");
            }
            text.push('\n');
        }
        text
    }

    /// What [`to_csv`](Self::to_csv) wrote. The error names the line and what is wrong there.
    pub fn from_csv(text: &[u8]) -> Result<Self, String> {
        let mut reader = csv::Reader::from_reader(text);
        let head = reader.headers().map_err(|error| error.to_string())?.clone();
        let n_classes = head.len().saturating_sub(3);
        if n_classes == 0 || n_classes > 256 || !head.iter().take(3).eq(HEAD) {
            return Err("line 1: it should begin with index,label,predicted".to_owned());
        }
        let mut read = Self {
            n_classes,
            labels: Vec::new(),
            predicted: Vec::new(),
            probabilities: Vec::new(),
        };
        for record in reader.records() {
            let record = record.map_err(|error| error.to_string())?;
            read.push(&record).map_err(|what| {
                let line = record.position().map_or(0, csv::Position::line);
                format!("line {line}: {what}")
            })?;
        }
        Ok(read)
    }

    fn push(&mut self, record: &csv::StringRecord) -> Result<(), String> {
        let n_classes = self.n_classes;
        let invalid = |cell: &str| format!("unexpected {cell:?}");
        let class = |cell: &str| {
            let class = cell.parse::<u8>().ok();
            let class = class.filter(|&class| usize::from(class) < n_classes);
            class.ok_or_else(|| invalid(cell))
        };
        if record[0].parse() != Ok(self.labels.len()) {
            return Err(invalid(&record[0]));
        }
        self.labels.push(class(&record[1])?);
        self.predicted.push(class(&record[2])?);
        for cell in record.iter().skip(3) {
            let probability = cell.parse::<f32>().ok();
            let probability = probability.filter(|p| (0.0..=1.0).contains(p));
            self.probabilities
                .push(probability.ok_or_else(|| invalid(cell))?);
        }
        Ok(())
    }
}

const HEAD: [&str; 3] = ["index", "label", "predicted"];

/// The first of the largest.
fn largest(row: &[f32]) -> usize {
    let mut best = 0;
    for (class, &logit) in row.iter().enumerate() {
        if logit > row[best] {
            best = class;
        }
    }
    best
}

/// exp(logit) over their sum, in f64, with the largest logit taken off first so that none overflows.
pub(crate) fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers = logits.iter().map(|&logit| f64::from(logit - largest).exp());
    let powers: Vec<f64> = powers.collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::Predictions;

    fn three() -> Predictions {
        let logits = [2.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 3.0, 2.5];
        Predictions::from_logits(3, vec![1, 2, 1], &logits)
    }

    #[test]
    fn top_k_ranks_the_predicted_class_first_and_equal_ones_by_their_number() {
        let predictions = three();
        assert_eq!(predictions.top_k_accuracy(1), 1.0 / 3.0);
        // The second image's three classes are equal: class 2 comes third.
        assert_eq!(predictions.top_k_accuracy(2), 2.0 / 3.0);
        assert_eq!(predictions.top_k_accuracy(3), 1.0);
    }

    #[test]
    fn csv_comes_back_with_the_same_bits() {
        let predictions = three();
        let csv = predictions.to_csv();
        assert!(csv.starts_with("index,label,predicted,probability_0,probability_1"));
        assert_eq!(Predictions::from_csv(csv.as_bytes()), Ok(predictions));
    }

    #[test]
    fn a_damaged_csv_is_an_error_that_names_the_line() {
        for (csv, line) in [
            ("", "line 1"),
            ("index,label,predicted\n", "line 1"),
            ("index,label,predicted,probability_0\n1,0,0,1.0\n", "line 2"),
            ("index,label,predicted,probability_0\n0,1,0,1.0\n", "line 2"),
            ("index,label,predicted,probability_0\n0,0,0,NaN\n", "line 2"),
            ("index,label,predicted,probability_0\n0,0,0\n", "line: 2"),
        ] {
            let error = Predictions::from_csv(csv.as_bytes()).unwrap_err();
            assert!(error.contains(line), "{csv:?}: {error}");
        }
    }

    #[test]
    fn huge_logits_overflow_nothing_and_a_loss_is_finite() {
        let predictions = Predictions::from_logits(2, vec![1], &[3e38, -3e38]);
        assert_eq!(predictions.probabilities(0), [1.0, 0.0]);
        assert!(predictions.loss(0).is_finite());
    }

    #[test]
    fn every_confidence_has_a_bin() {
        let logits = [0.0, 0.0, 100.0, -100.0, 1.0, 0.0];
        let predictions = Predictions::from_logits(2, vec![0, 0, 1], &logits);
        let calibration = predictions.calibration(10);
        let counts: Vec<u64> = calibration.bins.iter().map(|bin| bin.n_images).collect();
        // 0.5 is on a line and belongs below it; 0.731; 1.0.
        assert_eq!(counts, [0, 0, 0, 0, 1, 0, 0, 1, 0, 1]);
        assert_eq!(calibration.bins[4].accuracy, 1.0);
        assert!(calibration.maximum_error > 0.7);
    }
}
