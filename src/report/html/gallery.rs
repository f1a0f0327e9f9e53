//! Which of the predicted images the page shows: for each cell of the confusion matrix those with the
//! highest loss, as many as fit.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use serde::ser::{SerializeTuple, Serializer};

use super::sheet::Sheets;
use crate::data::Splits;
use crate::evaluate::predictions::Predictions;

/// The most images of a cell: of mistakes, and of what is right.
const MOST_PER_CELL: usize = 48;
const MOST_RIGHT_PER_CELL: usize = 24;
/// The most images of a run.
const MOST_IMAGES: usize = 4_000;
/// The worst mistakes have a section of their own, and come first.
pub(super) const WORST: usize = 24;
/// With more classes than that, an image shows its most probable ones only.
const MOST_BARS: usize = 12;
const FEWER_BARS: usize = 10;

/// Images with what the model says of them; tile n of the sheets is image n.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Gallery {
    pub(super) sheets: Sheets,
    pub(super) images: Vec<Shown>,
}

/// An image with what the model says of it.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    index: usize,
    label: usize,
    predicted: usize,
    loss: f64,
    /// A class and its probability in ten-thousandths.
    probabilities: Vec<(usize, u32)>,
}

/// As a list, which is a third of the size.
impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_tuple(5)?;
        list.serialize_element(&self.index)?;
        list.serialize_element(&self.label)?;
        list.serialize_element(&self.predicted)?;
        list.serialize_element(&((self.loss * 1e4).round() / 1e4))?;
        list.serialize_element(&self.probabilities)?;
        list.end()
    }
}

impl Gallery {
    /// Of the test split, in at most about `most_bytes`.
    pub(super) fn of(
        predictions: &Predictions,
        splits: &Splits,
        most_bytes: usize,
    ) -> Result<Self> {
        let order = by_importance(predictions);
        // What an image takes beside its pixels: its numbers as JSON.
        let extra = 40 + 12 * predictions.n_classes().min(MOST_BARS);
        let images = &splits.dataset.test.images;
        let n = Sheets::fitting(images, &order, most_bytes, extra)?;
        let mut shown = order[..n].to_vec();
        // Neighbours alike: the sheet is smaller then.
        shown.sort_by(|&a, &b| {
            let cell = |image| (predictions.label(image), predictions.predicted(image));
            let by_loss = || predictions.loss(b).total_cmp(&predictions.loss(a));
            cell(a).cmp(&cell(b)).then_with(by_loss).then(a.cmp(&b))
        });
        Ok(Self {
            sheets: Sheets::of(images, &shown)?,
            images: shown
                .iter()
                .map(|&image| Shown::of(predictions, image))
                .collect(),
        })
    }
}

impl Shown {
    fn of(predictions: &Predictions, image: usize) -> Self {
        let (label, predicted) = (predictions.label(image), predictions.predicted(image));
        let row = predictions.probabilities(image);
        let mut classes: Vec<usize> = (0..row.len()).collect();
        if classes.len() > MOST_BARS {
            classes.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
            let is_first = classes[..FEWER_BARS].contains(&label);
            classes.truncate(FEWER_BARS);
            if !is_first {
                classes.push(label);
            }
        }
        let part = |class: usize| (f64::from(row[class]) * 1e4).round() as u32;
        Self {
            index: image,
            label,
            predicted,
            loss: predictions.loss(image),
            probabilities: classes.iter().map(|&class| (class, part(class))).collect(),
        }
    }
}

/// The worst mistakes, then the worst of every cell, the second worst, and so on. Of what is right,
/// half as many.
fn by_importance(predictions: &Predictions) -> Vec<usize> {
    let losses: Vec<f64> = (0..predictions.n_images())
        .map(|image| predictions.loss(image))
        .collect();
    let worse = |a: &usize, b: &usize| losses[*b].total_cmp(&losses[*a]).then(a.cmp(b));
    let is_right = |image: usize| predictions.label(image) == predictions.predicted(image);
    let mut mistakes: Vec<usize> = (0..losses.len())
        .filter(|&image| !is_right(image))
        .collect();
    mistakes.sort_by(worse);
    let worst: Vec<usize> = mistakes.into_iter().take(WORST).collect();

    let mut cells: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for image in 0..losses.len() {
        let cell = (predictions.label(image), predictions.predicted(image));
        cells.entry(cell).or_default().push(image);
    }
    let mut ranked = Vec::new();
    for ((label, predicted), mut images) in cells {
        images.sort_by(worse);
        let (most, step) = match label == predicted {
            true => (MOST_RIGHT_PER_CELL, 2),
            false => (MOST_PER_CELL, 1),
        };
        let images = images.into_iter().take(most).enumerate();
        ranked.extend(images.map(|(rank, image)| (rank * step, image)));
    }
    ranked.sort_by(|(rank_a, a), (rank_b, b)| rank_a.cmp(rank_b).then_with(|| worse(a, b)));
    let others = ranked.into_iter().map(|(_, image)| image);
    let mut order = worst.clone();
    order.extend(others.filter(|image| !worst.contains(image)));
    order.truncate(MOST_IMAGES);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_come_first_and_every_cell_has_its_worst_early() {
        // Image n: class 0 or 1; every third is taken for class 2, the surer the later.
        let labels: Vec<u8> = (0..300).map(|image| (image % 2) as u8).collect();
        let logits = labels.iter().enumerate().flat_map(|(image, &label)| {
            let mut row = [0.0f32; 3];
            let predicted = if image % 3 == 0 {
                2
            } else {
                usize::from(label)
            };
            row[predicted] = 1.0 + image as f32 / 100.0;
            row
        });
        let logits: Vec<f32> = logits.collect();
        let predictions = Predictions::from_logits(3, labels, &logits);
        let order = by_importance(&predictions);
        let worst: Vec<usize> = (0..300)
            .rev()
            .filter(|image| image % 3 == 0)
            .take(WORST)
            .collect();
        assert_eq!(order[..WORST], worst);
        let mut unique = order.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), order.len(), "no image twice");
        assert_eq!(order.len(), 2 * MOST_PER_CELL + 2 * MOST_RIGHT_PER_CELL);
        // Of what is right the least sure ones: the first images.
        assert!(order[WORST..WORST + 4].contains(&1) && order[WORST..WORST + 4].contains(&2));
    }

    #[test]
    fn with_many_classes_the_actual_one_is_always_among_the_bars() {
        let logits: Vec<f32> = (0..50).map(|class| class as f32 / 5.0).collect();
        let predictions = Predictions::from_logits(50, vec![0], &logits);
        let shown = Shown::of(&predictions, 0);
        let classes: Vec<usize> = shown
            .probabilities
            .iter()
            .map(|&(class, _)| class)
            .collect();
        assert_eq!(classes, [49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 0]);
    }
}
