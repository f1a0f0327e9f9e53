//! The confusion matrix as a heat map, in per cent of the actual class.

use crate::evaluate::confusion::Confusion;
use crate::text::thousands;

use super::palette;
use super::picture::Picture;
use super::scene::{Anchor, BODY, MARGIN, SMALL, Scene};
use super::text;
use super::{Drawn, Figure};

/// With more classes the cells are the pixels of one image: an SVG of 256 x 256 rectangles has 8 MB.
const MOST_RECTANGLES: usize = 50;
const BAR: f64 = 14.0;

/// The sizes that follow from the number of classes and their names.
struct Layout {
    /// Side of a cell.
    cell: f64,
    /// Of the class names.
    size: f64,
    /// Each class's name, broken.
    names: Vec<Vec<String>>,
    /// Width of the widest line of them.
    names_width: f64,
    /// Whether the columns' names lie flat, and then in which lines.
    flat: Option<Vec<Vec<String>>>,
}

pub(super) fn draw(figure: &Figure) -> Drawn {
    let evaluation = &figure.evaluated()?.evaluation;
    let confusion = &evaluation.confusion;
    let n = confusion.n_classes();
    if n == 0 {
        return Err("there is no class".to_owned());
    }
    let labels = text::class_labels(&evaluation.class_names, n);
    let layout = Layout::new(&labels);
    let side = layout.cell * n as f64;
    let left = MARGIN + BODY * 1.6 + layout.names_width + 8.0;
    let width = (left + side + 24.0 + BAR + 44.0 + MARGIN).max(480.0);
    let subtitle = format!(
        "{}; {}",
        figure.evaluated_on(evaluation),
        match figure.options.counts {
            true => "images in each cell, coloured by their part of the actual class (row)",
            false => "per cent of the actual class (row)",
        }
    );
    let title = figure.titled(&format!(
        "Confusion matrix, accuracy {:.4}",
        evaluation.accuracy
    ));
    let (mut scene, top) = Scene::new(width, &title, &subtitle);
    scene.description = description(&scene.description, confusion, &labels);
    cells(
        &mut scene,
        confusion,
        &layout,
        (left, top),
        figure.options.counts,
    );
    let bottom = names(&mut scene, &layout, (left, top), side);
    colour_bar(
        &mut scene,
        (left + side + 24.0, top),
        side.clamp(120.0, 320.0),
    );
    Ok(scene.finish(bottom.max(top + 320.0_f64.min(side))))
}

/// What can be read out: each class with its recall.
fn description(subtitle: &str, confusion: &Confusion, labels: &[String]) -> String {
    let right = |class: usize| confusion.row_percent(class)[class];
    let classes = labels.iter().enumerate();
    let classes: Vec<String> = classes
        .map(|(class, label)| format!("{label} {:.1}", right(class)))
        .collect();
    format!("{subtitle}. Per cent right: {}", classes.join(", "))
}

impl Layout {
    fn new(labels: &[String]) -> Self {
        let n = labels.len();
        let (least, size) = match n {
            0..=12 => (58.0, 12.0),
            13..=20 => (40.0, 11.0),
            21..=32 => (28.0, 10.0),
            33..=64 => (16.0, 10.0),
            65..=128 => (12.0, 9.0),
            _ => (10.0, 8.0),
        };
        // Longer lines make the margin wider, more lines make the cells larger: the least of both.
        let layouts = [150.0, 300.0, 600.0, 1200.0, 2400.0, f64::MAX].map(|most| {
            let names: Vec<_> = labels.iter().map(|l| text::wrap(l, size, most)).collect();
            let n_lines = names.iter().map(Vec::len).max().unwrap_or(1);
            Self {
                cell: f64::max(least, n_lines as f64 * size * text::LINE + 2.0),
                size,
                names_width: text::widest(names.iter().flatten(), size),
                names,
                flat: None,
            }
        });
        let side = |layout: &Self| layout.cell * n as f64 + layout.names_width;
        let smallest = layouts
            .into_iter()
            .min_by(|a, b| side(a).total_cmp(&side(b)));
        let Some(mut layout) = smallest else {
            unreachable!("there are six")
        };
        layout.flat = layout.flat_names(labels);
        layout
    }

    /// The names in lines that fit below a cell without a break within a word, if there are such.
    fn flat_names(&self, labels: &[String]) -> Option<Vec<Vec<String>>> {
        let most = self.cell - 3.0;
        let wrapped = labels
            .iter()
            .map(|label| text::wrap(label, self.size, most));
        let wrapped: Vec<Vec<String>> = wrapped.collect();
        let fits = |(label, lines): (&String, &Vec<String>)| {
            let breaks = |c: char| c.is_whitespace() || c == '/' || c == '-';
            let words = label.split(breaks);
            let longest = words.map(|word| text::width(word, self.size) + 4.0);
            lines.len() <= 3 && longest.fold(0.0, f64::max) <= most
        };
        labels.iter().zip(&wrapped).all(fits).then_some(wrapped)
    }
}

