//! A sheet of images that were taken for another class, each with its probabilities.
//!
//! One image of each of the 16 most frequent confusions, and of each the one with the highest loss;
//! where there are fewer, the second of each follows, and so on. The worst of all would show one or
//! two confusions 16 times, and more often wrong labels than what the model does not know.

use crate::evaluate::predictions::Predictions;
use crate::text::thousands;

use super::palette;
use super::scene::{Anchor, BODY, MARGIN, SMALL, Scene};
use super::text;
use super::{Drawn, Figure};

const COLUMNS: usize = 4;
const MOST: usize = 16;
/// Of an image on the page.
const SIDE: f64 = 112.0;
/// Of a bar that is full.
const BAR: f64 = 62.0;
const ROW: f64 = 11.2;
/// Up to so many classes all have a bar, else the most probable `TOP`.
const ALL: usize = 12;
const TOP: usize = 8;
const NAMES: f64 = 110.0;
const SIZE: f64 = 9.25;

/// The images of a sheet, worst first within each confusion.
pub(super) fn chosen(predictions: &Predictions, most: usize) -> Vec<usize> {
    let n = predictions.n_classes();
    let mut confusions: Vec<Vec<usize>> = vec![Vec::new(); n * n];
    for image in 0..predictions.n_images() {
        let (label, predicted) = (predictions.label(image), predictions.predicted(image));
        if label != predicted {
            confusions[label * n + predicted].push(image);
        }
    }
    for images in &mut confusions {
        let loss = |image: &usize| predictions.loss(*image);
        images.sort_by(|a, b| loss(b).total_cmp(&loss(a)).then(a.cmp(b)));
    }
    confusions.sort_by_key(|images| std::cmp::Reverse(images.len())); // stable: then by class
    let rounds = confusions.first().map_or(0, Vec::len).min(most);
    let in_turn = (0..rounds).flat_map(|round| {
        confusions
            .iter()
            .filter_map(move |images| images.get(round).copied())
    });
    in_turn.take(most).collect()
}

/// One of the bars.
struct Bar {
    class: usize,
    lines: Vec<String>,
    height: f64,
}

struct Tile {
    image: usize,
    title: Vec<String>,
    note: String,
    bars: Vec<Bar>,
    height: f64,
}

pub(super) fn draw(figure: &Figure) -> Drawn {
    let evaluated = figure.evaluated()?;
    let (evaluation, predictions) = (&evaluated.evaluation, &evaluated.predictions);
    let splits = figure.splits_of_evaluation(evaluated)?;
    let images = chosen(predictions, MOST);
    if images.is_empty() {
        return Err(format!(
            "no image of the {} split was taken for another class",
            evaluation.split
        ));
    }
    let labels = text::class_labels(&evaluation.class_names, predictions.n_classes());
    let names_width = labels.iter().map(|label| text::width(label, SIZE));
    let marked = text::width(" \u{2713}", SIZE);
    let names_width = names_width.fold(24.0, f64::max).min(NAMES) + marked + 1.0;
    let tile_width = SIDE + 10.0 + names_width + 5.0 + BAR;
    let tiles: Vec<Tile> = images
        .iter()
        .map(|&image| tile(predictions, &labels, image, tile_width, evaluation))
        .collect();

    let columns = COLUMNS.min(tiles.len());
    let step = tile_width + 26.0;
    let width = (2.0 * MARGIN + step * columns as f64 - 26.0).max(560.0);
    let n_wrong = evaluation.n_images - evaluation.confusion.correct();
    let subtitle = format!(
        "{}; {} wrong. Shown: {} \"predicted per cent (actual)\"",
        figure.evaluated_on(evaluation),
        thousands(n_wrong),
        if n_wrong as usize <= MOST {
            "all of them,"
        } else {
            "the image with the highest loss of each of the most frequent confusions,"
        }
    );
    let (mut scene, top) = Scene::new(width, &figure.titled("Misclassified images"), &subtitle);
    let entries = [
        ("\u{2713} actual class", palette::ACTUAL),
        ("\u{2717} predicted class", palette::PREDICTED),
        ("other", palette::OTHER),
    ];
    scene.legend(&entries, (MARGIN, top + 2.0));
    let mut y = top + 26.0;
    for row in tiles.chunks(COLUMNS) {
        let title_lines = row.iter().map(|tile| tile.title.len()).max().unwrap_or(1);
        let below = y + title_lines as f64 * BODY * text::LINE + SMALL * text::LINE + 7.0;
        for (column, tile) in row.iter().enumerate() {
            let x = MARGIN + step * column as f64;
            scene.lines(&tile.title, (x, y), BODY, palette::TEXT, Anchor::Start);
            let at = (x, below - 9.0);
            scene.text(&tile.note, at, SMALL, palette::MUTED, Anchor::Start);
            let picture = splits(tile.image);
            super::framed(&mut scene, picture, (x, below), SIDE);
            bars(
                &mut scene,
                tile,
                predictions,
                (x + SIDE + 10.0, below),
                names_width,
            );
        }
        y = below + row.iter().map(|tile| tile.height).fold(SIDE, f64::max) + 24.0;
    }
    Ok(scene.finish(y - 24.0))
}

