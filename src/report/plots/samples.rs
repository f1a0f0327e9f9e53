//! Images of the training split as they are stored, and as the network sees them in training.

use crate::random::Stream;

use super::palette;
use super::picture::Picture;
use super::scene::{Anchor, BODY, MARGIN, SMALL, Scene};
use super::text;
use super::{Drawn, Figure};

/// Keeps these draws apart from the others of a run's seed.
const TAG: u64 = u64::from_be_bytes(*b"wf.plots");

/// Up to so many classes each has a row of its own.
const MOST_ROWS: usize = 20;
const IN_ROW: usize = 10;
const COLUMNS: usize = 10;
const SIDE: f64 = 56.0;
const GAP: f64 = 6.0;
const NAMES: f64 = 170.0;

/// Random images of each class: a pure function of the seed.
pub(super) fn samples(figure: &Figure) -> Drawn {
    let splits = figure.splits()?;
    let labels = figure.labels()?;
    let in_rows = labels.len() <= MOST_ROWS;
    let n_each = if in_rows { IN_ROW } else { 1 };
    let mut of_class: Vec<Vec<u32>> = vec![Vec::new(); labels.len()];
    for &index in &splits.split.train {
        let label = splits.dataset.train.labels[index as usize];
        of_class[usize::from(label)].push(index);
    }
    let images = &splits.dataset.train.images;
    let picked: Vec<Vec<Picture>> = of_class
        .iter_mut()
        .enumerate()
        .map(|(class, indices)| {
            Stream::new(&[figure.seed, TAG, class as u64]).shuffle(indices);
            let picked = indices.iter().take(n_each);
            picked
                .map(|&index| Picture::of(images, index as usize))
                .collect()
        })
        .collect();
    let title = figure.titled("Samples of the training images");
    let subtitle = format!(
        "{} at random of each class, {} x {} pixels, as stored",
        if in_rows { "up to ten" } else { "one" },
        images.width,
        images.height
    );
    if in_rows {
        let rows = labels.iter().cloned().zip(picked).collect();
        return Ok(sheet(&title, &subtitle, &[], rows));
    }
    Ok(grid(&title, &subtitle, &labels, picked))
}

/// The first training image of each class (of ten classes at most), and what augmentation makes of it.
pub(super) fn augmented(figure: &Figure) -> Drawn {
    let Some(augmented) = figure.augmented else {
        return Err("the config changes no image (see [augmentation])".to_owned());
    };
    let labels = figure.labels()?;
    let (height, width) = (augmented.height, augmented.width);
    let rows = augmented.images.iter().map(|image| {
        let all = std::iter::once(&image.stored).chain(&image.drawn);
        let pictures = all.map(|pixels| Picture::from_planes(pixels, height, width));
        let label = labels.get(image.label).cloned().unwrap_or_default();
        (label, pictures.collect())
    });
    let rows: Vec<(String, Vec<Picture>)> = rows.collect();
    let n_epochs = augmented
        .images
        .first()
        .map_or(0, |image| image.drawn.len());
    let heads: Vec<String> = std::iter::once("stored".to_owned())
        .chain((1..=n_epochs).map(|epoch| format!("epoch {epoch}")))
        .collect();
    let title = figure.titled("Augmentation");
    let subtitle = format!(
        "training images as stored, and as the network sees them; {}",
        augmented.what
    );
    Ok(sheet(&title, &subtitle, &heads, rows))
}

/// A row of images per name.
fn sheet(
    title: &str,
    subtitle: &str,
    heads: &[String],
    rows: Vec<(String, Vec<Picture>)>,
) -> Scene {
    let names = rows.iter().map(|(name, _)| text::wrap(name, BODY, NAMES));
    let names: Vec<Vec<String>> = names.collect();
    let left = MARGIN + text::widest(names.iter().flatten(), BODY) + 12.0;
    let columns = rows.iter().map(|(_, pictures)| pictures.len()).max();
    let width = left + columns.unwrap_or(0) as f64 * (SIDE + GAP) - GAP + MARGIN;
    let (mut scene, mut y) = Scene::new(width.max(420.0), title, subtitle);
    let x_of = |column: usize| left + column as f64 * (SIDE + GAP);
    for (column, head) in heads.iter().enumerate() {
        let at = (x_of(column) + SIDE / 2.0, y + 4.0);
        scene.text(head, at, SMALL, palette::MUTED, Anchor::Middle);
    }
    if !heads.is_empty() {
        y += 12.0;
    }
    for ((_, pictures), lines) in rows.into_iter().zip(&names) {
        let height = SIDE.max(lines.len() as f64 * BODY * text::LINE);
        let middle = y + height / 2.0;
        let at = (left - 12.0, middle);
        scene.middle(lines, at, BODY, palette::TEXT, Anchor::End);
        for (column, picture) in pictures.into_iter().enumerate() {
            let at = (x_of(column), middle - SIDE / 2.0);
            super::framed(&mut scene, picture, at, SIDE);
        }
        y += height + GAP;
    }
    scene.finish(y - GAP)
}

/// One image per name, which stands below it.
fn grid(title: &str, subtitle: &str, names: &[String], pictures: Vec<Vec<Picture>>) -> Scene {
    const STEP: f64 = 96.0;
    let width = 2.0 * MARGIN + COLUMNS as f64 * STEP;
    let (mut scene, mut y) = Scene::new(width, title, subtitle);
    let all: Vec<(&String, Vec<Picture>)> = names.iter().zip(pictures).collect();
    for row in all.chunks(COLUMNS) {
        let mut n_lines = 1;
        for (column, (name, pictures)) in row.iter().enumerate() {
            let middle = MARGIN + (column as f64 + 0.5) * STEP;
            if let Some(picture) = pictures.first() {
                super::framed(&mut scene, picture.clone(), (middle - SIDE / 2.0, y), SIDE);
            }
            let lines = text::wrap(name, SMALL, STEP - 8.0);
            let at = (middle, y + SIDE + 3.0);
            scene.lines(&lines, at, SMALL, palette::TEXT, Anchor::Middle);
            n_lines = n_lines.max(lines.len());
        }
        y += SIDE + 3.0 + n_lines as f64 * SMALL * text::LINE + 10.0;
    }
    scene.finish(y - 10.0)
}