fn cells(
    scene: &mut Scene,
    confusion: &Confusion,
    layout: &Layout,
    (left, top): (f64, f64),
    counts: bool,
) {
    let (n, cell) = (confusion.n_classes(), layout.cell);
    let percent: Vec<Vec<f64>> = (0..n).map(|actual| confusion.row_percent(actual)).collect();
    if n > MOST_RECTANGLES {
        let colours = percent
            .iter()
            .flatten()
            .map(|p| palette::heat(p / 100.0).light);
        let rgb = colours.flat_map(|(r, g, b)| [r, g, b]).collect();
        let (width, height) = (n as u32, n as u32);
        let picture = Picture { width, height, rgb };
        let side = cell * n as f64;
        return scene.picture((left, top), (side, side), picture);
    }
    let has_text = cell >= 26.0;
    // So large that "100.0", or the largest count, fits.
    let written = |actual: usize, predicted: usize| match counts {
        true => thousands(confusion.count(actual, predicted)),
        false => match percent[actual][predicted] {
            p if p >= 99.95 => "100".to_owned(),
            p => format!("{p:.1}"),
        },
    };
    let pairs = || (0..n).flat_map(|actual| (0..n).map(move |predicted| (actual, predicted)));
    let widest = pairs().map(|(actual, predicted)| text::width(&written(actual, predicted), 1.0));
    let size = ((cell - 6.0) / widest.fold(1.0, f64::max)).min(13.0);
    for (actual, predicted) in pairs() {
        let at = (left + cell * predicted as f64, top + cell * actual as f64);
        let fill = palette::heat(percent[actual][predicted] / 100.0);
        let gap = if cell >= 26.0 { 1.0 } else { 0.0 };
        scene.rectangle(at, (cell - gap, cell - gap), fill);
        if has_text && size >= 6.5 && confusion.count(actual, predicted) > 0 {
            let middle = (at.0 + (cell - gap) / 2.0, at.1 + (cell - gap) / 2.0);
            let text = [written(actual, predicted)];
            scene.middle(&text, middle, size, palette::text_on(fill), Anchor::Middle);
        }
    }
}

/// On both axes. Where they end below.
fn names(scene: &mut Scene, layout: &Layout, (left, top): (f64, f64), side: f64) -> f64 {
    let (cell, size) = (layout.cell, layout.size);
    let centre = |class: usize| cell * (class as f64 + 0.5);
    for (class, lines) in layout.names.iter().enumerate() {
        let at = (left - 8.0, top + centre(class));
        scene.middle(lines, at, size, palette::TEXT, Anchor::End);
    }
    let below = top + side + 7.0;
    let height = match &layout.flat {
        Some(flat) => {
            for (class, lines) in flat.iter().enumerate() {
                let at = (left + centre(class), below);
                scene.lines(lines, at, size, palette::TEXT, Anchor::Middle);
            }
            let n_lines = flat.iter().map(Vec::len).max().unwrap_or(1);
            n_lines as f64 * size * text::LINE
        }
        None => {
            for (class, lines) in layout.names.iter().enumerate() {
                let at = (left + centre(class), below);
                scene.upwards(lines, at, size, palette::TEXT, Anchor::End);
            }
            layout.names_width
        }
    };
    let (x, y) = (left + side / 2.0, below + height + 20.0);
    scene.text("predicted", (x, y), BODY, palette::MUTED, Anchor::Middle);
    let at = (MARGIN + BODY * 0.6, top + side / 2.0);
    scene.upwards(
        &["actual".to_owned()],
        at,
        BODY,
        palette::MUTED,
        Anchor::Middle,
    );
    y
}

fn colour_bar(scene: &mut Scene, (x, top): (f64, f64), height: f64) {
    const STEPS: usize = 60;
    for step in 0..STEPS {
        let place = (step as f64 + 0.5) / STEPS as f64;
        let y = top + height * (1.0 - (step + 1) as f64 / STEPS as f64);
        let size = (BAR, height / STEPS as f64 + 0.5);
        scene.rectangle((x, y), size, palette::heat(place * place));
    }
    for percent in [0.0, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0] {
        let y = top + height * (1.0 - (percent / 100.0f64).sqrt());
        scene.line(vec![(x + BAR, y), (x + BAR + 4.0, y)], 1.0, palette::AXIS);
        let label = [format!("{percent:.0} %")];
        scene.middle(
            &label,
            (x + BAR + 8.0, y),
            SMALL,
            palette::MUTED,
            Anchor::Start,
        );
    }
}