fn tile(
    predictions: &Predictions,
    labels: &[String],
    image: usize,
    width: f64,
    evaluation: &crate::run::records::Evaluation,
) -> Tile {
    let (label, predicted) = (predictions.label(image), predictions.predicted(image));
    let row = predictions.probabilities(image);
    let title = format!(
        "{} {:.0} % ({})",
        labels[predicted],
        100.0 * row[predicted],
        labels[label]
    );
    let like_it = evaluation.confusion.count(label, predicted);
    let note = match like_it {
        1 => format!("image {image}, the only one"),
        n => format!("image {image}, one of {}", thousands(n)),
    };
    let mut classes: Vec<usize> = (0..labels.len()).collect();
    if classes.len() > ALL {
        classes.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
        let actual = classes.iter().position(|&class| class == label);
        classes.truncate(TOP);
        if actual.is_some_and(|place| place >= TOP) {
            classes.push(label);
        }
    }
    let bar = |class: usize| {
        let lines = text::wrap(&labels[class], SIZE, NAMES);
        let more = lines.len().saturating_sub(1) as f64;
        let height = ROW + more * SIZE * text::LINE + more.min(1.0) * 3.0;
        Bar {
            class,
            lines,
            height,
        }
    };
    let bars: Vec<Bar> = classes.into_iter().map(bar).collect();
    Tile {
        image,
        title: text::wrap(&title, BODY, width),
        note,
        height: bars.iter().map(|bar| bar.height).sum(),
        bars,
    }
}

fn bars(
    scene: &mut Scene,
    tile: &Tile,
    predictions: &Predictions,
    (x, top): (f64, f64),
    names_width: f64,
) {
    let (label, predicted) = (
        predictions.label(tile.image),
        predictions.predicted(tile.image),
    );
    let row = predictions.probabilities(tile.image);
    // Few bars stand in the middle of the image's height.
    let mut y = top + ((SIDE - tile.height) / 2.0).max(0.0);
    let ground = (x + names_width + 5.0, y);
    for bar in &tile.bars {
        let (colour, mark) = match bar.class {
            class if class == label => (palette::ACTUAL, " \u{2713}"),
            class if class == predicted => (palette::PREDICTED, " \u{2717}"),
            _ => (palette::OTHER, ""),
        };
        let mut lines = bar.lines.clone();
        if let Some(last) = lines.last_mut() {
            last.push_str(mark);
        }
        let text_colour = if mark.is_empty() {
            palette::MUTED
        } else {
            palette::TEXT
        };
        let middle = y + bar.height / 2.0;
        let at = (x + names_width, middle);
        scene.middle(&lines, at, SIZE, text_colour, Anchor::End);
        let length = BAR * f64::from(row[bar.class]);
        scene.rectangle((ground.0, middle - 4.0), (length.max(0.5), 8.0), colour);
        if bar.class == label {
            let percent = [percent(row[label])];
            let at = (ground.0 + length + 4.0, middle);
            scene.middle(&percent, at, SIZE, palette::TEXT, Anchor::Start);
        }
        y += bar.height;
    }
    scene.line(vec![ground, (ground.0, y)], 1.0, palette::AXIS);
    // Where a bar would end that has all.
    let full = ground.0 + BAR;
    scene.line(vec![(full, ground.1), (full, y)], 1.0, palette::GRID);
}

/// Of a class that is not the most probable: also a small one is told.
fn percent(probability: f32) -> String {
    match 100.0 * probability {
        percent if percent >= 9.95 => format!("{percent:.0} %"),
        percent if percent >= 0.05 => format!("{percent:.1} %"),
        _ => "< 0.1 %".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits of an image that is taken for `predicted`, more surely with a larger `logit`.
    fn row(predicted: usize, logit: f32) -> [f32; 3] {
        let mut row = [0.0; 3];
        row[predicted] = logit;
        row
    }

    #[test]
    fn each_confusion_comes_once_before_any_comes_twice() {
        let labels = vec![0, 0, 0, 1, 2, 2, 1];
        let logits = [
            row(1, 1.0),
            row(1, 3.0),
            row(1, 2.0),
            row(2, 1.0),
            row(2, 1.0),
            row(0, 1.0),
            row(2, 1.0),
        ];
        let predictions = Predictions::from_logits(3, labels, &logits.concat());
        // 0 -> 1 three times (the worst is image 1), 1 -> 2 twice, 2 -> 0 once.
        assert_eq!(chosen(&predictions, 16), [1, 3, 5, 2, 6, 0]);
        assert_eq!(chosen(&predictions, 2), [1, 3]);
    }
}
